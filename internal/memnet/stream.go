package memnet

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// backlog is how many connections may wait to be accepted.
const backlog = 128

// Listen opens a stream listener; port 0 picks one.
func (n *Net) Listen(at netip.AddrPort) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, err := n.bind(at)
	if err != nil {
		return nil, err
	}
	l := &listener{net: n, local: at, calls: make(chan net.Conn, backlog), closed: make(chan struct{})}
	n.listeners[at] = l
	return l, nil
}

// Dial connects to a listener, from 127.0.0.1. It fits http.Transport.DialContext;
// network is not looked at.
func (n *Net) Dial(_ context.Context, _, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	from, err := n.bind(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
	l := n.listeners[to]
	if err == nil && l == nil {
		err = syscall.ECONNREFUSED
	}
	if err == nil {
		there, here := newMailbox(), newMailbox()
		select {
		case l.calls <- &conn{local: to, remote: from, in: there, out: here, delay: n.cond.Delay}:
			return &conn{local: from, remote: to, in: here, out: there, delay: n.cond.Delay}, nil
		default:
			err = syscall.ECONNREFUSED
		}
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

// listener is a net.Listener.
type listener struct {
	net    *Net
	local  netip.AddrPort
	calls  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
	case c := <-l.calls:
		return c, nil
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		delete(l.net.listeners, l.local)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }

// conn is a net.Conn. Nothing is lost or reordered, and writing never blocks: the
// buffer is as large as it must be.
type conn struct {
	local, remote netip.AddrPort
	in, out       *mailbox
	delay         time.Duration
}

func (c *conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

func (c *conn) Read(b []byte) (int, error) {
	n, end := 0, false
	err := c.in.take(func(p *parcel) bool {
		if end = p.last; end {
			return false // it stays, for every further Read
		}
		n = copy(b, p.data)
		p.data = p.data[n:]
		return len(p.data) == 0
	})
	switch {
	case err != nil:
		return 0, c.fail("read", err)
	case end:
		return 0, io.EOF
	}
	return n, nil
}

func (c *conn) Write(b []byte) (int, error) {
	switch {
	case c.in.isClosed():
		return 0, c.fail("write", net.ErrClosed)
	case c.out.isClosed():
		return 0, c.fail("write", syscall.EPIPE)
	case len(b) > 0:
		c.out.put(parcel{at: time.Now().Add(c.delay), data: append([]byte(nil), b...)})
	}
	return len(b), nil
}

// Close ends both directions; the other side reads what was written, then io.EOF.
func (c *conn) Close() error {
	if !c.in.close() {
		return c.fail("close", net.ErrClosed)
	}
	c.out.put(parcel{at: time.Now().Add(c.delay), last: true})
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (c *conn) SetDeadline(t time.Time) error      { return c.SetReadDeadline(t) }
func (c *conn) SetReadDeadline(t time.Time) error  { c.in.expire(t); return nil }
func (c *conn) SetWriteDeadline(_ time.Time) error { return nil }
