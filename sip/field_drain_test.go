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
