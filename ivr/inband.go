package ivr

import "math"

// tones hears key presses in the audio itself, as two tones at once (ITU-T Q.23):
// for phones that do not know telephone-event. It looks at blocks of 12.75 ms by the
// Goertzel algorithm and wants of each what a keypad gives and a voice does not: one
// tone of either group, well above the others of its group, the two of about one
// strength, and next to nothing beside them. Two equal blocks in
// a row are a key, so that every tone of 40 ms is (Q.24); two others end it, so that a
// gap of less than 10 ms does not. The zero value is ready.
type tones struct {
	block [toneBlock]float64
	n     int
	share float64 // of the energy of the last block, that of its two tones
	last  byte    // what the block before was, 0 for no key
	key   byte    // what is held down
	off   int     // blocks since it was last heard
	power float64
}

const (
	toneBlock = 102
	// Q.24 wants the high tone taken from 4 dB above to 8 dB below the low one. The
	// rest is for what the edges of a block add to that.
	normalTwist = 10
	otherTwist  = 3.2
	tonePeak    = 5    // 7 dB above the others of the group
	toneShare   = 0.79 // of the block's energy: more than a block has that is tone for 10 ms only
	heldShare   = 0.50 // and while the key is held, for noise must not press it again
	toneFloor   = 6e-5 // of full scale squared: -36 dBm0, of each tone
	steadyTone  = 4    // 6 dB between the two blocks
)

var (
	lowTones  = [4]float64{697, 770, 852, 941}
	highTones = [4]float64{1209, 1336, 1477, 1633}
	toneKeys  = [4]string{"123A", "456B", "789C", "*0#D"}
	// toneCoef is for the four low tones, then the four high ones.
	toneCoef = func() (c [8]float64) {
		for i := range 4 {
			c[i], c[4+i] = 2*math.Cos(2*math.Pi*lowTones[i]/8000), 2*math.Cos(2*math.Pi*highTones[i]/8000)
		}
		return c
	}()
)

// hear takes one sample from -1 to 1 and returns the key that begins with it, or 0.
func (t *tones) hear(v float64) byte {
	t.block[t.n] = v
	if t.n++; t.n < toneBlock {
		return 0
	}
	t.n = 0
	key, power := t.look()
	if key != t.key && t.share < toneShare {
		key = 0
	}
	again := key != 0 && key == t.last && power < t.power*steadyTone && t.power < power*steadyTone
	t.last, t.power = key, power
	switch {
	case key != 0 && key == t.key:
		t.off = 0
	case again:
		t.key, t.off = key, 0
		return key
	case t.key != 0:
		if t.off++; t.off == 2 {
			t.key = 0
		}
	}
	return 0
}

// look tells the key of one whole block, or 0, and how strong it is.
func (t *tones) look() (key byte, power float64) {
	energy := 0.0
	for _, v := range t.block {
		energy += v * v
	}
	if energy < toneFloor*toneBlock {
		return 0, 0
	}
	var p [8]float64 // power of each tone, as energy of the block
	for i, c := range toneCoef {
		var s1, s2 float64
		for _, v := range t.block {
			s1, s2 = v+c*s1-s2, s1
		}
		p[i] = (s1*s1 + s2*s2 - c*s1*s2) * 2 / toneBlock
	}
	low, high := 0, 4
	for i := range 4 {
		if p[i] > p[low] {
			low = i
		}
		if p[4+i] > p[high] {
			high = 4 + i
		}
	}
	for i := range 4 {
		if i != low && p[i]*tonePeak > p[low] || 4+i != high && p[4+i]*tonePeak > p[high] {
			return 0, 0
		}
	}
	both := p[low] + p[high]
	t.share = both / energy
	switch {
	case min(p[low], p[high]) < toneFloor*toneBlock,
		p[low] > p[high]*normalTwist, p[high] > p[low]*otherTwist,
		t.share < heldShare:
		return 0, 0
	}
	return toneKeys[low][high-4], both
}

const (
	maxUnheard = 25            // packets may be lost inside one key press, rather than it be heard twice
	maxPause   = 2 * frameSize // silence that is not sent parts two presses, as 40 ms of it do (Q.24)
)

// ear hears keys in the packets of a stream. The zero value is ready.
type ear struct {
	tones  tones
	reader reader
	have   bool
	ssrc   uint32
	seq    uint16
	next   uint32 // timestamp that follows what was heard
}

// packet takes a packet of audio. What comes too late is lost: the tones around it
// are enough.
func (e *ear) packet(p packet, c codec, press func(key byte)) {
	audio := p.audio()
	ahead, missing := int16(p.seq-e.seq), int32(p.ts-e.next)
	switch {
	case !e.have || e.reader.codec != c || p.ssrc != e.ssrc || ahead < -maxMisorder || ahead > maxUnheard || missing < -staleAfter || ahead == 1 && missing >= maxPause:
		e.tones, e.reader = tones{}, newReader(c)
	case ahead <= 0:
		return
	case ahead > 1:
		e.tones.n = 0 // no block across the hole
	}
	e.have, e.ssrc, e.seq, e.next = true, p.ssrc, p.seq, p.ts+uint32(len(audio))
	for _, b := range audio {
		if key := e.tones.hear(e.reader.sample(b)); key != 0 {
			press(key)
		}
	}
}
