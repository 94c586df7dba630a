package ivr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Conversation is one call. Describe, Accept and Press may be called at any time
// while it runs, from any goroutine.
type Conversation struct {
	menu    *Menu
	visit   Visit
	port    uint16
	told    netip.AddrPort // where the phone is told to send
	session *session
	id      uint64

	mu      sync.Mutex
	settled media
	version uint64
	lines   string // our last description without its version, to see changes
	started bool
	closed  bool
	cancel  context.CancelFunc // of Run
}

// Describe answers a session description of the phone (INVITE, re-INVITE, UPDATE)
// with ours. A nil or empty offer makes an offer, whose answer goes to Accept. An offer
// that puts us on hold (RFC 3264 section 8.4) pauses prompts and timers, for at
// most 30 s a call. It returns ErrBadOffer or ErrNotAcceptable; the call then goes
// on as it was.
func (c *Conversation) Describe(offer []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(offer) == 0 {
		return c.describe(c.settled.offer(c.told)), nil
	}
	m, err := settle(offer, c.terms())
	if err != nil {
		return nil, err
	}
	if m.theirs != (sdes{}) {
		// A phone that comes with a new key gets a new one of ours. With the old one
		// ours stays, so that the same offer has the same answer.
		if m.own = c.settled.own; m.theirs != c.settled.theirs {
			m.own = ownSDES(m.theirs.tag, m.theirs.suite)
		}
	}
	if err := c.take(m); err != nil {
		return nil, err
	}
	return c.describe(m.answer(c.told)), nil
}

// take puts what was settled into force.
func (c *Conversation) take(m media) error {
	if err := c.session.negotiated(m); err != nil {
		return fmt.Errorf("set up the audio: %w", err)
	}
	c.settled = m
	return nil
}

// terms are what the phone's descriptions must fit.
func (c *Conversation) terms() terms {
	t := terms{local: c.told.Addr(), secure: c.visit.Secure}
	if len(c.settled.streams) > 0 {
		t.before = &c.settled
	}
	return t
}

// describe writes our description; its version rises only when something else
// than the version changed (RFC 3264 section 8).
func (c *Conversation) describe(streams []string) []byte {
	if lines := description(c.told.Addr(), c.id, 0, streams); lines != c.lines {
		c.version++
		c.lines = lines
	}
	return []byte(description(c.told.Addr(), c.id, c.version, streams))
}

// Accept takes the phone's answer to an offer that Describe made. It returns
// ErrBadOffer or ErrNotAcceptable; there is then no audio, and the caller ends
// the call.
func (c *Conversation) Accept(answer []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := settle(answer, c.terms())
	if err != nil {
		return err
	}
	m.ours, m.own = ownEvents, c.settled.own
	if (m.theirs != (sdes{})) != (m.own != (sdes{})) || m.theirs.suite != m.own.suite {
		return notAcceptable(warnTransport, "the answer is not of the transport that was offered")
	}
	return c.take(m)
}

// Press reports a key that came by SIP INFO: one of 0-9, *, #, A-D. It is ignored
// once the phone has sent keys as events of its audio stream (RFC 4733), because many
// phones send both; and keys that are heard as tones are ignored once INFO has come.
func (c *Conversation) Press(digit byte) {
	if bytes.IndexByte([]byte(eventSymbols), digit) >= 0 {
		c.session.keys.press(digit, fromINFO)
	}
}

// Run talks to the person and returns when the conversation is over: nil when the
// server should hang up, the context's error when the caller did. It runs once.
func (c *Conversation) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	if c.started || c.closed {
		c.mu.Unlock()
		return fmt.Errorf("conversation of %s: %w", c.visit.Device, net.ErrClosed)
	}
	c.started, c.cancel = true, cancel
	c.mu.Unlock()

	var wg sync.WaitGroup
	wg.Go(func() { c.session.serve(ctx) })

	d := dialogue{
		desk: c.menu.desk, visit: c.visit, line: &voice{session: c.session, menu: c.menu},
		log: c.menu.log.With(slog.String("device", string(c.visit.Device)), slog.String("call_id", c.visit.CallID)),
	}
	began := time.Now()
	outcome := d.run(ctx)
	err := context.Cause(ctx)
	cancel()
	wg.Wait()

	c.session.keys.clear()
	c.session.mu.Lock()
	if c.session.shield != nil {
		clear(c.session.shield.plain) // it held key presses
	}
	foreign, refused, secure := c.session.foreign, c.session.refused, c.session.shield != nil
	c.session.mu.Unlock()
	d.log.Info("hot-desk conversation ended", slog.String("action", d.action), slog.String("outcome", outcome),
		slog.Duration("lasted", time.Since(began)), slog.Int("rtp_foreign", foreign),
		slog.Bool("srtp", secure), slog.Int("srtp_refused", refused), slog.String("keys", c.session.keys.way().String()))
	return err
}

// Close ends a conversation that still runs and gives its ports back, which rest
// for 10 s. It may be called more than once, and when Run never ran.
func (c *Conversation) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if c.cancel != nil {
		c.cancel()
	}
	err := errors.Join(c.session.conn.Close(), c.session.rtcp.Close())
	c.session.keys.clear()
	c.menu.ports.free(c.port)
	return err
}

// voice is the line of a dialogue: it turns words into clips in the language of
// the call.
type voice struct {
	*session
	menu *Menu
}

func (v *voice) say(lang string, words []word) <-chan struct{} {
	queue := make([]utterance, len(words))
	for i, w := range words {
		clip, ok := v.menu.sounds.Lookup(lang, w.key)
		if !ok {
			// A missing prompt must not end a login: a tone stands for it.
			v.menu.log.Warn("prompt is missing", slog.String("prompt", w.key), slog.String("language", lang))
			clip = v.menu.sounds.Tone()
		}
		queue[i] = utterance{clip: clip, pause: int(w.pause / frameTime)}
	}
	return v.play(queue)
}

func (v *voice) key() (byte, bool)        { return v.keys.take() }
func (v *voice) forget()                  { v.keys.clear() }
func (v *voice) wake() <-chan struct{}    { return v.keys.wake }
func (v *voice) present() <-chan struct{} { return v.first }
