package sip

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// setPBX changes the PBX "main".
func (o *office) setPBX(spec hotdesk.PBXSpec) {
	o.t.Helper()
	spec.Name = "main"
	if _, err := o.Apply(context.Background(), hotdesk.Desired{PBX: []hotdesk.PBXSpec{spec}}, hotdesk.ApplyOptions{}); err != nil {
		o.t.Fatal(err)
	}
}

// An Asterisk reads P-Asserted-Identity and Remote-Party-ID only: with identity set so,
// the site's number reaches it in an emergency call, also of somebody who is logged in,
// and so does the number of an ordinary caller; the account stays the one in From.
func TestField_S30NumberReachesThePBX(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		o.setPBX(hotdesk.PBXSpec{Identity: []string{"pai", "rpid"}})
		anna := o.desk(1, "100")
		sleep(2 * time.Second)
		anna.dial("112", "v=0", "").refused("486 INVITE")
		anna.invite("0612345", "v=0").refused("486 INVITE")
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, want := range []struct{ from, number string }{{"emergency", "+390612345600"}, {"100", "100"}} {
			req := r.invites[i]
			for _, name := range []string{"P-Asserted-Identity", "Remote-Party-ID"} {
				if h := req.GetHeader(name); h == nil || !strings.Contains(h.Value(), "<sip:"+want.number+"@pbx.example>") {
					t.Errorf("call to %s: %s is %v, want %s", req.Recipient.User, name, h, want.number)
				}
			}
			if req.GetHeader("P-Preferred-Identity") != nil || req.From().Address.User != want.from {
				t.Errorf("call to %s: From %s\n%s", req.Recipient.User, req.From().Address.User, req)
			}
		}
	})
}

// A request belongs to the PBX when it comes from one of its addresses, whatever the
// port: an INVITE from another socket of the PBX's host rings the phone. Another host
// is challenged, and so is a request of a phone that shares the PBX's address.
func TestField_S9AnyPortOfThePBX(t *testing.T) {
	inOffice(t, func(o *office) {
		bob := o.desk(2, "101")
		other := o.plug("192.0.2.100:5061")
		other.user = "0698765"
		other.dial("101", "v=0", "")
		if b := bob.ring(); b.invite.From().Address.User != "0698765" {
			t.Errorf("the phone sees %s", b.invite.From().Value())
		}
		stranger := o.plug("192.0.2.101:5060")
		stranger.user = "0698765"
		stranger.dial("101", "v=0", "").refused("401 INVITE")
		phone := o.plug("192.0.2.100:5070")
		phone.user = "HD0003"
		phone.dial("101", "v=0", "").refused("401 INVITE")
		phone.id, phone.user, phone.gen = "HD0003", "102", o.generation("HD0003")
		phone.register()
		moved := o.plug("192.0.2.100:5071")
		moved.user = "102"
		moved.dial("101", "v=0", "").refused("401 INVITE")
	})
}

// A PBX that is given sources is known by them alone; one that is known by name, by
// every address of the name, of its proxy and of its domain.
func TestField_S9Sources(t *testing.T) {
	inOffice(t, func(o *office) {
		bob := o.desk(2, "101")
		rings := func(at string, want bool) {
			t.Helper()
			p := o.plug(at)
			p.user = "0698765"
			d := p.dial("101", "v=0", "")
			if !want {
				d.refused("401 INVITE")
				return
			}
			b := bob.ring()
			p.expect("180 INVITE")
			b.reply(486, "Busy Here", "")
			bob.expect("ACK")
			d.refused("486 INVITE")
		}
		o.setPBX(hotdesk.PBXSpec{Sources: []string{"198.51.100.0/29", "2001:db8::9"}})
		rings("198.51.100.3:40000", true)
		rings("[2001:db8::9]:40000", true)
		rings("198.51.100.9:5060", false)
		o.names.set("pbx.example", "203.0.113.7", "203.0.113.8")
		o.names.set("proxy.example", "203.0.113.6")
		o.setPBX(hotdesk.PBXSpec{Sources: []string{}, Proxy: ptr("proxy.example:5080"), Domain: ptr("pbx.example")})
		sleep(2 * time.Second)
		for _, at := range []string{"203.0.113.6:5060", "203.0.113.7:1024", "203.0.113.8:5060"} {
			rings(at, true)
			if addr := dialog.HostOf(at); !o.edge.pbx.IsSource("main", addr) || o.edge.pbx.IsSource("other", addr) {
				t.Errorf("%s is no source of main, or one of another", at)
			}
		}
		rings("203.0.113.9:5060", false)
		o.edge.knowPBXs()
		if !o.edge.guard.Known("UDP", "203.0.113.8:7777") || o.edge.guard.Known("UDP", "203.0.113.9:5060") {
			t.Error("the guard does not know the PBX's second address, or knows a stranger's")
		}
	})
}

