package ivr

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pion/rtp"
)

// maxCatchUp is how many packets may leave back to back after a stall. What is
// older is skipped: it would only fill the phone's jitter buffer.
const maxCatchUp = 3

// maxReadErrors in a row end the reading of a socket that is beyond repair.
const maxReadErrors = 100

const maxSealing = 10 // bytes that SRTP adds to a packet

const comfortNoise = 13 // RFC 3389: never negotiated here, but phones send it

// session is the audio of one call: a socket that sends a frame every 20 ms and
// listens for keys. Its goroutines live inside serve.
type session struct {
	conn, rtcp net.PacketConn
	keys       *keypad
	first      chan struct{} // closed when the phone was first heard

	mu      sync.Mutex
	media   media
	latch   latch
	player  player
	presses presses
	ear     ear
	peer    netip.AddrPort // what peerAddr spells
	peerUDP *net.UDPAddr   // where frames go, kept so that sending allocates nothing
	heard   bool
	stray   uint8   // payload type of key presses, agreed or not
	shield  *shield // nil: plain RTP
	foreign int     // packets from others than the phone
	refused int     // packets that are not sealed with the phone's key

	// Only the sending goroutine touches what follows.
	writer writer
	header rtp.Header
	packet [12 + frameSize]byte
	sealed [12 + frameSize + maxSealing]byte
}

func newSession(conn, rtcp net.PacketConn, source netip.Addr) *session {
	return &session{
		conn: conn, rtcp: rtcp, keys: newKeypad(), first: make(chan struct{}),
		latch: latch{source: source},
		// Random starts make the stream hard to forge for someone who cannot
		// see it (RFC 3550 section 5.1). The sequence starts in the lower half
		// so that SRTP's roll-over counter is never in doubt.
		header: rtp.Header{
			Version: 2, Marker: true, SSRC: rand.Uint32(),
			SequenceNumber: uint16(rand.N(1 << 15)), Timestamp: rand.Uint32(),
		},
	}
}

// negotiated takes over what a session description settled. Keys that stay the same
// keep their state: a counter that started again would encrypt two packets alike.
func (s *session) negotiated(m media) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.theirs == (sdes{}):
		s.shield = nil
	case s.shield == nil || s.shield.theirs != m.theirs || s.shield.ours != m.own:
		shield, err := newShield(m.own, m.theirs)
		if err != nil {
			return err
		}
		s.shield = shield
	}
	s.media, s.stray = m, 0
	s.latch.expect(m.remote)
	s.retarget()
	s.keys.poke() // the hold state may have changed
	return nil
}

func (s *session) retarget() {
	if to := s.latch.target(); to != s.peer {
		s.peer, s.peerUDP = to, net.UDPAddrFromAddrPort(to)
	}
}

// held tells whether the phone does not listen to us at the moment.
func (s *session) held() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.media.flows()
}

func (s *session) play(queue []utterance) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.player.play(queue)
}

func (s *session) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.player.stop()
}

// serve sends and receives until ctx ends, and returns when both sockets are quiet.
func (s *session) serve(ctx context.Context) {
	// A deadline in the past wakes the blocked readers without closing sockets
	// that belong to the conversation.
	defer context.AfterFunc(ctx, func() {
		past := time.Unix(1, 0)
		_ = s.conn.SetReadDeadline(past)
		_ = s.rtcp.SetReadDeadline(past)
	})()
	var wg sync.WaitGroup
	wg.Go(func() { s.send(ctx) })
	wg.Go(func() { read(s.conn, s.receive) })
	// RTCP is read and dropped: an open port keeps "port unreachable" from
	// phones that would hang up on it.
	wg.Go(func() { read(s.rtcp, func(netip.AddrPort, []byte) {}) })
	wg.Wait()
}

// send runs the 20 ms clock against absolute deadlines: a ticker drops ticks when
// the machine is late, and the stream would fall behind for good.
func (s *session) send(ctx context.Context) {
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		for now := time.Now(); !due.After(now); due = due.Add(frameTime) {
			if behind := int(now.Sub(due)/frameTime) + 1 - maxCatchUp; behind > 0 {
				s.skip(behind)
				due = due.Add(time.Duration(behind) * frameTime)
			}
			s.tick()
		}
		timer.Reset(time.Until(due))
	}
}

// skip lets frames pass unsent. The timestamp moves, as the time did; the
// sequence does not, because nothing was lost.
func (s *session) skip(frames int) {
	s.header.Timestamp += uint32(frames) * frameSize
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.media.flows() {
		return
	}
	for range frames {
		s.player.skip()
	}
}

