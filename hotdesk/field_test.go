package hotdesk_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"hotdeskd/hotdesk"
)

// A device that is removed leaves nothing behind, neither in the store nor of what is
// true only now, whichever way it goes.
func TestField_F2RemovedIsForgotten(t *testing.T) {
	for way, remove := range map[string]func(*desk) error{
		"device remove": func(d *desk) error { return d.RemoveDevice(context.Background(), "HD0001", "admin") },
		"apply --prune": func(d *desk) error {
			file := d.Export()
			file.Devices = file.Devices[1:]
			file.Parameters = nil
			_, err := d.Apply(context.Background(), file, hotdesk.ApplyOptions{Prune: true})
			return err
		},
	} {
		t.Run(way, func(t *testing.T) {
			d := newDesk(t)
			d.office("move")
			ctx := context.Background()
			p, err := d.Phone("HD0001")
			if err != nil {
				t.Fatal(err)
			}
			d.live.Registered("HD0001", hotdesk.Registration{Contact: "sip:x", Source: "udp:192.0.2.1:5060"})
			d.live.Stale("HD0001", true)
			d.live.TurnAway(p.Device, "roma", "192.0.2.1:40000")
			d.live.NoteRequest(hotdesk.ProvisioningRequest{Device: "HD0001"})
			if err := errors.Join(d.Fetched(ctx, "HD0001", 1), d.Prove(ctx, "HD0001", 1)); err != nil {
				t.Fatal(err)
			}
			d.apply(hotdesk.Desired{Parameters: []hotdesk.Parameter{{Layer: "device", ID: "HD0001", Values: map[string]string{"a.b": "c"}}}})
			if _, err := d.login("HD0001", "101", "9999"); err == nil {
				t.Fatal("a wrong PIN is right")
			}
			if err := remove(d); err != nil {
				t.Fatal(err)
			}
			if r, ok := d.live.Registration("HD0001"); ok {
				t.Errorf("still registered: %+v", r)
			}
			if _, away := d.live.TurnedAway("HD0001"); away || d.live.IsStale("HD0001") || len(d.live.Requests("HD0001", "")) != 0 {
				t.Error("its fetches or its state are still remembered")
			}
			for _, key := range []string{
				"/device/HD0001", "/mac/" + mac(0).String(), "/fetched/HD0001", "/hold/HD0001", "/throttle/d/HD0001", "/param/device/HD0001", "/uses/device/HD0001", "/uses/mac/" + mac(0).String(),
			} {
				if d.has(key) {
					t.Errorf("%s is still stored", key)
				}
			}
		})
	}
}

// has tells whether the store has a key.
func (d *desk) has(key string) (ok bool) {
	d.t.Helper()
	err := d.store.View(context.Background(), func(r hotdesk.Reader) (err error) {
		_, ok, err = r.Get(key)
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return ok
}

// Opening a blocked device gives it a new secret and a new version, by the command and
// by a file: what was known of it while it was shut is no use for long.
func TestField_F9UnblockRaisesTheSecret(t *testing.T) {
	for way, unblock := range map[string]func(*desk) error{
		"device unblock": func(d *desk) error { return d.Unblock(context.Background(), "HD0001", "admin") },
		"apply": func(d *desk) error {
			_, err := d.Apply(context.Background(), hotdesk.Desired{Devices: []hotdesk.DeviceSpec{{MAC: mac(0).String(), Blocked: ptr(false)}}}, hotdesk.ApplyOptions{})
			return err
		},
	} {
		t.Run(way, func(t *testing.T) {
			d := newDesk(t)
			d.office("move")
			if err := d.Block(context.Background(), "HD0001", "admin"); err != nil {
				t.Fatal(err)
			}
			before, err := d.Phone("HD0001")
			if err != nil {
				t.Fatal(err)
			}
			if err := unblock(d); err != nil {
				t.Fatal(err)
			}
			after, err := d.Phone("HD0001")
			if err != nil || after.Device.Blocked || after.Device.Generation != before.Device.Generation+1 || after.Device.Wanted != before.Device.Wanted+1 || after.Device.Digest != "" {
				t.Errorf("blocked with generation %d, version %d; opened %+v, %v", before.Device.Generation, before.Device.Wanted, after.Device, err)
			}
		})
	}
}

// The wrong PINs of a user who is removed go too: somebody who gets the number later
// is not locked by them.
func TestField_F9RemovedUserIsNotLocked(t *testing.T) {
	for way, remove := range map[string]func(*desk) error{
		"user remove": func(d *desk) error { return d.RemoveUser(context.Background(), "104", "admin") },
		"apply --prune": func(d *desk) error {
			file := d.Export()
			file.Users = file.Users[:4]
			_, err := d.Apply(context.Background(), file, hotdesk.ApplyOptions{Prune: true})
			return err
		},
	} {
		t.Run(way, func(t *testing.T) {
			d := newDesk(t)
			d.office("move")
			for range 5 {
				for n := range 4 {
					if _, err := d.login(device(n), "104", "9999"); err == nil {
						t.Fatal("a wrong PIN is right")
					}
				}
			}
			if u, err := d.User("104"); err != nil || u.LockedUntil.IsZero() || !d.has("/throttle/u/104") {
				t.Fatalf("104 is not locked: %+v, %v", u, err)
			}
			if err := remove(d); err != nil {
				t.Fatal(err)
			}
			if d.has("/throttle/u/104") {
				t.Error("the lock is still stored")
			}
			d.apply(hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "104", PIN: ptr("5082")}}})
			if u, err := d.User("104"); err != nil || !u.LockedUntil.IsZero() {
				t.Errorf("the next 104 is locked until %v, %v", u.LockedUntil, err)
			}
		})
	}
}

// Where a second phone is allowed, one person may sit at 24 and at no more.
func TestField_F9AtMost24Seats(t *testing.T) {
	d := newDesk(t)
	d.office("allow")
	file := hotdesk.Desired{}
	for n := 4; n < hotdesk.MaxSeats+2; n++ {
		file.Devices = append(file.Devices, hotdesk.DeviceSpec{MAC: mac(n).String(), Model: ptr("yealink-t46u"), Site: ptr("roma")})
	}
	d.apply(file)
	for n := range 24 {
		id := hotdesk.DeviceID(fmt.Sprintf("HD%04d", n+1))
		if _, err := d.login(id, "100", "4071"); err != nil {
			t.Fatalf("seat %d: %v", n+1, err)
		}
	}
	if _, err := d.login("HD0025", "100", "4071"); !errors.Is(err, hotdesk.ErrSecondPhoneRefused) {
		t.Errorf("seat 25: %v", err)
	}
	if _, err := d.login("HD0007", "100", "4071"); err != nil {
		t.Errorf("again at a phone where she sits: %v", err)
	}
	if err := d.logout("HD0007"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.login("HD0025", "100", "4071"); err != nil {
		t.Errorf("in the place of one that she left: %v", err)
	}
	if _, err := d.login("HD0026", "100", "4071"); !errors.Is(err, hotdesk.ErrSecondPhoneRefused) {
		t.Errorf("one too many once more: %v", err)
	}
}