// A PBX with several addresses is there while one of them answers: that is known from
// OPTIONS, so that neither a registration nor a call, nor 112, waits for the silent
// one; and an address that refuses with 503 is left for the next (RFC 3263 section 4.3).
func TestField_S9DNSFailover(t *testing.T) {
	inOffice(t, func(o *office) {
		o.names.set("pbx.example", "192.0.2.100", "192.0.2.60")
		o.setPBX(hotdesk.PBXSpec{Proxy: ptr("pbx.example:5060")})
		idle := o.phone(1)
		idle.register()
		spare := o.plug(spareAddr)
		called := make(chan struct{}, 10)
		go func() { // it answers OPTIONS
			for msg := spare.receive(time.Hour); msg != nil; msg = spare.receive(time.Hour) {
				if name(msg) == "INVITE" {
					called <- struct{}{}
				}
			}
		}()
		sleep(10 * time.Second)
		if got := o.live.PBX("main"); got.State != hotdesk.PBXUp {
			t.Fatalf("status %+v", got)
		}
		d := idle.dial("112", "v=0", "")
		sleep(50 * time.Millisecond)
		select {
		case <-called:
		default:
			t.Error("the second address has no call after 50 ms")
		}
		d.cancel()
		sleep(time.Second)
		_ = spare.conn.Close()
	})
}

// A registration that finds the first address of a PBX silent is at the second one
// within 4 s.
func TestField_S9DNSRegistration(t *testing.T) {
	inOffice(t, func(o *office) {
		o.names.set("pbx.example", "192.0.2.60", "192.0.2.100")
		r := o.openRegistrar()
		o.setPBX(hotdesk.PBXSpec{Proxy: ptr("pbx.example:5060")})
		sleep(4 * time.Second)
		if len(r.at("emergency")) != 1 {
			t.Error("the account of the PBX is not registered at the second address")
		}
		o.login("HD0001", "100")
		sleep(time.Second) // silence is known by now
		if len(r.at("100")) != 1 {
			t.Error("a registration waits for an address that is known to be silent")
		}
	})
}

// A 503 of one address takes the call to the next one at once.
func TestField_S9DNSUnavailable(t *testing.T) {
	inOffice(t, func(o *office) {
		o.names.set("pbx.example", "192.0.2.100", "192.0.2.60")
		o.setPBX(hotdesk.PBXSpec{Proxy: ptr("pbx.example:5060")})
		main, spare, anna := o.trunk(), o.plug(spareAddr), o.desk(1, "104")
		sleep(time.Second)
		anna.invite("0612345", "v=0")
		first := main.ring()
		began := time.Now()
		first.reply(503, "Service Unavailable", "")
		main.expect("ACK")
		spare.ring()
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("the second address has the call after %s", waited)
		}
	})
}

// crowd seats n people, 200 onwards, at devices of their own: their phones are off.
func (o *office) crowd(r *pbxRegistrar, n int) {
	o.t.Helper()
	ctx := context.Background()
	var file hotdesk.Desired
	for i := range n {
		ext := fmt.Sprint(200 + i)
		r.mu.Lock()
		r.passwords[ext] = "p" + ext
		r.mu.Unlock()
		file.Users = append(file.Users, hotdesk.UserSpec{Extension: ext, PIN: ptr("4071"), PBX: &hotdesk.UserPBXSpec{Name: "main", Secret: ptr("p" + ext)}})
		file.Devices = append(file.Devices, hotdesk.DeviceSpec{MAC: mac(10 + i).String(), Model: ptr("yealink-t46u"), Site: ptr("roma")})
	}
	if _, err := o.Apply(ctx, file, hotdesk.ApplyOptions{}); err != nil {
		o.t.Fatal(err)
	}
	for i := range n {
		if _, err := o.Claim(ctx, mac(10+i), "roma", "test"); err != nil {
			o.t.Fatal(err)
		}
		o.login(hotdesk.DeviceID(fmt.Sprintf("HD%04d", 5+i)), hotdesk.Extension(fmt.Sprint(200+i)))
	}
}

