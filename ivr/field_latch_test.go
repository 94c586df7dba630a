package ivr

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// S22: packets from another port of the phone's host are taken, in both ways (RFC
// 4961 knows that not everybody sends from where they listen), whatever address the
// SDP names: its own, a private one, or one that STUN or a gateway put there. Keys
// that are pressed after the fourth packet count, and audio goes to that port.
func TestField_S22OtherPort(t *testing.T) {
	for _, test := range []struct{ name, source, sdp, sends string }{
		{"where the SDP says", "192.0.2.20", "192.0.2.20", "192.0.2.20:4000"},
		{"another port, all public", "198.51.100.7", "198.51.100.7", "198.51.100.7:4002"},
		{"another port, all private", "192.168.1.20", "192.168.1.20", "192.168.1.20:61000"},
		{"a public address by STUN, on our own network", "192.168.1.20", "198.51.100.7", "192.168.1.20:4000"},
		{"and another port", "192.168.1.20", "198.51.100.7", "192.168.1.20:4010"},
		{"a private address, behind NAT", "198.51.100.7", "192.168.1.20", "198.51.100.7:6000"},
		{"another public address, packets from the signalling's host", "198.51.100.7", "203.0.113.5", "198.51.100.7:6000"},
		{"a media gateway, from another port", "198.51.100.7", "203.0.113.5", "203.0.113.5:6000"},
		{"carrier-grade NAT", "100.64.1.2", "100.64.1.2", "100.64.1.2:6000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOffice(t, Options{})
				p := newPhone(t, o.net, test.sends)
				v := visit("*77*100*")
				v.Source = netip.MustParseAddr(test.source)
				c, err := o.menu.Attend(t.Context(), v)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				answer, err := c.Describe([]byte(strings.ReplaceAll(string(offerOf(plainAudio, plainEvents)), "192.0.2.20", test.sdp)))
				if err != nil {
					t.Fatal(err)
				}
				m, err := settle(answer, terms{})
				if err != nil {
					t.Fatal(err)
				}
				p.server = m.remote
				hangUp, wait := run(t, c)
				taken := 0
				for range 50 {
					p.audio(t)
					time.Sleep(frameTime)
				}
				c.session.mu.Lock()
				taken = 50 - c.session.foreign
				c.session.mu.Unlock()
				if taken < 47 {
					t.Errorf("%d of 50 packets were taken", taken)
				}
				p.listen(t)
				if len(p.heard) < 40 {
					t.Errorf("the phone heard %d packets in a second", len(p.heard))
				}
				p.press(t, "4071#")
				if err := wait(); err != nil {
					t.Error(err)
				}
				if len(o.desk.calls) != 1 {
					t.Errorf("the rules were asked for %q", o.desk.calls)
				}
				hangUp()
			})
		})
	}
}

// S22: a third host is never taken, neither before, beside nor long after the right
// one; and the very address of the SDP, once it speaks, is preferred to a port of the
// same host that was learnt before it spoke.
func TestField_S22OtherHost(t *testing.T) {
	const right, otherPort, stranger = "198.51.100.7:4000", "198.51.100.7:4002", "203.0.113.66:4000"
	type burst struct {
		from    string
		packets int
		after   time.Duration
		taken   int
	}
	for _, test := range []struct {
		name   string
		source string
		bursts []burst
		target string
	}{
		{"a stranger first", "198.51.100.7", []burst{{stranger, 50, 0, 0}, {right, 5, 0, 5}, {stranger, 50, 0, 0}}, right},
		{"a stranger alone, for an hour", "198.51.100.7", []burst{{stranger, 50, time.Hour, 0}}, right},
		{"a stranger after a long silence", "198.51.100.7", []burst{{right, 5, 0, 5}, {stranger, 50, time.Hour, 0}}, right},
		{"a stranger beside a port that was learnt", "198.51.100.7", []burst{{otherPort, 10, 0, 7}, {stranger, 50, 0, 0}, {otherPort, 5, 0, 5}}, otherPort},
		{"the address of the SDP after another port", "198.51.100.7", []burst{{otherPort, 10, 0, 7}, {right, 5, 0, 5}, {otherPort, 10, 0, 0}}, right},
		{"another port while the right one speaks", "198.51.100.7", []burst{{right, 5, 0, 5}, {otherPort, 50, 0, 0}, {right, 5, 0, 5}}, right},
		{"another port after the right one fell silent", "198.51.100.7", []burst{{right, 5, 0, 5}, {otherPort, 10, 2 * time.Second, 7}}, otherPort},
		{"the signalling's host while the SDP's host speaks", "192.0.2.20", []burst{{right, 5, 0, 5}, {"192.0.2.20:4000", 50, 0, 0}, {right, 5, 0, 5}}, right},
		{"the SDP's host while the signalling's host speaks", "192.0.2.20", []burst{{"192.0.2.20:4000", 10, 0, 7}, {right, 50, 0, 0}, {"192.0.2.20:4000", 5, 0, 5}}, "192.0.2.20:4000"},
	} {
		l := latch{source: netip.MustParseAddr(test.source)}
		l.expect(netip.MustParseAddrPort(right))
		now := time.Now()
		for i, b := range test.bursts {
			now = now.Add(b.after)
			taken := 0
			for seq := range b.packets {
				if l.admit(netip.MustParseAddrPort(b.from), uint32(i), uint16(seq), true, now) {
					taken++
				}
				now = now.Add(frameTime / 20) // faster than anybody speaks
			}
			if taken != b.taken {
				t.Errorf("%s: %d packets of burst %d taken, want %d", test.name, taken, i, b.taken)
			}
		}
		if got := l.target().String(); got != test.target {
			t.Errorf("%s: audio goes to %s, want %s", test.name, got, test.target)
		}
	}
}
