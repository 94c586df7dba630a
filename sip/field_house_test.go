package sip

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/registrar"
)

// Who sends calls by a registered contact is looked up while the PBXes are looked
// after: neither sees half of what the other writes (run with the race detector).
func TestField_F3LookingUpAContactWhilePBXesAreLookedAfter(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		o.desk(1, "100")
		sleep(3 * time.Second)
		contact := r.at("auth100")
		if len(contact) == 0 {
			contact = r.at("100")
		}
		if len(contact) == 0 {
			t.Fatal("nobody is registered")
		}
		c := registrar.URI(contact[0])
		ctx, cancel := context.WithCancel(context.Background())
		pause := func() { <-time.NewTimer(100 * time.Millisecond).C }
		var all sync.WaitGroup
		all.Go(func() {
			for ctx.Err() == nil {
				if _, user, ok := o.edge.pbx.Called(c.User); !ok || user != "100" {
					t.Error("the contact is not known")
				}
				pause()
			}
		})
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := o.edge.TestPBX(ctx, "main"); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				pause()
			}
		})
		sleep(3 * time.Second)
		cancel()
		all.Wait()
	})
}

// The figures of the design, as figures: four calls of one device at the attendant.
func TestField_F9FourVisits(t *testing.T) {
	inOffice(t, func(o *office) {
		o.attend = func(context.Context, Visit) (Conversation, error) { return &talk{}, nil }
		p := o.phone(1)
		p.register()
		for range 4 {
			p.invite("*77*", "v=0").answered("")
		}
		p.invite("*77*", "v=0").refused("486 INVITE")
	})
}

// A phone that declines counts as busy also when another one has failed otherwise
// before it.
func TestField_F9DeclinedIsBusy(t *testing.T) {
	for _, first := range []int{480, 408, 500} {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, one, two := o.desk(1, "100"), o.desk(2, "101"), o.desk(3, "101")
				a := anna.invite("101", "v=0")
				r1, r2 := one.ring(), two.ring()
				anna.drop()
				r1.reply(first, "No", "")
				one.expect("ACK")
				r2.reply(603, "Decline", "")
				two.expect("ACK")
				a.refused("486 INVITE")
				o.recorded("busy", "")
			})
		})
	}
}

// At most 20 registrations a second begin at a PBX, however many are due.
func TestField_F9RegistrationsArePaced(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		var file hotdesk.Desired
		for n := range 60 {
			ext := fmt.Sprint(200 + n)
			r.mu.Lock()
			r.passwords[ext] = "p" + ext
			r.mu.Unlock()
			file.Users = append(file.Users, hotdesk.UserSpec{Extension: ext, Name: ptr("U"), PIN: ptr("4071"), PBX: &hotdesk.UserPBXSpec{Name: "main", Secret: ptr("p")}})
			file.Devices = append(file.Devices, hotdesk.DeviceSpec{
				MAC: hotdesk.MAC{0x80, 0x5e, 0xc0, 1, 0, byte(n + 1)}.String(), Model: ptr("yealink-t46u"), Site: ptr("roma"), Desk: ptr(fmt.Sprint("9-", n)),
				Type: ptr(string(hotdesk.Fixed)), DefaultUser: ptr(ext),
			})
		}
		if _, err := o.Apply(context.Background(), file, hotdesk.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		sleep(1900 * time.Millisecond)
		done := 0
		for n := range 60 {
			done += min(1, len(r.of(fmt.Sprint(200+n))))
		}
		if done < 20 || done > 40 {
			t.Errorf("%d of 60 users were registered in two seconds, want 20 to 40", done)
		}
		sleep(3 * time.Second)
		for n := range 60 {
			if len(r.of(fmt.Sprint(200+n))) == 0 {
				t.Errorf("user %d was never registered", 200+n)
			}
		}
	})
}

// A request with a PBX's tags from another host is not the PBX's: it ends nothing.
func TestField_F9AnotherHostInAPBXsDialog(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, trunk := o.desk(1, "104"), o.trunk()
		a := anna.invite("0612345", "v=0")
		b := trunk.ring()
		anna.expect("180 INVITE")
		b.reply(200, "OK", "v=0")
		trunk.expect("ACK")
		a.answered("")
		thief := o.plug("203.0.113.9:5060")
		stolen := *b
		stolen.p = thief
		stolen.do("BYE", "", "")
		if res := thief.asResponse(thief.read(time.Minute)); res.StatusCode < 400 {
			t.Errorf("a stranger's BYE gets %d", res.StatusCode)
		}
		anna.silent(time.Second)
		if busy, _ := o.live.InCall("HD0001", ""); !busy {
			t.Error("the call is over")
		}
	})
}
