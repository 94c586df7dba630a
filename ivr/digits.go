package ivr

import "encoding/binary"

// presses turns the packets of one telephone-event stream (RFC 4733) into key
// presses. A press is told from the first packet of any kind that belongs to it,
// be that a start, an update or one of the repeated ends, so that a person's PIN
// survives the loss of all packets of a press but one. The zero value is ready.
type presses struct {
	have     bool // something was received from ssrc
	ssrc     uint32
	seq      uint16
	start    uint32 // RTP timestamp of the event: constant while a key is held
	event    byte
	duration uint16
	ended    bool
	// Some senders wrongly move the timestamp in every packet of an event. steady
	// says that this one was seen not to; moving counts how often it did.
	steady bool
	moving int
}

// Limits of the receiver, in RTP timestamp units of 1/8000 s.
const (
	staleAfter   = 10 * 8000 // an older timestamp than this is a restarted clock, not a straggler
	longKey      = 60000     // beyond it an event may go on in a new segment (RFC 4733 section 2.5.1.3)
	endSpread    = 480       // repeated ends of a sender with a moving timestamp lie within it
	trustMoving  = 2         // so many moves, and the sender is known to move
	eventSymbols = "0123456789*#ABCD"
)

// packet takes one telephone-event packet and returns the key when a new press
// begins with it. The sequence number never decides what is a repetition, since
// the three ends of one event have three numbers.
func (p *presses) packet(ssrc uint32, seq uint16, timestamp uint32, marker bool, payload []byte) (key byte, pressed bool) {
	if len(payload) < 4 || int(payload[0]) >= len(eventSymbols) {
		return 0, false
	}
	event, end := payload[0], payload[1]&0x80 != 0
	duration := binary.BigEndian.Uint16(payload[2:])
	if ssrc != p.ssrc {
		*p = presses{}
	}
	since := int32(timestamp - p.start)
	switch same := p.have && event == p.event; {
	case p.have && since < 0 && since > -staleAfter:
		return 0, false // a late packet of an earlier press
	case same && since == 0:
		p.steady = p.steady || !p.ended && duration > p.duration
		p.duration, p.ended, p.seq = max(p.duration, duration), p.ended || end, seq
		return 0, false
	case same && !marker && p.goesOn(since, seq, duration, end):
		p.start, p.duration, p.ended, p.seq = timestamp, duration, end, seq
		return 0, false
	}
	p.have, p.ssrc, p.seq = true, ssrc, seq
	p.start, p.event, p.duration, p.ended = timestamp, event, duration, end
	return eventSymbols[event], true
}

// goesOn tells whether a packet of the same event with a later timestamp still
// belongs to the press before.
func (p *presses) goesOn(since int32, seq uint16, duration uint16, end bool) bool {
	if !p.ended && p.duration >= longKey {
		return true // the next segment of a key held for more than eight seconds
	}
	if p.steady || since < 0 {
		return false
	}
	// Between the updates of two presses lie at least an end and a start, so
	// neighbours in sequence are one press even if their timestamps differ.
	gap, grown := seq-p.seq, int32(duration)-int32(p.duration)
	switch {
	case !p.ended && grown >= 0 && since <= 2*grown+frameSize && (gap <= 2 || p.moving >= trustMoving):
		p.moving++
		return true
	case p.ended && end && grown == 0 && since <= endSpread && (gap <= 3 || p.moving >= trustMoving):
		return true
	}
	return false
}
