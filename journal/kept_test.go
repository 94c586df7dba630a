package journal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// breakable is a disk under the audit log that a test breaks: nil works.
type breakable struct{ err atomic.Pointer[error] }

func (b *breakable) fail(err error) { b.err.Store(&err) }
func (b *breakable) works()         { b.err.Store(nil) }

func (b *breakable) under(j *Journal) {
	j.audit.sync = func(f *os.File) error {
		if err := b.err.Load(); err != nil {
			return *err
		}
		return f.Sync()
	}
}

// The audit row of an emergency call that the disk does not take is kept, shown and
// told, written once in its order when there is room again, before rows that came
// later, and the failure of every try is told once a minute.
func TestField_E11AuditRowsOutliveAFullDisk(t *testing.T) {
	for _, broken := range []error{syscall.ENOSPC, syscall.EIO} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			var disk breakable
			dir, s := t.TempDir(), openStore(t)
			j := mustOpen(t, dir, Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
			disk.under(j)
			stop := serving(t, j, s)
			synctest.Wait()
			disk.fail(broken)
			for i := range 1200 { // more than are written at once
				if err := j.AppendNow(row(fmt.Sprint("sos", i))); err != nil {
					t.Fatalf("%v: AppendNow: %v", broken, err)
				}
			}
			commit(t, s, "later")
			time.Sleep(10 * time.Minute) // of the bubble's clock
			if n, why := j.Waiting(); n != 1200 || !errors.Is(why, broken) {
				t.Errorf("%d rows wait, %v", n, why)
			}
			if rows, err := j.Audit(2, ""); err != nil || rows[0].Op != "sos1199" || rows[1].Op != "sos1198" {
				t.Errorf("the newest rows are %+v, %v", rows, err)
			}
			if n := strings.Count(out.String(), "rows of emergency calls wait"); n < 10 || n > 12 {
				t.Errorf("%d lines in ten minutes", n)
			}
			disk.works()
			time.Sleep(time.Minute)
			synctest.Wait()
			var want []string
			for i := range 1200 {
				want = append(want, fmt.Sprint("sos", i))
			}
			if got := ops(t, j); got != strings.Join(append(want, "later"), " ") {
				t.Errorf("the file does not have every row once and in order: %d of %d", len(strings.Fields(got)), len(want)+1)
			}
			if n, why := j.Waiting(); n != 0 || why != nil {
				t.Errorf("%d rows wait after all, %v", n, why)
			}
			if err := j.AppendNow(row("next")); err != nil || !strings.HasSuffix(ops(t, j), "later next") {
				t.Errorf("the next row: %v", err)
			}
			stop()
			if err := errors.Join(j.Close(), s.Close()); err != nil {
				t.Error(err)
			}
			if _, err := Verify(dir, j.Head()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A stop tries once more to write the rows that wait; if the disk still does not
// take them, each stands whole in the log, and so does one that comes after it.
func TestField_E11RowsThatWaitAtTheStop(t *testing.T) {
	for _, mended := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			var disk breakable
			dir, s := t.TempDir(), openStore(t)
			j := mustOpen(t, dir, Options{Log: slog.New(slog.NewJSONHandler(&out, nil))})
			disk.under(j)
			stop := serving(t, j, s)
			disk.fail(syscall.ENOSPC)
			for _, op := range []string{"sos1", "sos2"} {
				if err := j.AppendNow(row(op)); err != nil {
					t.Fatal(err)
				}
			}
			stop() // SIGTERM comes while they wait
			if mended {
				disk.works()
			}
			err := j.Close()
			if again := j.Close(); again != nil {
				t.Errorf("the second Close: %v", again)
			}
			if mended != (err == nil) {
				t.Errorf("mended %v: Close: %v", mended, err)
			}
			if err := j.AppendNow(row("sos3")); err == nil {
				t.Error("a row after Close is no error")
			}
			j2 := mustOpen(t, dir, Options{})
			want, logged := "sos1 sos2", []string{"sos3"}
			if !mended {
				want, logged = "", []string{"sos1", "sos2", "sos3"}
			}
			if got := ops(t, j2); got != want {
				t.Errorf("mended %v: the file has %q, want %q", mended, got, want)
			}
			for _, op := range []string{"sos1", "sos2", "sos3"} {
				whole := fmt.Sprintf(`{\"op\":\"%s\",\"time\":\"2026-11-22T12:00:00Z\",\"action\":\"session.started\",\"by\":\"ivr\",\"device\":\"HD0001\"`, op)
				if has := strings.Contains(out.String(), whole); has != strings.Contains(strings.Join(logged, " "), op) {
					t.Errorf("mended %v: %s in the log: %v\n%s", mended, op, has, out.String())
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
