package sip

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/call"
)

// An emergency call from a registered phone's own flow is not challenged: idle,
// with a wrong digest, blocked, and with the number as a service URN.
func TestEmergencyPasses(t *testing.T) {
	wrong := `Authorization: Digest username="HD0001", realm="hotdeskd", nonce="x", uri="sip:112@192.0.2.1", response="y", qop=auth, nc=00000001, cnonce="z"` + "\r\n"
	for _, c := range []struct {
		name, uri, headers string
		blocked            bool
	}{
		{"idle", "112", "", false},
		{"wrong digest", "112", wrong, false},
		{"blocked", "112", "", true},
		{"URN", "urn:service:sos.fire", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, trunk := o.phone(1), o.trunk()
				anna.register()
				if c.blocked {
					if err := o.Block(context.Background(), "HD0001", "test"); err != nil {
						t.Fatal(err)
					}
				}
				a := anna.dial(strings.TrimPrefix(c.uri, "urn:"), "v=0 help", c.headers)
				if rest, urn := strings.CutPrefix(c.uri, "urn:"); urn {
					// The helper writes SIP URIs; a phone writes the URN itself.
					a.ackFailure(anna.response("401 INVITE"))
					a.uri, a.remote = "urn:"+rest, "<urn:"+rest+">"
					a.cseq++
					a.send("")
				}
				b := trunk.ring()
				if got := b.invite.Recipient.User; got != "112" {
					t.Errorf("the trunk is asked for %q", got)
				}
				if got := b.invite.From().Address.User; got != "+390612345600" {
					t.Errorf("the caller is %q, want the site's emergency caller id", got)
				}
				anna.expect("180 INVITE")
				b.reply(200, "OK", "v=0")
				trunk.expect("ACK")
				a.answered("")
				if !o.Held("HD0001") {
					t.Error("no emergency hold")
				}
				a.bye()
				trunk.ok("BYE")
				o.recorded("answered", "")
				o.mu.Lock()
				defer o.mu.Unlock()
				if len(o.audit) != 1 || o.audit[0].Action != "emergency.called" || o.audit[0].Detail["number"] != "112" {
					t.Errorf("audit %+v", o.audit)
				}
			})
		})
	}
}

// The second emergency route is called when the first refuses, is silent, or takes
// the call and does nothing with it; what may still answer is not given up before
// one of the two has answered.
func TestEmergencySecondRoute(t *testing.T) {
	for _, c := range []struct {
		name  string
		first func(first *leg)
		after time.Duration
		kept  bool // the first still rings when the second is called
	}{
		{"refuses", func(d *leg) { d.reply(503, "Service Unavailable", "") }, 0, false},
		{"is busy", func(d *leg) { d.reply(486, "Busy Here", "") }, 0, false},
		{"is silent", func(*leg) {}, 4 * time.Second, false},
		{"says 100 only", func(d *leg) { d.reply(100, "Trying", "") }, call.QuietFor, true},
		{"rings only", func(d *leg) { d.reply(100, "Trying", ""); d.reply(180, "Ringing", "") }, call.RingsFor, true},
		{"speaks only", func(d *leg) { d.reply(183, "Session Progress", "v=0 all lines are busy") }, call.RingsFor, true},
	} {
		for _, winner := range []string{"second", "first"} {
			if winner == "first" && !c.kept {
				continue
			}
			t.Run(c.name+", the "+winner+" answers", func(t *testing.T) {
				inOffice(t, func(o *office) {
					if _, err := o.Apply(context.Background(), hotdesk.Desired{
						PBX:   []hotdesk.PBXSpec{{Name: "spare", Mode: ptr("trunk"), Proxy: ptr(spareAddr)}},
						Sites: []hotdesk.SiteSpec{{Name: "roma", Emergency: &hotdesk.EmergencySpec{Routes: []hotdesk.EmergencyRoute{{PBX: "main"}, {PBX: "spare"}}}}},
					}, hotdesk.ApplyOptions{}); err != nil {
						t.Fatal(err)
					}
					anna, main, spare := o.phone(1), o.trunk(), o.plug(spareAddr)
					anna.register()
					a := anna.dial("112", "v=0 help", "")
					one := main.incoming(main.request("INVITE"))
					begun := time.Now()
					c.first(one)
					two := spare.incoming(spare.request("INVITE"))
					if took := time.Since(begun).Round(100 * time.Millisecond); took != c.after {
						t.Errorf("the second route is called after %v, want %v", took, c.after)
					}
					main.drop()
					anna.drop()
					won, lost := two, one
					if winner == "first" {
						won, lost = one, two
						two.reply(180, "Ringing", "")
						anna.expect("180 INVITE")
					}
					won.reply(200, "OK", "v=0")
					won.p.expect("ACK")
					if c.kept {
						lost.p.ok("CANCEL")
						lost.reply(487, "Request Terminated", "")
						lost.p.expect("ACK")
					}
					a.answered("")
					a.bye()
					won.p.ok("BYE")
					o.recorded("answered", "")
					o.idle()
				})
			})
		}
	}
}

