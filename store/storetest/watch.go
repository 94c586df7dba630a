package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"hotdeskd/hotdesk"
)

// scan: all keys with the prefix and no other, in byte order, and stopping early
// is allowed.
func scan(t *testing.T, s suite) {
	s.mustPut(t, "/b/2", "4", "/a", "1", "/b", "2", "/b/1", "3", "/c", "5", "/b0", "6")
	for _, c := range []struct{ prefix, want string }{
		{"/b/", "3 4 "}, {"/b", "2 3 4 6 "}, {"", "1 2 3 4 6 5 "}, {"/none", ""}, {"/c", "5 "},
	} {
		got := ""
		err := s.View(t.Context(), func(r hotdesk.Reader) error {
			for kv, err := range r.Scan(c.prefix) {
				if err != nil {
					return err
				}
				got += string(kv.Value) + " "
			}
			return nil
		})
		if got != c.want || err != nil {
			t.Errorf("scan of %q gave %q, %v, want %q", c.prefix, got, err, c.want)
		}
	}
	err := s.View(t.Context(), func(r hotdesk.Reader) error {
		for kv := range r.Scan("/b") {
			return fmt.Errorf("%w at %s", errStop, kv.Key)
		}
		return nil
	})
	wantErr(t, "an error of a View's function", err, errStop)
}

// snapshot: what is committed while a View runs is not seen by it.
func snapshot(t *testing.T, s suite) {
	s.mustPut(t, "/a", "1")
	err := s.View(t.Context(), func(r hotdesk.Reader) error {
		inTime(t, "an Update beside a View", func() { s.mustPut(t, "/a", "2", "/b", "2") })
		if kv, _, err := r.Get("/a"); string(kv.Value) != "1" || kv.Rev > r.Rev() || err != nil {
			t.Errorf("the view sees %+v, %v, want the old value", kv, err)
		}
		if _, ok, _ := r.Get("/b"); ok {
			t.Error("the view sees a key from its future")
		}
		return nil
	})
	wantErr(t, "View", err, nil)
	s.wantValue(t, "/a", "2")
}

// watch: every commit once, whole, in order, those before the watch and those
// after; an Update that has returned is there.
func watch(t *testing.T, s suite) {
	first := s.mustPut(t, "/a", "1", "/b", "1")
	_, _ = s.Update(t.Context(), func(tx hotdesk.Txn) error { tx.Put("/a", []byte("bad")); return errStop })
	second, err := s.Update(t.Context(), func(tx hotdesk.Txn) error {
		tx.Delete("/b")
		tx.Delete("/none")
		tx.Put("/a", []byte("twice"))
		tx.Put("/a", []byte("2"))
		return nil
	})
	wantErr(t, "delete", err, nil)
	got := take(t, s.Watch(t.Context(), 0), 2)
	if text(got[0]) != "/a=1 /b=1" || got[0].Rev != first {
		t.Errorf("first commit is %d: %s", got[0].Rev, text(got[0]))
	}
	if text(got[1]) != "/a=2 /b!" || got[1].Rev != second {
		t.Errorf("second commit is %d: %s", got[1].Rev, text(got[1]))
	}
	if got := take(t, s.Watch(t.Context(), first), 1); got[0].Rev != second {
		t.Errorf("after %d comes %d, want %d", first, got[0].Rev, second)
	}

	// A watcher that waits gets the next commit, and the context ends it.
	ctx, cancel := background()
	defer cancel()
	inTime(t, "a watch that waits", func() {
		done := make(chan error)
		go func() {
			for c, err := range s.Watch(ctx, second) {
				if err == nil && text(c) != "/c=3" {
					err = fmt.Errorf("got commit %s", text(c))
				}
				done <- err
			}
			close(done)
		}()
		s.mustPut(t, "/c", "3")
		wantErr(t, "the next commit", <-done, nil)
		cancel()
		wantErr(t, "the end", <-done, context.Canceled)
		if err, more := <-done; more {
			t.Errorf("after the error came another: %v", err)
		}
	})
}

