package sip

import (
	"strings"
	"testing"
	"time"

	"hotdeskd/sip/call"
)

// up makes a call from HD0001 (user 100) to HD0002 (user 101) that is answered.
func up(o *office) (anna, bob *peer, a, b *leg) {
	anna, bob = o.desk(1, "100"), o.desk(2, "101")
	a = anna.invite("101", "v=0 anna")
	b = bob.ring()
	anna.expect("180 INVITE")
	b.reply(200, "OK", "v=0 bob")
	bob.expect("ACK")
	a.answered("")
	sleep(10 * time.Millisecond)
	return anna, bob, a, b
}

// A call between two desks: each side's session description reaches the other,
// nothing about a device or a secret does, and a BYE ends both legs.
func TestCall(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.invite("101", "v=0 anna")
		b := bob.ring()
		ringing := anna.response("180 INVITE")
		if got := string(b.invite.Body()); got != "v=0 anna" {
			t.Errorf("offer %q", got)
		}
		for _, hidden := range []string{"HD0001", "Authorization", "192.0.2.11", a.callID} {
			if strings.Contains(b.invite.String(), hidden) {
				t.Errorf("the called phone sees %s in\n%s", hidden, b.invite)
			}
		}
		b.reply(200, "OK", "v=0 bob")
		bob.expect("ACK")
		ok := a.answered("")
		if got := string(ok.Body()); got != "v=0 bob" {
			t.Errorf("answer %q", got)
		}
		if ringing.To().Value() != ok.To().Value() {
			t.Errorf("180 from %s, 200 from %s", ringing.To().Value(), ok.To().Value())
		}
		for _, hidden := range []string{"HD0002", "192.0.2.12", b.callID} {
			if strings.Contains(ringing.String()+ok.String(), hidden) {
				t.Errorf("the caller sees %s", hidden)
			}
		}
		if busy, _ := o.live.InCall("HD0002", ""); !busy {
			t.Error("HD0002 is in no call")
		}
		a.bye()
		bob.ok("BYE")
		o.recorded("answered", "")
		if c := o.records()[0]; c.FromUser != "100" || c.FromDevice != "HD0001" || c.To != "101" || c.ToDevice != "HD0002" || c.Answered == nil || c.Ended == nil {
			t.Errorf("record %+v", c)
		}
		o.idle()
	})
}

// The called party may hang up too, and two BYEs that cross are both answered.
func TestHangUp(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, _, b := up(o)
		b.bye()
		anna.ok("BYE")
		a := anna.invite("101", "v=0")
		b = bob.ring()
		anna.expect("180 INVITE")
		b.reply(200, "OK", "v=0")
		bob.expect("ACK")
		a.answered("")
		sleep(10 * time.Millisecond)
		a.do("BYE", "", "")
		b.do("BYE", "", "")
		for _, p := range []*peer{anna, bob} {
			final := false
			for range 2 {
				switch msg := p.read(time.Second); name(msg) {
				case "200 BYE", "481 BYE":
					final = true
				case "BYE":
					p.reply(p.asRequest(msg), 200, "OK", "", "")
				}
			}
			if !final {
				t.Errorf("%s got no answer to its BYE:\n%s", p.at, strings.Join(p.seen, "\n"))
			}
		}
		o.recorded("answered", "")
		o.idle()
	})
}

// All phones of the called user ring; the first to answer gets the call and the
// others are told that it was taken elsewhere.
func TestFork(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, one, two := o.desk(1, "100"), o.desk(2, "101"), o.desk(3, "101")
		a := anna.invite("101", "v=0")
		r1, r2 := one.ring(), two.ring()
		anna.expect("180 INVITE")
		r2.reply(200, "OK", "v=0 two")
		two.expect("ACK")
		cancel := one.request("CANCEL")
		if h := cancel.GetHeader("Reason"); h == nil || !strings.Contains(h.Value(), "cause=200") {
			t.Errorf("CANCEL without the reason:\n%s", cancel)
		}
		if cancel.Via().Value() != r1.invite.Via().Value() || cancel.CSeq().SeqNo != r1.invite.CSeq().SeqNo {
			t.Errorf("CANCEL does not match its INVITE:\n%s", cancel)
		}
		one.reply(cancel, 200, "OK", "", "")
		r1.reply(487, "Request Terminated", "")
		one.expect("ACK")
		anna.expect("180 INVITE")
		a.answered("")
		if busy, _ := o.live.InCall("HD0002", ""); busy {
			t.Error("the phone that lost still has a leg")
		}
		a.bye()
		two.ok("BYE")
		o.recorded("answered", "")
		o.idle()
	})
}

