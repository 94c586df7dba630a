package trunk

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// Resolver is what we ask the DNS; a *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// resolveEvery is how long a name's addresses are used without asking again, and
// resolveWait how long a question may take.
const (
	resolveEvery = time.Minute
	resolveWait  = 5 * time.Second
)

// place is a name or address to find, as RFC 3263 section 4 looks at it: with a port
// there is no SRV record to ask for. The transport is always known, it is the PBX's, so
// there is no NAPTR record to ask for either (section 4.1).
type place struct {
	host, port string // port is empty when none was given
	transport  string // udp, tcp, tls
}

// places are where a PBX is, and by what other name its sources may be found.
func places(p hotdesk.PBX) []place {
	all := []place{placeOf(cmp.Or(p.Proxy, p.Domain), transport(p))}
	if p.Proxy != "" && p.Domain != "" && p.Domain != p.Proxy {
		all = append(all, placeOf(p.Domain, transport(p)))
	}
	return all
}

func placeOf(to, transport string) place {
	if host, port, err := net.SplitHostPort(to); err == nil {
		return place{host, port, transport}
	}
	return place{strings.Trim(to, "[]"), "", transport}
}

// defaultPort is where a PBX listens when nobody says otherwise (RFC 3261 section 19.1.2).
func (p place) defaultPort() uint16 {
	if p.transport == "tls" {
		return 5061
	}
	return 5060
}

// fixed is the address of a place that needs no look-up.
func (p place) fixed() (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(p.host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	port := p.defaultPort()
	if n, err := strconv.ParseUint(p.port, 10, 16); err == nil {
		port = uint16(n)
	}
	return netip.AddrPortFrom(addr.Unmap(), port), true
}

// addresses knows where PBXes are that are given by name. The last good answer
// holds while the name server is away.
type addresses struct {
	resolver Resolver
	mu       sync.Mutex
	known    map[place]answer
	failed   map[dialog.Flow]time.Time // until when an address is tried after the others
	leads    map[dialog.Flow]bool      // where registrations were sent on to
}

type answer struct {
	all   []netip.AddrPort // the best first
	when  time.Time
	asked bool // a question is on its way
	err   error
}

// destination is where requests to the PBX are sent, as an administrator reads it: its
// proxy, or its domain.
func destination(p hotdesk.PBX) string {
	to, port := cmp.Or(p.Proxy, p.Domain), "5060"
	if p.Transport == "tls" {
		port = "5061"
	}
	if _, _, err := net.SplitHostPort(to); err != nil {
		return net.JoinHostPort(strings.Trim(to, "[]"), port)
	}
	return to
}

func host(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return hostport
}

// find returns the addresses of a place as far as they are known, and sees to it that
// they will be when they are not.
func (a *addresses) find(p place, now time.Time) ([]netip.AddrPort, error) {
	if at, ok := p.fixed(); ok {
		return []netip.AddrPort{at}, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.known[p]
	if !known.asked && now.Sub(known.when) > resolveEvery {
		known.asked = true
		a.known[p] = known
		go a.ask(p, now)
	}
	return known.all, known.err
}

// ask resolves a name beside everything else. Of equal answers the first one's order
// stays: registrations must not wander from one server to another because DNS deals
// its records anew.
func (a *addresses) ask(p place, now time.Time) {
	all, err := a.resolve(p)
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.known[p]
	known.asked, known.when, known.err = false, now, err
	if err != nil {
		known.when = now.Add(resolveWait - resolveEvery) // soon again
	} else if !sameSet(known.all, all) {
		known.all = all
	}
	a.known[p] = known
}

func sameSet(a, b []netip.AddrPort) bool {
	sorted := func(all []netip.AddrPort) []netip.AddrPort {
		return slices.SortedFunc(slices.Values(all), netip.AddrPort.Compare)
	}
	return slices.Equal(sorted(a), sorted(b))
}

// resolve looks a place up (RFC 3263 section 4.2): by the SRV records of its transport
// when no port was given, by priority and weight; otherwise, and when there are none,
// by all its addresses, IPv4 first.
func (a *addresses) resolve(p place) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveWait)
	defer cancel()
	if p.port == "" {
		service, proto := "sip", p.transport
		if p.transport == "tls" {
			service, proto = "sips", "tcp"
		}
		if _, records, err := a.resolver.LookupSRV(ctx, service, proto, p.host); err == nil && len(records) > 0 {
			return a.targets(ctx, records)
		}
		return a.hosts(ctx, p.host, p.defaultPort())
	}
	port, err := strconv.ParseUint(p.port, 10, 16)
	if err != nil {
		return nil, err
	}
	return a.hosts(ctx, p.host, uint16(port))
}

// targets are the addresses of SRV records. One whose name has none costs only itself.
func (a *addresses) targets(ctx context.Context, records []*net.SRV) (all []netip.AddrPort, err error) {
	for _, srv := range records {
		at, hostErr := a.hosts(ctx, strings.TrimSuffix(srv.Target, "."), srv.Port)
		err = cmp.Or(err, hostErr)
		for _, one := range at {
			if !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, err
}

func (a *addresses) hosts(ctx context.Context, name string, port uint16) (all []netip.AddrPort, err error) {
	ips, err := a.resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, err
	}
	for _, v4 := range []bool{true, false} {
		for _, ip := range ips {
			if at := netip.AddrPortFrom(ip.Unmap(), port); ip.Unmap().Is4() == v4 && !slices.Contains(all, at) {
				all = append(all, at)
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no address")
	}
	return all, nil
}

// flows are the ways to the PBX: the best first, those behind the others that have
// failed of late.
func (a *addresses) flows(p hotdesk.PBX, now time.Time) []dialog.Flow {
	at, _ := a.find(places(p)[0], now)
	a.mu.Lock()
	defer a.mu.Unlock()
	var good, bad []dialog.Flow
	for _, one := range at {
		f := dialog.Flow{Transport: strings.ToUpper(transport(p)), Remote: one.String()}
		if now.Before(a.failed[f]) {
			bad = append(bad, f)
		} else {
			good = append(good, f)
		}
	}
	return append(good, bad...)
}

// fail remembers that nobody can be reached on a flow; heard, that somebody is.
func (a *addresses) fail(f dialog.Flow, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed[f].Before(until) {
		a.failed[f] = until
	}
}

func (a *addresses) hasFailed(f dialog.Flow, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return now.Before(a.failed[f])
}

// lead remembers a flow that a PBX has sent us to; led tells whether it is one.
func (a *addresses) lead(f dialog.Flow) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.leads) < 100 {
		a.leads[f] = true
	}
}

func (a *addresses) led(f dialog.Flow) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.leads[f]
}

func (a *addresses) heard(f dialog.Flow) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.failed, f)
}

// sources are the addresses and networks that a PBX may send from: those that it was
// given, or else all that its proxy and domain resolve to.
func (a *addresses) sources(p hotdesk.PBX, now time.Time) (all []netip.Prefix) {
	if len(p.Sources) > 0 {
		for _, text := range p.Sources {
			if prefix, err := hotdesk.ParseSource(text); err == nil {
				all = append(all, prefix)
			}
		}
		return all
	}
	for _, at := range places(p) {
		known, _ := a.find(at, now)
		for _, one := range known {
			if prefix := netip.PrefixFrom(one.Addr(), one.Addr().BitLen()); !slices.Contains(all, prefix) {
				all = append(all, prefix)
			}
		}
	}
	return all
}
