package ivr

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// PortRange is the range of UDP ports for RTP. Each call takes an even port and
// the odd one above it (RFC 3550 section 11). The zero value is 20000-20999.
type PortRange struct{ First, Last uint16 }

const (
	// maxProbes is how many ports are tried for one call before it is refused.
	maxProbes = 20
	// quarantine keeps a freed port unused: late packets of the old call must
	// not type keys into a new one.
	quarantine = 10 * time.Second
)

// ports gives out the pairs of sockets and counts the calls.
type ports struct {
	listen func(netip.AddrPort) (net.PacketConn, error)
	first  int // even
	pairs  int
	max    int // calls

	mu    sync.Mutex
	taken map[int]time.Time // by port: zero while in use, else when it was freed
	calls int
}

func newPorts(r PortRange, maxCalls int, listen func(netip.AddrPort) (net.PacketConn, error)) (*ports, error) {
	if r == (PortRange{}) {
		r = PortRange{First: 20000, Last: 20999}
	}
	first := int(r.First) + int(r.First)%2
	pairs := (int(r.Last) - first + 1) / 2
	if first == 0 || pairs < 1 {
		return nil, fmt.Errorf("RTP ports %d-%d hold no even port with an odd one above it", r.First, r.Last)
	}
	return &ports{listen: listen, first: first, pairs: pairs, max: maxCalls, taken: map[int]time.Time{}}, nil
}

// open binds a free pair on an address, or returns ErrBusy.
func (p *ports) open(addr netip.Addr) (conn, rtcp net.PacketConn, port uint16, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls >= p.max {
		return nil, nil, 0, fmt.Errorf("%w: %d calls", ErrBusy, p.calls)
	}
	start, probes := rand.N(p.pairs), 0
	for i := 0; i < p.pairs && probes < maxProbes; i++ {
		n := p.first + 2*((start+i)%p.pairs)
		if freed, ok := p.taken[n]; ok && (freed.IsZero() || time.Since(freed) < quarantine) {
			continue
		}
		probes++
		if conn, err = p.listen(netip.AddrPortFrom(addr, uint16(n))); err != nil {
			continue
		}
		if rtcp, err = p.listen(netip.AddrPortFrom(addr, uint16(n+1))); err != nil {
			_ = conn.Close()
			continue
		}
		p.taken[n] = time.Time{}
		p.calls++
		return conn, rtcp, uint16(n), nil
	}
	if err != nil {
		return nil, nil, 0, fmt.Errorf("%w: no RTP port: %v", ErrBusy, err)
	}
	return nil, nil, 0, fmt.Errorf("%w: every RTP port is in use or was a moment ago", ErrBusy)
}

// free puts a pair that was closed into quarantine.
func (p *ports) free(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[int(port)] = time.Now()
	p.calls--
}
