package hotdesk_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
)

// fromAfar is everything that nobody at the desk of HD0001 has asked for, where 100
// sits. HD0004 is blocked in the office of disturbed.
func fromAfar(d *desk) map[string]func() error {
	ctx := context.Background()
	block, enable := true, false
	return map[string]func() error{
		"rule":    func() error { return d.MayDisturb("HD0001") }, // reboot and resync of administrators ask it
		"release": func() error { return d.Release(ctx, "HD0001", "admin") },
		"remove":  func() error { return d.RemoveDevice(ctx, "HD0001", "admin") },
		"replace": func() error { return d.Replace(ctx, "HD0001", mac(9), "", "admin") },
		"block":   func() error { return d.Block(ctx, "HD0001", "admin") },
		"unblock": func() error { return d.Unblock(ctx, "HD0001", "admin") },
		"rotate":  func() error { return d.Rotate(ctx, "HD0001", true, "admin") },
		"logout by an administrator": func() error {
			_, err := d.Logout(ctx, hotdesk.LogoutRequest{Device: "HD0001", By: hotdesk.ByAdmin})
			return err
		},
		"logout by a timer": func() error {
			_, err := d.Logout(ctx, hotdesk.LogoutRequest{Device: "HD0001", By: hotdesk.ByTimer})
			return err
		},
		"logout of the person": func() error {
			_, err := d.LogoutUser(ctx, "100", hotdesk.LogoutRequest{By: hotdesk.ByAPI})
			return err
		},
		"login by an administrator": func() error {
			_, err := d.Login(ctx, hotdesk.LoginRequest{Device: "HD0001", User: "101", By: hotdesk.ByAdmin})
			return err
		},
		"login by the staff page": func() error {
			_, err := d.Login(ctx, hotdesk.LoginRequest{Device: "HD0001", User: "101", PIN: "4071", By: hotdesk.ByStaff})
			return err
		},
		"login that moves the person": func() error {
			_, err := d.Login(ctx, hotdesk.LoginRequest{Device: "HD0002", User: "100", By: hotdesk.ByAPI})
			return err
		},
		"login of the staff page that moves the person": func() error {
			_, err := d.Login(ctx, hotdesk.LoginRequest{Device: "HD0002", User: "100", PIN: "4071", By: hotdesk.ByStaff})
			return err
		},
		"a file that blocks": func() error {
			_, err := d.Apply(ctx, hotdesk.Desired{Devices: []hotdesk.DeviceSpec{{MAC: mac(0).String(), Blocked: &block}}}, hotdesk.ApplyOptions{})
			return err
		},
		"a file that disables the person": func() error {
			_, err := d.Apply(ctx, hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "100", Enabled: &enable}}}, hotdesk.ApplyOptions{})
			return err
		},
		"a file that removes": func() error {
			file := d.Export()
			file.Devices = file.Devices[1:]
			_, err := d.Apply(ctx, file, hotdesk.ApplyOptions{Prune: true})
			return err
		},
	}
}

// What nobody at the desk asked for is refused by one rule: in a call, and in an
// emergency hold, also while the store is down; the session stays.
func TestField_E10OneRuleForEveryCaller(t *testing.T) {
	for state, c := range map[string]struct {
		want  error
		begin func(*desk, *gatedStore)
	}{
		"in a call": {hotdesk.ErrDeviceInCall, func(d *desk, _ *gatedStore) { d.live.LegUp("HD0001", "a call") }},
		"held":      {hotdesk.ErrEmergencyHold, func(d *desk, _ *gatedStore) { hold(d, nil) }},
		"held while the store is down": {hotdesk.ErrEmergencyHold, func(d *desk, s *gatedStore) {
			s.down.Store(true)
			hold(d, hotdesk.ErrUnavailable)
		}},
		"held while the store was down, before it is written": {hotdesk.ErrEmergencyHold, func(d *desk, s *gatedStore) {
			s.down.Store(true)
			hold(d, hotdesk.ErrUnavailable)
			s.down.Store(false)
		}},
	} {
		t.Run(state, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, store := gated(t)
				d.office("move")
				if _, err := d.login("HD0001", "100", "4071"); err != nil {
					t.Fatal(err)
				}
				c.begin(d, store)
				for what, do := range fromAfar(d) {
					if err := do(); !errors.Is(err, c.want) {
						t.Errorf("%s: %v, want %v", what, err, c.want)
					}
				}
				if d.who("HD0001") != "100" {
					t.Error("the session has ended")
				}
			})
		})
	}
}

func hold(d *desk, want error) {
	d.t.Helper()
	if err := d.HoldEmergency(context.Background(), "HD0001"); !errors.Is(err, want) {
		d.t.Errorf("hold: %v, want %v", err, want)
	}
}

// A hold that the store could not write is written by itself when it can, with its
// own end, and so it outlives the process; one that was asked for by a context that
// had ended is no less owed.
func TestField_E10AHoldIsOwedUntilItIsStored(t *testing.T) {
	for name, ask := range map[string]func(*desk, *gatedStore){
		"store down": func(d *desk, s *gatedStore) {
			s.down.Store(true)
			hold(d, hotdesk.ErrUnavailable)
			d.clock.add(time.Minute)
			time.Sleep(time.Minute)
			if !stored(d).IsZero() {
				d.t.Error("stored while the store was down")
			}
			s.down.Store(false)
			time.Sleep(10 * time.Second)
			synctest.Wait()
		},
		"server stopping": func(d *desk, s *gatedStore) {
			s.down.Store(true)
			hold(d, hotdesk.ErrUnavailable)
			s.down.Store(false)
			d.quit()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, s := gated(t)
				d.office("move")
				want := d.clock.Now().Add(time.Hour)
				ask(d, s)
				if got := stored(d); !got.Equal(want) {
					t.Errorf("stored until %v, want %v", got, want)
				}
			})
		})
	}
}

// stored is the end of the hold of HD0001 in the store.
func stored(d *desk) (until time.Time) {
	d.t.Helper()
	err := d.store.View(context.Background(), func(r hotdesk.Reader) error {
		kv, ok, err := r.Get("/hold/HD0001")
		if err == nil && ok {
			err = until.UnmarshalJSON(kv.Value)
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return until
}

// The hold lasts 60 minutes from the last time it was begun, not a second less and
// not a second more.
func TestField_F9TheHoldIs60Minutes(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	hold(d, nil)
	d.clock.add(30 * time.Minute)
	hold(d, nil) // the call has ended
	d.clock.add(60*time.Minute - time.Second)
	if err := d.MayDisturb("HD0001"); !errors.Is(err, hotdesk.ErrEmergencyHold) {
		t.Errorf("after 59:59: %v", err)
	}
	d.clock.add(time.Second)
	if err := d.MayDisturb("HD0001"); err != nil {
		t.Errorf("after 60:00: %v", err)
	}
}
