package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/store/bolt"
)

// clock is a wall clock that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) set(month time.Month, day int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = time.Date(2026, month, day, 12, 0, 0, 0, time.UTC)
}

func november() *clock { return &clock{t: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func mustOpen(t testing.TB, dir string, opts Options) *Journal {
	t.Helper()
	if opts.Now == nil {
		opts.Now = november().now
	}
	j, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func openStore(t testing.TB) hotdesk.Store {
	t.Helper()
	s, err := bolt.Open(filepath.Join(t.TempDir(), "db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func row(op string) hotdesk.AuditRow {
	return hotdesk.AuditRow{
		Op: op, Time: november().t, Action: "session.started", By: "ivr",
		Device: "HD0001", User: "100", Detail: map[string]string{"name": "Zoë <&>", "b": "2", "a": "1"},
	}
}

// commit puts rows into the store, all in one Update, as a transaction of hotdesk does.
func commit(t testing.TB, s hotdesk.Store, ops ...string) {
	t.Helper()
	_, err := s.Update(t.Context(), func(tx hotdesk.Txn) error {
		for _, op := range ops {
			b, err := json.Marshal(row(op))
			if err != nil {
				return err
			}
			tx.Put(hotdesk.AuditPrefix+op, b)
		}
		tx.Put("/binding/HD0001", []byte(`{}`))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// left counts the audit rows in the store.
func left(t testing.TB, s hotdesk.Store) (n int) {
	t.Helper()
	err := s.View(t.Context(), func(r hotdesk.Reader) error {
		for _, err := range r.Scan(hotdesk.AuditPrefix) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// ops lists the operations in the files, oldest first, and proves the chain.
func ops(t testing.TB, j *Journal) string {
	t.Helper()
	rows, err := j.Audit(1_000_000, "")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := Verify(j.audit.dir, j.Head()); err != nil || n != len(rows) {
		t.Errorf("Verify: %d sound of %d, %v", n, len(rows), err)
	}
	var out []string
	for i := range rows {
		out = append(out, rows[len(rows)-1-i].Op)
	}
	return strings.Join(out, " ")
}

// serving runs Serve until the returned function is called, which waits for its end.
func serving(t testing.TB, j *Journal, s hotdesk.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.Serve(ctx, s) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

// Rows that were in the store at the start and rows of later commits come into the
// file in the order of their commits, once, and leave the store; the deletions and
// other keys make no rows.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := openStore(t), mustOpen(t, t.TempDir(), Options{})
		commit(t, s, "z1")
		commit(t, s, "b2", "a2")
		commit(t, s, "m3")
		stop := serving(t, j, s)
		synctest.Wait()
		commit(t, s, "k4")
		commit(t, s, "c5", "y5")
		synctest.Wait()
		if got, want := ops(t, j), "z1 a2 b2 m3 k4 c5 y5"; got != want {
			t.Errorf("the file has %s, want %s", got, want)
		}
		if n := left(t, s); n != 0 {
			t.Errorf("%d rows are left in the store", n)
		}
		rows, err := j.Audit(1, "")
		if err != nil || fmt.Sprint(rows[0]) != fmt.Sprint(row("y5")) {
			t.Errorf("read back %+v, %v", rows, err)
		}
		stop()
		if err := errors.Join(j.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// Many rows at once are appended in groups and deleted within the store's limits.
func TestDrainMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := openStore(t), mustOpen(t, t.TempDir(), Options{})
		syncs := 0
		j.audit.sync = func(*os.File) error { syncs++; return nil }
		var want []string
		for i := range 25 {
			var group []string
			for k := range 50 {
				group = append(group, fmt.Sprintf("op%02d-%02d", i, k))
			}
			commit(t, s, group...)
			want = append(want, group...)
		}
		stop := serving(t, j, s)
		synctest.Wait()
		stop()
		if got := ops(t, j); got != strings.Join(want, " ") {
			t.Errorf("the file has %d bytes of ops, want %d rows in order", len(got), len(want))
		}
		if n := left(t, s); n != 0 || syncs != 2 {
			t.Errorf("%d rows left, %d fsyncs, want 0 and 2", n, syncs)
		}
		if err := errors.Join(j.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// faulty is a store whose Updates or Views fail while told to.
type faulty struct {
	hotdesk.Store
	mu            sync.Mutex
	updates, view int // how many of the next fail
	views         []time.Time
}

func (s *faulty) Update(ctx context.Context, fn func(hotdesk.Txn) error) (hotdesk.Rev, error) {
	s.mu.Lock()
	fail := s.updates > 0
	s.updates--
	s.mu.Unlock()
	if fail {
		return 0, hotdesk.ErrUnavailable
	}
	return s.Store.Update(ctx, fn)
}

func (s *faulty) View(ctx context.Context, fn func(hotdesk.Reader) error) error {
	s.mu.Lock()
	fail := s.view > 0
	s.view--
	s.views = append(s.views, time.Now())
	s.mu.Unlock()
	if fail {
		return hotdesk.ErrUnavailable
	}
	return s.Store.View(ctx, fn)
}

// A crash between the fsync and the deletion leaves a row in both places. The next
// start deletes it and does not write it again, also a month later, and also when
// only a part of a commit's rows had reached the file.
func TestCrashBetweenFsyncAndDelete(t *testing.T) {
	for _, part := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			dir, s, at := t.TempDir(), openStore(t), november()
			commit(t, s, "one")
			commit(t, s, "three", "two")
			j := mustOpen(t, dir, Options{Now: at.now})
			stop := serving(t, j, &faulty{Store: s, updates: 1 << 30})
			synctest.Wait()
			if got := ops(t, j); got != "one three two" || left(t, s) != 3 {
				t.Fatalf("before the crash: %s in the file, %d in the store", got, left(t, s))
			}
			stop() // and no Close: the process is gone
			path := filepath.Join(dir, "audit-202611.jsonl")
			if part {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, b[:len(b)-9], 0o600); err != nil {
					t.Fatal(err)
				}
			}
			at.set(time.December, 1)
			commit(t, s, "four")
			j = mustOpen(t, dir, Options{Now: at.now})
			stop = serving(t, j, s)
			synctest.Wait()
			stop()
			if got := ops(t, j); got != "one three two four" || left(t, s) != 0 {
				t.Errorf("part %v: after the crash: %s in the file, %d in the store", part, got, left(t, s))
			}
			if err := errors.Join(j.Close(), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A store that is down is asked again after growing pauses, and when it comes back
// every row is written once, those included whose deletion had failed.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &faulty{Store: openStore(t), view: 10, updates: 0}
		j := mustOpen(t, t.TempDir(), Options{})
		stop := serving(t, j, s)
		time.Sleep(time.Hour) // of the bubble's clock
		synctest.Wait()
		s.mu.Lock()
		var pauses []time.Duration
		for i := 1; i < len(s.views); i++ {
			pauses = append(pauses, s.views[i].Sub(s.views[i-1]))
		}
		s.mu.Unlock()
		if got, want := fmt.Sprint(pauses), "[100ms 200ms 400ms 800ms 1.6s 3.2s 6.4s 10s 10s 10s]"; got != want {
			t.Errorf("pauses %s, want %s", got, want)
		}
		commit(t, s.Store, "one")
		synctest.Wait()
		s.mu.Lock()
		s.updates = 2
		s.mu.Unlock()
		commit(t, s.Store, "two")
		commit(t, s.Store, "three")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := ops(t, j); got != "one two three" || left(t, s) != 0 {
			t.Errorf("%s in the file, %d left in the store", got, left(t, s))
		}
		stop()
		if err := errors.Join(j.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// While the disk fails nothing is deleted from the store, nothing half-written stays
// in the file, and when it works again every row is written once.
func TestDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := openStore(t), mustOpen(t, t.TempDir(), Options{})
		var mu sync.Mutex
		fails := 3
		j.audit.sync = func(f *os.File) error {
			mu.Lock()
			defer mu.Unlock()
			if fails--; fails >= 0 {
				return errors.New("no space left on device")
			}
			return f.Sync()
		}
		commit(t, s, "one")
		stop := serving(t, j, s)
		synctest.Wait()
		if got := ops(t, j); got != "" || left(t, s) != 1 {
			t.Errorf("while it fails: %q in the file, %d in the store", got, left(t, s))
		}
		commit(t, s, "two")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := ops(t, j); got != "one two" || left(t, s) != 0 {
			t.Errorf("afterwards: %q in the file, %d in the store", got, left(t, s))
		}
		stop()
		if err := errors.Join(j.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// A row that cannot be read is logged once, stays where it is, and holds up no other.
func TestUnreadableRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := openStore(t)
		j := mustOpen(t, t.TempDir(), Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
		_, err := s.Update(t.Context(), func(tx hotdesk.Txn) error {
			tx.Put(hotdesk.AuditPrefix+"bad", []byte("{"))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		commit(t, s, "good")
		for range 2 {
			stop := serving(t, j, s)
			synctest.Wait()
			stop()
		}
		if got := ops(t, j); got != "good" || left(t, s) != 1 {
			t.Errorf("%q in the file, %d in the store", got, left(t, s))
		}
		if n := strings.Count(out.String(), "/audit/bad"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, out.String())
		}
		if err := errors.Join(j.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// An emergency row is in the file when AppendNow returns, with no store at all; the
// same operation's row from the store is recognised, before and after a restart.
func TestAppendNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s := t.TempDir(), openStore(t)
		j := mustOpen(t, dir, Options{})
		for _, op := range []string{"sos1", "sos2"} {
			if err := j.AppendNow(row(op)); err != nil {
				t.Fatal(err)
			}
		}
		if got := ops(t, j); got != "sos1 sos2" {
			t.Errorf("the file has %s", got)
		}
		commit(t, s, "sos1", "other")
		stop := serving(t, j, s)
		synctest.Wait()
		stop()
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if err := j.AppendNow(row("late")); !errors.Is(err, hotdesk.ErrUnavailable) {
			t.Errorf("after Close: %v, want ErrUnavailable", err)
		}
		commit(t, s, "sos2")
		j = mustOpen(t, dir, Options{})
		stop = serving(t, j, s)
		synctest.Wait()
		stop()
		if got := ops(t, j); got != "sos1 sos2 other" || left(t, s) != 0 {
			t.Errorf("the file has %s, the store %d", got, left(t, s))
		}
		if err := errors.Join(j.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}
