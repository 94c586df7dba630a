package main

import (
	"net"
	"net/netip"
	"sync"
)

// A listener has so many connections at once, in all and from one address, of IPv6
// from one /64. Every one is an open file, and phones need some to fetch their
// configuration and to call.
const (
	consoleConns      = 512
	consoleConnsOfOne = 128
	phoneConns        = 4096 // of each listener for configurations; many may stand idle for 30 s
	phoneConnsOfOne   = 2048 // an office behind its router
)

// keepDoor limits the connections of a listener.
func keepDoor(l net.Listener, most, mostOfOne int) net.Listener {
	return &doorkeeper{Listener: l, most: most, mostOfOne: mostOfOne, from: map[netip.Prefix]int{}}
}

// doorkeeper is a listener that closes the connections that are too many.
type doorkeeper struct {
	net.Listener
	most, mostOfOne int

	mu   sync.Mutex
	open int
	from map[netip.Prefix]int
}

// Accept waits for a connection that may stay.
func (l *doorkeeper) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := neighbourhood(c.RemoteAddr())
		if l.enter(from) {
			return &guest{Conn: c, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		_ = c.Close() // it may be gone already
	}
}

func (l *doorkeeper) enter(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most || l.from[from] >= l.mostOfOne {
		return false
	}
	l.open++
	l.from[from]++
	return true
}

func (l *doorkeeper) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.from[from]--; l.from[from] == 0 {
		delete(l.from, from)
	}
}

// guest is a connection whose place is free again when it is closed.
type guest struct {
	net.Conn
	leave func()
}

func (g *guest) Close() error {
	defer g.leave()
	return g.Conn.Close()
}

// neighbourhood is what one visitor has of the addresses: one of IPv4, a /64 of
// IPv6. What is no address is one neighbourhood.
func neighbourhood(addr net.Addr) netip.Prefix {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := ap.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(ip, bits).Masked()
}
