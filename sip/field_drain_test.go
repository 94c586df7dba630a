package sip

import (
	"context"
	"testing"
	"time"

	"hotdeskd/sip/call"
)

// The server is told to stop while two calls and an emergency call are up: ordinary
// calls get their time and are then hung up, no new ones are taken, an emergency call
// is not touched, another 112 is taken, phones register all the while; at the very end
// the emergency call gets no BYE.
func TestField_E1StopLeavesEmergencyCallsAlone(t *testing.T) {
	inOffice(t, func(o *office) {
		o.edge.DrainCalls, o.edge.DrainEmergency = 30*time.Second, 10*time.Minute
		anna, bob, _, _ := up(o)
		cleo, dan, main := o.phone(3), o.desk(4, "104"), o.trunk()
		cleo.register()
		sos := cleo.dial("112", "v=0 help", "")
		b := main.ring()
		cleo.expect("180 INVITE")
		b.reply(200, "OK", "v=0")
		main.expect("ACK")
		sos.answered("")

		begun := time.Now()
		drained := make(chan struct{})
		go func() { defer close(drained); o.edge.Drain(context.Background()) }()
		sleep(time.Second)
		ordinary := dan.dial("100", "v=0", "")
		if res := ordinary.refused("503 INVITE"); res.GetHeader("Retry-After") == nil {
			t.Errorf("a new call gets\n%s", res)
		}
		dan.register()
		second := dan.dial("112", "v=0 help too", "")
		b2 := main.ring()
		dan.expect("180 INVITE")
		anna.expect("BYE")
		bob.expect("BYE")
		if took := time.Since(begun).Round(time.Second); took != 30*time.Second {
			t.Errorf("ordinary calls got %v", took)
		}
		main.silent(time.Minute) // neither BYE nor CANCEL
		b2.reply(200, "OK", "v=0")
		main.expect("ACK")
		second.answered("")
		second.bye()
		main.ok("BYE")
		select {
		case <-drained:
			t.Error("an emergency call is up and the drain is over")
		default:
		}
		sleep(10 * time.Minute)
		<-drained
		if took := time.Since(begun).Round(time.Minute); took < 10*time.Minute {
			t.Errorf("drained after %v", took)
		}
		go o.closeEdge()
		for _, p := range []*peer{main, cleo} { // whose registration has run out: it is asked whether it is there
			for msg := p.read(30 * time.Second); msg != nil; msg = p.read(30 * time.Second) {
				if name(msg) == "BYE" || name(msg) == "CANCEL" {
					t.Errorf("%s gets %s", p.at, name(msg))
				}
			}
		}
		all := o.records()
		if last := all[len(all)-1]; last.Kind != "emergency" || last.Result != "answered" || last.Reason != call.Stopped {
			t.Errorf("recorded as %+v", last)
		}
	})
}

// The drain is over when the last call is, and at once when there is none.
func TestField_E1StopWaitsNoLongerThanNeeded(t *testing.T) {
	inOffice(t, func(o *office) {
		o.edge.DrainCalls, o.edge.DrainEmergency = 30*time.Second, 10*time.Minute
		anna, bob, a, _ := up(o)
		_ = anna
		begun := time.Now()
		drained := make(chan time.Duration, 1)
		go func() { o.edge.Drain(context.Background()); drained <- time.Since(begun) }()
		sleep(5 * time.Second)
		a.bye()
		bob.ok("BYE")
		if took := (<-drained).Round(time.Second); took != 5*time.Second {
			t.Errorf("drained after %v", took)
		}
		begun = time.Now()
		o.edge.Drain(context.Background())
		if took := time.Since(begun); took != 0 {
			t.Errorf("with nothing up it takes %v", took)
		}
	})
}

// A call at the attendant gets the same time as others, and its end as a goodbye.
func TestField_E1StopAtTheAttendant(t *testing.T) {
	inOffice(t, func(o *office) {
		o.edge.DrainCalls = 30 * time.Second
		p := o.phone(1)
		p.register()
		p.invite("*77*", "v=0").answered("")
		begun := time.Now()
		drained := make(chan struct{})
		go func() { defer close(drained); o.edge.Drain(context.Background()) }()
		p.ok("BYE")
		if took := time.Since(begun).Round(time.Second); took != 30*time.Second {
			t.Errorf("hung up after %v", took)
		}
		<-drained
	})
}

// Told to stop in the middle of 50 calls and two emergency calls, again and again: the
// ordinary calls get their time, the emergency calls are not touched, a 112 that is
// dialled meanwhile is taken, and the server that is started afterwards reaches every
// phone before it has registered anew.
func TestField_E1StoppedInTheMiddle(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, cleo, main := o.desk(1, "104"), o.desk(2, "101"), o.desk(3, "102"), o.trunk()
		for round := range size(2, 20) {
			for _, p := range []*peer{anna, bob, cleo} {
				p.register()
				p.drop()
				p.seen = nil
			}
			main.drop()
			o.edge.DrainCalls, o.edge.DrainEmergency = 30*time.Second, time.Minute
			up := func(p *peer, number string) (a, b *leg) {
				a = p.dial(number, "v=0", "")
				if number != "112" {
					a.answerChallenge()
				}
				b = main.ring()
				p.expect("180 INVITE")
				b.reply(200, "OK", "v=0")
				main.expect("ACK")
				a.answered("")
				return a, b
			}
			for range 50 {
				up(anna, "0612345")
			}
			up(bob, "112")
			up(cleo, "112")
			drained := make(chan struct{})
			go func() { defer close(drained); o.edge.Drain(context.Background()) }()
			sleep(time.Second)
			anna.dial("0612345", "v=0", "").refused("503 INVITE")
			up(anna, "112")
			sleep(25 * time.Second)
			for _, p := range []*peer{anna, bob, cleo, main} {
				if msg := p.read(0); msg != nil {
					t.Fatalf("round %d: within the drain %s gets %s", round, p.at, name(msg))
				}
			}
			for n := range 50 {
				for _, p := range []*peer{anna, main} {
					if msg := p.read(10 * time.Second); name(msg) != "BYE" {
						t.Fatalf("round %d: after the drain of call %d %s gets %s", round, n, p.at, name(msg))
					} else {
						p.reply(p.asRequest(msg), 200, "OK", "", "")
					}
				}
			}
			<-drained
			o.closeEdge()
			for _, p := range []*peer{anna, bob, cleo, main} {
				if msg := p.read(time.Second); msg != nil {
					t.Fatalf("round %d: an emergency call gets %s at %s", round, name(msg), p.at)
				}
			}
			o.openEdge()
			a := main.dial("101", "v=0", "") // at once
			b := bob.ring()
			main.expect("180 INVITE")
			b.reply(486, "Busy Here", "")
			bob.expect("ACK")
			a.refused("486 INVITE")
		}
	})
}