// A PBX that was started anew has forgotten everybody. Within 10 s of its return all
// of a hundred are registered again, at most 20 a second, first the PBX's own account
// and who has a phone that is on; and the number that is shown is what the PBX has
// confirmed since.
func TestField_S32RestartedPBX(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		o.crowd(r, 100)
		o.desk(1, "103")
		sleep(15 * time.Second)
		if got := o.live.PBX("main"); got.Registered != 101 {
			t.Fatalf("%d are registered at first", got.Registered)
		}
		r.mu.Lock()
		r.dead = true
		r.mu.Unlock()
		sleep(45 * time.Second)
		if got := o.live.PBX("main"); got.State != hotdesk.PBXDown || got.Registered != 0 {
			t.Errorf("while it is down: %+v", got)
		}
		r.mu.Lock()
		r.contacts, r.registers, r.times, r.dead = map[string]map[string]string{}, nil, nil, false
		r.mu.Unlock()
		for range 20 {
			sleep(500 * time.Millisecond)
			there, shown := 0, o.live.PBX("main").Registered
			r.mu.Lock()
			for user := range r.contacts {
				if user != "emergency" {
					there++
				}
			}
			r.mu.Unlock()
			if shown > there || shown < there-10 { // a tick late at most
				t.Errorf("%d are shown, %d are registered", shown, there)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.contacts) != 102 {
			t.Errorf("%d are registered 10 s after the return", len(r.contacts))
		}
		first := map[string]bool{}
		for i, req := range r.registers {
			if i < 10 { // the first turn
				first[req.To().Address.User] = true
			}
			if i >= 25 && r.times[i].Sub(r.times[i-25]) < time.Second {
				t.Errorf("25 registrations in %s", r.times[i].Sub(r.times[i-25]))
			}
		}
		if !first["emergency"] || !first["103"] {
			t.Errorf("first %v, want the PBX's account and 103, whose phone is on", first)
		}
	})
}

// A PBX that answers no OPTIONS is seen to have been away by a registration that gets
// no answer; when one gets through again, everybody is registered anew.
func TestField_S32WithoutOptions(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		r.mu.Lock()
		r.noOptions = true
		r.mu.Unlock()
		for n := range 3 {
			o.login(hotdesk.DeviceID(fmt.Sprintf("HD%04d", 1+n)), hotdesk.Extension(fmt.Sprint(101+n)))
			sleep(time.Minute) // their registrations run out apart
		}
		r.mu.Lock()
		r.dead = true
		r.mu.Unlock()
		sleep(2 * time.Minute)
		r.mu.Lock()
		r.contacts, r.dead = map[string]map[string]string{}, false
		r.mu.Unlock()
		there := func() int {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.contacts)
		}
		for there() == 0 {
			sleep(100 * time.Millisecond)
		}
		sleep(5 * time.Second) // a REGISTER that was under way comes again within T2, 4 s
		if n := there(); n != 4 {
			t.Errorf("%d of 4 are registered 5 s after the first", n)
		}
	})
}

// Of two final responses to one REGISTER the first counts (RFC 3261 section 17.1.2.2).
// A registrar that keeps no further contact says so in P-Registrar-Error: that is a
// conflict, told as one, and no wrong password.
func TestField_S33AccountIsFull(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		events, stop := o.events()
		defer stop()
		sleep(2 * time.Second)
		r.mu.Lock()
		r.full = true
		r.mu.Unlock()
		o.login("HD0001", "101")
		sleep(2 * time.Second)
		got := o.live.PBX("main").Failed
		if len(got) != 1 || !strings.HasPrefix(got[0], "user 101: ") || !strings.Contains(got[0], "503, Too many registered contacts") || !strings.Contains(got[0], "max contacts") {
			t.Errorf("told %q", got)
		}
		if n := events("pbx.contact_conflict"); n != 1 {
			t.Errorf("%d conflicts are told", n)
		}
		sleep(9 * time.Minute)
		if n := events("pbx.contact_conflict"); n != 2 || events("pbx.user_failed") != 0 { // the emergency account's, too
			t.Errorf("%d conflicts are told, or a refusal", n)
		}
		r.mu.Lock()
		r.full = false
		r.mu.Unlock()
		sleep(6 * time.Minute)
		if got := o.live.PBX("main"); got.Registered != 1 || len(got.Failed) != 0 {
			t.Errorf("when there is room again: %+v", got)
		}
	})
}
