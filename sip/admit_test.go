package sip

import (
	"testing"
	"time"

	"hotdeskd/sip/dialog"
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
				full := func(n int) { o.edge.load.mu.Lock(); defer o.edge.load.mu.Unlock(); o.edge.load.total += n }
				full(maxTransactions)
				stranger.dial("112", "v=0", "")
				stranger.silent(time.Second)
				if res := p.tryRegister(registration{}); res.StatusCode != 503 || res.GetHeader("Retry-After") == nil {
					t.Errorf("a registered phone got\n%s", res)
				}
				p.dial("112", "v=0", "")
				d := main.ring()
				p.expect("180 INVITE")
				d.reply(486, "Busy Here", "")
				full(-maxTransactions)
				stranger.dial("112", "v=0", "").refused("401 INVITE")
			})
		})
	}
}

// What somebody is told who is not proven is not remembered, whoever asks and
// whatever: no transaction is left of four registered phones that send 350 requests a
// second each, and everybody else registers and dials meanwhile (trust T-c).
func TestField_TcUnprovenRequestsLeaveNothing(t *testing.T) {
	inOffice(t, func(o *office) {
		bob := o.phone(4)
		var crowd []*peer
		for n := range 3 {
			p := o.phone(n + 1)
			p.register()
			crowd = append(crowd, p)
		}
		sleep(40 * time.Second)
		begun := o.edge.load.open()
		for n := range 350 * 3 {
			p := crowd[n%len(crowd)]
			switch n % 5 {
			case 0:
				p.dial("0039061", "v=0", "")
			case 1:
				d := &leg{p: p, callID: p.at, local: "<sip:a@b>;tag=1", remote: "<sip:c@d>", target: "sip:192.0.2.1", cseq: n}
				d.do("OPTIONS", "", "")
			case 2:
				d := &leg{p: p, callID: p.at, local: "<sip:a@b>;tag=1", remote: "<sip:c@d>;tag=2", target: "sip:192.0.2.1", cseq: n}
				d.do("INFO", "", "")
			case 3:
				d := &leg{p: p, callID: p.at, local: "<sip:a@b>;tag=1", remote: "<sip:c@d>", target: "sip:192.0.2.1", cseq: n}
				d.do("REGISTER", "", "")
			case 4:
				d := &leg{p: p, callID: p.at, local: "<sip:a@b>;tag=1", remote: "<sip:c@d>", target: "sip:192.0.2.1", cseq: n}
				d.do("INVITE", "Require: nothing\r\n", "v=0")
			}
		}
		sleep(10 * time.Millisecond)
		if n := o.edge.load.open(); n != begun {
			t.Errorf("%d requests are open that nobody has proven", n-begun)
		}
		bob.register()
		bob.invite("*77*", "v=0").answered("")
	})
}

// A flow has a share: one phone that fills its own refuses nobody else, and its own
// emergency call passes.
func TestField_TcAShareForEachFlow(t *testing.T) {
	inOffice(t, func(o *office) {
		main, anna, bob := o.trunk(), o.phone(1), o.phone(2)
		anna.register()
		bob.register()
		f := dialog.Flow{Transport: "UDP", Remote: anna.at}
		o.edge.load.mu.Lock()
		o.edge.load.flows[f] = maxPerDevice
		o.edge.load.mu.Unlock()
		anna.dial("101", "v=0", "").refused("503 INVITE")
		bob.dial("101", "v=0", "").refused("401 INVITE")
		anna.dial("112", "v=0", "")
		main.ring()
		anna.expect("180 INVITE")
	})
}

// A thousand phones that register at once, and once more with every message sent
// twice, are all served: a REGISTER is not remembered for longer than it takes.
func TestField_TcRegistrationsAreNotCounted(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		for range 1000 {
			p.register()
		}
		sleep(10 * time.Millisecond)
		if n := o.edge.load.open(); n != 0 {
			t.Errorf("%d requests are open after 1,000 registrations", n)
		}
	})
}

// The retransmission of a REGISTER gets the answer that the first one got.
func TestRegisterAgainToTheLetter(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		p.register()
		last := p.sent
		sleep(time.Second)
		p.send(last)
		if res := p.registered(); res.StatusCode != 200 || res.Contact() == nil {
			t.Errorf("the retransmission gets\n%s", res)
		}
	})
}
