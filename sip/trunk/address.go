package trunk

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// resolveEvery is how long a name's address is used without asking again.
const resolveEvery = time.Minute

// addresses knows where PBXes are that are given by name. The last good answer
// holds while the name server is away.
type addresses struct {
	resolver *net.Resolver
	mu       sync.Mutex
	known    map[string]answer // by "host:port"
}

type answer struct {
	at    netip.AddrPort
	when  time.Time
	asked bool // a question is on its way
	err   error
}

// destination is where requests to the PBX are sent: its proxy, or its domain.
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

// find returns the PBX's address as far as it is known, and sees to it that it will
// be when it is not.
func (a *addresses) find(p hotdesk.PBX, now time.Time) (netip.AddrPort, error) {
	to := destination(p)
	if at, err := netip.ParseAddrPort(to); err == nil {
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.known[to]
	if !known.asked && now.Sub(known.when) > resolveEvery {
		known.asked = true
		a.known[to] = known
		go a.ask(to, now)
	}
	return known.at, known.err
}

// ask resolves a name beside everything else.
func (a *addresses) ask(to string, now time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	at, err := resolve(ctx, a.resolver, to)
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.known[to]
	known.asked, known.when, known.err = false, now, err
	if err == nil {
		known.at = at
	} else {
		known.when = now.Add(5*time.Second - resolveEvery) // soon again
	}
	a.known[to] = known
}

// resolve looks a "host:port" up; IPv4 is preferred.
func resolve(ctx context.Context, r *net.Resolver, to string) (netip.AddrPort, error) {
	name, port, err := net.SplitHostPort(to)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := r.LookupPort(ctx, "udp", port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	all, err := r.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return netip.AddrPort{}, err
	}
	best := all[0]
	for _, ip := range all {
		if ip.Unmap().Is4() {
			best = ip
			break
		}
	}
	return netip.AddrPortFrom(best.Unmap(), uint16(n)), nil
}

// flow is the way to the PBX; ok is false while its address is not known.
func (a *addresses) flow(p hotdesk.PBX, now time.Time) (dialog.Flow, bool) {
	at, _ := a.find(p, now)
	return dialog.Flow{Transport: strings.ToUpper(transport(p)), Remote: at.String()}, at.IsValid()
}
