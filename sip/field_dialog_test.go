package sip

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

const all = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, PRACK, NOTIFY\r\n"

// value is a header's, empty when it is not there.
func value(msg sip.Message, name string) string {
	var all []string
	for _, h := range msg.GetHeaders(name) {
		all = append(all, h.Value())
	}
	return strings.Join(all, " | ")
}

// outside is a call of HD0001's user 104 through the trunk that is up.
func outside(o *office, anna, trunk *peer) (a, b *leg) {
	a = anna.invite("0612345", "v=0 anna")
	b = trunk.ring()
	anna.expect("180 INVITE")
	b.reply(200, "OK", "v=0 trunk")
	trunk.expect("ACK")
	a.answered("")
	sleep(10 * time.Millisecond)
	return a, b
}

// inside is a call from the trunk to user 101 at HD0002 that is up.
func fromTrunk(o *office, bob, trunk *peer, headers string) (a, b *leg) {
	a = trunk.dial("101", "v=0 trunk", headers)
	b = bob.ring()
	trunk.expect("180 INVITE")
	b.reply(200, "OK", "v=0 bob")
	bob.expect("ACK")
	a.answered("")
	sleep(10 * time.Millisecond)
	return a, b
}

// The reason of a CANCEL, a BYE and a refusal reaches the other side (RFC 3326), so that
// the phones of a ring group show no missed call; it does not go from phone to phone.
func TestField_S1Reasons(t *testing.T) {
	const elsewhere = `SIP;cause=200;text="Call completed elsewhere"`
	t.Run("CANCEL of a PBX", func(t *testing.T) {
		inOffice(t, func(o *office) {
			one, two, trunk := o.desk(2, "101"), o.desk(3, "101"), o.trunk()
			a := trunk.dial("101", "v=0", "")
			one.ring()
			two.ring()
			trunk.drop()
			trunk.send(a.text("CANCEL", a.branch, a.cseq, a.uri, "Reason: "+elsewhere+"\r\n", ""))
			for _, p := range []*peer{one, two} {
				if got := value(p.ok("CANCEL"), "Reason"); got != elsewhere {
					t.Errorf("%s is told %q", p.at, got)
				}
			}
		})
	})
	t.Run("BYE of a PBX", func(t *testing.T) {
		inOffice(t, func(o *office) {
			bob, trunk := o.desk(2, "101"), o.trunk()
			a, _ := fromTrunk(o, bob, trunk, "")
			a.do("BYE", "Reason: Q.850;cause=16\r\n", "")
			if got := value(bob.ok("BYE"), "Reason"); got != "Q.850;cause=16" {
				t.Errorf("the phone is told %q", got)
			}
		})
	})
	t.Run("refusal of a PBX", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, trunk := o.desk(1, "104"), o.trunk()
			a := anna.invite("0612345", "v=0")
			inv := trunk.request("INVITE")
			trunk.reply(inv, 480, "Temporarily Unavailable", inv.To().Value()+";tag=x", "", "Reason: Q.850;cause=20\r\n")
			trunk.expect("ACK")
			if got := value(a.refused("480 INVITE"), "Reason"); got != "Q.850;cause=20" {
				t.Errorf("the phone is told %q", got)
			}
		})
	})
	t.Run("CANCEL of a phone", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, bob := o.desk(1, "100"), o.desk(2, "101")
			a := anna.invite("101", "v=0")
			bob.ring()
			anna.drop()
			anna.send(a.text("CANCEL", a.branch, a.cseq, a.uri, "Reason: "+elsewhere+"\r\n", ""))
			if got := value(bob.ok("CANCEL"), "Reason"); got != "" {
				t.Errorf("another phone is told %q", got)
			}
		})
	})
}

