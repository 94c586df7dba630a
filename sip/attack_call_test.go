package sip

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// A CANCEL of a stranger finds no INVITE however it spells the branch and the sender
// that it has overheard.
func TestAttack_CancelSpelledAnotherWay(t *testing.T) {
	for name, via := range map[string]string{
		"default port left out": "SIP/2.0/UDP 192.0.2.11;branch=%s",
		"another branch first":  "SIP/2.0/UDP 192.0.2.11:5060;BRANCH=z9hG4bKother;branch=%s",
		"of two values":         "SIP/2.0/UDP 192.0.2.11:5060;branch=%s, SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKx",
		"white space":           "SIP / 2.0 / UDP 192.0.2.11 : 5060 ; branch = %s",
		"other transport":       "SIP/2.0/TCP 192.0.2.11:5060;branch=%s",
	} {
		t.Run(name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, main := o.desk(1, "100"), o.trunk()
				a := anna.dial("112", "v=0", "")
				main.ring()
				anna.expect("180 INVITE")
				thief := o.plug("203.0.113.9:5060")
				thief.send(strings.Replace(a.text("CANCEL", a.branch, a.cseq, a.uri, "", ""),
					"Via: SIP/2.0/UDP 192.0.2.11:5060;rport;branch="+a.branch, "Via: "+fmt.Sprintf(via, a.branch), 1))
				main.silent(time.Second)
				anna.silent(time.Millisecond)
			})
		})
	}
}

// A stranger's INVITE with an overheard branch spelled another way does not make the
// stranger its sender.
func TestAttack_CancelAfterAnINVITEWithTheSameBranch(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, main := o.desk(1, "100"), o.trunk()
		a := anna.dial("112", "v=0", "")
		main.ring()
		anna.expect("180 INVITE")
		thief := o.plug("203.0.113.9:5060")
		via := "Via: SIP/2.0/UDP 192.0.2.11:5060;rport;branch=" + a.branch
		thief.send(strings.Replace(a.text("INVITE", a.branch, a.cseq, a.uri, "", ""), via, "Via: SIP/2.0/UDP 192.0.2.11:5060;BRANCH="+a.branch+";branch=z9hG4bKthief", 1))
		sleep(100 * time.Millisecond)
		thief.send(a.text("CANCEL", a.branch, a.cseq, a.uri, "", ""))
		main.silent(time.Second)
	})
}

// Who has overheard our INVITE and answers it from elsewhere is not heard.
func TestAttack_AnswerFromElsewhere(t *testing.T) {
	for _, status := range []int{200, 603, 180} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, main := o.desk(1, "100"), o.trunk()
				anna.dial("112", "v=0", "")
				b := main.ring()
				anna.expect("180 INVITE")
				thief := o.plug("203.0.113.9:5060")
				thief.user = "x"
				thief.reply(b.invite, status, "Hello", b.invite.To().Value()+";tag=thief", "v=0 thief")
				anna.silent(time.Second)
			})
		})
	}
}

// An emergency call that requires reliable ringing is answered at once, whether or not
// the phone ever acknowledges the ringing.
func TestAttack_EmergencyWithoutPRACK(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, main := o.desk(1, "100"), o.trunk()
		a := anna.dial("112", "v=0", "Require: 100rel\r\n")
		b := main.ring()
		anna.expect("180 INVITE")
		b.reply(200, "OK", "v=0")
		main.expect("ACK")
		began := time.Now()
		for {
			msg := anna.read(time.Minute)
			if name(msg) == "200 INVITE" {
				a.confirm(anna.asResponse(msg), "")
				break
			}
			if name(msg) != "180 INVITE" {
				t.Fatalf("got %s", name(msg))
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the answer took %v", took)
		}
		for {
			msg := anna.read(40 * time.Second)
			if msg == nil {
				break
			}
			t.Errorf("after the answer comes %s", name(msg))
		}
		a.bye()
		main.ok("BYE")
		o.idle()
	})
}

