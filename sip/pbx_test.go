package sip

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// The PBX's own account is registered always, a user while sitting somewhere: with
// one Call-ID, rising CSeq and the same contact, which tells nothing, also after a
// restart. The contact is taken back ten seconds after the last leg, and it alone.
func TestUserRegistrations(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		sleep(2 * time.Second)
		if len(r.at("emergency")) != 1 || len(r.at("100")) != 0 {
			t.Fatalf("registered: %q, %q", r.at("emergency"), r.at("100"))
		}
		o.login("HD0001", "100")
		o.login("HD0002", "100")
		sleep(2 * time.Second)
		first := r.at("100")
		if len(first) != 1 || strings.Contains(first[0], "100") || !strings.HasSuffix(first[0], "@192.0.2.1:5060") {
			t.Fatalf("contacts of 100: %q", first)
		}
		if got := o.live.PBX("main"); got.State != hotdesk.PBXUp || got.Registered != 1 || got.Account != "registered" || len(got.Failed) != 0 {
			t.Errorf("status %+v", got)
		}
		sleep(20 * time.Minute)
		all := r.of("100")
		if n := len(all); n < 4 || n > 8 {
			t.Errorf("%d registrations in 20 minutes", n)
		}
		for i, req := range all {
			if req.CallID().Value() != all[0].CallID().Value() || i > 0 && req.CSeq().SeqNo <= all[i-1].CSeq().SeqNo {
				t.Errorf("registration %d has Call-ID %s, CSeq %d", i, req.CallID().Value(), req.CSeq().SeqNo)
			}
		}

		o.closeEdge()
		o.openEdge()
		sleep(2 * time.Second)
		if again := r.at("100"); !slices.Equal(again, first) {
			t.Errorf("after a restart the contact is %q, was %q", again, first)
		}

		for _, id := range []hotdesk.DeviceID{"HD0001", "HD0002"} {
			if len(r.at("100")) != 1 {
				t.Errorf("not registered any more before %s is logged out", id)
			}
			o.live.LegUp(id, "call")
			if _, err := o.Logout(context.Background(), hotdesk.LogoutRequest{Device: id, By: hotdesk.ByIVR, Call: "call"}); err != nil {
				t.Fatal(err)
			}
		}
		sleep(time.Minute)
		if len(r.at("100")) != 1 {
			t.Error("taken back during the call")
		}
		o.live.LegDown("HD0001", "call")
		o.live.LegDown("HD0002", "call")
		sleep(8 * time.Second)
		if len(r.at("100")) != 1 {
			t.Error("taken back at once")
		}
		sleep(4 * time.Second)
		if got := r.at("100"); len(got) != 0 {
			t.Errorf("still registered: %q", got)
		}
		last := r.of("100")[len(r.of("100"))-1]
		if last.Contact().Address.String() != first[0] {
			t.Errorf("took %s back", last.Contact().Address.String())
		}
	})
}

// A wrong password is tried once more and then seldom; three failures in ten
// minutes stop all that have not worked before, and never those that have. A new
// password is tried at once.
func TestWrongPasswords(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		events, stop := o.events()
		defer stop()
		r.passwords["101"], r.passwords["102"] = "other", "other"
		o.login("HD0001", "101")
		sleep(2 * time.Minute)
		if n := len(r.of("101")); n != 3 { // at once, after 5 s, after a minute
			t.Errorf("101 was tried %d times in two minutes", n)
		}
		o.login("HD0002", "102")
		o.login("HD0003", "103")
		sleep(time.Minute)
		if n := len(r.of("102")) + len(r.of("103")); n != 0 {
			t.Errorf("%d more tries after three failures", n)
		}
		if len(r.at("emergency")) != 1 {
			t.Error("the emergency account suffers")
		}
		got := o.live.PBX("main").Failed
		if len(got) != 3 || !strings.Contains(got[0], "user 101") || !strings.Contains(got[0], "403") {
			t.Fatalf("failed: %q", got)
		}
		for i, user := range []string{"user 102: waits until ", "user 103: waits until "} {
			if !strings.HasPrefix(got[1+i], user) || !strings.Contains(got[1+i], "(user 101)") {
				t.Errorf("failed: %q", got[1+i])
			}
		}
		if n := events("pbx.user_failed"); n != 3 {
			t.Errorf("told %d times", n)
		}
		sleep(12 * time.Minute)
		if len(r.at("103")) != 1 {
			t.Error("103 is not registered when the ten minutes are over")
		}
	})
}

