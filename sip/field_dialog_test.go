package sip

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
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

// Before the answer there are dialogs already (RFC 3261 section 12.1): digits of the
// caller reach an announcement, an UPDATE its party, and a BYE of the caller ends the
// ringing.
func TestField_S7EarlyDialogs(t *testing.T) {
	early := func(o *office) (anna, trunk *peer, a, b *leg) {
		anna, trunk = o.desk(1, "104"), o.trunk()
		anna.also, trunk.also = all, all
		a = anna.invite("0612345", "v=0 anna")
		b = trunk.incoming(trunk.request("INVITE"))
		b.reply(183, "Session Progress", "v=0 early")
		res := anna.response("183 INVITE")
		a.remote, a.target = res.To().Value(), res.Contact().Address.String()
		return
	}
	t.Run("INFO", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, trunk, a, _ := early(o)
			a.do("INFO", "Content-Type: application/dtmf-relay\r\n", "Signal=1\r\n")
			req := trunk.request("INFO")
			if string(req.Body()) != "Signal=1\r\n" {
				t.Errorf("INFO with %q", req.Body())
			}
			trunk.reply(req, 200, "OK", "", "")
			anna.expect("200 INFO")
		})
	})
	t.Run("UPDATE of the caller", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, trunk, a, _ := early(o)
			a.do("UPDATE", sdp, "v=0 new")
			req := trunk.request("UPDATE")
			if string(req.Body()) != "v=0 new" {
				t.Errorf("UPDATE with %q", req.Body())
			}
			trunk.reply(req, 200, "OK", "", "v=0 so be it")
			if res := anna.response("200 UPDATE"); string(res.Body()) != "v=0 so be it" {
				t.Errorf("answer %q", res.Body())
			}
		})
	})
	t.Run("UPDATE of the callee", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, trunk, _, b := early(o)
			b.do("UPDATE", sdp, "v=0 new")
			req := anna.request("UPDATE")
			anna.reply(req, 200, "OK", "", "v=0 so be it")
			if res := trunk.response("200 UPDATE"); string(res.Body()) != "v=0 so be it" {
				t.Errorf("answer %q", res.Body())
			}
		})
	})
	t.Run("BYE of the caller", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, trunk, a, b := early(o)
			branch, cseq, uri := a.branch, a.cseq, a.uri
			a.do("BYE", "", "")
			anna.expect("200 BYE")
			res := anna.response("487 INVITE")
			anna.send(a.text("ACK", branch, cseq, uri, "", ""))
			_ = res
			trunk.ok("CANCEL")
			b.reply(487, "Request Terminated", "")
			trunk.expect("ACK")
			o.recorded("cancelled", "")
			o.idle()
		})
	})
}

