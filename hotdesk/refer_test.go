package hotdesk_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// Nothing is removed that something else has begun to use meanwhile, and nothing
// begins to use what was removed meanwhile: whichever of the two comes first holds,
// the other is refused; every phone's emergency calls keep their way out, and what
// is exported can be applied.
func TestNothingIsLeftWithoutWhatItNames(t *testing.T) {
	ctx, by := context.Background(), "test"
	apply := func(file hotdesk.Desired) func(*hotdesk.Service) error {
		return func(s *hotdesk.Service) error {
			_, err := s.Apply(ctx, file, hotdesk.ApplyOptions{})
			return err
		}
	}
	prune := func(cut func(*hotdesk.Desired)) func(*hotdesk.Service) error {
		return func(s *hotdesk.Service) error {
			file := s.Export()
			cut(&file)
			_, err := s.Apply(ctx, file, hotdesk.ApplyOptions{Prune: true})
			return err
		}
	}
	removals := map[string]map[string]func(*hotdesk.Service) error{
		"site": {
			"removed": func(s *hotdesk.Service) error { return s.RemoveSite(ctx, "milano", by) },
			"pruned":  prune(func(d *hotdesk.Desired) { d.Sites = d.Sites[1:] }), // milano is the first
		},
		"user": {
			"removed": func(s *hotdesk.Service) error { return s.RemoveUser(ctx, "104", by) },
			"pruned":  prune(func(d *hotdesk.Desired) { d.Users = d.Users[:4] }), // 104 is the last
		},
		"pbx": {
			"pruned": prune(func(d *hotdesk.Desired) { d.PBX = d.PBX[:1] }), // spare is the second
		},
		"device": {
			"removed": func(s *hotdesk.Service) error { return s.RemoveDevice(ctx, "HD0004", by) },
			"pruned":  prune(func(d *hotdesk.Desired) { d.Devices = d.Devices[:3] }),
		},
	}
	fixed := hotdesk.DeviceSpec{MAC: mac(0).String(), Type: ptr("fixed"), DefaultUser: ptr("104")}
	users := map[string]map[string]func(*hotdesk.Service) error{
		"site": {
			"a device moves in": func(s *hotdesk.Service) error {
				return s.UpdateDevice(ctx, "HD0001", hotdesk.DeviceSpec{Site: ptr("milano")}, by)
			},
			"a device is applied to it": apply(hotdesk.Desired{Devices: []hotdesk.DeviceSpec{{MAC: mac(0).String(), Site: ptr("milano")}}}),
			"a device is made there": func(s *hotdesk.Service) error {
				_, err := s.AddDevice(ctx, hotdesk.DeviceSpec{MAC: mac(9).String(), Model: ptr("yealink-t46u"), Site: ptr("milano")}, by)
				return err
			},
			"a parameter": apply(hotdesk.Desired{Parameters: []hotdesk.Parameter{{Layer: "site", ID: "milano", Values: map[string]string{"a.b": "1"}}}}),
		},
		"user": {
			"a device becomes theirs":       func(s *hotdesk.Service) error { return s.UpdateDevice(ctx, "HD0001", fixed, by) },
			"a device is applied as theirs": apply(hotdesk.Desired{Devices: []hotdesk.DeviceSpec{fixed}}),
			"a parameter":                   apply(hotdesk.Desired{Parameters: []hotdesk.Parameter{{Layer: "user", ID: "104", Values: map[string]string{"a.b": "1"}}}}),
			"another PIN":                   func(s *hotdesk.Service) error { return s.SetPIN(ctx, "104", "7283", by) },
		},
		"pbx": {
			"an emergency route": apply(hotdesk.Desired{Sites: []hotdesk.SiteSpec{{Name: "roma", Emergency: &hotdesk.EmergencySpec{Routes: []hotdesk.EmergencyRoute{{PBX: "spare"}, {PBX: "main"}}}}}}),
			"a user's account":   apply(hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "100", PBX: &hotdesk.UserPBXSpec{Name: "spare"}}}}),
			"another proxy":      apply(hotdesk.Desired{PBX: []hotdesk.PBXSpec{{Name: "spare", Proxy: ptr("127.0.0.1:5099")}}}),
		},
		"device": {
			"a parameter by id":  apply(hotdesk.Desired{Parameters: []hotdesk.Parameter{{Layer: "device", ID: "HD0004", Values: map[string]string{"a.b": "1"}}}}),
			"a parameter by MAC": apply(hotdesk.Desired{Parameters: []hotdesk.Parameter{{Layer: "device", ID: mac(3).String(), Values: map[string]string{"a.b": "1"}}}}),
		},
	}
	run := func(t *testing.T, late, early func(*hotdesk.Service) error, mayBoth bool) {
		d := newDesk(t)
		d.office("move")
		d.apply(hotdesk.Desired{
			Sites: []hotdesk.SiteSpec{{Name: "milano"}},
			PBX:   []hotdesk.PBXSpec{{Name: "spare", Mode: ptr("trunk"), Proxy: ptr("127.0.0.1:5081")}},
		})
		sw := &unavailable{Store: d.store}
		s := d.second(sw, quickVault{})
		sw.before = func() {
			if err := early(d.Service); err != nil {
				t.Errorf("the first: %v", err)
			}
		}
		err := late(s)
		if sw.before != nil {
			t.Fatalf("the second wrote nothing: %v", err)
		}
		known := errors.Is(err, hotdesk.ErrConflict) || errors.Is(err, hotdesk.ErrInUse) || errors.Is(err, hotdesk.ErrNotFound)
		if !known && (!mayBoth || err != nil) {
			t.Errorf("the second: %v", err)
		}
		if err := d.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		if res := d.apply(d.Export()); len(res.Changes) != 0 {
			t.Errorf("the export changes %q", res.Changes)
		}
		for _, p := range d.Phones() {
			r := d.Route(p.Device.ID, "112")
			if _, err := d.Site(p.Device.Site); err != nil || r.Kind != hotdesk.RouteEmergency || p.Device.Site == "roma" && len(r.PBX) == 0 {
				t.Errorf("112 from %s: %+v; site: %v", p.Device.ID, r, err)
			}
		}
	}
	for kind, uses := range users {
		for how, remove := range removals[kind] {
			for what, use := range uses {
				t.Run(kind+" "+how+" after "+what, func(t *testing.T) { run(t, remove, use, kind == "device") })
				t.Run(what+" after the "+kind+" was "+how, func(t *testing.T) { run(t, use, remove, false) })
			}
		}
	}
}

