package ivr

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"hotdeskd/sounds"
)

// sink is a socket that notes what was sent and when. It stalls before sending
// the numbered packets, as a busy machine does.
type sink struct {
	net.PacketConn
	sent  []rtp.Packet
	times []time.Duration
	began time.Time
	stall map[int]time.Duration
}

func (s *sink) WriteTo(b []byte, _ net.Addr) (int, error) {
	time.Sleep(s.stall[len(s.sent)])
	var p rtp.Packet
	if err := p.Unmarshal(bytes.Clone(b)); err != nil {
		return 0, err
	}
	s.sent = append(s.sent, p)
	s.times = append(s.times, time.Since(s.began))
	return len(b), nil
}

// sending runs the clock of a session for a while in fake time.
func sending(t *testing.T, stall map[int]time.Duration, queue []utterance, lasts time.Duration) *sink {
	t.Helper()
	var out *sink
	synctest.Test(t, func(t *testing.T) {
		out = &sink{began: time.Now(), stall: stall}
		s := newSession(out, nil, netip.Addr{})
		mustNegotiate(s.negotiated(media{remote: netip.MustParseAddrPort("192.0.2.20:4000"), codec: pcma, audio: 8}))
		if queue != nil {
			s.play(queue)
		}
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		s.send(ctx)
	})
	return out
}

// Fifty packets a second leave, each 20 ms after the last, without a hole in
// sequence or timestamp, and only the first has the marker.
func TestPacer(t *testing.T) {
	out := sending(t, nil, nil, 10*time.Second-time.Millisecond)
	if got := len(out.sent); got != 500 {
		t.Fatalf("%d packets in 10 s, want 500", got)
	}
	first := out.sent[0]
	for i, p := range out.sent {
		if got, want := out.times[i], time.Duration(i)*frameTime; got != want {
			t.Fatalf("packet %d left at %v, want %v", i, got, want)
		}
		if p.SequenceNumber != first.SequenceNumber+uint16(i) || p.Timestamp != first.Timestamp+uint32(i)*frameSize || p.SSRC != first.SSRC {
			t.Fatalf("packet %d is %+v after %+v", i, p.Header, first.Header)
		}
		if p.Marker != (i == 0) || p.PayloadType != 8 || len(p.Payload) != frameSize {
			t.Fatalf("packet %d: marker %t, type %d, %d bytes", i, p.Marker, p.PayloadType, len(p.Payload))
		}
		if !bytes.Equal(p.Payload, bytes.Repeat([]byte{aLawSilence}, frameSize)) {
			t.Fatalf("packet %d is not silence", i)
		}
	}
}

// After a stall at most three packets leave back to back. What is older is
// skipped: the timestamp jumps with the time, the sequence does not, and the clock
// is on its old beat again.
func TestPacerCatchesUp(t *testing.T) {
	for _, test := range []struct {
		stall   time.Duration
		burst   int // packets that leave at once after the stalled one
		skipped int
	}{
		{15 * time.Millisecond, 0, 0},
		{20 * time.Millisecond, 1, 0},
		{50 * time.Millisecond, 2, 0},
		{79 * time.Millisecond, 3, 0},
		{80 * time.Millisecond, 3, 1},
		{500 * time.Millisecond, 3, 22},
	} {
		out := sending(t, map[int]time.Duration{10: test.stall}, nil, 2*time.Second)
		resumed := 10*frameTime + test.stall
		burst := 0
		for i := 11; out.times[i] == resumed; i++ {
			burst++
		}
		if burst != test.burst {
			t.Errorf("stall of %v: %d packets at once, want %d", test.stall, burst, test.burst)
		}
		jump := out.sent[11].Timestamp - out.sent[10].Timestamp
		if got := int(jump)/frameSize - 1; got != test.skipped {
			t.Errorf("stall of %v: %d frames skipped, want %d", test.stall, got, test.skipped)
		}
		last := len(out.sent) - 1
		if got := out.sent[last].SequenceNumber - out.sent[0].SequenceNumber; int(got) != last {
			t.Errorf("stall of %v: the sequence has holes", test.stall)
		}
		if got, want := out.sent[last].Timestamp-out.sent[0].Timestamp, uint32(out.times[last]/frameTime*frameSize); got != want {
			t.Errorf("stall of %v: the timestamp is %d, want %d", test.stall, got, want)
		}
		if out.times[last]%frameTime != 0 {
			t.Errorf("stall of %v: the last packet left at %v, off the beat", test.stall, out.times[last])
		}
	}
}

