package sip

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A re-INVITE goes through to the other side and its answer comes back; CSeq and
// tags of the two legs stay apart.
func TestReInvite(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, a, b := up(o)
		a.do("INVITE", sdp, "v=0 hold")
		inv := bob.request("INVITE")
		if string(inv.Body()) != "v=0 hold" || inv.CallID().Value() != b.callID || inv.To().Value() != b.local {
			t.Errorf("relayed as\n%s", inv)
		}
		bob.reply(inv, 200, "OK", "", "v=0 held")
		bob.expect("ACK")
		if res := a.answered(""); string(res.Body()) != "v=0 held" {
			t.Errorf("answer %q", res.Body())
		}
		anna.silent(5 * time.Second)
		a.bye()
		bob.ok("BYE")
		o.idle()
	})
}

// A re-INVITE without an offer takes the other side's offer and brings it the
// answer in the ACK, also when that is asked for again.
func TestReInviteLateOffer(t *testing.T) {
	inOffice(t, func(o *office) {
		_, bob, a, _ := up(o)
		a.do("INVITE", "", "")
		inv := bob.request("INVITE")
		bob.reply(inv, 200, "OK", "", "v=0 offer")
		res := a.p.response("200 INVITE")
		bob.reply(inv, 200, "OK", "", "v=0 offer") // again, before the caller has decided
		bob.silent(100 * time.Millisecond)
		a.confirm(res, "v=0 answer")
		for range 2 {
			if ack := bob.request("ACK"); string(ack.Body()) != "v=0 answer" {
				t.Errorf("ACK with %q", ack.Body())
			}
			bob.reply(inv, 200, "OK", "", "v=0 offer")
		}
		bob.expect("ACK")
		a.bye()
		bob.ok("BYE")
		o.idle()
	})
}

// Two sides that change the call at once: the second is told 491 and may try
// again, which then works.
func TestGlare(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, a, b := up(o)
		a.do("INVITE", sdp, "v=0 a")
		inv := bob.request("INVITE")
		b.do("INVITE", sdp, "v=0 b")
		res := bob.response("491 INVITE")
		b.ackFailure(res)
		bob.reply(inv, 491, "Request Pending", "", "")
		bob.expect("ACK")
		a.refused("491 INVITE")
		b.do("INVITE", sdp, "v=0 b")
		anna.ok("INVITE")
		anna.expect("ACK")
		b.answered("")
		a.bye()
		bob.ok("BYE")
		o.recorded("answered", "")
		o.idle()
	})
}

// A re-INVITE that nobody answers ends the call with one BYE to each side, not
// with a call that cannot be changed any more.
func TestReInviteUnanswered(t *testing.T) {
	for _, ringing := range []bool{false, true} {
		inOffice(t, func(o *office) {
			anna, bob, a, _ := up(o)
			a.do("INVITE", sdp, "v=0")
			inv := bob.request("INVITE")
			if ringing {
				bob.reply(inv, 180, "Ringing", "", "")
			}
			sleep(31 * time.Second)
			bob.drop()
			a.refused("408 INVITE")
			byes := 0
			for msg := anna.read(10 * time.Second); msg != nil; msg = anna.read(10 * time.Second) {
				if name(msg) == "BYE" {
					byes++
					anna.reply(anna.asRequest(msg), 200, "OK", "", "")
				}
			}
			if byes != 1 {
				t.Errorf("the caller got %d BYEs", byes)
			}
			bob.drop()
			o.idle()
		})
	}
}

// A side that does not know the call any more has ended it.
func TestReInviteUnknown(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, a, _ := up(o)
		a.do("INVITE", sdp, "v=0")
		inv := bob.request("INVITE")
		bob.reply(inv, 481, "Call/Transaction Does Not Exist", "", "")
		bob.expect("ACK")
		a.refused("481 INVITE")
		anna.ok("BYE")
		anna.silent(5 * time.Second)
		bob.silent(5 * time.Second)
		o.idle()
	})
}

