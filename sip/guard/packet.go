package guard

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxDatagram is the largest SIP message that is looked at.
const maxDatagram = 16 << 10

// A reader is given up after so many strangers, and ends this long after its
// successor has begun.
const (
	readerStrangers = 4096
	readerOverlap   = time.Second
)

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
	s := &packetSocket{g: g, PacketConn: c, reading: sync.OnceFunc(reading), shut: make(chan struct{})}
	var all sync.WaitGroup
	defer all.Wait()
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

// packetSocket is the socket that all readers share.
type packetSocket struct {
	net.PacketConn
	g       *Guard
	reading func()
	turn    sync.Mutex // one reads at a time
	once    sync.Once
	shut    chan struct{} // closed when the socket is
}

// reader is the socket as the library sees it for a while.
type reader struct {
	*packetSocket
	strangers int
	spent     chan struct{} // closed when it has read its share
}

// ReadFrom returns the next datagram that may come in. A passing error of the
// socket (ENOBUFS, an ICMP error of a phone that went away) is waited out: the
// library would stop for good at the first one.
func (r *reader) ReadFrom(b []byte) (int, net.Addr, error) {
	r.reading()
	if r.strangers >= readerStrangers {
		return r.leave()
	}
	r.turn.Lock()
	defer r.turn.Unlock()
	pause := time.Millisecond
	for {
		n, from, err := r.read(b)
		if err == nil {
			pause = time.Millisecond
			stranger, ok := r.admit(b[:n], from)
			if !ok {
				continue
			}
			if stranger {
				r.strangers++
			}
			return n, net.UDPAddrFromAddrPort(from), nil
		}
		if errors.Is(err, net.ErrClosed) {
			r.once.Do(func() { close(r.shut) })
			return 0, nil, err
		}
		r.g.Log.Warn("SIP socket error; listening goes on", "err", err)
		timer := time.NewTimer(pause)
		<-timer.C
		pause = min(2*pause, time.Second)
	}
}

// read reads one datagram, from a real socket without allocating.
func (r *reader) read(b []byte) (int, netip.AddrPort, error) {
	if u, ok := r.PacketConn.(*net.UDPConn); ok {
		n, from, err := u.ReadFromUDPAddrPort(b)
		return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
	}
	n, from, err := r.PacketConn.ReadFrom(b)
	if err != nil {
		return n, netip.AddrPort{}, err
	}
	return n, addrPort(from), nil
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

// admit decides about one datagram.
func (r *reader) admit(b []byte, at netip.AddrPort) (stranger, ok bool) {
	if len(b) > maxDatagram || len(b) == 0 {
		return false, false
	}
	now := time.Now().UnixNano()
	wait, stranger := r.g.pay(flow{"UDP", at}, now)
	if wait > 0 || stranger && r.g.Full() {
		r.g.Stats.Dropped.Add(1)
		return stranger, false
	}
	if onlyBreaks(b) { // a keep-alive (RFC 5626 section 4.4.1)
		return stranger, false
	}
	v := r.g.Inspect(b, false)
	if v.Drop {
		r.g.Stats.Unread.Add(1)
		return stranger, false
	}
	if v.Answer == nil {
		return stranger, true
	}
	if r.g.mayAnswer(at.Addr(), now) && !at.Addr().IsMulticast() {
		to := at
		if v.Port != 0 {
			to = netip.AddrPortFrom(at.Addr(), v.Port)
		}
		if _, err := r.PacketConn.WriteTo(v.Answer, net.UDPAddrFromAddrPort(to)); err != nil {
			r.g.Log.Debug("answer to an unreadable message not sent", "remote", to.String(), "err", err)
		}
	}
	return stranger, false
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
