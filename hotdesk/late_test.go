package hotdesk_test

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"hotdeskd/hotdesk"
)

// gatedStore is a store whose feed can be held back, and that can be down.
type gatedStore struct {
	hotdesk.Store
	gate atomic.Pointer[chan struct{}]
	down atomic.Bool
}

// gated puts a gate between the store and the rules of a desk that starts now.
func gated(tb testing.TB) (*desk, *gatedStore) {
	tb.Helper()
	g := &gatedStore{}
	d := newDeskOn(tb, func(s hotdesk.Store) hotdesk.Store {
		g.Store = s
		return g
	})
	return d, g
}

// holdBack keeps commits from memory until the returned function is called.
func (g *gatedStore) holdBack() (goOn func()) {
	gate := make(chan struct{})
	g.gate.Store(&gate)
	return sync.OnceFunc(func() { g.gate.Store(nil); close(gate) })
}

func (g *gatedStore) Update(ctx context.Context, fn func(hotdesk.Txn) error) (hotdesk.Rev, error) {
	if g.down.Load() {
		return 0, hotdesk.ErrUnavailable
	}
	return g.Store.Update(ctx, fn)
}

func (g *gatedStore) Watch(ctx context.Context, after hotdesk.Rev) iter.Seq2[hotdesk.Commit, error] {
	return func(yield func(hotdesk.Commit, error) bool) {
		for c, err := range g.Store.Watch(ctx, after) {
			if gate := g.gate.Load(); gate != nil {
				select {
				case <-*gate:
				case <-ctx.Done():
				}
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// Whoever makes a device or a person gets what was written, however late memory is.
func TestField_V13AMutationAnswersFromItsOwnCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, store := gated(t)
		d.office("move")
		ctx := context.Background()
		goOn := store.holdBack()
		defer goOn()
		spec := hotdesk.DeviceSpec{MAC: mac(8).String(), Model: ptr("yealink-t46u"), Site: ptr("roma"), Desk: ptr("9-9"), DefaultUser: ptr("103")}
		p, err := d.AddDevice(ctx, spec, "admin")
		if err != nil || p.Device.ID != "HD0005" || p.Device.Desk != "9-9" || p.Site.Name != "roma" || p.User == nil || p.User.Extension != "103" || !p.Late {
			t.Errorf("added: %+v, %v", p, err)
		}
		p, err = d.Claim(ctx, mac(8), "roma", "test")
		if err != nil || p.Device.ID != "HD0005" || !p.Device.Claimed || p.Device.Generation != 1 || !p.Late {
			t.Errorf("claimed: %+v, %v", p.Device, err)
		}
		u, err := d.AddUser(ctx, hotdesk.UserSpec{Extension: "150", Name: ptr("Nina"), PIN: ptr("4071")}, "admin")
		if err != nil || u.User.Name != "Nina" {
			t.Errorf("user added: %+v, %v", u, err)
		}
		u, err = d.UpdateUser(ctx, "101", hotdesk.UserSpec{Name: ptr("Olga")}, "admin")
		if err != nil || u.User.Name != "Olga" {
			t.Errorf("user changed: %+v, %v", u, err)
		}
		if !d.Late() {
			t.Error("memory is not said to be late")
		}
		goOn()
		synctest.Wait()
		if d.Late() {
			t.Error("memory has caught up and is said to be late")
		}
		if p, err := d.Phone("HD0005"); err != nil || p.Late || !p.Device.Claimed {
			t.Errorf("read afterwards: %+v, %v", p, err)
		}
	})
}

// The version that a digest makes wanted is told by the transaction itself, and a
// digest of an older version than is wanted by now is not stored.
func TestField_V13PreparedTellsWhatIsWantedNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, store := gated(t)
		d.office("move")
		ctx := context.Background()
		p, err := d.Phone("HD0001")
		if err != nil {
			t.Fatal(err)
		}
		first, err := d.Prepared(ctx, p.Device, "one")
		if err != nil || first.Wanted != p.Device.Wanted {
			t.Fatalf("the first digest: version %d, %v", first.Wanted, err)
		}
		goOn := store.holdBack()
		defer goOn()
		second, err := d.Prepared(ctx, first, "two")
		if err != nil || second.Wanted != first.Wanted+1 {
			t.Errorf("a changed digest: version %d, want %d, %v", second.Wanted, first.Wanted+1, err)
		}
		late, err := d.Prepared(ctx, first, "three")
		if err != nil || late.Wanted != second.Wanted || late.Digest != "two" {
			t.Errorf("a digest of an older version: version %d, digest %q, %v", late.Wanted, late.Digest, err)
		}
	})
}
