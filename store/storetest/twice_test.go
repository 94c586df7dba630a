package storetest

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"hotdeskd/hotdesk"
)

// Twice reports a function that writes or answers differently in its second run, and
// lets a pure one pass with the second run's writes.
func TestTwice(t *testing.T) {
	runs := 0
	for _, c := range []struct {
		name string
		fn   func(hotdesk.Txn) error
		bad  bool
	}{
		{"pure", func(tx hotdesk.Txn) error { tx.Put("/a", []byte("1")); tx.Delete("/b"); return nil }, false},
		{"reads its own write", func(tx hotdesk.Txn) error {
			kv, _, err := tx.Get("/n")
			tx.Put("/n", append(kv.Value, 'x'))
			return err
		}, false},
		{"another value", func(tx hotdesk.Txn) error { runs++; tx.Put("/a", fmt.Append(nil, runs)); return nil }, true},
		{"another key", func(tx hotdesk.Txn) error { runs++; tx.Put(fmt.Sprint(runs), []byte("1")); return nil }, true},
		{"another error", func(hotdesk.Txn) error { runs++; return fmt.Errorf("run %d", runs) }, true},
	} {
		rec := &recorder{TB: t}
		m := &memory{}
		_, _ = Twice(rec, m).Update(t.Context(), c.fn)
		if rec.failed != c.bad {
			t.Errorf("%s: reported %v, want %v", c.name, rec.failed, c.bad)
		}
		if v, ok := m.writes["/n"]; ok && string(v) != "x" {
			t.Errorf("%s: the second run saw the first one's write: %q", c.name, v)
		}
	}
}

// recorder is a testing.TB that takes a note instead of failing.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }

// memory is as much of a store as Twice needs.
type memory struct{ writes map[string][]byte }

func (m *memory) Get(string) (hotdesk.KV, bool, error) { return hotdesk.KV{}, false, nil }
func (m *memory) Put(key string, value []byte)         { m.writes[key] = value }
func (m *memory) Delete(key string)                    { m.writes[key] = nil }
func (m *memory) Update(_ context.Context, fn func(hotdesk.Txn) error) (hotdesk.Rev, error) {
	m.writes = map[string][]byte{}
	return 1, fn(m)
}
func (m *memory) View(context.Context, func(hotdesk.Reader) error) error { return nil }
func (m *memory) Watch(context.Context, hotdesk.Rev) iter.Seq2[hotdesk.Commit, error] {
	return nil
}
func (m *memory) Close() error { return nil }