// A prompt keeps to the time too: what was due during a stall is not heard late.
func TestStallSkipsAudio(t *testing.T) {
	clip := sounds.Clip{ALaw: make([]byte, 100*frameSize), MuLaw: make([]byte, 100*frameSize)}
	for i := range clip.ALaw {
		clip.ALaw[i] = byte(i / frameSize)
	}
	out := sending(t, map[int]time.Duration{10: 500 * time.Millisecond}, []utterance{{clip: clip}}, time.Second)
	for i, want := range map[int]byte{10: 10, 11: 33, 12: 34, 13: 35, 14: 36} {
		if got := out.sent[i].Payload[0]; got != want {
			t.Errorf("packet %d carries frame %d, want %d", i, got, want)
		}
	}
}

// Prompts leave byte for byte, one after the other with their pauses.
func TestPlay(t *testing.T) {
	set, _, err := sounds.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := set.Lookup("en", "d1")
	two, _ := set.Lookup("en", "goodbye")
	out := sending(t, nil, []utterance{{clip: one, pause: 2}, {clip: two}}, 3*time.Second)
	var heard []byte
	for _, p := range out.sent {
		heard = append(heard, p.Payload...)
	}
	if !bytes.HasPrefix(heard, one.ALaw) {
		t.Error("the first prompt is not heard whole")
	}
	at := bytes.Index(heard, two.ALaw)
	if want := (len(one.ALaw) + 2*frameSize + frameSize - 1) / frameSize * frameSize; at != want {
		t.Errorf("the second prompt begins at sample %d, want %d", at, want)
	}
	if got := heard[len(heard)-1]; got != aLawSilence {
		t.Errorf("after the prompts comes %#x, want silence", got)
	}
}

// The channel of a prompt closes when it was heard, and when it was cut off.
func TestPlayerDone(t *testing.T) {
	clip := sounds.Clip{MuLaw: make([]byte, 3*frameSize), ALaw: make([]byte, 3*frameSize)}
	var p player
	frame := make([]byte, frameSize)
	closed := func(done <-chan struct{}) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	done := p.play([]utterance{{clip: clip}})
	for i := range 3 {
		if closed(done) {
			t.Fatalf("done after %d of 3 frames", i)
		}
		p.frame(frame, pcmu)
	}
	if !closed(done) {
		t.Error("not done after the last frame")
	}
	first := p.play([]utterance{{clip: clip}})
	second := p.play([]utterance{{clip: clip}})
	if !closed(first) || closed(second) {
		t.Error("a prompt that was replaced must be done, its successor not")
	}
	if p.stop(); !closed(second) {
		t.Error("a prompt that was cut off must be done")
	}
	p.frame(frame, pcmu)
	if want := bytes.Repeat([]byte{muLawSilence}, frameSize); !bytes.Equal(frame, want) {
		t.Error("after a cut the next frame is not silent")
	}
	if !closed(p.play(nil)) {
		t.Error("nothing to say must be done at once")
	}
}

// A packet of 20 ms costs no allocation.
func TestTickAllocatesNothing(t *testing.T) {
	s := ticking(discard{})
	if n := testing.AllocsPerRun(1000, s.tick); n != 0 {
		t.Errorf("a tick allocates %v times, want 0", n)
	}
}

type discard struct{ net.PacketConn }

func (discard) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }

// ticking is a session that plays a prompt too long to end.
func ticking(conn net.PacketConn) *session {
	s := newSession(conn, nil, netip.Addr{})
	mustNegotiate(s.negotiated(media{remote: netip.MustParseAddrPort("127.0.0.1:9")}))
	s.play([]utterance{{clip: sounds.Clip{MuLaw: make([]byte, 1<<24)}}})
	return s
}

func BenchmarkTick(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		s := ticking(discard{})
		b.ReportAllocs()
		for b.Loop() {
			s.tick()
		}
	})
	b.Run("udp", func(b *testing.B) {
		conn, err := listenUDP(netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		s := ticking(conn)
		b.ReportAllocs()
		for b.Loop() {
			s.tick()
		}
	})
}

// Bytes from the network never stop the server, and only an event is a key.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{0x80, 101, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 4, 10, 0, 160})
	f.Add([]byte{0xBF, 0xE5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xBE, 0xDE, 0xFF, 0xFF, 4, 10, 0, 160})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newSession(nil, nil, netip.Addr{})
		from := netip.MustParseAddrPort("192.0.2.20:4000")
		mustNegotiate(s.negotiated(media{remote: from, events: 101}))
		s.receive(from, b)
		if _, ok := s.keys.take(); ok && (len(b) < 16 || b[1]&0x7F < 96 || b[0]>>6 != 2) {
			t.Errorf("a key was read from %x", b)
		}
	})
}
