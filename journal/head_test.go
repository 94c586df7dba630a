package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Newest rows or files that are cut off are noticed while the server runs, and when
// they were cut while none did, for good: one row tells it, later rows do not cover
// it up, and no later start tells it again.
func TestCut(t *testing.T) {
	for name, cut := range map[string]func(files []string) error{
		"the last row": func(files []string) error {
			b, err := os.ReadFile(files[1])
			lines := strings.SplitAfter(string(b), "\n")
			return errors.Join(err, os.WriteFile(files[1], []byte(strings.Join(lines[:len(lines)-2], "")), 0o600))
		},
		"a month": func(files []string) error { return os.Remove(files[1]) },
		"all":     func(files []string) error { return errors.Join(os.Remove(files[0]), os.Remove(files[1])) },
	} {
		synctest.Test(t, func(t *testing.T) {
			dir, s, at := t.TempDir(), openStore(t), november()
			j := mustOpen(t, dir, Options{Now: at.now})
			stop := serving(t, j, s)
			commit(t, s, "one", "two")
			synctest.Wait()
			at.set(time.December, 1)
			commit(t, s, "three")
			commit(t, s, "four")
			synctest.Wait()
			if n, err := Verify(dir, j.Head()); n != 4 || err != nil || j.Head().Seq != 4 {
				t.Fatalf("before: %d rows, %v, head %d", n, err, j.Head().Seq)
			}
			files, err := filepath.Glob(filepath.Join(dir, "audit-*"))
			if err != nil || len(files) != 2 {
				t.Fatalf("files %v, %v", files, err)
			}
			if err := cut(files); err != nil {
				t.Fatal(err)
			}
			if _, err := Verify(dir, j.Head()); !errors.Is(err, ErrCut) || !strings.Contains(err.Error(), "number 4") {
				t.Errorf("%s cut while the server runs: %v", name, err)
			}
			stop()
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			for _, op := range []string{"five", "six"} {
				j = mustOpen(t, dir, Options{Now: at.now})
				stop = serving(t, j, s)
				synctest.Wait()
				commit(t, s, op)
				synctest.Wait()
				if _, err := Verify(dir, j.Head()); !errors.Is(err, ErrCut) || !strings.Contains(err.Error(), "number 4 was missing") {
					t.Errorf("%s cut before the start, row %s: %v", name, op, err)
				}
				stop()
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
			}
			rows, err := j.Audit(10, "")
			var told []string
			for _, r := range rows {
				if r.Action == cutAction {
					told = append(told, r.Detail["missing_line"])
				}
			}
			if err != nil || len(told) != 1 || told[0] != "4" {
				t.Errorf("%s: rows tell that %v are missing, %v", name, told, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A store that refuses the new head does not make the row be written again, and a
// log that goes on past the head, by rows that never were in the store, is whole.
func TestHeadLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s := t.TempDir(), openStore(t)
		j := mustOpen(t, dir, Options{})
		stop := serving(t, j, s)
		commit(t, s, "one")
		synctest.Wait()
		stop()
		if err := j.AppendNow(row("sos")); err != nil {
			t.Fatal(err)
		}
		if n, err := Verify(dir, j.Head()); n != 2 || err != nil || j.Head().Seq != 1 {
			t.Errorf("%d rows, %v, head %d", n, err, j.Head().Seq)
		}
		if err := errors.Join(j.Close(), os.Remove(filepath.Join(dir, "audit-202611.jsonl"))); err != nil {
			t.Fatal(err)
		}
		j = mustOpen(t, dir, Options{})
		stop = serving(t, j, &faulty{Store: s, updates: 3})
		time.Sleep(time.Minute) // the journal tries again
		stop()
		if n, err := Verify(dir, j.Head()); n != 1 || !errors.Is(err, ErrCut) || !strings.Contains(err.Error(), "number 1 was missing") {
			t.Errorf("%d rows, %v, want the one that tells it, and the head to be it", n, err)
		}
		if err := errors.Join(j.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}