// A phone is shown whom the trusted PBX asserts (RFC 3325), also as a tel: URI (RFC
// 3966) and from the answer on; an anonymous caller is anonymous.
func TestField_S3WhoTheOtherPartyIs(t *testing.T) {
	for _, c := range []struct{ name, from, headers, number, display string }{
		{"From alone", `"Anna" <sip:0612@pbx>`, "", "0612", "Anna"},
		{"PAI wins", `"Main" <sip:0600@pbx>`, "P-Asserted-Identity: \"Anna\" <sip:0612@pbx>\r\n", "0612", "Anna"},
		{"PAI as tel", `<sip:0600@pbx>`, "P-Asserted-Identity: <tel:+390612>\r\n", "+390612", ""},
		{"From as tel", `"Anna" <tel:+390612>`, "", "+390612", "Anna"},
		{"anonymous", `"Anonymous" <sip:anonymous@anonymous.invalid>`, "", "anonymous", "Anonymous"},
		{"private", `"Anna" <sip:0612@pbx>`, "P-Asserted-Identity: <sip:0612@pbx>\r\nPrivacy: id\r\n", "anonymous", "Anonymous"},
		{"a phone's own word is not the PBX's", `"Anna" <sip:0612@pbx>`, "P-Preferred-Identity: <sip:9@pbx>\r\n", "0612", "Anna"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				bob, trunk := o.desk(2, "101"), o.trunk()
				n := trunk.next()
				d := &leg{p: trunk, callID: fmt.Sprint("c", n), local: c.from + ";tag=x", remote: "<sip:101@192.0.2.1>", cseq: 1, uri: "sip:101@192.0.2.1", offer: "v=0", headers: c.headers}
				d.send("")
				b := bob.ring()
				from := b.invite.From()
				if from.Address.User != c.number || from.DisplayName != c.display {
					t.Errorf("shown %q %q, want %q %q", from.DisplayName, from.Address.User, c.display, c.number)
				}
				if hidden := c.number == "anonymous"; hidden != (value(b.invite, "P-Asserted-Identity") == "") || hidden && strings.Contains(b.invite.String(), "0612") {
					t.Errorf("the phone gets\n%s", b.invite)
				}
			})
		})
	}
	t.Run("in answers", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, trunk := o.desk(1, "104"), o.trunk()
			a := anna.invite("0612345", "v=0")
			b := trunk.incoming(trunk.request("INVITE"))
			trunk.reply(b.invite, 180, "Ringing", b.local, "", "P-Asserted-Identity: \"Desk\" <sip:0699@pbx>\r\n")
			if got := value(anna.response("180 INVITE"), "P-Asserted-Identity"); got != `"Desk" <sip:0699@pbx>` {
				t.Errorf("180 says %q", got)
			}
			trunk.reply(b.invite, 200, "OK", b.local, "v=0", "P-Asserted-Identity: \"Ugo\" <sip:0698@pbx>\r\n")
			trunk.expect("ACK")
			if got := value(a.answered(""), "P-Asserted-Identity"); got != `"Ugo" <sip:0698@pbx>` {
				t.Errorf("200 says %q", got)
			}
		})
	})
	t.Run("in an UPDATE without a body", func(t *testing.T) {
		inOffice(t, func(o *office) {
			bob, trunk := o.desk(2, "101"), o.trunk()
			bob.also = all
			a, _ := fromTrunk(o, bob, trunk, "")
			a.do("UPDATE", "P-Asserted-Identity: \"Ugo\" <sip:0698@pbx>\r\n", "")
			if got := value(bob.ok("UPDATE"), "P-Asserted-Identity"); got != `"Ugo" <sip:0698@pbx>` {
				t.Errorf("UPDATE says %q", got)
			}
			trunk.expect("200 UPDATE")
		})
	})
}

// What a PBX says with a call of how it is to be shown and answered reaches the phone
// (RFC 3261 sections 20.4, 20.9, RFC 5373, 5806, 7044); a phone cannot say it to another.
func TestField_S4AlertInfoAndItsFamily(t *testing.T) {
	headers := "Call-Info: <sip:x>;answer-after=0\r\nAlert-Info: <http://x>;info=alert-autoanswer\r\nAnswer-Mode: Auto\r\n" +
		"Diversion: <sip:102@pbx>;reason=unconditional\r\nHistory-Info: <sip:102@pbx>;index=1\r\nPriority: urgent\r\n"
	names := []string{"Call-Info", "Alert-Info", "Answer-Mode", "Diversion", "History-Info", "Priority"}
	inOffice(t, func(o *office) {
		bob, trunk := o.desk(2, "101"), o.trunk()
		trunk.dial("101", "v=0", headers)
		b := bob.ring()
		for _, name := range names {
			if !strings.Contains(headers, name+": "+value(b.invite, name)+"\r\n") || value(b.invite, name) == "" {
				t.Errorf("%s: %q", name, value(b.invite, name))
			}
		}
		anna := o.desk(1, "100")
		anna.dial("101", "v=0", headers).answerChallenge()
		if got := bob.ring(); got != nil {
			for _, name := range names {
				if value(got.invite, name) != "" {
					t.Errorf("a phone says %s to another", name)
				}
			}
		}
	})
}

