package ivr

import (
	"encoding/binary"
	"time"
)

// presses turns the packets of one telephone-event stream (RFC 4733) into key
// presses. A press is told from the first packet of any kind that belongs to it,
// be that a start, an update or one of the repeated ends, so that a person's PIN
// survives the loss of all packets of a press but one. What belongs together says
// the timestamp, as section 2.5.1 has it; where senders get that wrong, sequence
// number, end bit, duration and marker do. The zero value is ready.
type presses struct {
	have     bool // something was received from ssrc
	ssrc     uint32
	first    uint16 // sequence number of the first packet of the press that came
	seq      uint16 // and of its newest
	start    uint32 // RTP timestamp of the event: constant while a key is held
	event    byte
	duration uint16
	ended    bool
	at       time.Time // when a packet last came
	before   struct {  // the press before
		start uint32
		event byte
	}
	// Some senders wrongly move the timestamp in every packet of an event. steady
	// says that this one was seen not to; moving counts how often it did.
	steady bool
	moving int
	frozen bool // the sender has given two presses one timestamp
	marks  bool // the sender marks packets that begin nothing
}

// Limits of the receiver; times in RTP timestamp units of 1/8000 s.
const (
	staleAfter   = 10 * 8000 // a timestamp that far off is of a restarted clock, not of a straggler
	maxMisorder  = 1000      // so many packets can a straggler be late: more than come in that time
	allArrived   = 2 * time.Second
	longKey      = 60000 // beyond it an event may go on in a new segment (RFC 4733 section 2.5.1.3)
	endSpread    = 480   // repeated ends of a sender with a moving timestamp lie within it
	endPackets   = 8     // the ends of one press are no further apart
	trustMoving  = 2     // so many moves, and the sender is known to move
	eventSymbols = "0123456789*#ABCD"
)

// packet takes one telephone-event packet and returns the key when a new press
// begins with it.
func (p *presses) packet(in packet, now time.Time) (key byte, pressed bool) {
	if len(in.payload) < 4 || int(in.payload[0]) >= len(eventSymbols) {
		return 0, false
	}
	event, end := in.payload[0], in.payload[1]&0x80 != 0
	duration := binary.BigEndian.Uint16(in.payload[2:])
	if in.ssrc != p.ssrc {
		*p = presses{}
	}
	quiet := now.Sub(p.at) >= allArrived
	since, newer := int32(in.ts-p.start), int16(in.seq-p.seq) > 0
	switch same := p.have && event == p.event; {
	case p.have && !quiet && p.late(in, event, since):
		return 0, false
	case p.have && since == 0 && (same && !p.again(in, end, duration, newer, quiet) || !same && !newer && !quiet):
		p.steady = p.steady || !p.ended && duration > p.duration
		p.marks = p.marks || in.marker && newer
		p.goOn(in, duration, end, now)
		return 0, false
	case p.have && since == 0:
		p.frozen = true
	case same && !in.marker && p.goesOn(since, in.seq, duration, end):
		p.start, p.duration, p.ended = in.ts, 0, false
		p.goOn(in, duration, end, now)
		return 0, false
	}
	p.before.start, p.before.event = p.start, p.event
	p.have, p.ssrc, p.first, p.seq, p.at = true, in.ssrc, in.seq, in.seq, now
	p.start, p.event, p.duration, p.ended = in.ts, event, duration, end
	return eventSymbols[event], true
}

// goOn takes a packet into the press that it belongs to.
func (p *presses) goOn(in packet, duration uint16, end bool, now time.Time) {
	p.at = now
	p.duration, p.ended = max(p.duration, duration), p.ended || end
	if int16(in.seq-p.seq) > 0 {
		p.seq = in.seq
	}
}

// late tells whether a packet is of an earlier press than the last one, or older
// than all that was heard of that: it was sent before, by its sequence number, or
// is another end of the press before, which some phones still send when the next
// key is down already. A timestamp alone does not tell: clocks start again, on
// hold and after it.
func (p *presses) late(in packet, event byte, since int32) bool {
	if behind := int16(p.first - in.seq); behind > 0 && behind <= maxMisorder && since < staleAfter && since > -staleAfter {
		return true
	}
	return since != 0 && in.ts == p.before.start && event == p.before.event
}

// again tells whether a packet with the timestamp and the key of the press before
// begins another: after an end comes no more of a press, and its duration does not
// fall (RFC 4733 section 2.5.1.2). It needs a sequence number that is newer than
// all of that press, so that packets in the wrong order begin nothing.
func (p *presses) again(in packet, end bool, duration uint16, newer, quiet bool) bool {
	switch {
	case quiet:
		return p.ended || duration <= p.duration
	case !newer:
		return false
	case !end && p.ended, !end && duration < p.duration && p.duration < longKey:
		return true
	case !p.frozen:
		return false
	}
	return in.marker && !p.marks || end && p.ended && in.seq-p.seq > endPackets
}

// goesOn tells whether a packet of the same event with a later timestamp still
// belongs to the press before.
func (p *presses) goesOn(since int32, seq uint16, duration uint16, end bool) bool {
	if since < 0 {
		return false
	}
	if !p.ended && p.duration >= longKey {
		return true // the next segment of a key held for more than eight seconds
	}
	if p.steady {
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
