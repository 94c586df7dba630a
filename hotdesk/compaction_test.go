package hotdesk_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"hotdeskd/hotdesk"
)

// gapStore is a store whose feed can fall behind: what happens in the gap is told to
// nobody, and then the feed says that it is compacted.
type gapStore struct {
	hotdesk.Store
	gap atomic.Pointer[chan struct{}]
}

func (g *gapStore) Watch(ctx context.Context, after hotdesk.Rev) iter.Seq2[hotdesk.Commit, error] {
	return func(yield func(hotdesk.Commit, error) bool) {
		for c, err := range g.Store.Watch(ctx, after) {
			if gap := g.gap.Load(); gap != nil {
				select {
				case <-*gap:
				case <-ctx.Done():
				}
				yield(hotdesk.Commit{}, hotdesk.ErrCompacted)
				return
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// What was deleted while the feed was compacted is gone from memory too: a lock that
// was lifted, the lock of a person, what a phone had fetched.
func TestField_F4WhatWentInTheGapIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gapStore{}
		d := newDeskOn(t, func(s hotdesk.Store) hotdesk.Store {
			g.Store = s
			return g
		})
		d.office("move")
		ctx := t.Context()
		for range 20 { // HD0001 is locked, and 100 everywhere
			for n := range 4 {
				_, _ = d.login(device(n), "100", "9999")
			}
		}
		if err := d.Fetched(ctx, "HD0003", 7); err != nil {
			t.Fatal(err)
		}
		u, err := d.User("100")
		if err != nil || u.LockedUntil.IsZero() {
			t.Fatalf("100 is not locked: %+v, %v", u, err)
		}
		if _, err := d.login("HD0001", "101", "9999"); err == nil || !lockAll(d) {
			t.Fatal("HD0001 is not locked")
		}
		gap := make(chan struct{})
		g.gap.Store(&gap)
		keys := []string{"/throttle/u/100", "/fetched/HD0003"}
		for n := range 4 {
			keys = append(keys, "/throttle/d/"+string(device(n)))
		}
		if _, err := d.store.Update(ctx, func(tx hotdesk.Txn) error {
			for _, key := range keys {
				tx.Delete(key)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		g.gap.Store(nil)
		close(gap)
		synctest.Wait()
		for n := range 4 {
			if d.Locked(device(n)) {
				t.Errorf("%s is still locked", device(n))
			}
		}
		if u, err = d.User("100"); err != nil || !u.LockedUntil.IsZero() {
			t.Errorf("100 is still locked: %v, %v", u.LockedUntil, err)
		}
		if p, err := d.Phone("HD0003"); err != nil || p.Fetched.Version != 0 {
			t.Errorf("HD0003 has still fetched version %d, %v", p.Fetched.Version, err)
		}
	})
}

func device(n int) hotdesk.DeviceID {
	return []hotdesk.DeviceID{"HD0001", "HD0002", "HD0003", "HD0004"}[n]
}

// lockAll has HD0001 locked by the wrong PINs of many.
func lockAll(d *desk) bool {
	for range 3 {
		for _, ext := range []hotdesk.Extension{"101", "102", "103", "104"} {
			_, _ = d.login("HD0001", ext, "9999")
		}
	}
	return d.Locked("HD0001")
}
