package guard

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Limits of connections.
const (
	maxConns     = 16384 // of everybody
	maxStrangers = 4096  // of those without a registration
	maxPerSource = 1024  // of them, from one address: an office behind its router

	handshakeWait = 5 * time.Second  // for TLS
	messageWait   = 10 * time.Second // from a message's first byte to its last
	idleWait      = 60 * time.Second // of a stranger, between messages
	writeWait     = 5 * time.Second

	maxMessage = 64 << 10 // of one message on a stream
)

// connections are all that are open.
type connections struct {
	mu        sync.Mutex
	open      map[flow]*conn
	strangers map[netip.Addr]int // how many of them, by source
	unknown   int                // their sum
	peak      int                // most that were open since the maps were made
}

// Listener wraps a listening socket for streams; network is TCP or TLS, and with
// TLS security is what to shake hands with. l may be nil: then only connections of
// Bring come in. Close ends it.
func (g *Guard) Listener(network string, l net.Listener, security *tls.Config) *Listener {
	w := &Listener{
		g: g, network: network, inner: l, security: security,
		ready: make(chan *conn), shut: make(chan struct{}), young: map[*conn]bool{},
	}
	if l != nil {
		w.pumping.Go(w.pump)
	}
	return w
}

// Listener is a net.Listener.
type Listener struct {
	g        *Guard
	network  string
	inner    net.Listener
	security *tls.Config
	ready    chan *conn
	once     sync.Once
	shut     chan struct{}
	pumping  sync.WaitGroup
	mu       sync.Mutex
	young    map[*conn]bool // connections that have sent no whole message yet
	last     *conn          // what Accept returned last; only Accept uses it
}

// Accept returns the next connection that has shaken hands and sent a whole message:
// those who never do are no business of the library, which would keep tables for
// them. An error only when the listener is closed.
func (l *Listener) Accept() (net.Conn, error) {
	if l.last != nil {
		close(l.last.taken) // who asks for the next one has dealt with it
	}
	select {
	case l.last = <-l.ready:
		return l.last, nil
	case <-l.shut:
		l.last = nil
		return nil, net.ErrClosed
	}
}

// Addr is the socket's address.
func (l *Listener) Addr() net.Addr {
	if l.inner == nil {
		return &net.TCPAddr{IP: net.IPv4zero}
	}
	return l.inner.Addr()
}

// Close ends the listener; connections that were accepted live on.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.shut)
		if l.inner != nil {
			err = l.inner.Close()
		}
	})
	l.mu.Lock()
	young := slices.Collect(maps.Keys(l.young))
	l.mu.Unlock()
	for _, w := range young {
		_ = w.Close()
	}
	l.pumping.Wait()
	return err
}

// born and grown keep the list of the young ones, whom Close ends.
func (l *Listener) born(w *conn) {
	l.mu.Lock()
	l.young[w] = true
	l.mu.Unlock()
	select {
	case <-l.shut: // maybe after Close has looked
		_ = w.Close()
	default:
	}
}

func (l *Listener) grown(w *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delete(l.young, w); len(l.young) == 0 {
		l.young = map[*conn]bool{} // a map does not become smaller by itself
	}
}

// Bring hands over a connection that we have opened, to a PBX, as if it had come
// in: there is one way by which messages are read. It returns when whoever accepts
// has taken it over.
func (l *Listener) Bring(ctx context.Context, c net.Conn) error {
	w := l.g.wrap(l.network, c)
	w.ours = true
	if !l.g.conns.add(w, false) {
		return errors.Join(net.ErrClosed, c.Close())
	}
	select {
	case l.ready <- w:
	case <-l.shut:
		return errors.Join(net.ErrClosed, w.Close())
	case <-ctx.Done():
		return errors.Join(ctx.Err(), w.Close())
	}
	select {
	case <-w.taken:
	case <-l.shut:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// pump accepts until the socket is closed. What passes (EMFILE, ENOBUFS, a peer
// that has gone already) is waited out: the library would stop for good at the
// first one.
func (l *Listener) pump() {
	pause, complained := time.Millisecond, time.Time{}
	for {
		c, err := l.inner.Accept()
		if err == nil {
			pause = time.Millisecond
			l.take(c)
			continue
		}
		select {
		case <-l.shut:
			return
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			l.once.Do(func() { close(l.shut) })
			return
		}
		if time.Since(complained) > time.Second {
			complained = time.Now()
			l.g.Log.Warn("SIP connections cannot be accepted; listening goes on", "network", l.network, "err", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.shut:
			timer.Stop()
			return
		}
		pause = min(2*pause, time.Second)
	}
}

// take lets a connection in, beside the others: a slow handshake holds nobody up.
func (l *Listener) take(c net.Conn) {
	var secure *tls.Conn
	raw := c
	if l.security != nil {
		secure = tls.Server(c, l.security)
		c = secure
	}
	w := l.g.wrap(l.network, c)
	if !l.g.conns.add(w, !l.g.isKnown(w.flow)) {
		l.g.Stats.Refused.Add(1)
		_ = raw.Close() // without a word: TLS would want one
		return
	}
	l.born(w)
	l.pumping.Go(func() {
		defer l.grown(w)
		if secure != nil {
			ctx, cancel := context.WithTimeout(context.Background(), handshakeWait)
			err := secure.HandshakeContext(ctx)
			cancel()
			if err != nil {
				l.g.Stats.TimedOut.Add(1)
				_ = w.Close()
				return
			}
		}
		if w.whole() != nil {
			_ = w.Close()
			return
		}
		select {
		case l.ready <- w:
		case <-l.shut:
			_ = w.Close()
		}
	})
}

// add counts a connection in; false when there are too many. One that comes from
// the address of another has taken its place: that one is gone, whatever we have
// heard of it yet.
func (c *connections) add(w *conn, stranger bool) bool {
	c.mu.Lock()
	old := c.open[w.flow]
	c.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	from := source(w.flow.remote.Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= maxConns || stranger && (c.unknown >= maxStrangers || c.strangers[from] >= maxPerSource) {
		return false
	}
	c.open[w.flow] = w
	c.peak = max(c.peak, len(c.open))
	if w.stranger = stranger; stranger {
		c.strangers[from]++
		c.unknown++
	}
	return true
}

// know takes a connection out of the count of strangers.
func (c *connections) know(f flow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.open[f]; w != nil {
		c.settle(w)
	}
}

// settle ends a connection's time as a stranger. The caller holds the lock.
func (c *connections) settle(w *conn) {
	if !w.stranger {
		return
	}
	w.stranger = false
	c.unknown--
	from := source(w.flow.remote.Addr())
	if c.strangers[from]--; c.strangers[from] <= 0 {
		delete(c.strangers, from)
	}
}

// remove counts a connection out.
func (c *connections) remove(w *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(w)
	if c.open[w.flow] == w {
		delete(c.open, w.flow)
	}
	if c.peak > 256 && len(c.open) < c.peak/4 { // a map does not become smaller by itself
		c.open, c.strangers, c.peak = maps.Clone(c.open), maps.Clone(c.strangers), len(c.open)
	}
}

// Connections tells how many connections are open, and how many are strangers'.
func (g *Guard) Connections() (open, strangers int) {
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	return len(g.conns.open), g.conns.unknown
}
