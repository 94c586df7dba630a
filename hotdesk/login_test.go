package hotdesk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// A login binds the device, a takeover replaces its user in one step, and each
// raises the secret's generation and the wanted version by one.
func TestLoginAndTakeover(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	before, _ := d.Phone("HD0001")
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	if got := d.who("HD0001"); got != "100" {
		t.Errorf("HD0001 has user %q", got)
	}
	after, _ := d.Phone("HD0001")
	if after.Device.Generation != before.Device.Generation+1 || after.Device.Wanted != before.Device.Wanted+1 {
		t.Errorf("generation %d -> %d, wanted %d -> %d; want one more of each",
			before.Device.Generation, after.Device.Generation, before.Device.Wanted, after.Device.Wanted)
	}
	res, err := d.login("HD0001", "101", "4071")
	if err != nil {
		t.Fatal(err)
	}
	if res.Previous != "100" || d.who("HD0001") != "101" {
		t.Errorf("takeover: previous %q, now %q", res.Previous, d.who("HD0001"))
	}
	if u, _ := d.User("100"); len(u.Devices) != 0 {
		t.Errorf("user 100 still rings on %v", u.Devices)
	}
	again, err := d.login("HD0001", "101", "4071")
	if err != nil || !again.Already {
		t.Errorf("second login of the same user: %+v, %v", again, err)
	}
}

// The target site's rule decides what becomes of the user's other phone.
func TestSecondPhone(t *testing.T) {
	for _, c := range []struct {
		rule  string
		err   error
		first hotdesk.Extension // who is left on the first phone
		now   hotdesk.Extension
		moved []hotdesk.DeviceID
	}{
		{"move", nil, "", "100", []hotdesk.DeviceID{"HD0001"}},
		{"allow", nil, "100", "100", nil},
		{"refuse", hotdesk.ErrSecondPhoneRefused, "100", "", nil},
	} {
		t.Run(c.rule, func(t *testing.T) {
			d := newDesk(t)
			d.office(c.rule)
			if _, err := d.login("HD0001", "100", "4071"); err != nil {
				t.Fatal(err)
			}
			res, err := d.login("HD0002", "100", "4071")
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if !slices.Equal(res.Moved, c.moved) {
				t.Errorf("moved %v, want %v", res.Moved, c.moved)
			}
			if d.who("HD0001") != c.first || d.who("HD0002") != c.now {
				t.Errorf("HD0001 %q, HD0002 %q", d.who("HD0001"), d.who("HD0002"))
			}
		})
	}
}

