package journal

import (
	"bytes"
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
)

// call is the i-th call record of the tests: users 100 to 109 call each other in turn.
func call(i int) hotdesk.Call {
	ended := november().t.Add(time.Minute)
	return hotdesk.Call{
		ID: fmt.Sprint(i), Started: november().t, Ended: &ended, Result: "answered", Kind: hotdesk.CallInternal,
		FromUser: hotdesk.Extension(fmt.Sprint(100 + i%10)), FromDevice: hotdesk.DeviceID(fmt.Sprintf("HD%04d", i%10)),
		To: fmt.Sprint(100 + (i+1)%10), ToDevice: hotdesk.DeviceID(fmt.Sprintf("HD%04d", (i+1)%10)),
	}
}

func ids(t testing.TB, j *Journal, f CallFilter) string {
	t.Helper()
	found, err := j.Calls(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range found {
		out = append(out, c.ID)
	}
	return strings.Join(out, " ")
}

// Records are found newest first as soon as they are recorded, by user and device on
// either side, before anything is on the disk, after Close wrote them, and after a
// restart.
func TestCalls(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{})
	for i := range 25 {
		j.RecordCall(call(i))
	}
	check := func(when string) {
		t.Helper()
		for _, c := range []struct {
			filter CallFilter
			want   string
		}{
			{CallFilter{Limit: 3}, "24 23 22"},
			{CallFilter{User: "103"}, "23 22 13 12 3 2"},
			{CallFilter{User: "103", Limit: 2}, "23 22"},
			{CallFilter{Device: "HD0004"}, "24 23 14 13 4 3"},
			{CallFilter{User: "103", Device: "HD0002"}, "22 12 2"},
			{CallFilter{User: "999"}, ""},
		} {
			if got := ids(t, j, c.filter); got != c.want {
				t.Errorf("%s: %+v gives %q, want %q", when, c.filter, got, c.want)
			}
		}
	}
	check("queued")
	if names, _ := filepath.Glob(filepath.Join(dir, "calls-*")); len(names) != 0 {
		t.Errorf("%q exist before Serve or Close wrote anything", names)
	}
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, dir, Options{})
	check("reopened")
	if got := ids(t, j, CallFilter{Limit: 1}); got != "24" {
		t.Errorf("newest is %s", got)
	}
	found, err := j.Calls(CallFilter{Limit: 1})
	if err != nil || found[0].ID != "24" || !found[0].Ended.Equal(*call(24).Ended) {
		t.Errorf("read back %+v, %v", found, err)
	}
}

