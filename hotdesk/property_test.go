package hotdesk_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"hotdeskd/hotdesk"
)

// brittle is a store that refuses some commits, before or after doing them.
type brittle struct {
	hotdesk.Store
	mu  sync.Mutex
	rng *rand.Rand
	on  bool
}

func (b *brittle) Update(ctx context.Context, fn func(hotdesk.Txn) error) (hotdesk.Rev, error) {
	b.mu.Lock()
	roll := b.rng.IntN(10)
	on := b.on
	b.mu.Unlock()
	switch {
	case on && roll == 0:
		return 0, hotdesk.ErrUnavailable
	case on && roll == 1:
		rev, err := b.Store.Update(ctx, fn)
		if err != nil {
			return rev, err
		}
		return 0, hotdesk.ErrUnknownOutcome // done, but nobody is told
	}
	return b.Store.Update(ctx, fn)
}

// No sequence of operations, with a store that fails now and then, gives a device
// two users, leaves a half-done login, or uses an HD number twice.
func TestNoSequenceBreaksTheTruth(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			rng := rand.New(rand.NewPCG(seed, 1))
			b := &brittle{Store: d.store, rng: rand.New(rand.NewPCG(seed, 2))}
			d.restartOn(b)
			d.office([]string{"move", "allow", "refuse"}[seed%3])
			b.mu.Lock()
			b.on = true
			b.mu.Unlock()
			ever := map[hotdesk.DeviceID]hotdesk.MAC{}
			for step := range 300 {
				d.random(rng)
				d.invariants(ever, step)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// restartOn runs the rules a second time, on another store over the same data.
func (d *desk) restartOn(store hotdesk.Store) {
	d.t.Helper()
	first := d.stop
	ctx, cancel := context.WithCancel(context.Background())
	s, err := hotdesk.New(hotdesk.Options{Store: store, Vault: quickVault{}, Live: d.live, Models: models, Realm: "hotdeskd", Now: d.clock.Now})
	if err != nil {
		d.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	<-s.Ready()
	d.Service = s
	d.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
		first()
	})
}

// random does one operation that may well be refused.
func (d *desk) random(rng *rand.Rand) {
	ctx := context.Background()
	id := hotdesk.DeviceID(fmt.Sprintf("HD%04d", 1+rng.IntN(6)))
	ext := hotdesk.Extension(fmt.Sprint(100 + rng.IntN(6)))
	m := mac(rng.IntN(7))
	var err error
	switch rng.IntN(12) {
	case 0, 1, 2:
		pin := hotdesk.Secret("4071")
		if rng.IntN(4) == 0 {
			pin = "9999"
		}
		_, err = d.login(id, ext, pin)
	case 3:
		err = d.logout(id)
	case 4:
		_, err = d.Logout(ctx, hotdesk.LogoutRequest{Device: id, By: hotdesk.ByAdmin, Everywhere: true})
	case 5:
		_, err = d.AddDevice(ctx, hotdesk.DeviceSpec{MAC: m.String(), Model: ptr("yealink-t46u"), Site: ptr("roma")}, "test")
	case 6:
		err = d.RemoveDevice(ctx, id, "test")
	case 7:
		_, err = d.Claim(ctx, m, "roma", "test")
	case 8:
		err = d.Block(ctx, id, "test")
	case 9:
		err = d.Unblock(ctx, id, "test")
	case 10:
		_, err = d.UpdateUser(ctx, ext, hotdesk.UserSpec{Enabled: ptr(rng.IntN(3) > 0)}, "test")
	case 11:
		err = d.Release(ctx, id, "test")
	}
	for _, known := range []error{
		nil, hotdesk.ErrNotFound, hotdesk.ErrNoMatch, hotdesk.ErrConflict, hotdesk.ErrPending, hotdesk.ErrBlocked, hotdesk.ErrNobody,
		hotdesk.ErrInUse, hotdesk.ErrSecondPhoneRefused, hotdesk.ErrUnavailable, hotdesk.ErrUnknownOutcome, hotdesk.ErrNotHotDesk,
	} {
		if errors.Is(err, known) {
			return
		}
	}
	d.t.Errorf("unexpected error: %v", err)
}

// invariants reads the store itself and compares it with what the rules answer.
func (d *desk) invariants(ever map[hotdesk.DeviceID]hotdesk.MAC, step int) {
	if err := d.Settle(context.Background()); err != nil {
		d.t.Fatal(err)
	}
	bound := map[hotdesk.DeviceID]hotdesk.Extension{}
	for _, s := range d.Sessions() {
		if other, twice := bound[s.Device]; twice {
			d.t.Errorf("step %d: %s has users %s and %s", step, s.Device, other, s.User)
		}
		bound[s.Device] = s.User
	}
	for _, p := range d.Phones() {
		if m, known := ever[p.Device.ID]; known && m != p.Device.MAC {
			d.t.Errorf("step %d: %s was %s and is %s: an HD number was used twice", step, p.Device.ID, m, p.Device.MAC)
		}
		ever[p.Device.ID] = p.Device.MAC
		if p.Device.Blocked && p.Session != nil {
			d.t.Errorf("step %d: blocked %s has a session", step, p.Device.ID)
		}
	}
	for _, u := range d.Users() {
		for _, id := range u.Devices {
			if bound[id] != u.User.Extension {
				d.t.Errorf("step %d: calls to %s ring on %s, where %q sits", step, u.User.Extension, id, bound[id])
			}
		}
		seated := 0
		for _, ext := range bound {
			if ext == u.User.Extension {
				seated++
			}
		}
		if seated != len(u.Devices) {
			d.t.Errorf("step %d: %s sits at %d devices, rings on %v", step, u.User.Extension, seated, u.Devices)
		}
	}
	for _, s := range d.Sessions() {
		if _, err := d.Phone(s.Device); err != nil {
			d.t.Errorf("step %d: a session on %s, which is gone", step, s.Device)
		}
	}
	seats := d.Seats()
	for ext, list := range seats {
		for _, id := range list {
			if bound[id] != ext {
				d.t.Errorf("step %d: seats of %s name %s, where %q sits", step, ext, id, bound[id])
			}
		}
	}
	for id, ext := range bound {
		if !slices.Contains(seats[ext], id) {
			d.t.Errorf("step %d: %s sits at %s but has no seat there", step, ext, id)
		}
	}
}

// A hundred claims of one MAC at one time have one winner.
func TestOneWinnerOfAClaim(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	if _, err := d.AddDevice(context.Background(), hotdesk.DeviceSpec{MAC: mac(9).String(), Model: ptr("yealink-t46u"), Site: ptr("roma")}, "test"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	results := make(chan error, 100)
	for range 100 {
		wg.Go(func() {
			_, err := d.Claim(context.Background(), mac(9), "roma", "test")
			results <- err
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, hotdesk.ErrConflict):
			t.Errorf("a loser got %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d winners", won)
	}
}
