package ivr

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// tone is one telephone-event packet as a phone sends it.
type tone struct {
	ssrc    uint32
	seq     uint16
	ts      uint32
	marker  bool
	payload [4]byte
	press   int // which press of the sender it belongs to
}

func (t tone) packet() packet {
	return packet{pt: 101, ssrc: t.ssrc, seq: t.seq, ts: t.ts, marker: t.marker, payload: t.payload[:]}
}

// sender is a phone's way to send key presses. The zero value is a textbook one
// with three end packets.
type sender struct {
	ends      int  // end packets; 0 means 3, negative none
	onlyEnds  bool // a gateway that reports a key when it is released
	noMarker  bool
	allMarker bool
	zeroStart bool // the first packet has duration 0
	moving    bool // the timestamp moves with every packet
	movingEnd bool // and with every copy of the end
	frames    int  // of 20 ms that a key is held; 0 means 5
	gap       int  // frames between keys; 0 means 4
	step      int  // frames between updates; 0 means 1
	frozen    bool // every press has the timestamp of the first
	sameEnd   bool // the copies of the end have one sequence number
	back      int  // frames by which the clock falls back after each press
}

const maxSegment = 65535 / frameSize * frameSize

// send spells keys into packets. Between keys audio flows, which uses up
// sequence numbers.
func (s sender) send(keys string) []tone {
	frames, gap, ends, step := or(s.frames, 5), or(s.gap, 4), or(s.ends, 3), or(s.step, 1)
	var out []tone
	seq, now := uint16(65530), uint32(0xFFFFF000) // both wrap soon
	for i := range len(keys) {
		event := byte(strings.IndexByte(eventSymbols, keys[i]))
		start, base := now, 0
		add := func(duration int, end, marker bool) {
			p := tone{ssrc: 7, seq: seq, ts: start, marker: marker && !s.noMarker || s.allMarker, press: i}
			if s.frozen {
				p.ts = 4711
			}
			if s.moving {
				p.ts = start + uint32(duration)
			}
			p.payload = [4]byte{event, 10}
			if end {
				p.payload[1] |= 0x80
			}
			binary.BigEndian.PutUint16(p.payload[2:], uint16(duration))
			out = append(out, p)
			seq++
		}
		for f := step; f <= frames; f += step {
			if f*frameSize-base > maxSegment { // RFC 4733 section 2.5.1.3
				base += maxSegment
				start += maxSegment
			}
			duration := f*frameSize - base
			if s.zeroStart {
				duration -= step * frameSize
			}
			if !s.onlyEnds {
				add(duration, false, f == step)
			}
		}
		for range ends {
			add(frames*frameSize-base, true, false)
			if s.movingEnd {
				start += frameSize
			}
			if s.sameEnd {
				seq--
			}
		}
		if s.sameEnd {
			seq++
		}
		now += uint32((frames + gap) * frameSize)
		now -= uint32(s.back * frameSize)
		seq += uint16(gap)
	}
	return out
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return max(n, 0)
}

// receiveAll gives packets to a new receiver and returns the keys it heard.
func receiveAll(packets []tone) string {
	var p presses
	var keys []byte
	for _, t := range packets {
		if key, ok := p.packet(t.packet(), time.Time{}); ok {
			keys = append(keys, key)
		}
	}
	return string(keys)
}

// Every way in which real phones and gateways send keys gives the same keys, each
// once. The list is what interoperability reports name.
func TestSenders(t *testing.T) {
	const keys = "*77*100*4071#5550"
	for name, s := range map[string]sender{
		"textbook":                           {},
		"updates every 60 ms":                {step: 3, frames: 6},
		"single end":                         {ends: 1},
		"no marker":                          {noMarker: true},
		"no marker, single end":              {noMarker: true, ends: 1},
		"first packet without duration":      {zeroStart: true},
		"no end":                             {ends: -1},
		"no end, no marker":                  {ends: -1, noMarker: true},
		"ends only":                          {onlyEnds: true, noMarker: true},
		"one end only":                       {onlyEnds: true, ends: 1, noMarker: true},
		"timestamp moves in each packet":     {moving: true},
		"timestamp moves, no marker":         {moving: true, noMarker: true},
		"timestamp moves, even of the ends":  {moving: true, movingEnd: true},
		"marker on every packet":             {allMarker: true},
		"a short tap":                        {frames: 1},
		"quick fingers":                      {frames: 2, gap: 2},
		"held for two seconds":               {frames: 100},
		"held for twenty seconds: segments":  {frames: 1000},
		"segments with updates every 100 ms": {frames: 1000, step: 5},
	} {
		if got := receiveAll(s.send(keys)); got != keys {
			t.Errorf("%s: got %s, want %s", name, got, keys)
		}
	}
}