// watchBreak: leaving the loop leaves nothing running, and the same watch can be
// ranged over again from its beginning.
func watchBreak(t *testing.T, s suite) {
	s.mustPut(t, "/a", "1")
	s.mustPut(t, "/a", "2")
	before := runtime.NumGoroutine()
	w := s.Watch(t.Context(), 0)
	for range 100 {
		if got := take(t, w, 1); text(got[0]) != "/a=1" {
			t.Fatalf("the watch began with %s", text(got[0]))
		}
	}
	// The goroutines of inTime end before they are counted here, but for the last
	// moments of the last of them.
	if after := runtime.NumGoroutine(); after > before+10 {
		t.Errorf("%d goroutines before 100 broken watches, %d after", before, after)
	}
	inTime(t, "an Update after broken watches", func() { s.mustPut(t, "/a", "3") })
}

// compaction: who asks for commits that are no longer kept is told so, and never
// gets a later one in their place.
func compaction(t *testing.T, s suite) {
	const most = 100_000
	inTime(t, "compaction", func() {
		for n := 0; n < most; n += 500 {
			together(50, func(int) {
				for range 10 {
					s.mustPut(t, "/a", "x")
				}
			})
			for c, err := range s.Watch(t.Context(), 0) {
				switch {
				case errors.Is(err, hotdesk.ErrCompacted):
					rev := s.rev(t)
					next := s.mustPut(t, "/a", "y")
					if got := take(t, s.Watch(t.Context(), rev), 1); got[0].Rev != next {
						t.Errorf("after a relist at %d the watch gives %d, want %d", rev, got[0].Rev, next)
					}
					return
				case err != nil:
					t.Errorf("watch: %v", err)
					return
				case c.Rev != 1:
					t.Errorf("watch after 0 silently began with %d", c.Rev)
					return
				}
				break
			}
		}
		t.Logf("%d commits are all kept; ErrCompacted was not seen", most)
	})
}

// reopen: everything committed is there again with its revision, revisions go on,
// and older commits cannot be watched or are all there.
func reopen(t *testing.T, s suite) {
	s.mustPut(t, "/a", "1")
	last := s.mustPut(t, "/b", "2")
	for range 3 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		s.Store = s.open(t, s.dir)
		if rev := s.rev(t); rev != last {
			t.Fatalf("after reopening the revision is %d, want %d", rev, last)
		}
		s.wantValue(t, "/a", "1")
		for c, err := range s.Watch(t.Context(), 0) {
			if !errors.Is(err, hotdesk.ErrCompacted) && c.Rev != 1 {
				t.Errorf("watch after 0 on a reopened store gave revision %d, %v", c.Rev, err)
			}
			break
		}
		next := s.mustPut(t, "/b", "3")
		if next <= last {
			t.Errorf("after reopening came revision %d, the last was %d", next, last)
		}
		if got := take(t, s.Watch(t.Context(), last), 1); got[0].Rev != next {
			t.Errorf("watch after reopening gave %d, want %d", got[0].Rev, next)
		}
		last = next
	}
	_ = s.Close()
}

// closed: a closed store says that it is unavailable, and closing is idempotent.
func closed(t *testing.T, s suite) {
	s.mustPut(t, "/a", "1")
	ended := make(chan error, 1)
	waiting := make(chan struct{})
	go func() {
		for _, err := range s.Watch(context.Background(), 0) {
			if err != nil {
				ended <- err
				break
			}
			close(waiting)
		}
	}()
	inTime(t, "closing", func() {
		<-waiting
		wantErr(t, "the first Close", s.Close(), nil)
		wantErr(t, "the second Close", s.Close(), nil)
		wantErr(t, "a Watch at Close", <-ended, hotdesk.ErrUnavailable)
		_, err := s.Update(context.Background(), func(tx hotdesk.Txn) error { tx.Put("/a", []byte("2")); return nil })
		wantErr(t, "Update", err, hotdesk.ErrUnavailable)
		err = s.View(context.Background(), func(hotdesk.Reader) error { return nil })
		wantErr(t, "View", err, hotdesk.ErrUnavailable)
	})
}

