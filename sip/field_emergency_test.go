package sip

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// A CANCEL is taken from the flow or host that sent the INVITE, and from nobody else
// who has overheard its branch: the call rings on, 112 too (trust T-g).
func TestField_TgCancelFromElsewhere(t *testing.T) {
	for _, number := range []string{"101", "112"} {
		t.Run(number, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, bob, main := o.desk(1, "100"), o.desk(2, "101"), o.trunk()
				callee := bob
				a := anna.dial(number, "v=0", "")
				if number == "112" {
					callee = main
				} else {
					a.answerChallenge()
				}
				b := callee.ring()
				anna.expect("180 INVITE")
				thief := o.plug("203.0.113.9:5060")
				text := a.text("CANCEL", a.branch, a.cseq, a.uri, "", "")
				thief.send(text)
				thief.expect("481 CANCEL")
				callee.silent(time.Second)
				neighbour := o.plug("192.0.2.11:6060") // the same host, another port: a router's new one
				neighbour.send(text)
				neighbour.expect("200 CANCEL")
				callee.ok("CANCEL")
				b.reply(487, "Request Terminated", "")
				callee.expect("ACK")
			})
		})
	}
}

// caller is the name and number that the rescue centre is shown.
func shown(b *leg) string {
	from := b.invite.From()
	return from.DisplayName + " " + from.Address.User
}

// lastAudit is the row of the last emergency call.
func (o *office) lastAudit() hotdesk.AuditRow {
	sleep(10 * time.Millisecond)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.audit) == 0 {
		o.t.Fatal("no audit row")
	}
	return o.audit[len(o.audit)-1]
}

// Two desks have one address and port, one after the other (a router that was started
// anew) or together (an SBC): 112 is the device's whose credentials are valid, on
// whatever flow it comes; without any it is the flow's only if one device is on it and
// the call fits it. Otherwise it is challenged once and then placed all the same,
// marked as not certain.
func TestField_S13WhoseEmergencyCall(t *testing.T) {
	for _, c := range []struct {
		name   string
		sign   string // "right", "wrong" or none
		both   bool   // HD0001 stays registered on that address, too
		device string
		unsure bool
	}{
		{"right digest on another's flow", "right", false, "HD0001", false},
		{"right digest on a shared flow", "right", true, "HD0001", false},
		{"wrong digest on another's flow", "wrong", false, "HD0001", true},
		{"wrong digest on a shared flow", "wrong", true, "HD0001", true},
		{"no answer to the challenge on a shared flow", "", true, "HD0001", true},
		{"no answer to the challenge on another's flow", "", false, "HD0001", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				one, two, main := o.phone(1), o.phone(2), o.trunk()
				if c.both {
					one.register()
				}
				_ = two.conn.Close()
				two.conn, two.at = one.conn, one.at // behind one address and port
				two.register()
				a := one.dial("112", "v=0 help", "")
				res := one.response("401 INVITE")
				a.ackFailure(res)
				a.cseq++
				switch c.sign {
				case "right":
					a.send(one.sign(res.GetHeader("WWW-Authenticate").Value(), "INVITE", a.uri))
				case "wrong":
					one.gen = 77
					a.send(one.sign(res.GetHeader("WWW-Authenticate").Value(), "INVITE", a.uri))
				default:
					sleep(answerWithin)
					again := one.dial("112", "v=0 help", "")
					a = again
				}
				b := main.ring()
				one.expect("180 INVITE")
				row := o.lastAudit()
				if string(row.Device) != c.device {
					t.Errorf("the audit row names %s, want %s", row.Device, c.device)
				}
				if got := strings.Contains(shown(b), "not certain"); got != c.unsure {
					t.Errorf("the rescue centre is shown %q", shown(b))
				}
				if got := row.Detail["desk_certain"] == "false"; got != c.unsure {
					t.Errorf("audit detail %v", row.Detail)
				}
				b.reply(200, "OK", "v=0")
				main.expect("ACK")
				a.answered("")
				a.bye()
				main.ok("BYE")
				reason := ""
				if c.unsure {
					reason = "desk_not_certain"
				}
				all := o.records()
				if last := all[len(all)-1]; string(last.FromDevice) != c.device || last.Reason != reason {
					t.Errorf("recorded %s %q, want %s %q", last.FromDevice, last.Reason, c.device, reason)
				}
				o.idle()
			})
		})
	}
}

