package ivr

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// memNet is a network in memory, so that calls can be made in a bubble of fake time.
type memNet struct {
	mu    sync.Mutex
	conns map[netip.AddrPort]*memConn
}

func newMemNet() *memNet { return &memNet{conns: map[netip.AddrPort]*memConn{}} }

// listen has the shape of Options.Listen.
func (n *memNet) listen(addr netip.AddrPort) (net.PacketConn, error) { return n.bind(addr) }

func (n *memNet) bind(addr netip.AddrPort) (*memConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns[addr] != nil {
		return nil, errors.New("address already in use")
	}
	c := &memConn{net: n, addr: addr, inbox: make(chan datagram, 1024), closed: make(chan struct{}), expired: make(chan struct{})}
	n.conns[addr] = c
	return c, nil
}

func (n *memNet) mustBind(t *testing.T, addr string) *memConn {
	t.Helper()
	c, err := n.bind(netip.MustParseAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type datagram struct {
	from netip.AddrPort
	at   time.Time
	data []byte
}

// memConn is a socket of a memNet. A deadline in the past is the only one it knows.
type memConn struct {
	net     *memNet
	addr    netip.AddrPort
	inbox   chan datagram
	closed  chan struct{}
	expired chan struct{}
	once    sync.Once
	late    sync.Once
}

func (c *memConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-c.closed:
		return 0, nil, net.ErrClosed
	case <-c.expired:
		return 0, nil, os.ErrDeadlineExceeded
	case d := <-c.inbox:
		return copy(b, d.data), net.UDPAddrFromAddrPort(d.from), nil
	}
}

func (c *memConn) WriteTo(b []byte, to net.Addr) (int, error) {
	c.net.mu.Lock()
	peer := c.net.conns[to.(*net.UDPAddr).AddrPort()]
	c.net.mu.Unlock()
	if peer != nil {
		select {
		case peer.inbox <- datagram{from: c.addr, at: time.Now(), data: append([]byte(nil), b...)}:
		default: // a full buffer loses packets, as UDP does
		}
	}
	return len(b), nil
}

func (c *memConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.net.mu.Lock()
		delete(c.net.conns, c.addr)
		c.net.mu.Unlock()
	})
	return nil
}

func (c *memConn) SetReadDeadline(at time.Time) error {
	if at.Before(time.Now()) {
		c.late.Do(func() { close(c.expired) })
	}
	return nil
}

func (c *memConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.addr) }
func (c *memConn) SetDeadline(at time.Time) error   { return c.SetReadDeadline(at) }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }
