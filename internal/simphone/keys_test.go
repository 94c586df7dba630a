package simphone

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// The packets of a key must be those of RFC 4733: one timestamp for the key,
// marker on the first, durations that grow by 20 ms, the end three times, and
// audio around it on an unbroken clock.
func TestKeys(t *testing.T) {
	s := newStream(pcma, 101, false)
	s.header.SequenceNumber, s.header.Timestamp = 65534, 4294967200 // both wrap
	if p := s.next(); !p.Marker || p.PayloadType != pcma || len(p.Payload) != frameSize {
		t.Errorf("the first packet is %v", p)
	}
	done, err := s.press("1d", 60*time.Millisecond, 40*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	const t0 = uint32(4294967200 - 1<<32 + frameSize) // of the packet after the first
	var got []string
	for range 15 {
		p := s.next()
		text := fmt.Sprintf("seq %d ts %d pt %d", p.SequenceNumber, p.Timestamp-t0, p.PayloadType)
		if p.Marker {
			text += " M"
		}
		if p.PayloadType == 101 {
			text += fmt.Sprintf(" %x", p.Payload)
		}
		got = append(got, text)
	}
	want := []string{
		"seq 65535 ts 0 pt 101 M 010a00a0",
		"seq 0 ts 0 pt 101 010a0140",
		"seq 1 ts 0 pt 101 018a01e0",
		"seq 2 ts 0 pt 101 018a01e0",
		"seq 3 ts 0 pt 101 018a01e0",
		"seq 4 ts 800 pt 8",
		"seq 5 ts 960 pt 8",
		"seq 6 ts 1120 pt 101 M 0f0a00a0",
		"seq 7 ts 1120 pt 101 0f0a0140",
		"seq 8 ts 1120 pt 101 0f8a01e0",
		"seq 9 ts 1120 pt 101 0f8a01e0",
		"seq 10 ts 1120 pt 101 0f8a01e0",
		"seq 11 ts 1920 pt 8",
		"seq 12 ts 2080 pt 8",
		"seq 13 ts 2240 pt 8",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	select {
	case <-done:
	default:
		t.Error("all keys are sent and nobody was told")
	}
}

// A key that comes in must be counted once, however many packets it takes.
func TestKeysHeard(t *testing.T) {
	m := &media{events: 101, onVoiced: func() {}, news: make(chan struct{})}
	s := newStream(pcmu, 101, true)
	if _, err := s.press("110", 100*time.Millisecond, 40*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for len(s.queue) > 0 {
		m.hear(s.next())
	}
	if h, _ := m.sofar(); h.Keys != 3 || h.Packets != 6 || h.Voiced != 6 {
		t.Errorf("heard %+v, want 3 keys and 6 voiced packets between them", h)
	}
}

// What is no key must be refused, without repeating what was typed.
func TestNoKey(t *testing.T) {
	s := newStream(pcmu, 101, false)
	_, err := s.press("40x71", 0, 0)
	if !errors.Is(err, ErrKeys) || strings.Contains(err.Error(), "40") || strings.Contains(err.Error(), "x71") {
		t.Errorf("error %q", err)
	}
	if p := s.next(); p.PayloadType != pcmu {
		t.Error("a part of the keys was sent")
	}
	done, err := s.press("", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	<-done
}

// Time in which nothing is sent must still pass on the stream's clock, with no
// gap in its sequence.
func TestSkip(t *testing.T) {
	s := newStream(pcmu, 101, false)
	first := s.next()
	s.skip()
	s.skip()
	p := s.next()
	if p.SequenceNumber != first.SequenceNumber+1 || p.Timestamp != first.Timestamp+3*frameSize {
		t.Errorf("sequence +%d, timestamp +%d", p.SequenceNumber-first.SequenceNumber, p.Timestamp-first.Timestamp)
	}
}

// Speech must be told from silence in both laws.
func TestVoiced(t *testing.T) {
	for _, c := range []struct {
		pt   uint8
		tone bool
	}{{pcmu, false}, {pcmu, true}, {pcma, false}, {pcma, true}} {
		if got := voiced(c.pt, frame(c.pt, c.tone)); got != c.tone {
			t.Errorf("payload type %d, tone %v: voiced %v", c.pt, c.tone, got)
		}
	}
	if voiced(pcmu, nil) {
		t.Error("an empty packet is voiced")
	}
	// Reference points of ITU-T G.711: the ends of both scales.
	for _, c := range []struct{ got, want int }{
		{ulaw(0x00), 32124}, {ulaw(0x80), 32124}, {ulaw(0xff), 0}, {ulaw(0x7f), 0},
		{alaw(0xaa), 32256}, {alaw(0x2a), 32256}, {alaw(0xd5), 8}, {alaw(0x55), 8},
	} {
		if c.got != c.want {
			t.Errorf("amplitude %d, want %d", c.got, c.want)
		}
	}
}
