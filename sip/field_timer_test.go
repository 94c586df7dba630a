package sip

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Session timers and reliable provisional responses may be required (RFC 4028, 3262).
func TestField_S11RequireTimerAnd100rel(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		bob.also = all
		a := anna.dial("101", "v=0", "Require: timer, 100rel\r\nSupported: timer, 100rel\r\nSession-Expires: 90;refresher=uac\r\n"+all)
		a.answerChallenge()
		b := bob.ring()
		res := anna.response("180 INVITE")
		if value(res, "RSeq") != "1" || !strings.Contains(value(res, "Require"), "100rel") {
			t.Errorf("180 is not reliable:\n%s", res)
		}
		anna.expect("180 INVITE") // again, until it is acknowledged
		keep := *a
		a.remote, a.target = res.To().Value(), res.Contact().Address.String()
		a.do("PRACK", fmt.Sprintf("RAck: 1 %d INVITE\r\n", res.CSeq().SeqNo), "")
		anna.expect("200 PRACK")
		anna.silent(2 * time.Second)
		b.reply(200, "OK", "v=0")
		bob.expect("ACK")
		cseq := a.cseq
		*a = keep
		ok := a.answered("")
		a.cseq = cseq
		if value(ok, "Session-Expires") != "90;refresher=uac" || !strings.Contains(value(ok, "Require"), "timer") {
			t.Errorf("200 says\n%s", ok)
		}
		sleep(50 * time.Second)
		a.do("UPDATE", "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n", "")
		anna.expect("200 UPDATE")
		sleep(50 * time.Second) // nobody refreshes any more
		bob.expect("BYE")
		anna.expect("BYE")
		o.recorded("answered", "session_expired")
	})
}

// We refresh the session of a called party that leaves it to us: by UPDATE where it is
// taken, by a re-INVITE with the last session description elsewhere (RFC 4028 section
// 7.4), and end the call when it knows it no more.
func TestField_S11WeRefresh(t *testing.T) {
	for _, update := range []bool{true, false} {
		t.Run(fmt.Sprint("UPDATE ", update), func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, bob := o.desk(1, "100"), o.desk(2, "101")
				if update {
					bob.also = all
				}
				a := anna.invite("101", "v=0 anna")
				b := bob.ring()
				anna.expect("180 INVITE")
				bob.reply(b.invite, 200, "OK", b.local, "v=0 bob", "Require: timer\r\nSession-Expires: 90;refresher=uac\r\n")
				bob.expect("ACK")
				a.answered("")
				method := "UPDATE"
				if !update {
					method = "INVITE"
				}
				req := bob.request(method)
				if got := value(req, "Session-Expires"); got != "90;refresher=uac" {
					t.Errorf("refreshed with %q", got)
				}
				if !update && string(req.Body()) != "v=0 anna" {
					t.Errorf("offer %q", req.Body())
				}
				body := ""
				if !update {
					body = "v=0 bob"
				}
				bob.reply(req, 200, "OK", "", body, "Session-Expires: 90;refresher=uac\r\n")
				if !update {
					bob.expect("ACK")
				}
				req = bob.request(method)
				bob.reply(req, 481, "Call/Transaction Does Not Exist", "", "")
				if !update {
					bob.expect("ACK")
				}
				anna.ok("BYE")
				o.recorded("answered", "session_expired")
				o.idle()
			})
		})
	}
}

// A reliable provisional response of a called party is acknowledged (RFC 3262 section 4),
// whatever the caller knows, and its retransmission is not told again.
func TestField_S11WeAcknowledge(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, trunk := o.desk(1, "104"), o.trunk()
		a := anna.invite("0612345", "v=0")
		b := trunk.incoming(trunk.request("INVITE"))
		if !strings.Contains(value(b.invite, "Supported"), "100rel") {
			t.Errorf("Supported: %s", value(b.invite, "Supported"))
		}
		for range 2 {
			trunk.reply(b.invite, 183, "Session Progress", b.local, "v=0 early", "Require: 100rel\r\nRSeq: 7\r\n")
		}
		req := trunk.ok("PRACK")
		if got := value(req, "RAck"); got != fmt.Sprintf("7 %d INVITE", b.invite.CSeq().SeqNo) {
			t.Errorf("RAck: %q", got)
		}
		trunk.silent(100 * time.Millisecond)
		if res := anna.response("183 INVITE"); value(res, "RSeq") != "" {
			t.Errorf("the phone, which knows no 100rel, gets\n%s", res)
		}
		b.reply(200, "OK", "v=0 trunk")
		trunk.expect("ACK")
		a.answered("")
	})
}

