package guard

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
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

// Listener wraps a listening socket for streams; network is TCP or TLS, and with
// TLS security is what to shake hands with. l may be nil: then only connections of
// Bring come in. Close ends it.
func (g *Guard) Listener(network string, l net.Listener, security *tls.Config) *Listener {
	w := &Listener{
		g: g, network: network, inner: l, security: security,
		ready: make(chan *conn), shut: make(chan struct{}),
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
	last     *conn // what Accept returned last; only Accept uses it
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
	for _, w := range l.g.conns.waiting(l.network) {
		_ = w.Close()
	}
	l.pumping.Wait()
	return err
}

// Bring hands over a connection that we have opened, to a PBX, as if it had come
// in: there is one way by which messages are read. It returns when whoever accepts
// has taken it over.
func (l *Listener) Bring(ctx context.Context, c net.Conn) error {
	w := l.g.wrap(l.network, c)
	w.ours, w.given = true, true
	if _, ok := l.g.conns.add(w, false); !ok {
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
	leave, ok := l.g.conns.add(w, !l.g.isKnown(w.flow))
	if !ok {
		l.g.Stats.Refused.Add(1)
		_ = raw.Close() // without a word: TLS would want one
		return
	}
	l.pumping.Go(func() {
		if leave != nil {
			l.g.Stats.Refused.Add(1)
			_ = leave.Close()
		}
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
		select {
		case <-l.shut: // maybe after Close has looked
			_ = w.Close()
		default:
		}
		if w.whole() != nil {
			_ = w.Close()
			return
		}
		l.g.conns.give(w)
		select {
		case l.ready <- w:
		case <-l.shut:
			_ = w.Close()
		}
	})
}