// What a network does to packets changes nothing; what a phone never sends is ignored.
func TestPackets(t *testing.T) {
	one := sender{}.send("5")
	two := sender{}.send("55")
	foreign := sender{}.send("5")
	for i := range foreign {
		foreign[i].ssrc = 9
	}
	restarted := sender{}.send("3")
	for i := range restarted {
		restarted[i].ts -= 20 * staleAfter
	}
	held := sender{frames: 40}.send("55") // 43 packets a press
	moving := sender{moving: true, frames: 10}.send("55")
	short := tone{ssrc: 7, payload: [4]byte{16, 0, 0, 160}}
	for _, test := range []struct {
		name, want string
		packets    []tone
	}{
		{"only the last end arrives", "5", one[len(one)-1:]},
		{"every packet twice", "5", append(append([]tone{}, one...), one...)},
		{"backwards", "5", reversed(one)},
		{"the end of a press after the start of the next", "55", []tone{two[0], two[8], two[7], two[9]}},
		{"a straggler of a press that was not seen", "5", []tone{two[8], two[7]}},
		{"the phone starts a new stream", "55", append(append([]tone{}, one...), foreign...)},
		{"the phone starts its clock again", "53", append(append([]tone{}, one...), restarted...)},
		{"of two long presses one packet each", "55", []tone{held[0], held[43+30]}},
		{"a moving timestamp, then three updates lost", "55", append(append([]tone{}, moving[:15]...), moving[18:]...)},
		{"a hook flash is not a key", "", []tone{short}},
	} {
		if got := receiveAll(test.packets); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	var p presses
	for n := range 4 {
		if _, ok := p.packet(packet{ssrc: 1, seq: 1, ts: 1, marker: true, payload: make([]byte, n)}, time.Time{}); ok {
			t.Errorf("a payload of %d bytes is a key", n)
		}
	}
	for b := range 256 { // the volume, and the reserved bit, mean nothing
		var p presses
		if key, ok := p.packet(packet{ssrc: 1, seq: 1, ts: 1, marker: true, payload: []byte{4, byte(b), 0, 160}}, time.Time{}); !ok || key != '4' {
			t.Errorf("volume byte %#x: key %q, %t", b, key, ok)
		}
	}
}

func reversed(in []tone) []tone {
	out := make([]tone, len(in))
	for i, p := range in {
		out[len(in)-1-i] = p
	}
	return out
}

// At 10 % loss and 5 % reordering at least 99.9 % of four-digit PINs arrive whole,
// and what does not lacks a digit: never is one doubled or changed.
func TestPINsOverABadNetwork(t *testing.T) {
	const pins = 2000
	for _, s := range []sender{{}, {ends: 1}, {noMarker: true}, {zeroStart: true}} {
		rng := rand.New(rand.NewPCG(42, 1))
		right := 0
		for range pins {
			want := []byte{'0', '0', '0', '0'}
			for i := range want {
				want[i] = byte('0' + rng.IntN(10))
			}
			var sent []tone
			for _, p := range s.send(string(want)) {
				if rng.Float64() >= 0.10 {
					sent = append(sent, p)
				}
			}
			for i := 1; i < len(sent); i++ {
				if rng.Float64() < 0.05 {
					sent[i-1], sent[i] = sent[i], sent[i-1]
				}
			}
			got := receiveAll(sent)
			if got == string(want) {
				right++
			} else if !subsequence(got, string(want)) {
				t.Fatalf("%+v: heard %s of %s", s, got, want)
			}
		}
		if right < pins*999/1000 {
			t.Errorf("%+v: %d of %d PINs are right, want 99.9 %%", s, right, pins)
		}
		t.Logf("%+v: %d of %d PINs right", s, right, pins)
	}
}

func subsequence(part, whole string) bool {
	for i := range len(part) {
		at := strings.IndexByte(whole, part[i])
		if at < 0 {
			return false
		}
		whole = whole[at+1:]
	}
	return true
}

// Whatever the network loses, repeats or swaps: a press of which a packet arrives
// before any of a later press is heard once, and no other is heard.
func FuzzPresses(f *testing.F) {
	f.Add([]byte("4071#"), []byte{}, byte(0), byte(5))
	f.Add([]byte("5555"), []byte{1, 1, 1, 2, 0, 3, 1, 0, 1, 1, 3, 3, 2, 1}, byte(1), byte(2))
	f.Add([]byte("4411"), []byte{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0}, byte(7), byte(60))
	f.Fuzz(func(t *testing.T, keys, fates []byte, how, frames byte) {
		s := sender{ends: 1 + int(how%3), frames: 1 + int(frames), gap: 4, zeroStart: how&0x40 != 0}
		spelled := make([]byte, min(len(keys), 16))
		for i := range spelled {
			spelled[i] = eventSymbols[keys[i]%16]
		}
		var arrived []tone
		for i, p := range s.send(string(spelled)) {
			fate := byte(0)
			if len(fates) > 0 {
				fate = fates[i%len(fates)] % 4
			}
			switch n := len(arrived); {
			case fate == 1: // lost
			case fate == 2: // repeated
				arrived = append(arrived, p, p)
			case fate == 3 && n > 0 && p.ts-arrived[n-1].ts < staleAfter: // overtook the one before
				arrived = append(arrived, arrived[n-1])
				arrived[n-1] = p
			default:
				arrived = append(arrived, p)
			}
		}
		var want []byte
		latest := -1
		for _, p := range arrived {
			if p.press > latest {
				latest = p.press
				want = append(want, spelled[p.press])
			}
		}
		if got := receiveAll(arrived); got != string(want) {
			t.Errorf("heard %s, want %s: %+v", got, want, s)
		}
	})
}