// A device whose site is not in the store, which only damage can bring about, still
// calls emergency numbers: those of all sites, by the ways out of all sites.
func TestEmergencyWithoutTheSite(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	if _, err := d.store.Update(context.Background(), func(tx hotdesk.Txn) error {
		kv, _, err := tx.Get("/site/roma")
		tx.Put("/site/torino", kv.Value)
		tx.Delete("/site/roma")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := d.Settle(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r := d.Route("HD0001", "113"); r.Kind != hotdesk.RouteEmergency || len(r.PBX) != 1 || r.PBX[0].Name != "main" {
		t.Errorf("113: %+v", r)
	}
	if r := d.Route("HD0001", "0299887766"); r.Kind != hotdesk.RouteRefuse {
		t.Errorf("an outside number: %+v", r)
	}
}

// A user whose extension becomes an emergency number while the user is being made is
// refused, and so is the number while such a user comes.
func TestNoExtensionHidesANumberThatCameMeanwhile(t *testing.T) {
	number := hotdesk.Desired{Sites: []hotdesk.SiteSpec{{Name: "roma", Emergency: &hotdesk.EmergencySpec{Numbers: []string{"112", "113", "118"}}}}}
	user := hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "118", PIN: ptr("905172")}}}
	d := newDesk(t)
	d.office("move")
	sw := &unavailable{Store: d.store}
	s := d.second(sw, quickVault{})
	sw.before = func() { d.apply(number) }
	if _, err := s.Apply(context.Background(), user, hotdesk.ApplyOptions{}); !errors.Is(err, hotdesk.ErrConflict) {
		t.Errorf("user 118, made while 118 became an emergency number: %v", err)
	}
	if res := d.apply(d.Export()); len(res.Changes) != 0 {
		t.Errorf("the export changes %q", res.Changes)
	}
}

// In an emergency hold nobody who is not at the desk changes the device, by any way;
// when the hold ends, everybody may.
func TestHeldDeviceStaysAsItIs(t *testing.T) {
	ctx, by := context.Background(), "test"
	d := newDesk(t)
	d.office("move")
	apply := func(spec hotdesk.DeviceSpec) func() error {
		return func() error {
			spec.MAC = mac(0).String()
			_, err := d.Apply(ctx, hotdesk.Desired{Devices: []hotdesk.DeviceSpec{spec}}, hotdesk.ApplyOptions{})
			return err
		}
	}
	update := func(spec hotdesk.DeviceSpec) func() error {
		return func() error { return d.UpdateDevice(ctx, "HD0001", spec, by) }
	}
	ways := map[string]func() error{
		"rotate":           func() error { return d.Rotate(ctx, "HD0001", false, by) },
		"rotate now":       func() error { return d.Rotate(ctx, "HD0001", true, by) },
		"block":            func() error { return d.Block(ctx, "HD0001", by) },
		"unblock":          func() error { return d.Unblock(ctx, "HD0001", by) },
		"release":          func() error { return d.Release(ctx, "HD0001", by) },
		"transport":        update(hotdesk.DeviceSpec{Transport: ptr("tcp")}),
		"default user":     update(hotdesk.DeviceSpec{DefaultUser: ptr("103")}),
		"desk":             update(hotdesk.DeviceSpec{Desk: ptr("9-9")}),
		"applied block":    apply(hotdesk.DeviceSpec{Blocked: ptr(true)}),
		"applied language": apply(hotdesk.DeviceSpec{Language: ptr("it")}),
		"applied type":     apply(hotdesk.DeviceSpec{Type: ptr("fixed"), DefaultUser: ptr("104")}),
	}
	if err := d.HoldEmergency(ctx, "HD0001"); err != nil {
		t.Fatal(err)
	}
	before, _ := d.Phone("HD0001")
	for way, do := range ways {
		if err := do(); !errors.Is(err, hotdesk.ErrEmergencyHold) {
			t.Errorf("%s: %v", way, err)
		}
	}
	if after, _ := d.Phone("HD0001"); after.Device != before.Device {
		t.Errorf("the device became %+v", after.Device)
	}
	d.clock.add(2 * time.Hour)
	for _, way := range []string{"rotate now", "unblock", "transport", "applied language"} {
		if err := ways[way](); err != nil {
			t.Errorf("%s after the hold: %v", way, err)
		}
	}
}