// Two phones that answer at the same moment: one gets the call, the other is
// acknowledged and hung up at once, and only once when its 200 comes again.
func TestForkLateAnswer(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, one, two := o.desk(1, "100"), o.desk(2, "101"), o.desk(3, "101")
		a := anna.invite("101", "v=0")
		r1, r2 := one.ring(), two.ring()
		anna.drop()
		r1.reply(200, "OK", "v=0")
		r2.reply(200, "OK", "v=0")
		got := map[string]int{}
		var loser *leg
		for range 50 { // in turn, so that nothing has to come again
			for _, r := range []*leg{r1, r2} {
				msg := r.p.read(5 * time.Millisecond)
				if msg == nil {
					continue
				}
				req := r.p.asRequest(msg)
				got[name(req)]++
				switch req.Method {
				case "CANCEL": // it crossed with the 200
					r.p.reply(req, 481, "Call/Transaction Does Not Exist", "", "")
				case "BYE":
					r.p.reply(req, 200, "OK", "", "")
					loser = r
				}
			}
		}
		if got["ACK"] != 2 || got["BYE"] != 1 {
			t.Fatalf("the phones got %v, want two ACKs and one BYE", got)
		}
		loser.reply(200, "OK", "v=0")
		loser.p.expect("ACK")
		loser.p.silent(5 * time.Second)
		a.answered("")
		anna.drop() // copies of the 200 that came meanwhile
		a.bye()
		winner := r1
		if loser == r1 {
			winner = r2
		}
		winner.p.ok("BYE")
		o.idle()
	})
}

// A phone that gives no sign of life for 4 seconds does not hold the call up.
func TestDeadBranch(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, _ := o.desk(1, "100"), o.desk(2, "101")
		start := time.Now()
		a := anna.invite("101", "v=0")
		a.refused("480 INVITE")
		if took := time.Since(start).Round(100 * time.Millisecond); took != 4*time.Second {
			t.Errorf("refused after %v, want 4 s", took)
		}
		o.recorded("no-answer", "")
		o.idle()
	})
}

// A phone that says 100 is alive, however long it thinks.
func TestSlowBranch(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.invite("101", "v=0")
		b := bob.incoming(bob.request("INVITE"))
		b.reply(100, "Trying", "")
		anna.drop()
		sleep(20 * time.Second)
		b.reply(200, "OK", "v=0")
		bob.expect("ACK")
		a.answered("")
		a.bye()
		bob.ok("BYE")
	})
}

// A phone that declines for itself with 603 does not decline for the user's
// other phones, and counts as busy when it was the only one.
func TestDecline(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, one, two := o.desk(1, "100"), o.desk(2, "101"), o.desk(3, "101")
		a := anna.invite("101", "v=0")
		r1, r2 := one.ring(), two.ring()
		anna.drop()
		r1.reply(603, "Decline", "")
		one.expect("ACK")
		anna.silent(2 * time.Second)
		r2.reply(480, "Temporarily Unavailable", "")
		two.expect("ACK")
		a.refused("486 INVITE")
		o.recorded("busy", "")
		o.idle()
	})
}

// What phones and trunks refuse with is told to the caller in words that say
// nothing about them.
func TestField_S16Refusals(t *testing.T) {
	for _, c := range []struct {
		status       int
		want, result string
	}{
		{486, "486 INVITE", "busy"},
		{600, "486 INVITE", "busy"},
		{480, "480 INVITE", "no-answer"},
		{302, "480 INVITE", "no-answer"},
		{404, "404 INVITE", "refused"},
		{488, "488 INVITE", "refused"},
		{401, "503 INVITE", "failed"},
		{407, "503 INVITE", "failed"},
		{500, "500 INVITE", "failed"},
		{504, "504 INVITE", "failed"},
		{503, "500 INVITE", "failed"}, // a phone would keep away from whoever says 503 (RFC 3261 section 21.5.4)
		{402, "402 INVITE", "refused"},
		{410, "410 INVITE", "refused"},
		{433, "433 INVITE", "refused"},
		{484, "484 INVITE", "refused"},
		{408, "408 INVITE", "no-answer"},
	} {
		inOffice(t, func(o *office) {
			anna, bob := o.desk(1, "100"), o.desk(2, "101")
			a := anna.invite("101", "v=0")
			inv := bob.request("INVITE")
			bob.reply(inv, c.status, "No", inv.To().Value()+";tag=x", "", `WWW-Authenticate: Digest realm="phone", nonce="1"`+"\r\n")
			bob.expect("ACK")
			res := a.refused(c.want)
			if strings.Contains(res.String(), "Authenticate") {
				t.Errorf("%d: a challenge reaches the caller:\n%s", c.status, res)
			}
			o.recorded(c.result, "")
			o.idle()
		})
	}
}