// A challenge inside a dialog is answered with the account of its side (RFC 3261 section
// 22.2): a BYE is authenticated, and hold works.
func TestField_S14ChallengeInsideADialog(t *testing.T) {
	const challenge = "Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\"\r\n"
	inOffice(t, func(o *office) {
		anna, trunk := o.desk(1, "104"), o.trunk()
		a, _ := outside(o, anna, trunk)
		a.do("INVITE", sdp, "v=0 hold")
		trunk.reply(trunk.request("INVITE"), 407, "Proxy Authentication Required", "", "", challenge)
		trunk.expect("ACK")
		req := trunk.request("INVITE")
		if !strings.Contains(value(req, "Proxy-Authorization"), `username="trunk"`) || string(req.Body()) != "v=0 hold" {
			t.Errorf("asked again with\n%s", req)
		}
		trunk.reply(req, 200, "OK", "", "v=0 held")
		trunk.expect("ACK")
		a.answered("")
		a.do("BYE", "", "")
		anna.expect("200 BYE")
		trunk.reply(trunk.request("BYE"), 407, "Proxy Authentication Required", "", "", challenge)
		if req := trunk.ok("BYE"); !strings.Contains(value(req, "Proxy-Authorization"), `username="trunk"`) {
			t.Errorf("asked again with\n%s", req)
		}
	})
}

// INFO passes with what it means, and what was not delivered is not said to be; a PBX's
// NOTIFY inside the call reaches the phone, a phone's nobody.
func TestField_S15InfoAndNotify(t *testing.T) {
	inOffice(t, func(o *office) {
		bob, trunk := o.desk(2, "101"), o.trunk()
		a, b := fromTrunk(o, bob, trunk, "")
		b.do("INFO", "Record: on\r\n", "")
		req := trunk.request("INFO")
		if value(req, "Record") != "on" {
			t.Errorf("the PBX gets\n%s", req)
		}
		trunk.reply(req, 603, "Decline", "", "")
		bob.expect("603 INFO")
		b.do("INFO", "Info-Package: x-key\r\nContent-Type: text/x-key\r\nContent-Disposition: Info-Package\r\n", "1")
		req = trunk.request("INFO")
		if value(req, "Info-Package") != "x-key" || value(req, "Content-Disposition") != "Info-Package" || string(req.Body()) != "1" {
			t.Errorf("the PBX gets\n%s", req)
		}
		trunk.reply(req, 200, "OK", "", "")
		bob.expect("200 INFO")
		a.do("NOTIFY", "Event: talk\r\nSubscription-State: active\r\n", "")
		req = bob.request("NOTIFY")
		if value(req, "Event") != "talk" {
			t.Errorf("the phone gets\n%s", req)
		}
		bob.reply(req, 200, "OK", "", "")
		trunk.expect("200 NOTIFY")
		b.do("NOTIFY", "Event: talk\r\n", "")
		bob.expect("489 NOTIFY")
	})
}

// Of several Contacts in one REGISTER the one with the highest q is rung (RFC 3261
// section 10.2.1.2).
func TestField_S28HighestQ(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		bob.tryRegister(registration{contact: "<sip:a@192.0.2.12:5060>;q=0.3, <sip:b@192.0.2.12:5060>;q=0.9, <sip:c@192.0.2.12:5060>;q=0.5"})
		anna.invite("101", "v=0")
		if got := bob.ring().invite.Recipient.User; got != "b" {
			t.Errorf("rings %q", got)
		}
	})
}

// A phone that sends from one port and listens on another is called where it listens: no
// rport in its Via, and its Contact names its own address (RFC 3261 section 18.2.2,
// RFC 3581). With rport, or behind a NAT, the source counts.
func TestField_S29PhoneThatListensElsewhere(t *testing.T) {
	for _, c := range []struct{ rport, contact, want string }{
		{"", "192.0.2.12:5060", "192.0.2.12:5060"},
		{";rport", "192.0.2.12:5060", "192.0.2.12:49200"},
		{"", "10.0.0.12:5060", "192.0.2.12:49200"},
	} {
		t.Run(c.contact+c.rport, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna := o.desk(1, "100")
				o.login("HD0002", "101")
				sends, listens := o.plug("192.0.2.12:49200"), o.plug("192.0.2.12:5060")
				for _, p := range []*peer{sends, listens} {
					p.id, p.user, p.gen = "HD0002", "101", o.generation("HD0002")
				}
				auth := ""
				for n := range 2 {
					sends.send(fmt.Sprintf("REGISTER sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.12:5060%s;branch=z9hG4bKq%d\r\nFrom: <sip:101@192.0.2.1>;tag=r\r\nTo: <sip:101@192.0.2.1>\r\n"+
						"Call-ID: q\r\nCSeq: %d REGISTER\r\nContact: <sip:101@%s>\r\nExpires: 300\r\n%sContent-Length: 0\r\n\r\n", c.rport, n, n+1, c.contact, auth))
					answers := listens // where the Via says
					if c.rport != "" {
						answers = sends
					}
					res := answers.registered()
					if res.StatusCode == 401 {
						auth = sends.sign(value(res, "WWW-Authenticate"), "REGISTER", "sip:192.0.2.1")
					} else if res.StatusCode != 200 {
						t.Fatal(res)
					}
				}
				a := anna.invite("101", "v=0")
				callee := listens
				if c.want == sends.at {
					callee = sends
				}
				b := callee.ring()
				anna.expect("180 INVITE")
				b.reply(200, "OK", "v=0")
				callee.expect("ACK")
				a.answered("")
				if callee == listens { // its own requests come from the other port
					b.p = sends
					b.do("INFO", "", "")
					anna.reply(anna.request("INFO"), 200, "OK", "", "")
				}
				a.do("BYE", "", "")
				callee.request("BYE")
			})
		})
	}
}

// A PRACK that comes again, or crosses our 200, is answered with 200 (RFC 3262 section 3).
func TestField_S11PRACKAgain(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.dial("101", "v=0", "Require: 100rel\r\n")
		a.answerChallenge()
		b := bob.ring()
		res := anna.response("180 INVITE")
		a.remote, a.target = res.To().Value(), res.Contact().Address.String()
		prack := fmt.Sprintf("RAck: 1 %d INVITE\r\n", res.CSeq().SeqNo)
		a.do("PRACK", prack, "")
		anna.expect("200 PRACK")
		b.reply(200, "OK", "v=0")
		bob.expect("ACK")
		a.answered("")
		a.do("PRACK", prack, "")
		anna.expect("200 PRACK")
		a.do("PRACK", "RAck: 2 1 INVITE\r\n", "")
		anna.expect("481 PRACK")
	})
}

// A refresh that the other side finds too short is made at once as long as it wants (RFC
// 4028 section 7.3), before the old interval is over.
func TestField_S11RefreshTooShort(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		bob.also = all
		a := anna.invite("101", "v=0 anna")
		b := bob.ring()
		anna.expect("180 INVITE")
		bob.reply(b.invite, 200, "OK", b.local, "v=0 bob", "Require: timer\r\nSession-Expires: 90;refresher=uac\r\n")
		bob.expect("ACK")
		a.answered("")
		bob.reply(bob.request("UPDATE"), 422, "Session Interval Too Small", "", "", "Min-SE: 300\r\n")
		begun := time.Now()
		req := bob.request("UPDATE")
		if got := value(req, "Session-Expires"); got != "300;refresher=uac" || time.Since(begun) > time.Second {
			t.Errorf("refreshed with %q after %v", got, time.Since(begun))
		}
		bob.reply(req, 200, "OK", "", "", "Session-Expires: 300;refresher=uac\r\n")
		bob.silent(2 * time.Minute)
	})
}
