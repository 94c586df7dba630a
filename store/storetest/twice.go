package storetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"hotdeskd/hotdesk"
)

// Twice wraps a store so that every function given to Update runs two times in the
// same transaction, as it may on a store that retries. The first run's writes are
// kept apart and thrown away. When the second run writes something else, or ends in
// another error, the test fails: the function is not pure.
func Twice(t testing.TB, s hotdesk.Store) hotdesk.Store { return twice{Store: s, t: t} }

type twice struct {
	hotdesk.Store
	t testing.TB
}

// Update runs fn two times and commits what the second run wrote.
func (s twice) Update(ctx context.Context, fn func(hotdesk.Txn) error) (hotdesk.Rev, error) {
	return s.Store.Update(ctx, func(tx hotdesk.Txn) error {
		first := &overlay{Txn: tx, writes: map[string][]byte{}}
		err1 := fn(first)
		second := &overlay{Txn: tx, writes: map[string][]byte{}}
		err2 := fn(second)
		first.over, second.over = true, true
		if fmt.Sprint(err1) != fmt.Sprint(err2) {
			s.t.Errorf("the function of an Update is not pure: its first run returned %v and its second %v", err1, err2)
		}
		if !maps.EqualFunc(first.writes, second.writes, bytes.Equal) {
			s.t.Errorf("the function of an Update is not pure: its first run wrote %q and its second %q", first.writes, second.writes)
		}
		for _, key := range slices.Sorted(maps.Keys(second.writes)) {
			if v := second.writes[key]; v == nil {
				tx.Delete(key)
			} else {
				tx.Put(key, v)
			}
		}
		return err2
	})
}

// overlay is a transaction whose writes reach nobody but its own reads.
type overlay struct {
	hotdesk.Txn
	writes map[string][]byte // nil: deleted
	over   bool              // kept too long: only the store's own answer counts
}

// Get sees the overlay's writes first.
func (o *overlay) Get(key string) (hotdesk.KV, bool, error) {
	if v, ok := o.writes[key]; ok && !o.over {
		return hotdesk.KV{Key: key, Value: bytes.Clone(v)}, v != nil, nil
	}
	return o.Txn.Get(key)
}

// Put keeps an empty value apart from a deletion, so that the store refuses it.
func (o *overlay) Put(key string, value []byte) { o.writes[key] = append([]byte{}, value...) }

// Delete marks the key as gone.
func (o *overlay) Delete(key string) { o.writes[key] = nil }