// A caller who gives up while the phone rings gets 487, the phone stops at once.
func TestCallerGivesUp(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.invite("101", "v=0")
		b := bob.ring()
		anna.expect("180 INVITE")
		a.cancel()
		anna.expect("200 CANCEL")
		a.refused("487 INVITE")
		bob.ok("CANCEL")
		b.reply(487, "Request Terminated", "")
		bob.expect("ACK")
		o.recorded("cancelled", "")
		o.idle()
	})
}

// A CANCEL as soon as it is allowed, after the 100, leaves no phone ringing.
func TestCancelAtOnce(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.dial("101", "v=0", "")
		res := anna.response("401 INVITE")
		a.ackFailure(res)
		a.cseq++
		a.send(anna.sign(res.GetHeader("WWW-Authenticate").Value(), "INVITE", a.uri))
		if msg := anna.read(time.Second); name(msg) != "100 INVITE" {
			t.Fatal(name(msg))
		}
		a.cancel()
		anna.expect("200 CANCEL")
		a.refused("487 INVITE")
		for msg := bob.read(time.Second); msg != nil; msg = bob.read(time.Second) {
			switch name(msg) {
			case "INVITE":
				b := bob.incoming(bob.asRequest(msg))
				b.reply(180, "Ringing", "")
				bob.ok("CANCEL")
				b.reply(487, "Request Terminated", "")
			case "ACK":
			default:
				t.Fatalf("bob got %s", name(msg))
			}
		}
		o.recorded("cancelled", "")
		o.idle()
	})
}

// A ringing phone that vanishes while its call is cancelled holds nothing: what
// waits for its 487 ends after 32 seconds.
func TestCancelledPhoneVanishes(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.invite("101", "v=0")
		bob.ring()
		anna.expect("180 INVITE")
		_ = bob.conn.Close()
		a.cancel()
		anna.expect("200 CANCEL")
		a.refused("487 INVITE")
		o.idle()
		before := running("dialog.(*Branch)")
		sleep(40 * time.Second)
		if after := running("dialog.(*Branch)"); before == 0 || after != 0 {
			t.Errorf("%d branches were waiting, %d still are", before, after)
		}
	})
}

// The answer that crosses with the caller's CANCEL leaves nobody in a call.
func TestCancelCrossesAnswer(t *testing.T) {
	for _, order := range []string{"cancel first", "answer first"} {
		t.Run(order, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, bob := o.desk(1, "100"), o.desk(2, "101")
				a := anna.invite("101", "v=0")
				b := bob.ring()
				anna.expect("180 INVITE")
				if order == "cancel first" {
					a.cancel()
					b.reply(200, "OK", "v=0")
				} else {
					b.reply(200, "OK", "v=0")
					a.cancel()
				}
				taken := false
				for msg := anna.read(time.Second); msg != nil; msg = anna.read(time.Second) {
					switch name(msg) {
					case "487 INVITE":
						a.ackFailure(anna.asResponse(msg))
					case "200 INVITE":
						taken = true
						a.confirm(anna.asResponse(msg), "")
					case "BYE":
						anna.reply(anna.asRequest(msg), 481, "Unknown", "", "")
					}
				}
				hungUp := false
				for msg := bob.read(time.Second); msg != nil; msg = bob.read(time.Second) {
					if req := bob.asRequest(msg); req.Method != "ACK" {
						hungUp = hungUp || req.Method == "BYE"
						bob.reply(req, 200, "OK", "", "")
					}
				}
				if taken {
					a.bye()
					bob.ok("BYE")
				} else if !hungUp {
					t.Errorf("the called phone is left in a call:\n%s", strings.Join(bob.seen, "\n"))
				}
				o.idle()
			})
		})
	}
}

// A phone that keeps ringing is given up after three minutes.
func TestRingsTooLong(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.invite("101", "v=0")
		b := bob.ring()
		anna.expect("180 INVITE")
		sleep(call.RingFor)
		bob.ok("CANCEL")
		b.reply(487, "Request Terminated", "")
		bob.expect("ACK")
		a.refused("480 INVITE")
		o.idle()
	})
}