// What no longer fits into memory is read from the files, and nothing comes twice.
func TestCallsBeyondMemory(t *testing.T) {
	dir, at := t.TempDir(), november()
	j := mustOpen(t, dir, Options{Now: at.now})
	const n = 3 * callsKept
	for i := range n {
		if i == n/2 {
			if err := j.calls.flush(); err != nil {
				t.Fatal(err)
			}
			at.set(time.December, 1)
		}
		j.RecordCall(call(i))
	}
	var want []string
	for i := n - 1; i >= 0; i-- {
		want = append(want, fmt.Sprint(i))
	}
	if err := j.calls.flush(); err != nil {
		t.Fatal(err)
	}
	if len(j.calls.recent) >= 2*callsKept {
		t.Errorf("%d records in memory", len(j.calls.recent))
	}
	for range 2 {
		if got := ids(t, j, CallFilter{Limit: 2 * n}); got != strings.Join(want, " ") {
			t.Errorf("not all %d records once and in order", n)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = mustOpen(t, dir, Options{Now: at.now})
	}
}

// Serve writes what is queued with one fsync for many, keeps it while the disk
// fails, and never makes RecordCall wait.
func TestServeWritesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s := t.TempDir(), openStore(t)
		j := mustOpen(t, dir, Options{})
		var mu sync.Mutex
		syncs, fails := 0, 3
		j.calls.files.sync = func(f *os.File) error {
			mu.Lock()
			defer mu.Unlock()
			if fails--; fails >= 0 {
				return errors.New("no space left on device")
			}
			syncs++
			return f.Sync()
		}
		for i := range 100 {
			j.RecordCall(call(i))
		}
		stop := serving(t, j, s)
		time.Sleep(time.Minute) // of the bubble's clock
		synctest.Wait()
		mu.Lock()
		if syncs != 1 {
			t.Errorf("%d fsyncs for 100 records, want 1", syncs)
		}
		mu.Unlock()
		b, err := os.ReadFile(filepath.Join(dir, "calls-202611.jsonl"))
		if n := bytes.Count(b, []byte("\n")); n != 100 || err != nil {
			t.Errorf("%d lines, %v, want 100", n, err)
		}
		j.RecordCall(call(100))
		stop() // writes it
		b, err = os.ReadFile(filepath.Join(dir, "calls-202611.jsonl"))
		if n := bytes.Count(b, []byte("\n")); n != 101 || err != nil {
			t.Errorf("%d lines, %v, want 101", n, err)
		}
		if err := errors.Join(j.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// Too many records for the disk are dropped, which is logged with their number; what
// Close cannot write is an error with theirs.
func TestCallsDropped(t *testing.T) {
	var out bytes.Buffer
	j := mustOpen(t, t.TempDir(), Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	for i := range callsQueued + 7 {
		j.RecordCall(call(i))
	}
	if got, want := ids(t, j, CallFilter{Limit: 1}), fmt.Sprint(callsQueued-1); got != want {
		t.Errorf("the newest is %s, want %s: what is dropped is not shown", got, want)
	}
	j.calls.files.sync = func(*os.File) error { return errors.New("no space left on device") }
	err := j.Close()
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d call records are lost", callsQueued)) {
		t.Errorf("Close: %v", err)
	}
	if !strings.Contains(out.String(), "count=7") {
		t.Errorf("the log does not say that 7 were dropped: %s", out.String())
	}
	j.RecordCall(call(0))
	if !strings.Contains(out.String(), "the journal is closed") {
		t.Error("a record after Close is dropped in silence")
	}
}

// A damaged call record hides no other.
func TestDamagedCallRecord(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{})
	for i := range 3 {
		j.RecordCall(call(i))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "calls-202611.jsonl")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte(`{"seq":2,`), []byte(`{"seq":2;`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, dir, Options{})
	j.RecordCall(call(3))
	if got := ids(t, j, CallFilter{}); got != "3 2 0" {
		t.Errorf("found %s, want 3 2 0", got)
	}
}

// Calls are recorded and read from many goroutines.
func TestCallsRace(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{})
	stop := serving(t, j, openStore(t))
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 50 {
				j.RecordCall(call(n*50 + i))
				if _, err := j.Calls(CallFilter{User: "103"}); err != nil {
					t.Error(err)
				}
				if err := j.AppendNow(row(fmt.Sprintf("%d-%d", n, i))); err != nil {
					t.Error(err)
				}
				if _, err := j.Audit(5, ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	stop()
	if got := strings.Count(ops(t, j), "-"); got != 400 {
		t.Errorf("%d rows, want 400", got)
	}
	if got := len(strings.Fields(ids(t, j, CallFilter{Limit: 1000}))); got != 400 {
		t.Errorf("%d calls, want 400", got)
	}
}

func BenchmarkAppendNow(b *testing.B) {
	j := mustOpen(b, b.TempDir(), Options{})
	for i := 0; b.Loop(); i++ {
		if err := j.AppendNow(row(fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordCall(b *testing.B) {
	j := mustOpen(b, b.TempDir(), Options{})
	j.calls.files.sync = func(*os.File) error { return nil }
	c := call(1)
	for i := 0; b.Loop(); i++ {
		if j.RecordCall(c); i%callsQueued == callsQueued-1 {
			if err := j.calls.flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
