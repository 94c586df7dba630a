package simphone

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/rtp"
)

// Heard is what came in on a call.
type Heard struct {
	Packets int       // RTP packets of audio
	Voiced  int       // of them, those that were more than silence
	First   time.Time // when the first voiced packet came; zero if none did
	Hash    uint64    // FNV-1a over the voiced payloads: equal speech, equal hash
	Keys    int       // keys that the other side pressed (RFC 4733)
}

// media is the RTP side of one call: one socket, one stream out, one in.
type media struct {
	conn     net.PacketConn
	local    netip.AddrPort
	id       uint64 // of our session descriptions
	codecs   []uint8
	events   uint8
	tone     bool
	onVoiced func() // called once, at the first voiced packet
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	version uint64
	peer    description
	holding bool // we hold the call
	settled bool
	out     *stream
	heard   Heard
	news    chan struct{} // closed, and made anew, at every voiced packet
	lastKey uint32        // timestamp of the last key heard
}

func openMedia(cfg Config, p profile, onVoiced func()) (*media, error) {
	conn, err := cfg.ListenPacket(netip.AddrPortFrom(netip.MustParseAddr(cfg.Local), 0))
	if err != nil {
		return nil, fmt.Errorf("the phone's RTP socket: %w", err)
	}
	m := &media{
		conn: conn, id: uint64(rand.Uint32()), codecs: p.codecs, events: p.events, tone: cfg.Speak,
		onVoiced: onVoiced, news: make(chan struct{}),
	}
	if m.local, err = netip.ParseAddrPort(conn.LocalAddr().String()); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("the phone's RTP socket: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.running.Go(func() { m.send(ctx) })
	m.running.Go(m.receive)
	return m, nil
}

// close ends both streams and waits for them.
func (m *media) close() {
	m.stop()
	_ = m.conn.Close() // wakes the reader
	m.running.Wait()
}

// offer describes what the phone would like.
func (m *media) offer() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.version++
	direction := sendrecv
	if m.holding {
		direction = sendonly
	}
	return writeSDP(m.local, m.id, m.version, m.codecs, m.events, direction, m.peer)
}

// answer takes the other side's offer and describes ours.
func (m *media) answer(offer []byte) ([]byte, error) {
	d, err := readSDP(offer, m.codecs)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle(d)
	m.version++
	return writeSDP(m.local, m.id, m.version, []uint8{d.codec}, d.events, answerDirection(d.direction, m.holding), d), nil
}

// accept takes the other side's answer to our offer.
func (m *media) accept(answer []byte) error {
	d, err := readSDP(answer, m.codecs)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle(d)
	return nil
}

// settle takes what both sides agreed on. The caller holds the lock.
func (m *media) settle(d description) {
	m.peer, m.settled = d, true
	if m.out == nil {
		m.out = newStream(d.codec, d.events, m.tone)
	}
	m.out.codec, m.out.events = d.codec, d.events
}

// hold notes whether we hold the call, and returns whether we did.
func (m *media) hold(on bool) (before bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, m.holding = m.holding, on
	return before
}

// press queues keys on the stream.
func (m *media) press(digits string, held, gap time.Duration) (<-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.out == nil:
		return nil, fmt.Errorf("%w: there is no audio yet", ErrKeys)
	case m.out.events == 0:
		return nil, fmt.Errorf("%w: the other side takes no telephone-event", ErrKeys)
	}
	return m.out.press(digits, held, gap)
}

// send runs the 20 ms clock against absolute times, so that it never drifts.
func (m *media) send(ctx context.Context) {
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		m.tick()
		due = due.Add(frameTime)
		timer.Reset(time.Until(due))
	}
}

// tick sends one packet, or lets 20 ms pass while nobody listens.
func (m *media) tick() {
	m.mu.Lock()
	if !m.settled || m.holding || m.peer.holds() {
		if m.out != nil {
			m.out.skip()
		}
		m.mu.Unlock()
		return
	}
	packet, to := m.out.next(), net.UDPAddrFromAddrPort(m.peer.addr)
	m.mu.Unlock()
	if b, err := packet.Marshal(); err == nil {
		_, _ = m.conn.WriteTo(b, to) // the other side may be gone; the BYE tells
	}
}

// receive counts what comes in until the socket is closed. Other read errors,
// such as an ICMP answer to a packet of ours, pass.
func (m *media) receive() {
	buf := make([]byte, 2048)
	for failed := 0; failed < 100; {
		n, _, err := m.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			failed++
			continue
		}
		failed = 0
		var p rtp.Packet
		if p.Unmarshal(buf[:n]) == nil && p.Version == 2 {
			m.hear(&p)
		}
	}
}

func (m *media) hear(p *rtp.Packet) {
	m.mu.Lock()
	first := false
	switch {
	case m.settled && p.PayloadType == m.peer.events && p.PayloadType != 0, p.PayloadType == m.events:
		if m.heard.Keys == 0 || p.Timestamp != m.lastKey {
			m.heard.Keys++
			m.lastKey = p.Timestamp
		}
	case p.PayloadType == pcmu || p.PayloadType == pcma:
		m.heard.Packets++
		if voiced(p.PayloadType, p.Payload) {
			first = m.heard.Voiced == 0
			if first {
				m.heard.First, m.heard.Hash = time.Now(), 0xcbf29ce484222325
			}
			m.heard.Voiced++
			m.heard.Hash = fold(m.heard.Hash, p.Payload)
			close(m.news)
			m.news = make(chan struct{})
		}
	}
	m.mu.Unlock()
	if first {
		m.onVoiced()
	}
}

func (m *media) sofar() (Heard, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heard, m.news
}
