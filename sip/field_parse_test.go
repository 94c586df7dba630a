package sip

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// Requests as the grammar allows them get their answer where the phone hears it: at the
// port of its Via (RFC 3261 section 18.2.2), and at its source when it is behind a NAT
// without saying so, as every registrar in the field does (L9).
func TestField_S19AnswersArrive(t *testing.T) {
	for _, c := range []struct{ name, via string }{
		{"blank before the parameters", "SIP/2.0/UDP 192.0.2.12:5060 ;branch=z9hG4bKa"},
		{"folded", "SIP/2.0/UDP\r\n 192.0.2.12:5060\r\n ;branch=z9hG4bKa"},
		{"behind a NAT without rport", "SIP/2.0/UDP 10.0.0.9:5062;branch=z9hG4bKa"},
		{"a name without rport", "SIP/2.0/UDP phone.local;branch=z9hG4bKa"},
		{"tabs around the slashes and folded by a tab", "SIP / 2.0 /\tUDP\r\n\t192.0.2.12:5060;branch = z9hG4bKa"},
		{"lower case, and an unknown parameter with a semicolon in quotes", "sip/2.0/udp 192.0.2.12:5060;x=\"a;b\";branch=z9hG4bKa"},
	} {
		for _, lead := range []string{"", "\r\n", "\r\n\r\n"} {
			t.Run(fmt.Sprintf("%s after %q", c.name, lead), func(t *testing.T) {
				inOffice(t, func(o *office) {
					p := o.plug("192.0.2.12:5060")
					p.send(lead + "OPTIONS sip:192.0.2.1 SIP/2.0\r\nVia: " + c.via + "\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:192.0.2.1>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")
					p.expect("200 OPTIONS")
				})
			})
		}
	}
}

// The compact form of Event is read, and a 489 says what would be taken (RFC 6665
// sections 4.2.1.3 and 8.2.1).
func TestField_S20EventInShort(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		d := &leg{p: p, callID: "s", local: "<sip:a@b>;tag=1", remote: "<sip:c@d>", target: "sip:192.0.2.1", cseq: 1}
		d.do("SUBSCRIBE", "o: presence\r\n", "")
		auth := p.sign(value(p.response("401 SUBSCRIBE"), "WWW-Authenticate"), "SUBSCRIBE", "sip:192.0.2.1")
		d.do("SUBSCRIBE", "o: presence\r\n"+auth, "")
		if res := p.response("489 SUBSCRIBE"); value(res, "Allow-Events") == "" {
			t.Errorf("489 without Allow-Events:\n%s", res)
		}
	})
}

// What a phone says to a check-sync, or that it says nothing, is told in words.
func TestField_S25WhatThePhoneSaid(t *testing.T) {
	for _, c := range []struct {
		status int
		words  string
	}{{200, "has heard it"}, {403, "403"}, {481, "481"}, {489, "489"}, {0, "does not answer"}} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			inOffice(t, func(o *office) {
				p := o.phone(1)
				p.register()
				after := o.live.LastEvent()
				ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
				defer cancel()
				go func() { _ = o.edge.CheckSync(ctx, "HD0001", hotdesk.CheckSync{Event: "check-sync"}) }()
				if req := p.request("NOTIFY"); c.status != 0 {
					p.reply(req, c.status, "Whatever", "", "")
				}
				for ev := range o.live.Events(context.Background(), after) {
					if ev.Name != "device.asked" {
						continue
					}
					if got := fmt.Sprint(ev.Data["words"]); !strings.Contains(got, c.words) {
						t.Errorf("%q", got)
					}
					return
				}
			})
		})
	}
}

// An idle phone that may call a number of the house shows the site's number, or nobody;
// never its own name.
func TestField_S27IdlePhoneShowsNoDevice(t *testing.T) {
	for _, number := range []string{"+390612345600", ""} {
		t.Run(number, func(t *testing.T) {
			inOffice(t, func(o *office) {
				if _, err := o.Apply(context.Background(), hotdesk.Desired{Sites: []hotdesk.SiteSpec{{
					Name: "roma", Dialing: &hotdesk.DialingSpec{IdleNumbers: []string{"101"}}, Emergency: &hotdesk.EmergencySpec{CallerID: &number},
				}}}, hotdesk.ApplyOptions{}); err != nil {
					t.Fatal(err)
				}
				idle, bob := o.phone(1), o.desk(2, "101")
				idle.register()
				idle.invite("101", "v=0")
				b := bob.ring()
				want := number
				if want == "" {
					want = "anonymous"
				}
				if b.invite.From().Address.User != want || strings.Contains(b.invite.String(), "HD0001") {
					t.Errorf("the callee sees\n%s", b.invite)
				}
			})
		})
	}
}