// Who has no secret is never tried with a wrong one, and holds nobody up; a secret
// that has worked is good after its user has left and come again; and when the wrong
// ones are mended, all are tried at once.
func TestWhoIsHeldUp(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		secret := func(user, text string) {
			t.Helper()
			pbx := &hotdesk.UserPBXSpec{Name: "main"}
			if text != "" {
				pbx.Secret = &text
			} else {
				pbx.Sealed = &text
			}
			if _, err := o.Apply(context.Background(), hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: user, PBX: pbx}}}, hotdesk.ApplyOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		o.login("HD0001", "100")
		sleep(2 * time.Second)
		secret("102", "")
		o.login("HD0002", "102")
		sleep(20 * time.Minute)
		if n := len(r.of("102")); n != 0 {
			t.Errorf("102 without a secret: %d answers to a challenge", n)
		}
		if got := o.live.PBX("main").Failed; len(got) != 1 || got[0] != "user 102: the PBX asks for a password and user 102 has none: give pbx.secret" {
			t.Errorf("failed: %q", got)
		}
		r.passwords["101"] = "other"
		o.login("HD0003", "101")
		sleep(2 * time.Minute)
		if _, err := o.Logout(context.Background(), hotdesk.LogoutRequest{Device: "HD0001", By: hotdesk.ByIVR}); err != nil {
			t.Fatal(err)
		}
		sleep(time.Minute)
		o.login("HD0001", "100")
		sleep(2 * time.Second)
		if len(r.at("100")) != 1 {
			t.Error("100, whose secret has worked, is not registered again while 101's is wrong")
		}
		o.login("HD0004", "103")
		sleep(2 * time.Second)
		if len(r.at("103")) != 0 {
			t.Fatal("103 is tried though three were refused")
		}
		r.passwords["101"] = "p101"
		secret("101", "another")
		secret("102", "p102")
		sleep(2 * time.Second)
		for _, user := range []string{"101", "102", "103"} {
			if len(r.at(user)) != 1 {
				t.Errorf("%s is not registered though all is mended: %q", user, o.live.PBX("main").Failed)
			}
		}
		if got := o.live.PBX("main").Failed; len(got) != 0 {
			t.Errorf("failed: %q", got)
		}
	})
}

// events counts events by name from now on.
func (o *office) events() (count func(name string) int, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	seen := map[string]int{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev := range o.live.Events(ctx, o.live.LastEvent()) {
			mu.Lock()
			seen[ev.Name]++
			mu.Unlock()
		}
	}()
	return func(name string) int {
		sleep(10 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		return seen[name]
	}, func() { cancel(); <-done }
}

// Somebody else who is registered as the same user is told, once.
func TestContactConflict(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		events, stop := o.events()
		defer stop()
		r.mu.Lock()
		r.foreign = "sip:softphone@203.0.113.5"
		r.mu.Unlock()
		o.login("HD0001", "101")
		sleep(20 * time.Minute)
		if n := events("pbx.contact_conflict"); n != 2 { // the emergency account's, too
			t.Errorf("told %d times", n)
		}
		if got := o.live.PBX("main").Failed; len(got) != 1 || !strings.Contains(got[0], "another phone") {
			t.Errorf("failed: %q", got)
		}
	})
}