// The last route may ring as long as any call; then the caller is told.
func TestEmergencyNobodyAnswers(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, trunk := o.phone(1), o.trunk()
		anna.register()
		a := anna.dial("112", "v=0 help", "")
		b := trunk.ring()
		anna.expect("180 INVITE")
		anna.silent(call.RingFor - 2*time.Second)
		trunk.ok("CANCEL")
		b.reply(487, "Request Terminated", "")
		trunk.expect("ACK")
		a.refused("480 INVITE")
		o.idle()
	})
}

// From elsewhere than the phone's flow an emergency call is challenged, and an
// ordinary one always is; a blocked device is told 403 for anything else.
func TestOnlyEmergencyPasses(t *testing.T) {
	inOffice(t, func(o *office) {
		anna := o.phone(1)
		anna.register()
		a := anna.dial("101", "v=0", "")
		a.refused("401 INVITE")
		stranger := o.plug("203.0.113.9:5060")
		stranger.user = "HD0001"
		stranger.dial("112", "v=0", "").refused("401 INVITE")
		if err := o.Block(context.Background(), "HD0001", "test"); err != nil {
			t.Fatal(err)
		}
		anna.gen = o.generation("HD0001")
		anna.invite("101", "v=0").refused("403 INVITE")
	})
}

// A device that is not registered, and even blocked, calls 112 with its secret.
func TestEmergencyWithoutRegistration(t *testing.T) {
	inOffice(t, func(o *office) {
		if err := o.Block(context.Background(), "HD0001", "test"); err != nil {
			t.Fatal(err)
		}
		anna, trunk := o.phone(1), o.trunk()
		anna.invite("112", "v=0")
		trunk.ring()
		anna.expect("180 INVITE")
	})
}

// An audit log that fails, or panics, stops no emergency call and no server.
func TestEmergencyDespiteAudit(t *testing.T) {
	for name, onAudit := range map[string]func() error{
		"fails":  func() error { return errors.New("disk full") },
		"panics": func() error { panic("journal") },
	} {
		t.Run(name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				o.onAudit = onAudit
				anna, trunk := o.phone(1), o.trunk()
				anna.register()
				for range 2 {
					anna.dial("112", "v=0 help", "")
					trunk.ring()
					anna.expect("180 INVITE")
				}
			})
		})
	}
}

