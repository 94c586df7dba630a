package ivr

import (
	"net/netip"
	"testing"
	"time"
)

// Only the phone's own packets count, wherever it really sends from.
func TestLatch(t *testing.T) {
	var (
		phone    = netip.MustParseAddrPort("198.51.100.7:4000") // public
		otherOne = netip.MustParseAddrPort("198.51.100.7:4002") // same host
		lan      = netip.MustParseAddrPort("192.168.1.20:4000")
		lanOther = netip.MustParseAddrPort("192.168.1.20:4010")
		stranger = netip.MustParseAddrPort("203.0.113.66:4000")
	)
	type packet struct {
		from  netip.AddrPort
		ssrc  uint32
		seq   uint16
		known bool
		after time.Duration
		want  bool
	}
	for _, test := range []struct {
		name     string
		expected netip.AddrPort
		source   netip.Addr
		packets  []packet
	}{
		{"the address of the SDP counts at once", phone, phone.Addr(), []packet{
			{from: phone, known: true, want: true},
		}},
		{"so does audio of another payload type from there", phone, phone.Addr(), []packet{
			{from: phone, want: true},
		}},
		{"a stranger never counts, before or after", phone, phone.Addr(), []packet{
			{from: stranger, seq: 1, known: true}, {from: stranger, seq: 2, known: true}, {from: stranger, seq: 3, known: true},
			{from: stranger, seq: 4, known: true}, {from: stranger, seq: 5, known: true},
			{from: phone, known: true, want: true}, {from: stranger, seq: 6, known: true}, {from: phone, known: true, want: true},
		}},
		{"nor does it after a long silence", phone, phone.Addr(), []packet{
			{from: phone, known: true, want: true},
			{from: stranger, seq: 1, known: true, after: time.Minute}, {from: stranger, seq: 2, known: true},
			{from: stranger, seq: 3, known: true}, {from: stranger, seq: 4, known: true}, {from: stranger, seq: 5, known: true},
		}},
		{"a private address in the SDP: the host of the signalling counts after four in a row", lan, phone.Addr(), []packet{
			{from: phone, seq: 65534, known: true}, {from: phone, seq: 65535, known: true}, {from: phone, seq: 0, known: true}, {from: phone, seq: 1, known: true, want: true},
			{from: lan, seq: 1, known: true}, {from: stranger, seq: 1, known: true}, {from: otherOne, seq: 1, known: true},
		}},
		{"four with a gap are not four in a row", lan, phone.Addr(), []packet{
			{from: phone, seq: 1, known: true}, {from: phone, seq: 2, known: true}, {from: phone, seq: 4, known: true}, {from: phone, seq: 5, known: true},
			{from: phone, seq: 6, known: true}, {from: phone, seq: 7, known: true, want: true},
		}},
		{"four of two streams are not four in a row", lan, phone.Addr(), []packet{
			{from: phone, ssrc: 1, seq: 1, known: true}, {from: phone, ssrc: 1, seq: 2, known: true},
			{from: phone, ssrc: 2, seq: 3, known: true}, {from: phone, ssrc: 2, seq: 4, known: true}, {from: phone, ssrc: 2, seq: 5, known: true},
		}},
		{"four of a payload type that nobody negotiated are noise", lan, phone.Addr(), []packet{
			{from: phone, seq: 1}, {from: phone, seq: 2}, {from: phone, seq: 3}, {from: phone, seq: 4}, {from: phone, seq: 5},
		}},
		{"on the same network the phone may use another port than it said", lan, lan.Addr(), []packet{
			{from: lanOther, seq: 1, known: true}, {from: lanOther, seq: 2, known: true}, {from: lanOther, seq: 3, known: true}, {from: lanOther, seq: 4, known: true, want: true},
		}},
		{"a locked host moves to another port after a second of silence, not before", lan, lan.Addr(), []packet{
			{from: lan, known: true, want: true},
			{from: lanOther, seq: 1, known: true, after: 900 * time.Millisecond}, {from: lanOther, seq: 2, known: true}, {from: lanOther, seq: 3, known: true}, {from: lanOther, seq: 4, known: true},
			{from: lanOther, seq: 5, known: true, after: 200 * time.Millisecond}, {from: lanOther, seq: 6, known: true}, {from: lanOther, seq: 7, known: true}, {from: lanOther, seq: 8, known: true, want: true},
			{from: lan, known: true},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := latch{source: test.source}
			l.expect(test.expected)
			now := time.Now()
			for i, p := range test.packets {
				now = now.Add(p.after)
				if got := l.admit(p.from, p.ssrc, p.seq, p.known, now); got != p.want {
					t.Fatalf("packet %d from %s: admitted is %t, want %t", i, p.from, got, p.want)
				}
			}
		})
	}
}

// Our audio goes where the SDP says until the phone's real address is known; a new
// address in a re-INVITE starts over, the same one does not.
func TestLatchTarget(t *testing.T) {
	lan, public := netip.MustParseAddrPort("10.0.0.5:4000"), netip.MustParseAddrPort("198.51.100.7:6000")
	l := latch{source: public.Addr()}
	l.expect(lan)
	if got := l.target(); got != lan {
		t.Errorf("before any packet the target is %s, want %s", got, lan)
	}
	for seq := range uint16(4) {
		l.admit(public, 1, seq, true, time.Now())
	}
	l.expect(lan)
	if got := l.target(); got != public {
		t.Errorf("after four packets the target is %s, want %s", got, public)
	}
	moved := netip.MustParseAddrPort("10.0.0.5:4100")
	l.expect(moved)
	if got := l.target(); got != moved {
		t.Errorf("after a new SDP the target is %s, want %s", got, moved)
	}
}