// racing: of 64 writers' increments none is lost, and a watcher sees each commit
// once, in order, whole.
func racing(t *testing.T, s suite) {
	const writers, each = 64, 20
	seen := make(chan error, 1)
	ctx, cancel := background()
	defer cancel()
	go func() { seen <- follow(s.Watch(ctx, 0), writers*each) }()
	inTime(t, "64 writers", func() {
		together(writers, func(n int) {
			for range each {
				_, err := s.Update(context.Background(), func(tx hotdesk.Txn) error {
					kv, _, err := tx.Get("/counter")
					if err != nil {
						return err
					}
					c, _ := strconv.Atoi(string(kv.Value))
					v := fmt.Appendf(nil, "%d", c+1)
					tx.Put("/counter", v)
					tx.Put("/copy", v)
					tx.Put("/writer", fmt.Appendf(nil, "%d", n))
					return nil
				})
				if err != nil {
					t.Errorf("writer %d: %v", n, err)
				}
			}
		})
		if err := <-seen; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	s.wantValue(t, "/counter", fmt.Sprint(writers*each))
}

// follow checks that n commits come, each with the next counter in all its keys.
func follow(commits func(func(hotdesk.Commit, error) bool), n int) error {
	want, last := 1, hotdesk.Rev(0)
	for c, err := range commits {
		if err != nil {
			return err
		}
		v := map[string]string{}
		for _, ch := range c.Changes {
			v[ch.Key] = string(ch.Value)
		}
		if c.Rev <= last || len(v) != 3 || v["/counter"] != fmt.Sprint(want) || v["/copy"] != v["/counter"] {
			return fmt.Errorf("commit %d after %d is %q, want counter %d in three keys", c.Rev, last, v, want)
		}
		if last = c.Rev; want == n {
			return nil
		}
		want++
	}
	return errStop
}

// invariant: money moved between accounts by racing Updates is neither made nor lost,
// in every snapshot that is taken meanwhile.
func invariant(t *testing.T, s suite) {
	const accounts, start = 5, 100
	for i := range accounts {
		s.mustPut(t, fmt.Sprintf("/account/%d", i), fmt.Sprint(start))
	}
	total := func() (sum int) {
		err := s.View(context.Background(), func(r hotdesk.Reader) error {
			for kv, err := range r.Scan("/account/") {
				if err != nil {
					return err
				}
				n, _ := strconv.Atoi(string(kv.Value))
				sum += n
			}
			return nil
		})
		if err != nil {
			t.Errorf("view: %v", err)
		}
		return sum
	}
	inTime(t, "moving money", func() {
		together(16, func(n int) {
			for i := range 20 {
				from, to := fmt.Sprintf("/account/%d", n%accounts), fmt.Sprintf("/account/%d", (n+i+1)%accounts)
				_, err := s.Update(context.Background(), func(tx hotdesk.Txn) error { return move(tx, from, to) })
				if err != nil && !errors.Is(err, errStop) {
					t.Errorf("move: %v", err)
				}
				if i%5 == 0 && total() != accounts*start {
					t.Errorf("the total is %d, want %d", total(), accounts*start)
				}
			}
		})
	})
	if got := total(); got != accounts*start {
		t.Errorf("the total is %d at the end, want %d", got, accounts*start)
	}
}

// move takes 7 from one account to another, or fails after half of it.
func move(tx hotdesk.Txn, from, to string) error {
	add := func(key string, by int) (int, error) {
		kv, _, err := tx.Get(key)
		n, _ := strconv.Atoi(string(kv.Value))
		tx.Put(key, fmt.Appendf(nil, "%d", n+by))
		return n + by, err
	}
	if _, err := add(to, 7); err != nil {
		return err
	}
	left, err := add(from, -7)
	if err == nil && left < 0 {
		return errStop
	}
	return err
}

// together runs fn n times at once and waits for all.
func together(n int, fn func(int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() { <-start; fn(i) })
	}
	close(start)
	all.Wait()
}

// exit ends the goroutine, as t.FailNow does.
func exit() { runtime.Goexit() }
