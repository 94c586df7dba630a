package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// hang is how long a step may take before the suite calls it hung. Only a broken
// store ever waits for it.
const hang = 30 * time.Second

// Run runs the conformance suite. open returns the store kept in dir, which the
// suite closes; called again on the same dir, it opens what was kept there.
func Run(t *testing.T, open func(t *testing.T, dir string) hotdesk.Store) {
	cases := []struct {
		name string
		test func(*testing.T, suite)
	}{
		{"values and revisions", revisions},
		{"own writes are seen and nobody else sees them", ownWrites},
		{"an error discards the writes", errorDiscards},
		{"a panic discards the writes and reaches the caller", panicDiscards},
		{"Goexit discards the writes", goexitDiscards},
		{"without a write nothing is committed", noWrite},
		{"absence is a read", absence},
		{"stale reads are not returned", staleReads},
		{"limits", limits},
		{"values are copies", copies},
		{"transactions cannot be nested", nested},
		{"a finished transaction is dead", finished},
		{"a context that has ended", contexts},
		{"scan", scan},
		{"a view is one snapshot", snapshot},
		{"watch", watch},
		{"breaking out of watch", watchBreak},
		{"watch after compaction", compaction},
		{"close and open again", reopen},
		{"after close", closed},
		{"racing writers", racing},
		{"racing invariant", invariant},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := suite{open: open, dir: t.TempDir()}
			s.Store = open(t, s.dir)
			closeAtEnd(t, s.Store)
			c.test(t, s)
		})
		t.Run(c.name+", twice", func(t *testing.T) {
			again := func(t *testing.T, dir string) hotdesk.Store { return Twice(t, open(t, dir)) }
			s := suite{open: again, dir: t.TempDir()}
			s.Store = again(t, s.dir)
			closeAtEnd(t, s.Store)
			c.test(t, s)
		})
	}
}

// closeAtEnd closes the store, but does not wait for one that may hang.
func closeAtEnd(t *testing.T, s hotdesk.Store) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			go func() { _ = s.Close() }()
			return
		}
		_ = s.Close()
	})
}

// suite is the store under test with what is needed to open it again.
type suite struct {
	hotdesk.Store
	open func(*testing.T, string) hotdesk.Store
	dir  string
}

// errStop is what the suite's own functions fail with.
var errStop = errors.New("stop")

// mustPut commits key=value pairs in one Update.
func (s suite) mustPut(t testing.TB, pairs ...string) hotdesk.Rev {
	t.Helper()
	rev, err := s.Update(t.Context(), func(tx hotdesk.Txn) error {
		for i := 0; i < len(pairs); i += 2 {
			tx.Put(pairs[i], []byte(pairs[i+1]))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("put %q: %v", pairs, err)
	}
	return rev
}

// get reads a key by View; an absent one has the zero KV.
func (s suite) get(t testing.TB, key string) hotdesk.KV {
	t.Helper()
	var kv hotdesk.KV
	err := s.View(t.Context(), func(r hotdesk.Reader) (err error) {
		var ok bool
		kv, ok, err = r.Get(key)
		if !ok && (kv.Value != nil || kv.Rev != 0) {
			t.Errorf("Get(%q) found nothing and returned %+v", key, kv)
		}
		return err
	})
	if err != nil {
		t.Fatalf("view %q: %v", key, err)
	}
	return kv
}

func (s suite) wantValue(t testing.TB, key, want string) {
	t.Helper()
	if got := string(s.get(t, key).Value); got != want {
		t.Errorf("%s is %q, want %q", key, got, want)
	}
}

func (s suite) rev(t testing.TB) (rev hotdesk.Rev) {
	t.Helper()
	err := s.View(t.Context(), func(r hotdesk.Reader) error {
		rev = r.Rev()
		return nil
	})
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	return rev
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// inTime fails the test when fn does not return: a hang must be a failure that
// names its place, not a test run that never ends.
func inTime(t testing.TB, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	timer := time.NewTimer(hang)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		t.Fatalf("%s hangs", what)
	}
}

// take reads n commits from a watch.
func take(t testing.TB, commits iter.Seq2[hotdesk.Commit, error], n int) []hotdesk.Commit {
	t.Helper()
	var out []hotdesk.Commit
	if n == 0 {
		return nil
	}
	inTime(t, "watching", func() {
		for c, err := range commits {
			if err != nil {
				t.Errorf("watch: %v", err)
				return
			}
			if out = append(out, c); len(out) == n {
				return
			}
		}
	})
	return out
}

// text spells a commit for comparison: "k=v k2!" in key order, ! for deleted.
func text(c hotdesk.Commit) string {
	changes := slices.SortedFunc(slices.Values(c.Changes), func(a, b hotdesk.Change) int { return cmp.Compare(a.Key, b.Key) })
	var words []string
	for _, ch := range changes {
		if ch.Value == nil {
			words = append(words, ch.Key+"!")
		} else {
			words = append(words, ch.Key+"="+string(ch.Value))
		}
	}
	return strings.Join(words, " ")
}

func background() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}

func big(n int) []byte { return bytes.Repeat([]byte("x"), n) }