// A callee that leaves with a BYE before it has answered is gone: the caller is told.
func TestAttack_ByeOfACalleeThatRings(t *testing.T) {
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
				b.do("BYE", "", "")
				callee.expect("200 BYE")
				callee.ok("CANCEL")
				b.reply(487, "Request Terminated", "")
				callee.expect("ACK")
				began := time.Now()
				msg := anna.read(5 * time.Minute)
				if took := time.Since(began); took > time.Second {
					t.Errorf("the caller is told %s after %v", name(msg), took)
				}
				a.ackFailure(anna.asResponse(msg))
				o.idle()
			})
		})
	}
}

// A callee that answers and leaves at once has left, also while the caller's PRACK is
// waited for.
func TestAttack_ByeOfACalleeBeforeTheCallerHasTheAnswer(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.dial("101", "v=0", "Require: 100rel\r\n")
		a.answerChallenge()
		b := bob.ring()
		anna.expect("180 INVITE")
		b.reply(200, "OK", "v=0")
		bob.expect("ACK")
		b.do("BYE", "", "")
		bob.expect("200 BYE")
		for {
			msg := anna.read(time.Minute)
			if msg == nil {
				break
			}
			switch {
			case name(msg) == "200 INVITE":
				t.Error("an answer of who has left")
			case name(msg) == "BYE":
				t.Error("a BYE after the refusal")
			case strings.HasPrefix(name(msg), "4"):
				a.ackFailure(anna.asResponse(msg))
			}
		}
		bob.silent(time.Millisecond)
		if n := len(o.records()); n != 1 {
			t.Errorf("%d records", n)
		}
		o.idle()
	})
}

// A caller that gives up by BYE while its PRACK is waited for gets 487 and no 200.
func TestAttack_ByeOfTheCallerBeforeItHasTheAnswer(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.dial("101", "v=0", "Require: 100rel\r\n")
		a.answerChallenge()
		b := bob.ring()
		res := anna.response("180 INVITE")
		a.remote, a.target = res.To().Value(), res.Contact().Address.String()
		b.reply(200, "OK", "v=0")
		bob.expect("ACK")
		a.do("BYE", "", "")
		anna.expect("200 BYE")
		bob.ok("BYE")
		for {
			msg := anna.read(10 * time.Second)
			if name(msg) == "487 INVITE" {
				break
			}
			if msg == nil || name(msg) != "180 INVITE" {
				t.Fatalf("the caller gets %s", name(msg))
			}
		}
		o.recorded("cancelled", "")
		o.idle()
	})
}

// sos is an emergency call of HD0001 that is up.
func sos(o *office) (anna, main *peer, a, b *leg) {
	anna, main = o.desk(1, "100"), o.trunk()
	anna.also, main.also = all, all
	a = anna.dial("112", "v=0", "")
	b = main.ring()
	anna.expect("180 INVITE")
	b.reply(200, "OK", "v=0")
	main.expect("ACK")
	return anna, main, a, b
}

// Nothing but a hang-up ends an emergency call: not a re-INVITE or UPDATE without an
// answer, not an ACK that never comes.
func TestAttack_EmergencyIsNotCut(t *testing.T) {
	up := func(o *office) bool { sleep(time.Minute); busy, _ := o.live.InCall("HD0001", ""); return busy }
	for _, method := range []string{"INVITE", "UPDATE"} {
		for _, status := range []int{0, 408} {
			t.Run(fmt.Sprint(method, status), func(t *testing.T) {
				inOffice(t, func(o *office) {
					_, main, a, _ := sos(o)
					a.answered("")
					sleep(10 * time.Millisecond)
					a.do(method, sdp, "v=0 hold")
					req := main.request(method)
					if status != 0 {
						main.reply(req, status, "Request Timeout", "", "")
					}
					if !up(o) {
						t.Error("the call is cut")
					}
				})
			})
		}
	}
	t.Run("no ACK", func(t *testing.T) {
		inOffice(t, func(o *office) {
			sos(o)
			if !up(o) {
				t.Error("the call is cut")
			}
		})
	})
	t.Run("no ACK to a re-INVITE", func(t *testing.T) {
		inOffice(t, func(o *office) {
			_, main, a, _ := sos(o)
			a.answered("")
			sleep(10 * time.Millisecond)
			a.do("INVITE", sdp, "v=0 hold")
			main.reply(main.request("INVITE"), 200, "OK", "", "v=0 held")
			if !up(o) {
				t.Error("the call is cut")
			}
		})
	})
}