// UPDATE and INFO are carried through with their bodies, and their outcome back.
func TestRelay(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		anna.also, bob.also = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, INFO\r\n", "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, INFO\r\n"
		a := anna.invite("101", "v=0 anna")
		b := bob.ring()
		anna.expect("180 INVITE")
		b.reply(200, "OK", "v=0 bob")
		bob.expect("ACK")
		a.answered("")
		sleep(10 * time.Millisecond)
		b.do("UPDATE", sdp, "v=0 update")
		req := anna.request("UPDATE")
		if string(req.Body()) != "v=0 update" {
			t.Errorf("UPDATE with %q", req.Body())
		}
		anna.reply(req, 200, "OK", "", "v=0 updated")
		if res := bob.response("200 UPDATE"); string(res.Body()) != "v=0 updated" {
			t.Errorf("answered with %q", res.Body())
		}
		a.do("INFO", "Content-Type: application/dtmf-relay\r\n", "Signal=5\r\n")
		req = bob.request("INFO")
		if ct := req.ContentType(); string(req.Body()) != "Signal=5\r\n" || ct == nil || ct.Value() != "application/dtmf-relay" {
			t.Errorf("relayed as\n%s", req)
		}
		bob.reply(req, 415, "Unsupported Media Type", "", "")
		anna.expect("415 INFO")
		a.do("INFO", "", "")
		bob.reply(bob.request("INFO"), 407, "Proxy Authentication Required", "", "", `Proxy-Authenticate: Digest realm="x", nonce="y"`+"\r\n")
		again := bob.request("INFO") // with the credentials of its own device
		if again.GetHeader("Proxy-Authorization") == nil {
			t.Errorf("the challenge is not answered:\n%s", again)
		}
		bob.reply(again, 407, "Proxy Authentication Required", "", "", `Proxy-Authenticate: Digest realm="x", nonce="y"`+"\r\n")
		if res := anna.response("503 INFO"); strings.Contains(res.String(), "Authenticate") {
			t.Errorf("a challenge passes:\n%s", res)
		}
		a.bye()
		bob.ok("BYE")
	})
}

// Methods that a call does not have are refused, an old CSeq too, and OPTIONS
// inside the call is answered.
func TestOtherMethodsInside(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, a, _ := up(o)
		for method, want := range map[string]string{"OPTIONS": "200 OPTIONS", "REFER": "501 REFER", "PRACK": "481 PRACK", "SUBSCRIBE": "401 SUBSCRIBE"} {
			a.do(method, "", "")
			anna.expect(want)
		}
		a.cseq = 0
		a.do("INFO", "", "")
		anna.expect("500 INFO")
		a.cseq = 20
		a.bye()
		bob.ok("BYE")
	})
}

// A request of a dialog that nobody knows gets 481; its ACK is not answered.
func TestUnknownDialog(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, a, _ := up(o)
		stranger := o.plug("203.0.113.9:5060")
		stranger.user = "100"
		right := a.remote
		for _, method := range []string{"BYE", "INFO", "UPDATE", "INVITE", "OPTIONS", "REFER", "MESSAGE", "NOTIFY", "CANCEL"} {
			guess := *a
			guess.p, guess.remote = stranger, strings.Replace(right, "tag=", "tag=x", 1)
			guess.do(method, "", "")
			res := stranger.response("481 " + method)
			if method == "INVITE" {
				guess.ackFailure(res)
			}
		}
		guess := *a
		guess.p, guess.remote = stranger, strings.Replace(right, "tag=", "tag=x", 1)
		guess.do("ACK", "", "")
		stranger.silent(time.Second)
		a.bye()
		bob.ok("BYE")
		anna.silent(time.Second)
	})
}

// The 200 that the called phone sends again is acknowledged again.
func TestAnswerRetransmitted(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.invite("101", "v=0")
		b := bob.ring()
		anna.drop()
		for range 3 {
			b.reply(200, "OK", "v=0")
			bob.expect("ACK")
		}
		a.answered("")
		a.bye()
		bob.ok("BYE")
	})
}

