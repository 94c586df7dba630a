package guard

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxDatagram is the largest SIP message that is looked at.
const maxDatagram = 16 << 10

// A reader is given up after so many strangers, or after so long when there was one,
// and ends this long after its successor has begun.
const (
	readerStrangers = 1024
	readerLife      = 20 * time.Second
	readerOverlap   = time.Second
)

// So many datagrams wait to be read. Whoever is known does not wait behind
// strangers.
const (
	knownQueue    = 4096
	strangerQueue = 1024
)

// receiveBuffer is what the kernel is asked to keep for us.
const receiveBuffer = 4 << 20

// ServePackets reads a listening socket through serve, which is the library's. It
// returns when the socket is closed.
//
// The library keeps an entry for every source it has ever heard, for as long as it
// reads. So it is given one reader after another: each ends after some thousand
// strangers, a little after the next has begun, so that whatever is being answered
// still finds the socket. reading is called once, when the socket is read for the
// first time: only from then on does the library know it, and send from it instead
// of failing to open it again.
func (g *Guard) ServePackets(c net.PacketConn, serve func(net.PacketConn) error, reading func()) error {
	if u, ok := c.(*net.UDPConn); ok {
		if err := u.SetReadBuffer(receiveBuffer); err != nil {
			g.Log.Info("SIP socket keeps the kernel's buffer", "err", err)
		}
	}
	s := &packetSocket{
		g: g, PacketConn: c, reading: sync.OnceFunc(reading),
		known: make(chan packet, knownQueue), strangers: make(chan packet, strangerQueue), shut: make(chan struct{}),
	}
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(s.pump)
	for {
		r := &reader{packetSocket: s, spent: make(chan struct{})}
		ended := make(chan error, 1)
		all.Go(func() { ended <- serve(r) })
		select {
		case <-r.spent:
		case err := <-ended:
			return err
		}
	}
}

// packet is one datagram.
type packet struct {
	data []byte
	from netip.AddrPort
}

// packetSocket is the socket that all readers share.
type packetSocket struct {
	net.PacketConn
	g                *Guard
	reading          func()
	known, strangers chan packet
	shut             chan struct{} // closed when the socket is
	err              error         // why, from then on
}

// pump takes datagrams off the socket as fast as they come, so that the kernel need
// not drop those of phones, and lets in who can pay. A passing error of the socket
// (ENOBUFS, an ICMP error of a phone that went away) is waited out: the library
// would stop for good at the first one.
func (s *packetSocket) pump() {
	defer close(s.shut)
	buf := make([]byte, maxDatagram+1)
	pause := time.Millisecond
	for {
		n, from, err := s.read(buf)
		if err == nil {
			pause = time.Millisecond
			s.admit(buf[:n], from)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			s.err = err
			return
		}
		s.g.Log.Warn("SIP socket error; listening goes on", "err", err)
		timer := time.NewTimer(pause)
		<-timer.C
		pause = min(2*pause, time.Second)
	}
}

// read reads one datagram, from a real socket without allocating.
func (s *packetSocket) read(b []byte) (int, netip.AddrPort, error) {
	if u, ok := s.PacketConn.(*net.UDPConn); ok {
		n, from, err := u.ReadFromUDPAddrPort(b)
		return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
	}
	n, from, err := s.PacketConn.ReadFrom(b)
	if err != nil {
		return n, netip.AddrPort{}, err
	}
	return n, addrPort(from), nil
}

// admit decides about one datagram.
func (s *packetSocket) admit(b []byte, from netip.AddrPort) {
	if len(b) > maxDatagram || len(b) == 0 {
		return
	}
	wait, stranger := s.g.pay(flow{"UDP", from}, time.Now().UnixNano())
	if wait > 0 || stranger && s.g.Full() {
		s.g.Stats.Dropped.Add(1)
		return
	}
	if onlyBreaks(b) { // a keep-alive (RFC 5626 section 4.4.1)
		return
	}
	queue := s.known
	if stranger {
		queue = s.strangers
	}
	if len(queue) == cap(queue) { // nobody else puts anything in
		s.g.Stats.Dropped.Add(1)
		return
	}
	queue <- packet{bytes.Clone(b), from}
}

// next is the next datagram in the order of who may go first; ok is false when the
// socket is closed and everything is read.
func (s *packetSocket) next(until <-chan time.Time) (p packet, stranger, ok bool) {
	select {
	case p = <-s.known:
		return p, false, true
	default:
	}
	select {
	case p = <-s.known:
		return p, false, true
	case p = <-s.strangers:
		return p, true, true
	case <-until:
		return p, false, true
	case <-s.shut:
	}
	select { // what came before it was closed
	case p = <-s.known:
		return p, false, true
	case p = <-s.strangers:
		return p, true, true
	default:
		return p, false, false
	}
}

// reader is the socket as the library sees it for a while.
type reader struct {
	*packetSocket
	strangers int
	old       <-chan time.Time // when it is
	spent     chan struct{}    // closed when it has read its share
}

// ReadFrom returns the next datagram that may come in, or that the socket is
// closed: to this reader.
func (r *reader) ReadFrom(b []byte) (int, net.Addr, error) {
	r.reading()
	for {
		if r.strangers >= readerStrangers {
			return r.leave()
		}
		p, stranger, ok := r.next(r.old)
		switch {
		case !ok:
			return 0, nil, r.err
		case p.data == nil: // it is old
			r.strangers = readerStrangers
			continue
		}
		if stranger {
			if r.strangers++; r.old == nil {
				r.old = time.After(readerLife)
			}
		}
		if data := r.inspect(p); data != nil {
			return copy(b, data), net.UDPAddrFromAddrPort(p.from), nil
		}
	}
}

// leave lets the next reader begin and ends this one.
func (r *reader) leave() (int, net.Addr, error) {
	close(r.spent)
	timer := time.NewTimer(readerOverlap)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.shut:
	}
	return 0, nil, net.ErrClosed
}

// inspect returns a datagram as it is to be read; nil, and answers it, when it cannot be.
func (r *reader) inspect(p packet) []byte {
	v := r.g.Inspect("UDP", p.from, p.data, false)
	if v.Drop {
		r.g.Stats.Unread.Add(1)
		return nil
	}
	if v.Answer == nil {
		if v.Data != nil {
			return v.Data
		}
		return p.data
	}
	if r.g.mayAnswer(p.from.Addr(), time.Now().UnixNano()) && !p.from.Addr().IsMulticast() {
		to := p.from
		if v.Port != 0 {
			to = netip.AddrPortFrom(to.Addr(), v.Port)
		}
		if _, err := r.PacketConn.WriteTo(v.Answer, net.UDPAddrFromAddrPort(to)); err != nil {
			r.g.Log.Debug("answer to an unreadable message not sent", "remote", to.String(), "err", err)
		}
	}
	return nil
}

// onlyBreaks tells whether there is nothing but line breaks, or the null byte that
// some phones send to keep their NAT open.
func onlyBreaks(b []byte) bool {
	if len(b) > 4 {
		return false
	}
	for _, c := range b {
		if c != '\r' && c != '\n' && c != 0 {
			return false
		}
	}
	return true
}

// Close is not the reader's to do: the socket belongs to who opened it.
func (r *reader) Close() error { return nil }