// tick sends one frame, or lets it pass while the call is on hold.
func (s *session) tick() {
	s.mu.Lock()
	flows, to, shield := s.media.flows(), s.peerUDP, s.shield
	if flows {
		if s.writer.codec != s.media.codec {
			s.writer = newWriter(s.media.codec)
		}
		s.player.frame(s.packet[12:], s.writer.stored())
		s.header.PayloadType = s.media.audio
	}
	s.mu.Unlock()
	if flows {
		s.writer.finish(s.packet[12:])
		_, err := s.header.MarshalTo(s.packet[:])
		out := s.packet[:]
		if shield != nil && err == nil {
			out, err = shield.seal(s.sealed[:0], out)
		}
		if err == nil {
			// The phone may be gone already; the BYE will tell.
			_, _ = s.conn.WriteTo(out, to)
		}
		s.header.SequenceNumber++
		s.header.Marker = false
	} else {
		s.header.Marker = true // of the first packet after it (RFC 3551 section 4.1)
	}
	s.header.Timestamp += frameSize
}

// receive takes one packet that came in: where it comes from, and the keys in it.
func (s *session) receive(from netip.AddrPort, b []byte) {
	p, ok := readRTP(b)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shield != nil {
		// First of all: a packet that is not the phone's must not be latched either.
		if p, ok = readRTP(s.shield.open(b)); !ok {
			s.refused++
			return
		}
	}
	event := s.media.isEvent(p.pt)
	known := event || p.pt == s.media.audio || p.pt == comfortNoise
	if !s.latch.admit(from, p.ssrc, p.seq, known, time.Now()) {
		s.foreign++
		return
	}
	s.retarget()
	if !s.heard {
		s.heard = true
		close(s.first)
	}
	switch {
	case event:
		s.stray = p.pt
	case p.pt == s.media.audio:
		// Tones are heard only where the phone knows no other way: to listen to
		// everybody's audio for them would be to hear keys where there are none.
		// Nor is what comes during a hold the person's: it may be music.
		if s.media.events == 0 && s.media.ours == 0 && !s.media.held {
			s.ear.packet(p, s.media.codec, func(key byte) { s.keys.press(key, fromAudio) })
		}
		return
	case known || !s.strayEvent(p):
		return
	}
	if key, ok := s.presses.packet(p, time.Now()); ok {
		s.keys.press(key, fromRTP)
	}
}

// strayEvent tells whether a packet of a type that nobody agreed on is a key press
// all the same. There are senders with a type of their own for events, whatever was
// agreed. The type must be a dynamic one that the phone has not given another
// meaning, and the first that is used so stays the only one, until events come with
// the type that was agreed on. An empty payload of four bytes is no event but
// somebody's keep-alive.
func (s *session) strayEvent(p packet) bool {
	if len(p.payload) != 4 || p.pt < 96 || s.stray != 0 && s.stray != p.pt || int(p.payload[0]) >= len(eventSymbols) {
		return false
	}
	if p.payload[1] == 0 && p.payload[2] == 0 && p.payload[3] == 0 && !p.marker {
		return false
	}
	if s.media.means(p.pt) != "" {
		return false
	}
	s.stray = p.pt
	return true
}

// addrPortReader is what *net.UDPConn adds to net.PacketConn: reading without an
// allocation for every address.
type addrPortReader interface {
	ReadFromUDPAddrPort(b []byte) (n int, addr netip.AddrPort, err error)
}

// read hands every packet to take until the deadline has passed or the socket is
// closed. Other errors, such as an ICMP answer to a frame of ours, pass.
func read(conn net.PacketConn, take func(netip.AddrPort, []byte)) {
	next := func(b []byte) (int, netip.AddrPort, error) {
		n, addr, err := conn.ReadFrom(b)
		if err != nil {
			return 0, netip.AddrPort{}, err
		}
		if udp, ok := addr.(*net.UDPAddr); ok {
			return n, udp.AddrPort(), nil
		}
		from, err := netip.ParseAddrPort(addr.String())
		return n, from, err
	}
	if udp, ok := conn.(addrPortReader); ok {
		next = udp.ReadFromUDPAddrPort
	}
	buf := make([]byte, 2048)
	defer clear(buf) // it held key presses
	for failed := 0; failed < maxReadErrors; {
		n, from, err := next(buf)
		switch {
		case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			failed++
			continue
		}
		failed = 0
		take(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buf[:n])
	}
}
