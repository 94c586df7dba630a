package sip

import (
	"testing"
	"time"
)

// While as many requests as may be are being answered, strangers are dropped
// without a word, registered phones are asked to come again, and an emergency call
// of a registered phone passes. Afterwards everything is as before.
func TestTooManyRequests(t *testing.T) {
	for _, via := range []string{"UDP", "TCP"} {
		t.Run(via, func(t *testing.T) {
			inOffice(t, func(o *office) {
				main := o.trunk()
				p, stranger := o.phoneVia(1, via), o.phone(2)
				p.register()
				o.edge.open.Add(maxTransactions)
				stranger.dial("112", "v=0", "")
				stranger.silent(time.Second)
				if res := p.tryRegister(registration{}); res.StatusCode != 503 || res.GetHeader("Retry-After") == nil {
					t.Errorf("a registered phone got\n%s", res)
				}
				p.dial("112", "v=0", "")
				d := main.ring()
				p.expect("180 INVITE")
				d.reply(486, "Busy Here", "")
				o.edge.open.Add(-maxTransactions)
				stranger.dial("112", "v=0", "").refused("401 INVITE")
			})
		})
	}
}

// What a stranger is told is not remembered: no transaction is left of a thousand
// refused calls, while those of a registered phone live on for retransmissions.
func TestStrangersLeaveNothing(t *testing.T) {
	inOffice(t, func(o *office) {
		stranger, p := o.phone(2), o.phone(1)
		p.register()
		sleep(40 * time.Second)
		if n := o.edge.open.Load(); n != 0 {
			t.Fatalf("%d requests are open before anything began", n)
		}
		for range 1000 {
			stranger.dial("0039061", "v=0", "").refused("401 INVITE")
		}
		sleep(10 * time.Millisecond)
		if n := o.edge.open.Load(); n != 0 {
			t.Errorf("%d requests of a stranger are still open", n)
		}
		p.register()
		if n := o.edge.open.Load(); n == 0 {
			t.Error("a registered phone's REGISTER is forgotten at once")
		}
	})
}
