package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.etcd.io/bbolt"

	"hotdeskd/hotdesk"
)

// A commit that fails did nothing: no write, no revision, nothing for a watcher;
// everybody in it hears ErrUnavailable with the cause, and the next commit works.
func TestCommitFails(t *testing.T) {
	full := errors.New("no space left on device")
	failing := false
	d := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{commit: func(tx *bbolt.Tx) error {
		if failing {
			return errors.Join(full, tx.Rollback())
		}
		return tx.Commit()
	}})
	put(t, d, "/a", "1")
	failing = true // the writer is idle, and the channel orders this before its next look
	_, err := d.Update(t.Context(), func(tx hotdesk.Txn) error {
		tx.Put("/a", []byte("2"))
		tx.Put("/b", []byte("2"))
		return nil
	})
	if !errors.Is(err, hotdesk.ErrUnavailable) || !errors.Is(err, full) {
		t.Errorf("Update: %v, want ErrUnavailable and the cause", err)
	}
	if rev, all := contents(t, d); rev != 1 || all != "/a=1\n" {
		t.Errorf("after a failed commit: revision %d, %q", rev, all)
	}
	failing = false
	put(t, d, "/c", "3")
	if rev, all := contents(t, d); rev != 2 || all != "/a=1\n/c=3\n" {
		t.Errorf("after the next commit: revision %d, %q", rev, all)
	}
	if got := watched(t, d, 2); got != "1:/a 2:/c " {
		t.Errorf("watched %q", got)
	}
	if err := errors.Join(d.Close(), Check(d.path)); err != nil {
		t.Error(err)
	}
}

// When bbolt itself runs out of room, the same holds.
func TestDiskFull(t *testing.T) {
	d := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{})
	put(t, d, "/a", "1")
	d.bolt.MaxSize = 1 // the writer is idle; the file may not grow any more
	big := strings.Repeat("x", hotdesk.MaxValueSize)
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		_, err = d.Update(t.Context(), func(tx hotdesk.Txn) error {
			tx.Put(fmt.Sprintf("/big/%d", i), []byte(big))
			return nil
		})
	}
	if !errors.Is(err, hotdesk.ErrUnavailable) {
		t.Fatalf("filling the disk: %v, want ErrUnavailable", err)
	}
	d.bolt.MaxSize = 0
	put(t, d, "/after", "1")
	if err := errors.Join(d.Close(), Check(d.path)); err != nil {
		t.Error(err)
	}
}

// When the disk fails after the writes have become visible, the caller is told that
// the outcome is unknown, and revisions and watchers follow what is visible.
func TestCommitOutcomeUnknown(t *testing.T) {
	failing := false
	d := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{commit: func(tx *bbolt.Tx) error {
		if err := tx.Commit(); err != nil || !failing {
			return err
		}
		return errors.New("input/output error")
	}})
	failing = true
	_, err := d.Update(t.Context(), func(tx hotdesk.Txn) error { tx.Put("/a", []byte("1")); return nil })
	if !errors.Is(err, hotdesk.ErrUnknownOutcome) {
		t.Errorf("Update: %v, want ErrUnknownOutcome", err)
	}
	failing = false
	put(t, d, "/b", "1")
	if rev, all := contents(t, d); rev != 2 || all != "/a=1\n/b=1\n" {
		t.Errorf("afterwards: revision %d, %q", rev, all)
	}
	if got := watched(t, d, 2); got != "1:/a 2:/b " {
		t.Errorf("watched %q", got)
	}
}

// When bbolt panics while it commits, Updates fail from then on instead of ending
// the process, Views go on, and Close returns.
func TestCommitPanics(t *testing.T) {
	failing := false
	d := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{commit: func(tx *bbolt.Tx) error {
		if failing {
			panic("assertion failed: Page expected to be: 7, but self identifies as 0")
		}
		return tx.Commit()
	}})
	put(t, d, "/a", "1")
	failing = true
	for range 2 {
		_, err := d.Update(t.Context(), func(tx hotdesk.Txn) error { tx.Put("/a", []byte("2")); return nil })
		if !errors.Is(err, hotdesk.ErrUnavailable) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("Update: %v, want ErrUnavailable and ErrCorrupt", err)
		}
	}
	if rev, all := contents(t, d); rev != 1 || all != "/a=1\n" {
		t.Errorf("afterwards: revision %d, %q", rev, all)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// Updates that wait behind a running one share one commit; in it one that fails
// takes only its own writes along, and all others see each other's.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commits := 0
		d := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{commit: func(tx *bbolt.Tx) error {
			commits++
			return tx.Commit()
		}})
		release := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			_, err := d.Update(t.Context(), func(tx hotdesk.Txn) error { <-release; return nil })
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		stop := errors.New("stop")
		for i := range 20 {
			all.Go(func() {
				_, err := d.Update(t.Context(), func(tx hotdesk.Txn) error {
					kv, _, err := tx.Get("/list")
					tx.Put("/list", append(kv.Value, 'x'))
					if i%4 == 0 {
						return stop
					}
					return err
				})
				if (i%4 == 0) != errors.Is(err, stop) {
					t.Errorf("update %d: %v", i, err)
				}
			})
		}
		// One that is cancelled while it waits is not done, and returns before its turn.
		ctx, cancel := context.WithCancel(t.Context())
		cancelled := make(chan error, 1)
		go func() {
			_, err := d.Update(ctx, func(tx hotdesk.Txn) error { tx.Put("/cancelled", []byte("1")); return nil })
			cancelled <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-cancelled; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while waiting: %v", err)
		}
		close(release)
		all.Wait()
		if rev, all := contents(t, d); rev != 15 || all != "/list=xxxxxxxxxxxxxxx\n" {
			t.Errorf("revision %d, %q, want 15 times x", rev, all)
		}
		if commits != 1 {
			t.Errorf("%d commits for one group, want 1", commits)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What a function concluded from another one's write of the same group is not told
// when the group's commit fails: "taken" would be wrong, for nobody has it.
func TestConclusionFromFailedCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := true
		d := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{commit: func(tx *bbolt.Tx) error {
			if failing {
				return errors.Join(errors.New("no space left on device"), tx.Rollback())
			}
			return tx.Commit()
		}})
		taken := errors.New("taken")
		release := make(chan struct{})
		claim := func(tx hotdesk.Txn) error {
			<-release
			if _, ok, err := tx.Get("/mac"); ok || err != nil {
				return errors.Join(err, taken)
			}
			tx.Put("/mac", []byte("HD0001"))
			return nil
		}
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := d.Update(t.Context(), claim)
				results <- err
			}()
			synctest.Wait()
		}
		close(release)
		for range 2 {
			if err := <-results; !errors.Is(err, hotdesk.ErrUnavailable) || errors.Is(err, taken) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
		}
		failing = false
		if _, err := d.Update(t.Context(), claim); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Closing turns away what waits, and lets what runs finish.
func TestCloseWhileUpdatesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{})
		release := make(chan struct{})
		ran, waited, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := d.Update(t.Context(), func(tx hotdesk.Txn) error { <-release; tx.Put("/a", []byte("1")); return nil })
			ran <- err
		}()
		synctest.Wait()
		go func() { closed <- d.Close() }()
		synctest.Wait()
		go func() {
			_, err := d.Update(t.Context(), func(tx hotdesk.Txn) error { return nil })
			waited <- err
		}()
		synctest.Wait()
		close(release)
		if err := <-ran; err != nil {
			t.Errorf("the running Update: %v", err)
		}
		if err := <-waited; !errors.Is(err, hotdesk.ErrUnavailable) {
			t.Errorf("the waiting Update: %v, want ErrUnavailable", err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// Closing the store from inside a transaction fails instead of waiting for itself.
func TestCloseNested(t *testing.T) {
	d := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{})
	_, err := d.Update(t.Context(), func(hotdesk.Txn) error {
		var deep func(int) error // deeper than the stack is read at a time
		deep = func(n int) error {
			if n == 0 {
				return d.Close()
			}
			return deep(n - 1)
		}
		return deep(300)
	})
	if !errors.Is(err, hotdesk.ErrNested) {
		t.Errorf("Close inside Update: %v, want ErrNested", err)
	}
	put(t, d, "/a", "1")
}

// A watcher that falls behind by more than the ring keeps is told so, and one that
// keeps up is not.
func TestSlowWatcher(t *testing.T) {
	d := mustOpen(t, filepath.Join(t.TempDir(), "db"), Options{ring: 8})
	put(t, d, "/a", "1")
	n := 1
	for c, err := range d.Watch(t.Context(), 0) {
		if err != nil {
			if !errors.Is(err, hotdesk.ErrCompacted) || n != 20 {
				t.Errorf("after %d commits: %v", n, err)
			}
			break
		}
		if c.Rev > 11 {
			t.Fatalf("revision %d after a gap", c.Rev)
		}
		more := 1
		if c.Rev == 11 {
			more = 9
		}
		for range more {
			n++
			put(t, d, "/a", "x")
		}
	}
}

// watched reads n commits from the beginning as "rev:key rev:key ".
func watched(t testing.TB, d *DB, n int) (out string) {
	t.Helper()
	for c, err := range d.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range c.Changes {
			out += fmt.Sprintf("%d:%s ", c.Rev, ch.Key)
		}
		if n--; n == 0 {
			break
		}
	}
	return out
}

func BenchmarkUpdate(b *testing.B) {
	value := []byte(strings.Repeat("x", 300))
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			d := mustOpen(b, filepath.Join(b.TempDir(), "db"), Options{})
			var all sync.WaitGroup
			work := make(chan int)
			for range writers {
				all.Go(func() {
					for i := range work {
						key := fmt.Sprintf("/device/HD%06d", i)
						_, err := d.Update(context.Background(), func(tx hotdesk.Txn) error {
							_, _, err := tx.Get(key)
							tx.Put(key, value)
							return err
						})
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			for i := 0; b.Loop(); i++ {
				work <- i
			}
			close(work)
			all.Wait()
		})
	}
}

func BenchmarkViewGet(b *testing.B) {
	d := mustOpen(b, filepath.Join(b.TempDir(), "db"), Options{})
	put(b, d, "/a", strings.Repeat("x", 300))
	b.ReportAllocs()
	for b.Loop() {
		err := d.View(context.Background(), func(r hotdesk.Reader) error {
			_, _, err := r.Get("/a")
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
