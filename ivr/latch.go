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
//   - Otherwise two hosts may be learnt, each by four packets in a row of one
//     stream: the one that the SDP names, from any port, since phones and their NATs
//     send from another port than they listen on (RFC 4961 asks them not to); and the
//     one that the signalling came from, since the SDP may name a private address,
//     or a public one that STUN or a gateway found out.
//   - Once locked nothing else counts, except that the same host may change its
//     port after a second of silence, again by four packets in a row, and that the
//     exact address of the SDP, if the signalling came from that host, takes over
//     from a port that was learnt while it had not spoken yet.
type latch struct {
	expected netip.AddrPort // from the SDP
	source   netip.Addr     // of the signalling
	locked   netip.AddrPort // zero until locked
	heard    time.Time      // last packet from locked
	exact    bool           // expected itself was heard

	candidate netip.AddrPort
	ssrc      uint32
	seq       uint16
	run       int
}

const (
	latchRun     = 4
	latchSilence = time.Second
)

// expect sets the address of a new SDP. The lock survives if nothing changed, and a
// null address, which is a hold and not an address: after it the phone speaks from
// where it spoke before.
func (l *latch) expect(addr netip.AddrPort) {
	if addr == l.expected || addr.Addr().IsUnspecified() && l.expected.IsValid() {
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
	case from == l.expected && (!l.locked.IsValid() || !l.exact && from.Addr() == l.source):
		l.lock(from, now)
		return true
	case l.locked.IsValid():
		if from.Addr() != l.locked.Addr() || now.Sub(l.heard) < latchSilence {
			return false
		}
	case from.Addr() != l.source && from.Addr() != l.expected.Addr():
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
	l.exact = l.exact || from == l.expected
}