// Our 200 is sent again until it is acknowledged; when nobody ever does, the
// call ends after 32 seconds on both sides.
func TestNoAck(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		anna.invite("101", "v=0")
		b := bob.ring()
		anna.expect("180 INVITE")
		b.reply(200, "OK", "v=0")
		bob.expect("ACK")
		start, copies := time.Now(), 0
		for {
			msg := anna.read(40 * time.Second)
			if name(msg) != "200 INVITE" {
				if name(msg) != "BYE" {
					t.Fatalf("got %s", name(msg))
				}
				anna.reply(anna.asRequest(msg), 200, "OK", "", "")
				break
			}
			copies++
		}
		if took := time.Since(start).Round(time.Second); took != 32*time.Second || copies != 11 {
			t.Errorf("ended after %v and %d copies of the 200, want 32 s and 11", took, copies)
		}
		bob.ok("BYE")
		o.recorded("answered", "")
		o.idle()
	})
}

// A caller without an offer gets the called phone's, and its answer reaches the
// phone in the ACK.
func TestLateOffer(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.invite("101", "")
		b := bob.ring()
		if len(b.invite.Body()) != 0 || b.invite.ContentType() != nil {
			t.Errorf("INVITE with a body:\n%s", b.invite)
		}
		anna.expect("180 INVITE")
		b.reply(200, "OK", "v=0 offer")
		if res := a.answered("v=0 answer"); string(res.Body()) != "v=0 offer" {
			t.Errorf("offer %q", res.Body())
		}
		if ack := bob.request("ACK"); string(ack.Body()) != "v=0 answer" {
			t.Errorf("answer %q", ack.Body())
		}
		a.bye()
		bob.ok("BYE")
	})
}

// A caller who hangs up before acknowledging leaves nobody in the call.
func TestByeBeforeAck(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.invite("101", "v=0")
		b := bob.ring()
		anna.expect("180 INVITE")
		b.reply(200, "OK", "v=0")
		bob.expect("ACK")
		res := anna.response("200 INVITE")
		a.remote, a.target = res.To().Value(), res.Contact().Address.String()
		a.bye()
		bob.ok("BYE")
		anna.silent(35 * time.Second)
		o.idle()
	})
}

// An offer among other parts of a body reaches the phone as a session
// description.
func TestMultipartOffer(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.dial("101", "--b\r\nContent-Type: application/pidf+xml\r\n\r\n<here/>\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0 part\r\n--b--\r\n",
			"Content-Type: multipart/mixed;boundary=b\r\n")
		a.answerChallenge()
		b := bob.ring()
		if ct := b.invite.ContentType(); string(b.invite.Body()) != "v=0 part" || ct == nil || ct.Value() != "application/sdp" {
			t.Errorf("relayed as\n%s", b.invite)
		}
		anna.drop()
		a.cancel()
		synctest.Wait()
		bob.ok("CANCEL")
		b.reply(487, "Request Terminated", "")
	})
}

// A stranger who has overheard a call's Call-ID and tags is not in it, and no
// request, however numbered, keeps a party from hanging up.
func TestStrangerInside(t *testing.T) {
	inOffice(t, func(o *office) {
		_, bob, a, _ := up(o)
		thief := o.phone(3)
		thief.register()
		x := *a
		x.p = thief
		for _, method := range []string{"INFO", "BYE", "OPTIONS", "INVITE"} {
			thief.send(x.text(method, "z9hG4bKthief"+method, 1<<30, x.target, "", ""))
			res := thief.response("401 " + method)
			if method == "INVITE" {
				thief.send(x.text("ACK", "z9hG4bKthief"+method, 1<<30, x.target, "", ""))
			}
			if res.StatusCode != 401 {
				t.Errorf("%s of a stranger got %d", method, res.StatusCode)
			}
		}
		wrong := *a
		wrong.local = strings.Replace(a.local, "tag=", "tag=x", 1)
		a.p.send(wrong.text("BYE", "z9hG4bKwrong", 1<<30, a.target, "", ""))
		a.p.expect("481 BYE")
		a.p.send(a.text("INFO", "z9hG4bKhigh", 1<<31-1, a.target, "", "x"))
		bob.reply(bob.request("INFO"), 200, "OK", "", "")
		a.p.expect("200 INFO")
		a.bye() // with a lower CSeq
		bob.ok("BYE")
		o.recorded("answered", "")
		o.idle()
	})
}
