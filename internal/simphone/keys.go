package simphone

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/pion/rtp"
)

// frameTime is the time between two packets.
const frameTime = 20 * time.Millisecond

// keypad lists the keys in the order of their event codes (RFC 4733 section 3.2).
const keypad = "0123456789*#ABCD"

// endPackets is how often the end of a key is sent (RFC 4733 section 2.5.1.4).
const endPackets = 3

// stream makes the packets that the phone sends, one for each 20 ms. The clock
// of the timestamps runs on whatever is sent, or not sent, in them.
type stream struct {
	header rtp.Header
	codec  uint8
	events uint8
	tone   bool
	queue  []slot
	began  uint32 // timestamp of the key that is down
}

// slot is what one packet carries while keys are pressed.
type slot struct {
	audio       bool // a gap between two keys
	event       byte
	first, last bool
	duration    uint16
	done        chan<- struct{} // closed when it has been sent
}

func newStream(codec, events uint8, tone bool) *stream {
	return &stream{
		codec: codec, events: events, tone: tone,
		// Random starts (RFC 3550 section 5.1).
		header: rtp.Header{
			Version: 2, Marker: true, SSRC: rand.Uint32(),
			SequenceNumber: uint16(rand.Uint32()), Timestamp: rand.Uint32(),
		},
	}
}

// press queues keys. The channel is closed when the last gap has passed.
func (s *stream) press(digits string, held, gap time.Duration) (<-chan struct{}, error) {
	frames := max(int(held/frameTime), 1)
	var slots []slot
	for _, d := range strings.ToUpper(digits) {
		event := strings.IndexRune(keypad, d)
		if event < 0 {
			return nil, fmt.Errorf("%w: only 0 to 9, *, # and A to D are keys", ErrKeys)
		}
		for i := range frames + endPackets - 1 {
			slots = append(slots, slot{
				event: byte(event), first: i == 0, last: i >= frames-1,
				duration: uint16(min(i+1, frames) * frameSize),
			})
		}
		for range max(int(gap/frameTime), 1) {
			slots = append(slots, slot{audio: true})
		}
	}
	done := make(chan struct{})
	if len(slots) == 0 {
		close(done)
		return done, nil
	}
	slots[len(slots)-1].done = done
	s.queue = append(s.queue, slots...)
	return done, nil
}

// next is the packet of the next 20 ms.
func (s *stream) next() *rtp.Packet {
	now := slot{audio: true}
	if len(s.queue) > 0 {
		now, s.queue = s.queue[0], s.queue[1:]
	}
	if now.done != nil {
		close(now.done)
	}
	p := &rtp.Packet{Header: s.header}
	s.header.SequenceNumber++
	s.header.Timestamp += frameSize
	s.header.Marker = false
	if now.audio {
		p.PayloadType, p.Payload = s.codec, frame(s.codec, s.tone)
		return p
	}
	if now.first {
		s.began = p.Timestamp
	}
	// All packets of a key carry the time it went down (RFC 4733 section 2.2).
	p.Timestamp, p.Marker, p.PayloadType = s.began, now.first, s.events
	const volume = 10
	flags := byte(volume)
	if now.last {
		flags |= 0x80
	}
	p.Payload = binary.BigEndian.AppendUint16([]byte{now.event, flags}, now.duration)
	return p
}

// skip lets 20 ms pass without a packet. Keys wait.
func (s *stream) skip() { s.header.Timestamp += frameSize }
