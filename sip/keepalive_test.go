package sip

import (
	"testing"
	"time"

	"hotdeskd/sip/registrar"
)

// A phone behind a NAT registers for three minutes at most and is asked something
// every 25 seconds, on its flow. One that is not, or that comes over TCP, is left
// in peace.
func TestKeepAlive(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		res := p.tryRegister(registration{contact: "<sip:HD0001@10.0.0.5:5060>", expires: "300"})
		if _, left := listed(t, res); left > registrar.NATExpiry || left < registrar.MinExpiry {
			t.Errorf("granted %d", left)
		}
		others := []*peer{o.phone(2), o.phoneVia(3, "TCP")}
		for _, other := range others {
			other.register()
		}
		last := time.Now()
		for range 5 {
			req := p.ok("OPTIONS")
			if got := req.Recipient.String(); got != "sip:HD0001@10.0.0.5:5060" {
				t.Errorf("asked %s", got)
			}
			if wait := time.Since(last); wait > registrar.PulseEvery+2*time.Second {
				t.Errorf("asked after %v", wait)
			}
			last = time.Now()
		}
		for _, other := range others {
			other.silent(time.Second)
		}
	})
}

// After three questions without an answer the phone is shown as silent and calls
// pass it over; when it registers again, or answers, it rings.
func TestSilentPhone(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		nat := registration{contact: "<sip:101@10.0.0.5:5060>"}
		silent := func() bool { r, _ := o.live.Registration("HD0002"); return r.Silent }
		bob.tryRegister(nat)
		sleep(50 * time.Second)
		if silent() {
			t.Error("silent too early")
		}
		sleep(35 * time.Second)
		if !silent() {
			t.Fatal("not silent after three questions")
		}
		begun := time.Now()
		anna.invite("101", "v=0").refused("480 INVITE")
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the caller waited %v", took)
		}
		bob.drop()
		bob.tryRegister(nat)
		if silent() {
			t.Error("silent although it has registered again")
		}
		bob.drop()
		sleep(110 * time.Second)
		bob.drop()
		if !silent() {
			t.Error("not silent")
		}
		bob.ok("OPTIONS")
		sleep(time.Second)
		if silent() {
			t.Error("silent although it answers")
		}
		anna.invite("101", "v=0")
		bob.ring()
	})
}