// One device alone on its flow, with its own name in From or its own Contact, need not
// prove anything: no challenge stands before the call.
func TestField_S13TheFlowOfOneDeviceIsEnough(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, main := o.desk(1, "100"), o.trunk()
		for _, user := range []string{"100", "HD0001", "hd0001"} {
			anna.user = user
			a := anna.dial("112", "v=0 help", "")
			b := main.ring()
			anna.expect("180 INVITE")
			if strings.Contains(shown(b), "not certain") {
				t.Errorf("as %s: %q", user, shown(b))
			}
			b.reply(486, "Busy Here", "")
			main.expect("ACK")
			a.refused("486 INVITE")
		}
	})
}

// A phone that is not registered and whose digest is wrong (it has missed a change of
// its secret) is heard when it calls from where it was last, or from a site's own
// networks; a stranger from elsewhere is asked for credentials and nothing more.
func TestField_E5WrongDigestFromWhereItWas(t *testing.T) {
	for _, c := range []struct {
		name, at string
		networks []string
		placed   bool
	}{
		{"its last address", "192.0.2.11:5060", nil, true},
		{"another port of it", "192.0.2.11:49152", nil, true},
		{"an address of the site", "198.51.100.9:5060", []string{"198.51.100.0/24"}, true},
		{"from elsewhere", "203.0.113.9:5060", []string{"198.51.100.0/24"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				if _, err := o.Apply(context.Background(), hotdesk.Desired{Sites: []hotdesk.SiteSpec{{Name: "roma", Networks: c.networks}}}, hotdesk.ApplyOptions{}); c.networks != nil && err != nil {
					t.Fatal(err)
				}
				main, anna := o.trunk(), o.phone(1)
				anna.register()
				anna.tryRegister(registration{expires: "0"})
				if c.at != anna.at {
					_ = anna.conn.Close()
					moved := o.plug(c.at)
					moved.id, moved.user, moved.gen = anna.id, anna.user, anna.gen
					anna = moved
				}
				anna.gen = 77
				a := anna.dial("112", "v=0 help", "")
				res := anna.response("401 INVITE")
				a.ackFailure(res)
				a.cseq++
				a.send(anna.sign(res.GetHeader("WWW-Authenticate").Value(), "INVITE", a.uri))
				if !c.placed {
					a.refused("401 INVITE")
					main.silent(time.Second)
					return
				}
				b := main.ring()
				anna.expect("180 INVITE")
				if !strings.Contains(shown(b), "2-0 (desk not certain)") {
					t.Errorf("the rescue centre is shown %q", shown(b))
				}
				if !o.Held("HD0001") {
					t.Error("no emergency hold")
				}
			})
		})
	}
}

// A phone that has the address of a PBX (one machine, or one SBC before both) and is
// not registered is known by its credentials: 112 is asked for them and not told 404,
// as the PBX would be for a number of nobody.
func TestField_E4PhoneAtTheAddressOfAPBX(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phoneVia(1, "TCP")
		host, _, _ := strings.Cut(p.at, ":")
		if _, err := o.Apply(context.Background(), hotdesk.Desired{
			PBX: []hotdesk.PBXSpec{{Name: "stream", Mode: ptr("trunk"), Transport: ptr("tcp"), Proxy: ptr(host + ":5060")}},
		}, hotdesk.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		main := o.trunk()
		a := p.dial("112", "v=0 help", "")
		a.answerChallenge()
		b := main.ring()
		p.expect("180 INVITE")
		if strings.Contains(shown(b), "not certain") {
			t.Errorf("the rescue centre is shown %q", shown(b))
		}
		p.dial("999", "v=0", "").refused("404 INVITE") // so says a PBX
	})
}