func moved(p *peer, inv *sip.Request, contacts string) {
	p.send(fmt.Sprintf("SIP/2.0 302 Moved Temporarily\r\nVia: %s\r\nFrom: %s\r\nTo: %s;tag=m\r\nCall-ID: %s\r\nCSeq: %s\r\nContact: %s\r\nContent-Length: 0\r\n\r\n",
		inv.Via().Value(), inv.From().Value(), inv.To().Value(), inv.CallID().Value(), inv.CSeq().Value(), contacts))
	p.expect("ACK")
}

// A phone that keeps its device's id as its address (auth_name: aor) sends a call on
// under its user's number.
func TestAttack_RedirectDoesNotNameTheDevice(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, cleo := o.desk(1, "100"), o.desk(3, "102")
		o.login("HD0002", "101")
		bob := o.phone(2) // registers as HD0002
		bob.register()
		anna.invite("101", "v=0")
		moved(bob, bob.request("INVITE"), "<sip:102@192.0.2.1>")
		b := cleo.ring()
		if strings.Contains(b.invite.String(), "HD0002") {
			t.Errorf("the other phone gets\n%s", b.invite)
		}
		if got := value(b.invite, "Diversion"); !strings.Contains(got, "sip:101@") {
			t.Errorf("Diversion: %s", got)
		}
	})
}

// Two phones of one user that both send the call on to the same number make that ring
// once, and whoever answers is in the call.
func TestAttack_TwoRedirectsToOnePhone(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, one, two, cleo := o.desk(1, "100"), o.desk(2, "101"), o.desk(3, "101"), o.desk(4, "102")
		a := anna.invite("101", "v=0")
		inv1, inv2 := one.request("INVITE"), two.request("INVITE")
		moved(one, inv1, "<sip:102@192.0.2.1>")
		b := cleo.ring()
		moved(two, inv2, "<sip:102@192.0.2.1>")
		cleo.silent(100 * time.Millisecond)
		anna.drop()
		b.reply(200, "OK", "v=0")
		cleo.expect("ACK")
		a.answered("")
		sleep(10 * time.Millisecond)
		if busy, _ := o.live.InCall("HD0004", ""); !busy {
			t.Error("the phone that answered is in no call")
		}
	})
}

// A PBX that tells each forwarding by both headers (RFC 5806, RFC 7044) has forwarded
// once for each.
func TestAttack_DiversionsAreNotCountedTwice(t *testing.T) {
	inOffice(t, func(o *office) {
		bob, trunk := o.desk(2, "101"), o.trunk()
		var headers string
		for n := range 3 {
			headers += fmt.Sprintf("Diversion: <sip:20%d@pbx>;reason=unconditional\r\n", n)
		}
		for n := range 4 {
			headers += fmt.Sprintf("History-Info: <sip:20%d@pbx>;index=1.%d\r\n", n, n)
		}
		trunk.dial("101", "v=0", headers)
		bob.ring()
	})
}