// The trunk's challenge is answered once with the account's secret and never
// seen by the phone; a second one fails the call.
func TestTrunkChallenge(t *testing.T) {
	const challenge = `Proxy-Authenticate: Digest realm="pbx", nonce="n1", algorithm=MD5, qop="auth"` + "\r\n"
	for _, accepted := range []bool{true, false} {
		inOffice(t, func(o *office) {
			anna, trunk := o.desk(1, "104"), o.trunk()
			a := anna.invite("0612345", "v=0")
			inv := trunk.request("INVITE")
			if pai := inv.GetHeader("P-Asserted-Identity"); pai == nil || !strings.Contains(pai.Value(), `"Rossi \"Bob\"" <sip:104@`) {
				t.Errorf("identity %v", pai)
			}
			if got := inv.From().DisplayName; got != `Rossi \"Bob\"` {
				t.Errorf("From name %s", got)
			}
			trunk.reply(inv, 407, "Proxy Authentication Required", inv.To().Value()+";tag=x", "", challenge)
			trunk.expect("ACK")
			again := trunk.request("INVITE")
			cred := again.GetHeader("Proxy-Authorization")
			if cred == nil || !strings.Contains(cred.Value(), `username="trunk"`) || again.CSeq().SeqNo != 2 || again.CallID().Value() != inv.CallID().Value() {
				t.Errorf("second INVITE\n%s", again)
			}
			if !accepted {
				trunk.reply(again, 407, "Proxy Authentication Required", inv.To().Value()+";tag=x", "", challenge)
				trunk.expect("ACK")
				if res := a.refused("503 INVITE"); strings.Contains(res.String(), "Authenticate") {
					t.Errorf("the challenge reaches the phone:\n%s", res)
				}
				trunk.silent(10 * time.Second)
				o.recorded("failed", "pbx_failed")
				o.idle()
				return
			}
			b := trunk.incoming(again)
			b.reply(183, "Session Progress", "v=0 early")
			if res := anna.response("183 INVITE"); string(res.Body()) != "v=0 early" {
				t.Errorf("early media %q", res.Body())
			}
			b.reply(200, "OK", "v=0")
			trunk.expect("ACK")
			a.answered("")
			b.bye()
			anna.ok("BYE")
			o.idle()
		})
	}
}

// A call that is given up between the challenge and its answer leaves the PBX
// with no second call.
func TestCancelAfterChallenge(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, trunk := o.desk(1, "104"), o.trunk()
		a := anna.invite("0612345", "v=0")
		inv := trunk.request("INVITE")
		trunk.reply(inv, 100, "Trying", "", "")
		sleep(10 * time.Millisecond)
		a.cancel()
		anna.expect("200 CANCEL")
		a.refused("487 INVITE")
		trunk.ok("CANCEL")
		trunk.reply(inv, 407, "Proxy Authentication Required", inv.To().Value()+";tag=x", "", `Proxy-Authenticate: Digest realm="pbx", nonce="n", qop="auth"`+"\r\n")
		trunk.expect("ACK")
		trunk.silent(5 * time.Second)
		o.idle()
	})
}

// A call from the PBX rings the user's phones with the caller's number and name;
// a user without a phone gets 480, not 503 that would take the trunk down.
func TestFromTrunk(t *testing.T) {
	inOffice(t, func(o *office) {
		bob, trunk := o.desk(2, "101"), o.trunk()
		trunk.user = "0698765"
		a := trunk.dial("101", "v=0", "")
		b := bob.ring()
		if got := b.invite.From().Address.User; got != "0698765" {
			t.Errorf("caller %q", got)
		}
		if called := b.invite.GetHeader("P-Called-Party-ID"); called == nil || !strings.Contains(called.Value(), "sip:101@") {
			t.Errorf("called number %v", called)
		}
		trunk.expect("180 INVITE")
		b.reply(200, "OK", "v=0")
		bob.expect("ACK")
		a.answered("")
		a.bye()
		bob.ok("BYE")
		trunk.dial("102", "v=0", "").refused("480 INVITE") // sits nowhere
		trunk.dial("999", "v=0", "").refused("404 INVITE") // no such user
		o.login("HD0003", "103")
		trunk.dial("103", "v=0", "").refused("480 INVITE") // its phone is off
		bob2 := o.desk(4, "104")
		_ = bob2.conn.Close()
		trunk.dial("104", "v=0", "").refused("480 INVITE") // its phone is dead
		o.idle()
	})
}

// Only the trunk's own address is the trunk.
func TestNotTheTrunk(t *testing.T) {
	inOffice(t, func(o *office) {
		o.desk(2, "101")
		p := o.plug("192.0.2.101:5060")
		p.user = "0698765"
		p.dial("101", "v=0", "").refused("401 INVITE")
	})
}