// An emergency call is never refused for a header, a body or an option: what is broken
// is mended or passed over, and the call is placed (RFC 3261 section 8.2 says what
// other calls get). The same call to another number is refused.
func TestField_S11EmergencyIsNotRefusedForItsHeaders(t *testing.T) {
	for _, c := range []struct{ name, old, with string }{
		{"Require: timer", "Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nRequire: timer\r\nSession-Expires: 90\r\n"},
		{"Require: 100rel", "Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nRequire: 100rel\r\n"},
		{"Require: replaces", "Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nRequire: replaces\r\n"},
		{"Require: something new", "Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nRequire: geolocation, x-new\r\n"},
		{"Proxy-Require", "Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nProxy-Require: sec-agree\r\n"},
		{"unknown body", "application/sdp", "application/x-unknown"},
		{"Accept without SDP", "Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nAccept: text/plain\r\n"},
		{"Max-Forwards 0", "Max-Forwards: 70", "Max-Forwards: 0"},
		{"Max-Forwards no number", "Max-Forwards: 70", "Max-Forwards: many"},
		{"Max-Forwards twice", "Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nMax-Forwards: 70\r\n"},
		{"no Max-Forwards", "Max-Forwards: 70\r\n", ""},
		{"version", "SIP/2.0\r\nVia: SIP/2.0/UDP", "SIP/3.0\r\nVia: SIP/2.0/UDP"},
		{"From without a tag", ";tag=l1\r\nTo", "\r\nTo"},
		{"From that cannot be read", "From: <sip:HD0001@192.0.2.1>", "From: \"HD0001 <sip:HD0001@192.0.2.1>"},
		{"To that cannot be read", "To: <sip:112@192.0.2.1>", "To: <sip:112@192.0.2.1"},
		{"no To", "To: <sip:112@192.0.2.1>\r\n", ""},
		{"no Call-ID", "Call-ID: call-1@192.0.2.11:5060\r\n", ""},
		{"Call-ID twice", "Call-ID: call-1@192.0.2.11:5060\r\n", "Call-ID: call-1@192.0.2.11:5060\r\nCall-ID: x\r\n"},
		{"Contact that cannot be read", "Contact: <sip:HD0001@192.0.2.11:5060>", "Contact: <"},
		{"no Contact", "Contact: <sip:HD0001@192.0.2.11:5060>\r\n", ""},
		{"CSeq of another method", "CSeq: 1 INVITE", "CSeq: 1 OPTIONS"},
		{"URI headers", "INVITE sip:112@192.0.2.1 ", "INVITE sip:112@192.0.2.1?Priority=emergency "},
		{"Content-Type that cannot be read", "application/sdp", ";;"},
		{"Route that cannot be read", "Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nRoute: <sip:\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, main := o.phone(1), o.trunk()
				anna.register()
				anna.n = 0
				d := &leg{
					p: anna, callID: "call-1@" + anna.at, local: "<sip:HD0001@192.0.2.1>;tag=l1", remote: "<sip:112@192.0.2.1>",
					cseq: 1, uri: "sip:112@192.0.2.1", branch: "z9hG4bKx",
				}
				text := d.text("INVITE", d.branch, d.cseq, d.uri, sdp, "v=0 help")
				changed := strings.Replace(text, c.old, c.with, 1)
				if changed == text {
					t.Fatal("nothing was changed")
				}
				anna.send(changed)
				b := main.ring()
				if got := b.invite.Recipient.User; got != "112" {
					t.Errorf("the trunk is asked for %q", got)
				}
				for {
					msg := anna.read(time.Minute)
					if msg == nil {
						t.Fatal("the phone hears no ringing")
					}
					if strings.HasPrefix(name(msg), "180 ") {
						break
					}
					if !strings.HasPrefix(name(msg), "100 ") {
						t.Fatalf("the phone gets %s", name(msg))
					}
				}
			})
		})
	}
}