// Every refused login leaves the old state as it was.
func TestLoginRefused(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	ctx := context.Background()
	d.apply(hotdesk.Desired{
		Users: []hotdesk.UserSpec{
			{Extension: "102", Enabled: ptr(false)},
			{Extension: "103", HotDesk: ptr(false)},
		},
		Devices: []hotdesk.DeviceSpec{{MAC: mac(2).String(), Type: ptr("fixed"), DefaultUser: ptr("104")}},
	})
	if err := d.Block(ctx, "HD0004", "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	d.live.LegUp("HD0002", "other-call")
	for _, c := range []struct {
		name   string
		device hotdesk.DeviceID
		user   hotdesk.Extension
		pin    hotdesk.Secret
		want   error
	}{
		{"wrong PIN", "HD0001", "101", "9999", hotdesk.ErrNoMatch},
		{"unknown user", "HD0001", "555", "4071", hotdesk.ErrNoMatch},
		{"disabled user", "HD0001", "102", "4071", hotdesk.ErrNoMatch},
		{"not enabled for hot-desking", "HD0001", "103", "4071", hotdesk.ErrNotHotDesk},
		{"fixed device", "HD0003", "101", "4071", hotdesk.ErrFixedDevice},
		{"blocked device", "HD0004", "101", "4071", hotdesk.ErrBlocked},
		{"another call is up", "HD0002", "101", "4071", hotdesk.ErrDeviceInCall},
		{"no such device", "HD0099", "101", "4071", hotdesk.ErrNotFound},
	} {
		if _, err := d.login(c.device, c.user, c.pin); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
		if got := d.who("HD0001"); got != "100" {
			t.Fatalf("%s: HD0001 has user %q now", c.name, got)
		}
	}
	if got := d.who("HD0003"); got != "104" {
		t.Errorf("the fixed device rings for %q, want its default user", got)
	}
}

// An administrator's or timer's logout is held back in a call and for an hour
// after an emergency call; the person at the desk is not.
func TestLogoutHeldBack(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	ctx := context.Background()
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	admin := hotdesk.LogoutRequest{Device: "HD0001", By: hotdesk.ByAdmin}
	d.live.LegUp("HD0001", "a-call")
	if _, err := d.Logout(ctx, admin); !errors.Is(err, hotdesk.ErrDeviceInCall) {
		t.Errorf("in a call: %v", err)
	}
	d.live.LegDown("HD0001", "a-call")
	if err := d.HoldEmergency(ctx, "HD0001"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Logout(ctx, admin); !errors.Is(err, hotdesk.ErrEmergencyHold) {
		t.Errorf("after an emergency call: %v", err)
	}
	for what, r := range map[string]hotdesk.LoginRequest{
		"somebody else here":        {Device: "HD0001", User: "101", By: hotdesk.ByAPI},
		"the same person elsewhere": {Device: "HD0002", User: "100", By: hotdesk.ByAPI},
	} {
		if _, err := d.Login(ctx, r); !errors.Is(err, hotdesk.ErrEmergencyHold) {
			t.Errorf("logging in %s from afar after an emergency call: %v", what, err)
		}
	}
	d.live.LegUp("HD0001", "her call")
	d.clock.add(61 * time.Minute) // the hold is over, the call is not
	if _, err := d.Login(ctx, hotdesk.LoginRequest{Device: "HD0002", User: "100", By: hotdesk.ByAPI}); !errors.Is(err, hotdesk.ErrDeviceInCall) {
		t.Errorf("moving somebody out of a call from afar: %v", err)
	}
	d.live.LegDown("HD0001", "her call")
	if err := d.HoldEmergency(ctx, "HD0001"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.login("HD0001", "101", "4071"); err != nil {
		t.Errorf("taking over at the desk after an emergency call: %v", err)
	}
	d.clock.add(61 * time.Minute)
	if _, err := d.Logout(ctx, admin); err != nil {
		t.Errorf("an hour later: %v", err)
	}
	if err := d.logout("HD0001"); !errors.Is(err, hotdesk.ErrNobody) {
		t.Errorf("logout of an idle phone: %v", err)
	}
}

// Logging a user out everywhere from afar ends nothing while one of the phones is in
// a call or in an emergency hold, whichever it is; at the desk *77*6* may.
func TestLogoutUserHeldBack(t *testing.T) {
	for _, held := range []hotdesk.DeviceID{"HD0001", "HD0002"} {
		d := newDesk(t)
		d.office("allow")
		ctx := context.Background()
		for _, id := range []hotdesk.DeviceID{"HD0001", "HD0002"} {
			if _, err := d.login(id, "100", "4071"); err != nil {
				t.Fatal(err)
			}
		}
		d.live.LegUp(held, "a-call")
		if _, err := d.LogoutUser(ctx, "100", hotdesk.LogoutRequest{By: hotdesk.ByAdmin}); !errors.Is(err, hotdesk.ErrDeviceInCall) {
			t.Errorf("%s in a call: %v", held, err)
		}
		d.live.LegDown(held, "a-call")
		if err := d.HoldEmergency(ctx, held); err != nil {
			t.Fatal(err)
		}
		if _, err := d.LogoutUser(ctx, "100", hotdesk.LogoutRequest{By: hotdesk.ByAPI}); !errors.Is(err, hotdesk.ErrEmergencyHold) {
			t.Errorf("%s in a hold: %v", held, err)
		}
		if d.who("HD0001") != "100" || d.who("HD0002") != "100" {
			t.Error("a session was ended")
		}
		if _, err := d.Logout(ctx, hotdesk.LogoutRequest{Device: "HD0001", By: hotdesk.ByIVR, Everywhere: true}); err != nil {
			t.Errorf("at the desk: %v", err)
		}
	}
}

// *77*6* ends every session of the user who sits here and nobody else's.
func TestLogoutEverywhere(t *testing.T) {
	d := newDesk(t)
	d.office("allow")
	for id, ext := range map[hotdesk.DeviceID]hotdesk.Extension{"HD0001": "100", "HD0002": "100", "HD0003": "101"} {
		if _, err := d.login(id, ext, "4071"); err != nil {
			t.Fatal(err)
		}
	}
	res, err := d.Logout(context.Background(), hotdesk.LogoutRequest{Device: "HD0002", By: hotdesk.ByIVR, Everywhere: true})
	if err != nil || len(res.Ended) != 2 || res.Ended[0].Device != "HD0002" {
		t.Fatalf("ended %+v, %v", res.Ended, err)
	}
	if d.who("HD0001") != "" || d.who("HD0002") != "" || d.who("HD0003") != "101" {
		t.Errorf("left: %q %q %q", d.who("HD0001"), d.who("HD0002"), d.who("HD0003"))
	}
}

// Five wrong PINs lock the pair for a minute, then two, up to fifteen; tries
// while it is locked do not count, and a right PIN then is like a wrong one.
func TestPairThrottle(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	for round, minutes := range []int{1, 2, 4, 8, 15, 15} {
		for try := range 5 {
			if _, err := d.login("HD0001", "100", "9999"); !errors.Is(err, hotdesk.ErrNoMatch) {
				t.Fatalf("round %d try %d: %v", round, try, err)
			}
			d.clock.add(3 * time.Minute) // keeps the device and the lock before out of the way
			if try == 4 {
				d.clock.add(-3 * time.Minute)
			}
		}
		d.clock.add(time.Duration(minutes)*time.Minute - time.Second)
		if _, err := d.login("HD0001", "100", "4071"); !errors.Is(err, hotdesk.ErrNoMatch) {
			t.Fatalf("round %d: a right PIN just before the end of the lock: %v", round, err)
		}
		d.clock.add(16 * time.Minute) // past the user's own lock too
		if round < 5 {
			continue
		}
		if _, err := d.login("HD0001", "100", "4071"); err != nil {
			t.Fatalf("a right PIN after the lock: %v", err)
		}
	}
}

// Ten wrong PINs in ten minutes lock a device, whoever they were for, and a
// user who was right is not charged.
func TestDeviceThrottle(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	for range 20 {
		if _, err := d.login("HD0001", "100", "4071"); err != nil {
			t.Fatalf("right PINs must not lock: %v", err)
		}
	}
	for n := range 10 {
		if d.Locked("HD0001") {
			t.Fatalf("locked after %d", n)
		}
		if _, err := d.login("HD0001", hotdesk.Extension(fmt.Sprint(500+n%3)), "9999"); !errors.Is(err, hotdesk.ErrNoMatch) {
			t.Fatal(err)
		}
		if n == 4 {
			d.clock.add(70 * time.Second) // the shared pair of unknown extensions
		}
	}
	if !d.Locked("HD0001") {
		t.Fatal("not locked after ten")
	}
	if _, err := d.login("HD0001", "101", "4071"); !errors.Is(err, hotdesk.ErrNoMatch) {
		t.Errorf("a right PIN on a locked device: %v", err)
	}
	if _, err := d.login("HD0002", "101", "4071"); err != nil {
		t.Errorf("the same user on another phone: %v", err)
	}
	d.clock.add(5 * time.Minute)
	if d.Locked("HD0001") {
		t.Error("still locked after five minutes")
	}
}

// An administrator's unlock lets people log in at a locked phone at once, also whom
// five wrong PINs have locked out at this phone alone.
func TestUnlockDevice(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	for n := range 10 {
		if _, err := d.login("HD0001", hotdesk.Extension(fmt.Sprint(100+n%3)), "9999"); !errors.Is(err, hotdesk.ErrNoMatch) {
			t.Fatal(err)
		}
	}
	if !d.Locked("HD0001") {
		t.Fatal("not locked after ten")
	}
	if err := d.UnlockDevice(context.Background(), "HD0001", "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.login("HD0001", "103", "4071"); err != nil || d.Locked("HD0001") {
		t.Errorf("a right PIN after the unlock: %v", err)
	}
	for range 5 {
		if _, err := d.login("HD0002", "104", "9999"); !errors.Is(err, hotdesk.ErrNoMatch) {
			t.Fatal(err)
		}
	}
	if _, err := d.login("HD0002", "104", "4071"); !errors.Is(err, hotdesk.ErrNoMatch) {
		t.Fatalf("the pair is not locked: %v", err)
	}
	if err := d.UnlockDevice(context.Background(), "HD0002", "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.login("HD0002", "104", "4071"); err != nil {
		t.Errorf("the pair after the unlock: %v", err)
	}
	if err := d.UnlockDevice(context.Background(), "HD0099", "test"); !errors.Is(err, hotdesk.ErrNotFound) {
		t.Errorf("an unknown device: %v", err)
	}
}

// A try that was never compared, because too many others waited, is not counted.
func TestBusyIsNotCharged(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	for range 30 {
		if _, err := d.login("HD0001", "100", busyPIN); !errors.Is(err, hotdesk.ErrBusy) {
			t.Fatal(err)
		}
	}
	if d.Locked("HD0001") {
		t.Error("the device is locked")
	}
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Errorf("a right PIN afterwards: %v", err)
	}
}

// The counters survive a restart of the server.
func TestThrottleSurvivesRestart(t *testing.T) {
	path := t.TempDir() + "/test.db"
	c := &clock{at: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	d := openDesk(t, path, c)
	d.office("move")
	for range 5 {
		if _, err := d.login("HD0001", "100", "9999"); !errors.Is(err, hotdesk.ErrNoMatch) {
			t.Fatal(err)
		}
	}
	d.stop()
	d = openDesk(t, path, c)
	if _, err := d.login("HD0001", "100", "4071"); !errors.Is(err, hotdesk.ErrNoMatch) {
		t.Errorf("a right PIN while locked, after the restart: %v", err)
	}
	c.add(time.Minute)
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Errorf("after the lock: %v", err)
	}
}

// Every generation from the proven one to the current one is accepted, with no
// clock; a proof ends all lower ones.
func TestGenerations(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	ctx := context.Background()
	accepted := func() (list []uint64) {
		creds, _, _ := d.Credentials("HD0001")
		for _, c := range creds {
			list = append(list, c.Generation)
		}
		return list
	}
	if err := d.Prove(ctx, "HD0001", 1); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := d.Rotate(ctx, "HD0001", false, "test"); err != nil {
			t.Fatal(err)
		}
	}
	d.clock.add(24 * time.Hour)
	if got, want := accepted(), []uint64{4, 3, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("after three rotations and a day: %v, want %v", got, want)
	}
	if err := d.Prove(ctx, "HD0001", 3); err != nil {
		t.Fatal(err)
	}
	if got, want := accepted(), []uint64{4, 3}; !slices.Equal(got, want) {
		t.Errorf("after a proof of 3: %v, want %v", got, want)
	}
	if err := d.Rotate(ctx, "HD0001", true, "test"); err != nil {
		t.Fatal(err)
	}
	if got, want := accepted(), []uint64{5}; !slices.Equal(got, want) {
		t.Errorf("after rotate --now: %v, want %v", got, want)
	}
}

// A right PIN that is refused for another reason is no failed try.
func TestRightPINRefusedIsNotCharged(t *testing.T) {
	d := newDesk(t)
	d.office("refuse")
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		if _, err := d.login("HD0002", "100", "4071"); !errors.Is(err, hotdesk.ErrSecondPhoneRefused) {
			t.Fatalf("got %v, want ErrSecondPhoneRefused each time", err)
		}
	}
	if d.Locked("HD0002") {
		t.Error("the device is locked")
	}
}

// A device that somebody sits at cannot be made a fixed one: nobody could log out
// there any more.
func TestNoFixedDeviceUnderSomebody(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	fixed := hotdesk.DeviceSpec{MAC: mac(0).String(), Type: ptr("fixed"), DefaultUser: ptr("101")}
	if _, err := d.Apply(context.Background(), hotdesk.Desired{Devices: []hotdesk.DeviceSpec{fixed}}, hotdesk.ApplyOptions{}); !errors.Is(err, hotdesk.ErrInUse) {
		t.Errorf("apply: %v", err)
	}
	if err := d.UpdateDevice(context.Background(), "HD0001", fixed, "test"); !errors.Is(err, hotdesk.ErrInUse) {
		t.Errorf("change: %v", err)
	}
	if err := d.logout("HD0001"); err != nil {
		t.Fatal(err)
	}
	if err := d.UpdateDevice(context.Background(), "HD0001", fixed, "test"); err != nil {
		t.Errorf("after the logout: %v", err)
	}
}