// Credentials whose uri names this server, and no one there, are good for a call (RFC
// 7616 section 3.4.6 leaves it to the server); those for another number are not.
func TestField_S35DigestOverTheServersName(t *testing.T) {
	for uri, want := range map[string]string{"sip:192.0.2.1": "200 INVITE", "sip:192.0.2.1:5060": "200 INVITE", "sip:*77*9*@192.0.2.1": "401 INVITE", "sip:203.0.113.9": "401 INVITE"} {
		t.Run(uri, func(t *testing.T) {
			inOffice(t, func(o *office) {
				p := o.phone(1)
				p.register()
				a := p.dial("*77*", "v=0", "")
				res := p.response("401 INVITE")
				a.ackFailure(res)
				a.cseq++
				a.send(p.sign(value(res, "WWW-Authenticate"), "INVITE", uri))
				p.expect(want)
			})
		})
	}
}

// What a stranger is told is at most half as long again as the smallest request that asks
// for it: no Allow, Accept, Supported or Server, short tags.
func TestField_TjStrangersAreToldLittle(t *testing.T) {
	for _, method := range []string{"OPTIONS", "REGISTER", "INVITE", "BYE", "INFO", "SUBSCRIBE", "MESSAGE", "FOO"} {
		t.Run(method, func(t *testing.T) {
			inOffice(t, func(o *office) {
				p := o.plug("203.0.113.9:5060")
				extra := ""
				if method == "SUBSCRIBE" {
					extra = "o:x\r\n"
				}
				text := method + " sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bKabcdefgh\r\nMax-Forwards: 70\r\nFrom: <sip:100@192.0.2.1>;tag=1\r\nTo: <sip:100@192.0.2.1>\r\n" +
					"Call-ID: a84b4c76e66710\r\nCSeq: 1 " + method + "\r\n" + extra + "Contact: <sip:100@203.0.113.9:5060>\r\nContent-Length: 0\r\n\r\n"
				if method == "REGISTER" || method == "INVITE" || method == "OPTIONS" {
					p.send(text)
				} else { // nothing needs a Contact there
					text = strings.Replace(text, "Contact: <sip:100@203.0.113.9:5060>\r\n", "", 1)
					p.send(text)
				}
				got := p.read(time.Second)
				if got == nil {
					return // nothing at all
				}
				if n := len(got.String()); n > len(text)*3/2 {
					t.Errorf("%d bytes for %d:\n%s", n, len(text), got)
				}
			})
		})
	}
}

// Two phones with one device's credentials that take it from one another are told about
// once, by name of both; a phone that is started anew, and one that moves, are not.
func TestField_K30ClonedPhone(t *testing.T) {
	play := func(o *office, steps ...string) (cloned int) {
		after := o.live.LastEvent()
		phones := map[string]*peer{}
		for _, step := range steps {
			name, at, _ := strings.Cut(step, "@")
			p := phones[at]
			if p == nil {
				p = o.plug(at + ":5060")
				p.id, p.user, p.gen = "HD0001", "HD0001", o.generation("HD0001")
				phones[at] = p
			}
			p.call = name
			p.register()
			p.drop()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		for ev := range o.live.Events(ctx, after) {
			if ev.Name == "device.cloned" {
				cloned++
			}
		}
		return cloned
	}
	for _, c := range []struct {
		name  string
		steps []string
		want  int
	}{
		{"two phones", []string{"a@192.0.2.31", "b@192.0.2.32", "a@192.0.2.31", "b@192.0.2.32", "a@192.0.2.31", "b@192.0.2.32"}, 1},
		{"started anew", []string{"a@192.0.2.31", "b@192.0.2.31", "c@192.0.2.31", "d@192.0.2.31"}, 0},
		{"another address each time", []string{"a@192.0.2.31", "b@192.0.2.32", "c@192.0.2.33", "d@192.0.2.34"}, 0},
		{"moved and back", []string{"a@192.0.2.31", "b@192.0.2.32", "c@192.0.2.31"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				if got := play(o, c.steps...); got != c.want {
					t.Errorf("%d alarms, want %d", got, c.want)
				}
			})
		})
	}
}

// A phone behind an SBC is reached by the Path that the SBC has given (RFC 3327): its
// requests go to the SBC's flow with that route, also a CANCEL.
func TestField_X3PathOfAnSBC(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		bob.tryRegister(registration{contact: "<sip:101@10.0.0.7:5060>\r\nPath: <sip:edge1@192.0.2.12;lr>, <sip:inner@10.0.0.1;lr>\r\nSupported: path"})
		a := anna.invite("101", "v=0")
		b := bob.ring()
		want := "<sip:edge1@192.0.2.12;lr> | <sip:inner@10.0.0.1;lr>"
		if got := value(b.invite, "Route"); got != want || b.invite.Recipient.String() != "sip:101@10.0.0.7:5060" {
			t.Errorf("rings %s by %q", b.invite.Recipient.String(), got)
		}
		anna.drop()
		a.cancel()
		if got := value(bob.ok("CANCEL"), "Route"); got != want {
			t.Errorf("CANCEL by %q", got)
		}
	})
}