// A call from the PBX to a user's contact rings all the user's phones, from
// wherever it comes; one to the extension only from the PBX's own address, and one
// to another contact not at all.
func TestCallFromRegistrar(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		anna, bob := o.desk(1, "101"), o.desk(2, "101")
		sleep(2 * time.Second)
		contact := r.at("101")[0]
		token, _, _ := strings.Cut(strings.TrimPrefix(contact, "sip:"), "@")
		elsewhere := o.plug("198.51.100.9:5060")
		elsewhere.user = "outside"
		elsewhere.dial(token, "v=0", "")
		for _, p := range []*peer{anna, bob} {
			if d := p.ring(); !strings.Contains(d.invite.From().Address.String(), "outside") {
				t.Errorf("the phone sees %s", d.invite.From().Value())
			}
		}
		elsewhere.drop()
		elsewhere.dial("101", "v=0", "").refused("401 INVITE")
		elsewhere.dial(strings.Repeat("0", len(token)), "v=0", "").refused("401 INVITE")
	})
}

// Calls out are the user's own at the PBX; emergency calls, also of somebody who is
// logged in, are the emergency account's. No device is named.
func TestCallsThroughRegistrar(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		anna, idle := o.desk(1, "100"), o.phone(2)
		idle.register()
		sleep(2 * time.Second)
		anna.invite("0612345", "v=0").refused("486 INVITE")
		anna.dial("112", "v=0", "").refused("486 INVITE")
		idle.dial("112", "v=0", "").refused("486 INVITE")
		anna.invite("101", "v=0").refused("486 INVITE") // the PBX decides
		r.mu.Lock()
		defer r.mu.Unlock()
		var got []string
		for _, req := range r.invites {
			got = append(got, req.From().Address.User+">"+req.Recipient.User+" as "+quoted(req.GetHeader("Authorization").Value(), "username"))
			if text := req.String(); strings.Contains(text, "HD0") || req.Recipient.Host != "pbx.example" {
				t.Errorf("sent\n%s", text)
			}
		}
		want := []string{"100>0612345 as auth100", "emergency>112 as emergency", "emergency>112 as emergency", "100>101 as auth100"}
		if !slices.Equal(got, want) {
			t.Errorf("calls %q, want %q", got, want)
		}
	})
}

// When the PBX is silent that is told within half a minute, calls between users go
// on without it, and so do they through it when it is back.
func TestPBXDown(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		events, stop := o.events()
		defer stop()
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		sleep(20 * time.Second)
		r.mu.Lock()
		r.dead = true
		r.mu.Unlock()
		sleep(50 * time.Second)
		if got := o.live.PBX("main"); got.State != hotdesk.PBXDown || got.Problem == "" {
			t.Fatalf("status %+v", got)
		}
		if events("pbx.down") != 1 {
			t.Error("not told once")
		}
		a := anna.invite("101", "v=0")
		b := bob.ring()
		anna.expect("180 INVITE")
		b.reply(200, "OK", "v=0")
		a.answered("")
		bob.expect("ACK")
		a.do("BYE", "", "")
		bob.ok("BYE")
		anna.expect("200 BYE")
		o.recorded("answered", hotdesk.ReasonFallback)
		before := events("pbx.up")
		r.mu.Lock()
		r.dead = false
		r.mu.Unlock()
		sleep(15 * time.Second)
		if got := o.live.PBX("main"); got.State != hotdesk.PBXUp || events("pbx.up") != before+1 {
			t.Errorf("status %+v", got)
		}
		anna.invite("101", "v=0").refused("486 INVITE")
	})
}

// Who calls the own number, as for the mailbox, is not rung when the PBX sends the
// call back; the user's other phone is. A call that was forwarded too often ends.
func TestOwnNumber(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		anna, other := o.desk(1, "101"), o.desk(2, "101")
		sleep(2 * time.Second)
		token, _, _ := strings.Cut(strings.TrimPrefix(r.at("101")[0], "sip:"), "@")
		r.mu.Lock()
		r.ringing = true
		r.mu.Unlock()
		anna.invite("101", "v=0")
		anna.expect("180 INVITE")
		pbx := o.plug("198.51.100.9:5060")
		pbx.user = "101"
		pbx.dial(token, "v=0", "")
		other.ring()
		anna.silent(3 * time.Second)
		pbx.drop()
		pbx.dial(token, "v=0", strings.Repeat("Diversion: <sip:1@h>;reason=unconditional\r\n", 6)).refused("482 INVITE")
	})
}
