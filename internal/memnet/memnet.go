package memnet

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Conditions say how bad a network is. Loss, Reorder and Duplicate are
// probabilities, from 0 to 1, for each packet; streams know only Delay.
type Conditions struct {
	Loss      float64
	Reorder   float64 // a packet is late, so that following ones overtake it
	Duplicate float64 // a packet comes twice, the copy late
	Delay     time.Duration
}

// firstPort is the lowest port that is picked.
const firstPort = 40000

// late is how much later than Delay a reordered or duplicated packet comes at most.
const late = 50 * time.Millisecond

// Net is one network. Sockets of different Nets do not reach each other. Its
// methods may be called from any goroutine.
type Net struct {
	seed uint64
	cond Conditions

	mu        sync.Mutex
	next      uint16 // the last port that was picked
	packets   map[netip.AddrPort]*packetConn
	listeners map[netip.AddrPort]*listener
	links     map[link]*rand.Rand
}

// link is one way between two sockets.
type link struct{ from, to netip.AddrPort }

// New makes a network. Equal seeds and equal traffic give equal fates.
func New(seed uint64, c Conditions) *Net {
	return &Net{
		seed: seed, cond: c, packets: map[netip.AddrPort]*packetConn{},
		listeners: map[netip.AddrPort]*listener{}, links: map[link]*rand.Rand{},
	}
}

// bind checks an address and picks a port when it has none. The caller holds the
// lock.
func (n *Net) bind(at netip.AddrPort) (netip.AddrPort, error) {
	if !at.Addr().IsValid() || at.Addr().IsUnspecified() {
		return at, fmt.Errorf("memnet: %s is not one address: %w", at, syscall.EADDRNOTAVAIL)
	}
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	for picked := at.Port() == 0; ; {
		if picked {
			n.next = max(n.next+1, firstPort)
			at = netip.AddrPortFrom(at.Addr(), n.next)
		}
		_, packet := n.packets[at]
		_, stream := n.listeners[at]
		if !packet && !stream {
			return at, nil
		}
		if !picked {
			return at, fmt.Errorf("memnet: %s: %w", at, syscall.EADDRINUSE)
		}
	}
}

// send decides what happens to a packet and puts what is left of it on its way.
func (n *Net) send(from, to netip.AddrPort, b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	way := link{from, to}
	chance := n.links[way]
	if chance == nil {
		h := fnv.New64a()
		fmt.Fprint(h, from, to)
		chance = rand.New(rand.NewPCG(n.seed, h.Sum64()))
		n.links[way] = chance
	}
	// Each packet draws equally often, whatever happens to it.
	lost, reordered, twice := chance.Float64() < n.cond.Loss, chance.Float64() < n.cond.Reorder, chance.Float64() < n.cond.Duplicate
	extra, again := lateBy(chance), lateBy(chance)
	c := n.packets[to]
	if c == nil || lost {
		return // as with UDP, the sender does not learn of it
	}
	at := time.Now().Add(n.cond.Delay)
	if twice {
		c.in.put(parcel{at: at.Add(again), from: from, data: append([]byte(nil), b...)})
	}
	if reordered {
		at = at.Add(extra)
	}
	c.in.put(parcel{at: at, from: from, data: append([]byte(nil), b...)})
}

func lateBy(chance *rand.Rand) time.Duration {
	return time.Duration(1 + chance.Int64N(int64(late)))
}

// ListenPacket opens a packet socket; port 0 picks one.
func (n *Net) ListenPacket(at netip.AddrPort) (net.PacketConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, err := n.bind(at)
	if err != nil {
		return nil, err
	}
	c := &packetConn{net: n, local: at, in: newMailbox()}
	n.packets[at] = c
	return c, nil
}

// packetConn is a net.PacketConn.
type packetConn struct {
	net   *Net
	local netip.AddrPort
	in    *mailbox
}

func (c *packetConn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: err}
}

// ReadFrom reads one packet; what does not fit into b is lost.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	var from netip.AddrPort
	n := 0
	err := c.in.take(func(p *parcel) bool {
		n, from = copy(b, p.data), p.from
		return true
	})
	if err != nil {
		return 0, nil, c.fail("read", err)
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo sends one packet. It never blocks.
func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.in.isClosed() {
		return 0, c.fail("write", net.ErrClosed)
	}
	at, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return 0, c.fail("write", err)
	}
	c.net.send(c.local, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), b)
	return len(b), nil
}

func (c *packetConn) Close() error {
	if !c.in.close() {
		return c.fail("close", net.ErrClosed)
	}
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	delete(c.net.packets, c.local)
	return nil
}

func (c *packetConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

func (c *packetConn) SetDeadline(t time.Time) error     { return c.SetReadDeadline(t) }
func (c *packetConn) SetReadDeadline(t time.Time) error { c.in.expire(t); return nil }
func (c *packetConn) SetWriteDeadline(time.Time) error  { return nil }