// A request inside a dialog is its party's by Call-ID and tags (RFC 3261 section
// 12.2.2): the same host on another port or connection is heard and becomes the way back,
// another host has to show the device's credentials.
func TestField_S5RequestsFromAnotherFlow(t *testing.T) {
	t.Run("a NAT gives out another port", func(t *testing.T) {
		inOffice(t, func(o *office) {
			_, bob, a, b := up(o)
			moved := o.plug("192.0.2.11:49152")
			moved.user = "100"
			a.p = moved
			a.do("INFO", "Content-Type: application/dtmf-relay\r\n", "Signal=1\r\n")
			bob.reply(bob.request("INFO"), 200, "OK", "", "")
			moved.expect("200 INFO")
			b.do("BYE", "", "")
			moved.ok("BYE") // the way back
			bob.expect("200 BYE")
		})
	})
	for _, right := range []bool{true, false} {
		t.Run(fmt.Sprint("another host, right credentials ", right), func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, bob, a, _ := up(o)
				moved := o.plug("203.0.113.9:5060")
				moved.user, moved.id, moved.gen = "100", anna.id, anna.gen
				if !right {
					moved.gen = 77
				}
				a.p = moved
				a.do("BYE", "", "")
				res := moved.response("401 BYE")
				a.do("BYE", moved.sign(res.GetHeader("WWW-Authenticate").Value(), "BYE", a.target), "")
				if right {
					moved.expect("200 BYE")
					bob.ok("BYE")
					return
				}
				moved.expect("401 BYE")
				bob.silent(time.Second)
			})
		})
	}
	t.Run("a new connection", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, bob := o.deskVia(1, "100", "TCP"), o.desk(2, "101")
			a := anna.invite("101", "v=0 anna")
			b := bob.ring()
			anna.expect("180 INVITE")
			b.reply(200, "OK", "v=0 bob")
			bob.expect("ACK")
			a.answered("")
			_ = anna.conn.Close()
			anna.reconnect()
			a.do("BYE", "", "")
			anna.expect("200 BYE")
			bob.ok("BYE")
		})
	})
	t.Run("the call's own connection has ended", func(t *testing.T) {
		inOffice(t, func(o *office) {
			registered, bob := o.deskVia(1, "100", "TCP"), o.desk(2, "101")
			second := o.phoneVia(1, "TCP")
			second.user = "100"
			a := second.invite("101", "v=0 anna")
			b := bob.ring()
			second.expect("180 INVITE")
			b.reply(200, "OK", "v=0 bob")
			bob.expect("ACK")
			a.answered("")
			_ = second.conn.Close()
			sleep(10 * time.Millisecond)
			b.do("BYE", "", "")
			registered.ok("BYE")
			bob.expect("200 BYE")
		})
	})
}

// A session refresh without a body is ours to answer (RFC 4028 section 7.4); Allow lists
// what the other side takes; an UPDATE with a body is a re-INVITE to who has no UPDATE.
func TestField_S6UpdateIsAnsweredHere(t *testing.T) {
	inOffice(t, func(o *office) {
		bob, trunk := o.desk(2, "101"), o.trunk()
		bob.also = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n" // no UPDATE, no INFO
		a := trunk.dial("101", "v=0 trunk", "")
		b := bob.ring()
		trunk.expect("180 INVITE")
		b.reply(200, "OK", "v=0 bob")
		bob.expect("ACK")
		res := a.answered("")
		if allow := value(res, "Allow"); strings.Contains(allow, "INFO") || !strings.Contains(allow, "UPDATE") {
			t.Errorf("Allow: %s", allow)
		}
		a.do("UPDATE", "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n", "")
		if got := value(trunk.response("200 UPDATE"), "Session-Expires"); got != "90;refresher=uac" {
			t.Errorf("Session-Expires: %q", got)
		}
		bob.silent(100 * time.Millisecond)
		a.do("UPDATE", sdp, "v=0 hold")
		inv := bob.request("INVITE")
		if string(inv.Body()) != "v=0 hold" {
			t.Errorf("offer %q", inv.Body())
		}
		bob.reply(inv, 200, "OK", "", "v=0 held")
		bob.expect("ACK")
		if got := trunk.response("200 UPDATE"); string(got.Body()) != "v=0 held" {
			t.Errorf("answer %q", got.Body())
		}
	})
}
