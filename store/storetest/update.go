package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"hotdeskd/hotdesk"
)

// revisions: each commit has the next revision, and a key carries that of the
// commit which wrote it last.
func revisions(t *testing.T, s suite) {
	if rev := s.rev(t); rev != 0 {
		t.Fatalf("an empty store has revision %d, want 0", rev)
	}
	first := s.mustPut(t, "/a", "1", "/b", "1")
	second := s.mustPut(t, "/b", "2")
	if first == 0 || second <= first {
		t.Errorf("revisions %d then %d, want them to grow from above 0", first, second)
	}
	if rev := s.rev(t); rev != second {
		t.Errorf("the view has revision %d, want %d", rev, second)
	}
	if kv := s.get(t, "/a"); kv.Rev != first || string(kv.Value) != "1" || kv.Key != "/a" {
		t.Errorf("/a is %+v, want 1 at revision %d", kv, first)
	}
	if kv := s.get(t, "/b"); kv.Rev != second || string(kv.Value) != "2" {
		t.Errorf("/b is %+v, want 2 at revision %d", kv, second)
	}
	_, err := s.Update(t.Context(), func(tx hotdesk.Txn) error {
		kv, ok, err := tx.Get("/a")
		if !ok || kv.Rev != first {
			t.Errorf("in an Update /a is %+v, %v, want revision %d", kv, ok, first)
		}
		tx.Delete("/a")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.wantValue(t, "/a", "")
}

// ownWrites: inside a transaction its own writes are read back, with revision 0,
// for they have none yet; another transaction does not see them before the commit.
func ownWrites(t *testing.T, s suite) {
	s.mustPut(t, "/a", "old", "/gone", "x")
	_, err := s.Update(t.Context(), func(tx hotdesk.Txn) error {
		tx.Put("/a", []byte("new"))
		tx.Delete("/gone")
		tx.Put("/new", []byte("x"))
		tx.Delete("/new")
		if kv, ok, err := tx.Get("/a"); !ok || string(kv.Value) != "new" || kv.Rev != 0 || err != nil {
			t.Errorf("own write read back: %+v, %v, %v", kv, ok, err)
		}
		for _, key := range []string{"/gone", "/new"} {
			if kv, ok, err := tx.Get(key); ok || err != nil {
				t.Errorf("%s was deleted and is read back as %+v, %v", key, kv, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.wantValue(t, "/a", "new")
	s.wantValue(t, "/gone", "")
	s.wantValue(t, "/new", "")
}

// errorDiscards: an error of the function comes back as it is and nothing is kept.
func errorDiscards(t *testing.T, s suite) {
	before := s.mustPut(t, "/a", "1")
	rev, err := s.Update(t.Context(), func(tx hotdesk.Txn) error {
		tx.Put("/a", []byte("2"))
		tx.Put("/b", []byte("2"))
		return errStop
	})
	if err != errStop || rev != 0 { //nolint:errorlint // as it is, not wrapped
		t.Errorf("Update returned %d, %v, want 0 and the function's own error", rev, err)
	}
	s.wantValue(t, "/a", "1")
	s.wantValue(t, "/b", "")
	if after := s.rev(t); after != before {
		t.Errorf("a failed Update moved the revision from %d to %d", before, after)
	}
}

// panicDiscards: the caller gets the panic, the store works on.
func panicDiscards(t *testing.T, s suite) {
	s.mustPut(t, "/a", "1")
	func() {
		defer func() {
			if p := recover(); p != "oops" {
				t.Errorf("recovered %v, want the function's panic", p)
			}
		}()
		_, err := s.Update(t.Context(), func(tx hotdesk.Txn) error {
			tx.Put("/a", []byte("2"))
			panic("oops")
		})
		t.Errorf("Update returned %v, want the panic", err)
	}()
	inTime(t, "the Update after a panic", func() { s.mustPut(t, "/b", "1") })
	s.wantValue(t, "/a", "1")
}

// goexitDiscards: a function that ends its goroutine (t.FailNow does) must not
// block the store.
func goexitDiscards(t *testing.T, s suite) {
	inTime(t, "an Update that ends its goroutine", func() {
		_, _ = s.Update(t.Context(), func(tx hotdesk.Txn) error {
			tx.Put("/a", []byte("2"))
			exit()
			return nil
		})
	})
	inTime(t, "the Update after it", func() { s.mustPut(t, "/b", "1") })
	s.wantValue(t, "/a", "")
}

// noWrite: an Update that writes nothing commits nothing and returns the highest
// revision that it read; deleting what is not there is no write.
func noWrite(t *testing.T, s suite) {
	first := s.mustPut(t, "/a", "1")
	second := s.mustPut(t, "/b", "1")
	last := s.mustPut(t, "/c", "1")
	for _, c := range []struct {
		keys []string
		want hotdesk.Rev
	}{
		{nil, 0}, {[]string{"/none"}, 0}, {[]string{"/a"}, first},
		{[]string{"/b", "/a"}, second}, {[]string{"/a", "/none", "/c"}, last},
	} {
		rev, err := s.Update(t.Context(), func(tx hotdesk.Txn) error {
			for _, key := range c.keys {
				if _, _, err := tx.Get(key); err != nil {
					return err
				}
			}
			tx.Delete("/none")
			return nil
		})
		if rev != c.want || err != nil {
			t.Errorf("after reading %q Update returned %d, %v, want %d", c.keys, rev, err, c.want)
		}
	}
	if rev := s.rev(t); rev != last {
		t.Errorf("reading moved the revision from %d to %d", last, rev)
	}
}

// absence: of many Updates that each create the key if it is absent, one wins and
// all the others see that.
func absence(t *testing.T, s suite) {
	const racers = 32
	won := make(chan int, racers)
	inTime(t, "racing for an absent key", func() {
		together(racers, func(n int) {
			_, err := s.Update(context.Background(), func(tx hotdesk.Txn) error {
				if _, ok, err := tx.Get("/mac"); ok || err != nil {
					return errors.Join(err, errStop)
				}
				tx.Put("/mac", fmt.Appendf(nil, "%d", n))
				return nil
			})
			switch {
			case err == nil:
				won <- n
			case !errors.Is(err, errStop):
				t.Errorf("racer %d: %v", n, err)
			}
		})
	})
	close(won)
	var winners []int
	for n := range won {
		winners = append(winners, n)
	}
	if len(winners) != 1 {
		t.Fatalf("winners %v, want exactly one", winners)
	}
	s.wantValue(t, "/mac", fmt.Sprint(winners[0]))
}

// staleReads: whatever a run of a function saw, its commit only counts if that was
// still true: two keys moved together are never seen apart.
func staleReads(t *testing.T, s suite) {
	s.mustPut(t, "/x", "0", "/y", "0")
	const rounds = 50
	inTime(t, "reading beside a writer", func() {
		together(4, func(n int) {
			for i := range rounds {
				var x, y hotdesk.KV
				_, err := s.Update(context.Background(), func(tx hotdesk.Txn) (err error) {
					if x, _, err = tx.Get("/x"); err != nil {
						return err
					}
					if y, _, err = tx.Get("/y"); err != nil {
						return err
					}
					if n == 0 {
						v := fmt.Appendf(nil, "%d", i)
						tx.Put("/x", v)
						tx.Put("/y", v)
					}
					return nil
				})
				if err != nil {
					t.Errorf("update: %v", err)
				}
				if string(x.Value) != string(y.Value) {
					t.Errorf("x is %q and y %q: from two different commits", x.Value, y.Value)
				}
			}
		})
	})
}

// limits: what is too large for one store is too large for all, and nothing of it
// is written, even when the function does not look at the error.
func limits(t *testing.T, s suite) {
	keys := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("/k%03d", i))
		}
		return out
	}
	reading := func(n int) func(hotdesk.Txn) error {
		return func(tx hotdesk.Txn) error {
			for _, key := range keys(n) {
				_, _, _ = tx.Get(key)
				_, _, _ = tx.Get(key) // the same key counts once
			}
			return nil
		}
	}
	writing := func(n int) func(hotdesk.Txn) error {
		return func(tx hotdesk.Txn) error {
			for _, key := range keys(n) {
				tx.Delete(key)
				tx.Put(key, []byte("v"))
				_, _, _ = tx.Get(key) // an own write is no read
			}
			return nil
		}
	}
	putting := func(v []byte) func(hotdesk.Txn) error {
		return func(tx hotdesk.Txn) error {
			tx.Put("/other", []byte("v"))
			tx.Put("/v", v)
			return nil
		}
	}
	for _, c := range []struct {
		name string
		fn   func(hotdesk.Txn) error
		want error
	}{
		{"one read too many", reading(hotdesk.MaxTxnKeys + 1), hotdesk.ErrTooLarge},
		{"one write too many", writing(hotdesk.MaxTxnKeys + 1), hotdesk.ErrTooLarge},
		{"nil value", putting(nil), hotdesk.ErrTooLarge},
		{"empty value", putting([]byte{}), hotdesk.ErrTooLarge},
		{"value too long", putting(big(hotdesk.MaxValueSize + 1)), hotdesk.ErrTooLarge},
		{"empty key", func(tx hotdesk.Txn) error { tx.Put("", []byte("v")); return nil }, hotdesk.ErrTooLarge},
		{"as many reads as allowed", reading(hotdesk.MaxTxnKeys), nil},
		{"as many writes as allowed", writing(hotdesk.MaxTxnKeys), nil},
		{"the longest value", putting(big(hotdesk.MaxValueSize)), nil},
	} {
		before := s.rev(t)
		if _, err := s.Update(t.Context(), c.fn); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if after := s.rev(t); c.want != nil && after != before {
			t.Errorf("%s: refused, but the revision went from %d to %d", c.name, before, after)
		}
	}
}

// copies: what goes in and out belongs to the caller, during and after.
func copies(t *testing.T, s suite) {
	in := []byte("one")
	_, err := s.Update(t.Context(), func(tx hotdesk.Txn) error {
		copy(in, "one")
		tx.Put("/a", in)
		copy(in, "XXX")
		kv, _, err := tx.Get("/a")
		copy(kv.Value, "YYY")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.wantValue(t, "/a", "one")
	var kept []hotdesk.KV
	err = s.View(t.Context(), func(r hotdesk.Reader) error {
		kv, _, err := r.Get("/a")
		kept = append(kept, kv)
		for kv := range r.Scan("/a") {
			kept = append(kept, kv)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Update(t.Context(), func(tx hotdesk.Txn) error {
		kv, _, err := tx.Get("/a")
		kept = append(kept[:2:2], kv)
		tx.Put("/a", []byte("two"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // use the freed memory again
		s.mustPut(t, "/a", "zzz", "/b", string(big(4000)))
	}
	for i, kv := range kept {
		if string(kv.Value) != "one" || kv.Key != "/a" {
			t.Errorf("value %d, kept after its transaction, became %q", i, kv.Value)
		}
		copy(kv.Value, "!!!")
	}
	s.wantValue(t, "/a", "zzz")
	first := take(t, s.Watch(t.Context(), 0), 1)
	copy(first[0].Changes[0].Value, "!!!")
	if again := take(t, s.Watch(t.Context(), 0), 1); text(again[0]) != "/a=one" {
		t.Errorf("a watcher changed what the next one sees: %s", text(again[0]))
	}
}

// nested: a call from inside an Update fails instead of hanging; one from inside a
// View may work, but must not hang either.
func nested(t *testing.T, s suite) {
	update := func() error {
		_, err := s.Update(context.Background(), func(tx hotdesk.Txn) error { tx.Put("/n", []byte("1")); return nil })
		return err
	}
	view := func() error {
		return s.View(context.Background(), func(r hotdesk.Reader) error { _, _, err := r.Get("/n"); return err })
	}
	for _, c := range []struct {
		name string
		call func() error
	}{{"Update", update}, {"View", view}} {
		inTime(t, c.name+" inside Update", func() {
			var inner error
			_, err := s.Update(context.Background(), func(hotdesk.Txn) error { inner = c.call(); return nil })
			wantErr(t, c.name+" inside Update", inner, hotdesk.ErrNested)
			wantErr(t, "the outer Update", err, nil)
		})
		inTime(t, c.name+" inside View", func() {
			var inner error
			err := s.View(context.Background(), func(hotdesk.Reader) error { inner = c.call(); return nil })
			if inner != nil && !errors.Is(inner, hotdesk.ErrNested) {
				t.Errorf("%s inside View: %v, want nil or ErrNested", c.name, inner)
			}
			wantErr(t, "the outer View", err, nil)
		})
		inTime(t, c.name+" afterwards", func() { wantErr(t, c.name+" afterwards", c.call(), nil) })
	}
	// A call from beside a running function is not nested: it waits and works.
	inTime(t, "an Update beside another", func() {
		inside, beside := make(chan struct{}), make(chan error, 1)
		go func() { <-inside; beside <- update() }()
		first := true
		_, err := s.Update(context.Background(), func(hotdesk.Txn) error {
			if first {
				first = false
				close(inside)
			}
			return nil
		})
		wantErr(t, "the first", err, nil)
		wantErr(t, "the one beside it", <-beside, nil)
	})
}

// finished: a Txn or Reader that was kept does not work any more.
func finished(t *testing.T, s suite) {
	s.mustPut(t, "/a", "1")
	var tx hotdesk.Txn
	var r hotdesk.Reader
	if _, err := s.Update(t.Context(), func(x hotdesk.Txn) error { tx = x; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), func(x hotdesk.Reader) error { r = x; return nil }); err != nil {
		t.Fatal(err)
	}
	tx.Put("/a", []byte("2"))
	tx.Delete("/a")
	if _, _, err := tx.Get("/a"); err == nil {
		t.Error("a finished Update still reads")
	}
	if _, _, err := r.Get("/a"); err == nil {
		t.Error("a finished View still reads")
	}
	for _, err := range r.Scan("/") {
		if err == nil {
			t.Error("a finished View still scans")
		}
	}
	s.wantValue(t, "/a", "1")
}

// contexts: what was cancelled before it began is not done.
func contexts(t *testing.T, s suite) {
	ctx, cancel := background()
	cancel()
	_, err := s.Update(ctx, func(tx hotdesk.Txn) error { tx.Put("/a", []byte("1")); return nil })
	wantErr(t, "Update", err, context.Canceled)
	err = s.View(ctx, func(hotdesk.Reader) error { t.Error("the View ran"); return nil })
	wantErr(t, "View", err, context.Canceled)
	s.wantValue(t, "/a", "")
}
