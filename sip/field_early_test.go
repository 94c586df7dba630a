package sip

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

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