// A phone that rings under ever new tags gets no memory for them without end.
func TestAttack_EarlyDialogsWithoutEnd(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		anna.invite("101", "v=0")
		b := bob.incoming(bob.request("INVITE"))
		for n := range 500 {
			bob.reply(b.invite, 180, "Ringing", b.invite.To().Value()+fmt.Sprint(";tag=e", n), "")
			if n%20 == 0 {
				sleep(200 * time.Millisecond)
			}
		}
		sleep(time.Second)
		if n := o.edge.table.Len(); n > 200 {
			t.Errorf("%d dialogs of one call", n)
		}
	})
}

// A header of a PBX that is long is passed whole or not at all: cut, it would make the
// INVITE one that phones refuse.
func TestAttack_LongHeadersAreNotCut(t *testing.T) {
	inOffice(t, func(o *office) {
		bob, trunk := o.desk(2, "101"), o.trunk()
		long := "<sip:+390612345600@" + strings.Repeat("ims.", 50) + "example.org;user=phone>;index=1"
		trunk.dial("101", "v=0", "History-Info: "+long+"\r\n")
		if got := value(bob.ring().invite, "History-Info"); got != "" && got != long {
			t.Errorf("the phone gets %q", got)
		}
	})
}

// What a phone warns of in its refusal is not for another phone's ears.
func TestAttack_WarningFromPhoneToPhone(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, a, _ := up(o)
		a.do("INVITE", sdp, "v=0 hold")
		inv := bob.request("INVITE")
		bob.reply(inv, 488, "Not Acceptable Here HD0002", "", "", "Warning: 399 10.1.2.3 \"HD0002\"\r\n")
		bob.expect("ACK")
		if res := anna.response("488 INVITE"); strings.Contains(res.String(), "HD0002") {
			t.Errorf("the other phone gets\n%s", res)
		}
	})
}

// slowNames is a DNS in which one name has no answer.
type slowNames struct {
	*names
	asked chan struct{}
}

func (n slowNames) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if host != "gw.example" {
		return n.names.LookupNetIP(ctx, network, host)
	}
	select {
	case n.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// A rescue centre whose Contact names a host that no name server knows does not delay
// the answer.
func TestAttack_SlowNameOfTheRescueCentre(t *testing.T) {
	inOffice(t, func(o *office) {
		asked := make(chan struct{}, 1)
		o.edge.Resolver = slowNames{o.names, asked}
		anna, main := o.desk(1, "100"), o.trunk()
		a := anna.dial("112", "v=0", "")
		inv := main.request("INVITE")
		began := time.Now()
		main.send(fmt.Sprintf("SIP/2.0 200 OK\r\nVia: %s\r\nFrom: %s\r\nTo: %s;tag=t\r\nCall-ID: %s\r\nCSeq: %s\r\nContact: <sip:x@gw.example>\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0",
			inv.Via().Value(), inv.From().Value(), inv.To().Value(), inv.CallID().Value(), inv.CSeq().Value()))
		a.answered("")
		if took := time.Since(began); took > time.Second {
			t.Errorf("the answer took %v", took)
		}
		main.expect("ACK")
		select {
		case <-asked:
		default:
			t.Error("the edge's own resolver was not asked")
		}
		a.do("BYE", "", "")
		anna.expect("200 BYE")
		main.ok("BYE")
		sleep(5 * time.Second)
		o.idle()
	})
}

// A callee that wants its session refreshed every second does not get it so, nor does its
// call end after one (RFC 4028 section 5: 90 seconds at least).
func TestAttack_SessionOfOneSecond(t *testing.T) {
	for _, refresher := range []string{"uac", "uas"} {
		t.Run(refresher, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, bob := o.desk(1, "100"), o.desk(2, "101")
				bob.also = all
				a := anna.invite("101", "v=0 anna")
				b := bob.ring()
				anna.expect("180 INVITE")
				bob.reply(b.invite, 200, "OK", b.local, "v=0 bob", "Session-Expires: 1;refresher="+refresher+"\r\n")
				bob.expect("ACK")
				a.answered("")
				bob.silent(30 * time.Second)
			})
		})
	}
}
