package ivr

import (
	"net/netip"
	"time"
)

// latch decides whose RTP packets belong to the call. Phones behind NAT send from
// an address that their SDP does not name, so the source has to be learnt; but a
// stranger who sends first must neither hear the prompts nor type keys.
//
//   - A packet from exactly the address and port of the SDP locks at once.
//   - Otherwise the only host that may be learnt is the one the signalling came
//     from, and only if the SDP names a private address or another host. It locks
//     after four packets in a row of one stream.
//   - Once locked nothing else counts, except that the same host may change its
//     port after a second of silence, again by four packets in a row.
type latch struct {
	expected netip.AddrPort // from the SDP
	source   netip.Addr     // of the signalling
	locked   netip.AddrPort // zero until locked
	heard    time.Time      // last packet from locked

	candidate netip.AddrPort
	ssrc      uint32
	seq       uint16
	run       int
}

const (
	latchRun     = 4
	latchSilence = time.Second
)

// sharedSpace is the carrier-grade NAT space (RFC 6598), private in all but name.
func sharedSpace(a netip.Addr) bool {
	return a.Is4() && a.As4()[0] == 100 && a.As4()[1]&0xC0 == 64
}

// reachable tells whether an address means the same host everywhere.
func reachable(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedSpace(a)
}

// expect sets the address of a new SDP. The lock survives if nothing changed.
func (l *latch) expect(addr netip.AddrPort) {
	if addr == l.expected {
		return
	}
	*l = latch{expected: addr, source: l.source}
}

// target is where our own packets go.
func (l *latch) target() netip.AddrPort {
	if l.locked.IsValid() {
		return l.locked
	}
	return l.expected
}

// admit tells whether a packet counts. known says that its payload type was
// negotiated, which a packet needs to help a candidate.
func (l *latch) admit(from netip.AddrPort, ssrc uint32, seq uint16, known bool, now time.Time) bool {
	switch {
	case from == l.locked:
		l.heard = now
		return true
	case l.locked.IsValid():
		if from.Addr() != l.locked.Addr() || now.Sub(l.heard) < latchSilence {
			return false
		}
	case from == l.expected:
		l.lock(from, now)
		return true
	case from.Addr() != l.source || l.expected.Addr() == l.source && reachable(l.source):
		return false
	}
	if !known {
		return false
	}
	if from != l.candidate || ssrc != l.ssrc || seq != l.seq+1 {
		l.candidate, l.ssrc, l.run = from, ssrc, 0
	}
	l.seq = seq
	l.run++
	if l.run < latchRun {
		return false
	}
	l.lock(from, now)
	return true
}

func (l *latch) lock(from netip.AddrPort, now time.Time) {
	l.locked, l.heard, l.candidate, l.run = from, now, netip.AddrPort{}, 0
}
