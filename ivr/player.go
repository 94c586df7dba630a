package ivr

import (
	"slices"
	"time"

	"hotdeskd/sounds"
)

const (
	frameTime = 20 * time.Millisecond
	frameSize = sounds.Rate / 50 // samples, and bytes of G.711, in one packet
)

// G.711 bytes of silence.
const (
	muLawSilence = 0xFF
	aLawSilence  = 0xD5
)

// utterance is one clip and the silence after it.
type utterance struct {
	clip  sounds.Clip
	pause int // frames
}

// player cuts queued prompts into frames. It knows no time and no lock: the
// session asks for a frame when one is due.
type player struct {
	queue []utterance
	pos   int // bytes of queue[0] that were played, beyond its end during the pause
	done  chan struct{}
}

// play replaces what is playing. The channel is closed when the last frame was
// taken or something else took its place.
func (p *player) play(queue []utterance) <-chan struct{} {
	p.stop()
	done := make(chan struct{})
	if len(queue) == 0 {
		close(done)
		return done
	}
	p.queue, p.pos, p.done = slices.Clone(queue), 0, done
	return done
}

// stop falls silent with the next frame.
func (p *player) stop() {
	p.queue, p.pos = nil, 0
	if p.done != nil {
		close(p.done)
		p.done = nil
	}
}

// frame fills one packet's payload of frameSize bytes.
func (p *player) frame(payload []byte, c codec) {
	silence := c.silence()
	n := 0
	if len(p.queue) > 0 {
		audio := p.queue[0].clip.MuLaw
		if c == pcma {
			audio = p.queue[0].clip.ALaw
		}
		n = copy(payload, audio[min(p.pos, len(audio)):])
	}
	for i := n; i < len(payload); i++ {
		payload[i] = silence
	}
	p.skip()
}

// skip moves on by one frame without playing it.
func (p *player) skip() {
	if len(p.queue) == 0 {
		return
	}
	p.pos += frameSize
	if p.pos < len(p.queue[0].clip.MuLaw)+p.queue[0].pause*frameSize {
		return
	}
	p.queue, p.pos = p.queue[1:], 0
	if len(p.queue) == 0 {
		p.stop()
	}
}