// The rescue centre's exchange answers one INVITE twice (a fork there, or our own
// second route): the phone is told each early dialog by a tag of its own, or hears no
// SDP before the answer, because it may take the first of two under one tag and be
// deaf to the second (RFC 3261 sections 12.1 and 13.2.1).
func TestField_S12OneTagForEachEarlyDialog(t *testing.T) {
	for _, c := range []struct {
		name   string
		second bool // the site has another route
	}{{"a fork behind the PBX", false}, {"while another route may still win", true}} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				routes := []hotdesk.EmergencyRoute{{PBX: "main"}}
				if c.second {
					routes = append(routes, hotdesk.EmergencyRoute{PBX: "spare"})
				}
				if _, err := o.Apply(context.Background(), hotdesk.Desired{
					PBX:   []hotdesk.PBXSpec{{Name: "spare", Mode: ptr("trunk"), Proxy: ptr(spareAddr)}},
					Sites: []hotdesk.SiteSpec{{Name: "roma", Emergency: &hotdesk.EmergencySpec{Routes: routes}}},
				}, hotdesk.ApplyOptions{}); err != nil {
					t.Fatal(err)
				}
				anna, main := o.phone(1), o.trunk()
				anna.register()
				a := anna.dial("112", "v=0 help", "")
				b := main.incoming(main.request("INVITE"))
				tagged := func(tag string) *leg {
					d := *b
					d.local = b.invite.To().Value() + ";tag=" + tag
					return &d
				}
				early := map[string]string{} // To tags and the SDP that came with them
				note := func(want string) {
					res := anna.response(want)
					tag, _ := res.To().Params.Get("tag")
					if len(res.Body()) > 0 {
						if old, ok := early[tag]; ok && old != string(res.Body()) {
							t.Errorf("two session descriptions under one tag: %q and %q", old, res.Body())
						}
						early[tag] = string(res.Body())
					}
				}
				want := "183 INVITE"
				if c.second {
					want = "180 INVITE"
				}
				tagged("one").reply(183, "Session Progress", "v=0 one")
				note(want)
				tagged("two").reply(183, "Session Progress", "v=0 two")
				note(want)
				tagged("two").reply(200, "OK", "v=0 two")
				main.expect("ACK")
				note("200 INVITE")
				if c.second && len(early) != 1 {
					t.Errorf("session descriptions before the answer: %v", early)
				}
				if !c.second && len(early) != 2 {
					t.Errorf("session descriptions by tag: %v", early)
				}
				_ = a
			})
		})
	}
}

// A call whose two phones have both lost their power ends when they are back: a phone
// that does not know a dialog says 404, 410, 481 or 604 to an INFO in it, and one that
// knows it says anything else. OPTIONS would prove nothing: real phones answer it 200
// or 404 in dialogs that they do not know.
func TestField_S31BothPhonesLostTheirPower(t *testing.T) {
	for _, c := range []struct {
		status int
		ends   bool
	}{{481, true}, {404, true}, {410, true}, {604, true}, {200, false}, {488, false}, {415, false}, {501, false}} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, bob, _, _ := up(o)
				for _, p := range []*peer{anna, bob} {
					p.call = "reg-2-" + p.at // started anew
					p.register()
				}
				for _, p := range []*peer{anna, bob} {
					for {
						msg := p.read(5 * time.Second)
						if msg == nil {
							break
						}
						switch name(msg) {
						case "INFO":
							if n := len(p.asRequest(msg).Body()); n != 0 {
								t.Errorf("the INFO has a body of %d bytes", n)
							}
							p.reply(p.asRequest(msg), c.status, "Whatever", "", "")
						case "OPTIONS", "BYE":
							p.reply(p.asRequest(msg), 200, "OK", "", "")
						}
					}
				}
				if busy, _ := o.live.InCall("HD0001", ""); busy == c.ends {
					t.Errorf("in a call: %v", busy)
				}
			})
		})
	}
}