// Who hides the number (RFC 3323) is shown to nobody: to the PBX as an asserted identity
// that is private, to a phone not at all; an emergency call is the exception.
func TestField_S8CallerWhoHides(t *testing.T) {
	const hide = "Privacy: id\r\n"
	dial := func(p *peer, number string) {
		n := p.next()
		d := &leg{p: p, callID: fmt.Sprint("h", n), local: `"Anonymous" <sip:anonymous@anonymous.invalid>;tag=x`, remote: "<sip:" + number + "@192.0.2.1>", cseq: 1, uri: "sip:" + number + "@192.0.2.1", offer: "v=0", headers: hide}
		d.send("")
		if number != "112" {
			d.answerChallenge()
		}
	}
	inOffice(t, func(o *office) {
		anna, bob, trunk := o.desk(1, "104"), o.desk(2, "101"), o.trunk()
		dial(anna, "0612345")
		out := trunk.ring().invite
		if out.From().Address.User != "anonymous" || !strings.Contains(value(out, "P-Asserted-Identity"), "104") || value(out, "Privacy") != "id" {
			t.Errorf("to the PBX:\n%s", out)
		}
		anna.drop()
		if _, err := o.Apply(context.Background(), hotdesk.Desired{PBX: []hotdesk.PBXSpec{{Name: "main", Internal: ptr("local")}}}, hotdesk.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		dial(anna, "101")
		in := bob.ring().invite
		if in.From().Address.User != "anonymous" || strings.Contains(in.String(), "104") || strings.Contains(in.String(), "Rossi") {
			t.Errorf("to a phone:\n%s", in)
		}
		anna.drop()
		trunk.drop()
		dial(anna, "112")
		sos := trunk.ring().invite
		if sos.From().Address.User != "+390612345600" || value(sos, "Privacy") != "" {
			t.Errorf("to the rescue centre:\n%s", sos)
		}
	})
}

// Requests inside a PBX's dialog go to its remote target, or by its route set (RFC 3261
// section 12.2.1.1), and are taken from any port of it.
func TestField_S9PBXWithSeveralAddresses(t *testing.T) {
	for _, c := range []struct{ name, contact, route, want string }{
		{"Contact elsewhere", "sip:x@192.0.2.101:5080", "", "192.0.2.101:5080"},
		{"Record-Route", "sip:x@192.0.2.102:5090", "Record-Route: <sip:192.0.2.101:5080;lr>\r\n", "192.0.2.101:5080"},
		{"Contact behind a NAT", "sip:x@10.0.0.7:5060", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, trunk := o.desk(1, "104"), o.trunk()
				there := trunk
				if c.want != "" {
					there = o.plug(c.want)
					there.user = "x"
				}
				a := anna.invite("0612345", "v=0")
				inv := trunk.request("INVITE")
				trunk.send(fmt.Sprintf("SIP/2.0 200 OK\r\nVia: %s\r\nFrom: %s\r\nTo: %s;tag=t\r\nCall-ID: %s\r\nCSeq: %s\r\nContact: <%s>\r\n%sContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0",
					inv.Via().Value(), inv.From().Value(), inv.To().Value(), inv.CallID().Value(), inv.CSeq().Value(), c.contact, c.route))
				there.expect("ACK")
				a.answered("")
				a.do("BYE", "", "")
				anna.expect("200 BYE")
				if req := there.ok("BYE"); req.Recipient.String() != c.contact {
					t.Errorf("BYE %s", req.Recipient.String())
				}
			})
		})
	}
	t.Run("INVITE and BYE from another port", func(t *testing.T) {
		inOffice(t, func(o *office) {
			bob, trunk := o.desk(2, "101"), o.trunk()
			a, _ := fromTrunk(o, bob, trunk, "")
			other := o.plug("192.0.2.100:50600")
			other.user = "pbx"
			a.p = other
			a.do("BYE", "", "")
			other.expect("200 BYE")
			bob.ok("BYE")
		})
	})
}

// A 3xx sends the caller on (RFC 3261 section 8.1.3.4): a phone's Contact is dialled with
// the rights of its own user, a PBX's within that PBX, best q first, five times at most.
func TestField_S10Redirect(t *testing.T) {
	moved := func(p *peer, inv *sip.Request, contacts string) {
		p.send(fmt.Sprintf("SIP/2.0 302 Moved Temporarily\r\nVia: %s\r\nFrom: %s\r\nTo: %s;tag=m\r\nCall-ID: %s\r\nCSeq: %s\r\nContact: %s\r\nContent-Length: 0\r\n\r\n",
			inv.Via().Value(), inv.From().Value(), inv.To().Value(), inv.CallID().Value(), inv.CSeq().Value(), contacts))
		p.expect("ACK")
	}
	t.Run("phone to phone", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, bob, cleo := o.desk(1, "100"), o.desk(2, "101"), o.desk(3, "102")
			a := anna.invite("101", "v=0")
			moved(bob, bob.request("INVITE"), "<sip:999@192.0.2.1>;q=0.1, <sip:102@192.0.2.1>;q=0.9")
			b := cleo.ring()
			if b.invite.From().Address.User != "100" || !strings.Contains(value(b.invite, "Diversion"), "101") {
				t.Errorf("rings with\n%s", b.invite)
			}
			anna.expect("180 INVITE")
			b.reply(200, "OK", "v=0")
			cleo.expect("ACK")
			a.answered("")
		})
	})
	t.Run("phone to where its user may not call", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, bob, trunk := o.desk(1, "104"), o.desk(2, "101"), o.trunk()
			_ = anna
			a := trunk.dial("101", "v=0", "")
			moved(bob, bob.request("INVITE"), "<sip:0039061@192.0.2.1>")
			a.refused("480 INVITE")
		})
	})
	t.Run("PBX", func(t *testing.T) {
		inOffice(t, func(o *office) {
			anna, trunk := o.desk(1, "104"), o.trunk()
			a := anna.invite("0612345", "v=0")
			for n := range 5 {
				moved(trunk, trunk.request("INVITE"), fmt.Sprintf("<sip:07%d@elsewhere.example>", n))
			}
			last := trunk.request("INVITE")
			if last.Recipient.User != "074" || last.Recipient.Host != "192.0.2.100" {
				t.Errorf("asked for %s", last.Recipient.String())
			}
			moved(trunk, last, "<sip:08@x>")
			a.refused("480 INVITE")
		})
	})
}

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
