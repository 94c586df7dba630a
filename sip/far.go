package sip

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/sip/dialog"
	"hotdeskd/sip/trunk"
)

// far is where PBXes have pointed our requests inside dialogs: a Contact or Record-Route
// of theirs may name another machine than the one that answered.
type far struct {
	mu    sync.Mutex
	flows map[dialog.Flow]string // streams that may be opened, and for whom
	names map[string]found
}

type found struct {
	addr netip.Addr
	at   time.Time
}

// maxFar bounds both tables; farFor is how long a name's address holds, lookupWait how
// long it may take.
const (
	maxFar     = 256
	farFor     = time.Minute
	lookupWait = 2 * time.Second
	// lookupPatience is how long a request waits for it.
	lookupPatience = 300 * time.Millisecond
)

func newFar() *far { return &far{flows: map[dialog.Flow]string{}, names: map[string]found{}} }

// known tells whether a connection may be opened, and for which name.
func (t *far) known(f dialog.Flow) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name, ok := t.flows[f]
	return name, ok
}

// lookup finds the address of a name; invalid when it cannot.
//
// Whoever waits, an answer to an emergency call perhaps, does not wait long: what comes
// later is good for the next request.
func (t *far) lookup(ctx context.Context, resolver trunk.Resolver, name string, now time.Time) netip.Addr {
	t.mu.Lock()
	f, ok := t.names[name]
	t.mu.Unlock()
	if ok && now.Sub(f.at) < farFor {
		return f.addr
	}
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	answer := make(chan netip.Addr, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, lookupWait)
		defer cancel()
		f := found{at: now}
		if all, err := resolver.LookupNetIP(ctx, "ip", name); err == nil && len(all) > 0 {
			f.addr = all[0].Unmap()
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if len(t.names) >= maxFar {
			clear(t.names)
		}
		t.names[name] = f
		answer <- f.addr
	}()
	patience := time.NewTimer(lookupPatience)
	defer patience.Stop()
	select {
	case addr := <-answer:
		return addr
	case <-patience.C:
		return netip.Addr{}
	}
}

// farFlow is the way of a request inside a PBX's dialog: to the first route, or the
// remote target (RFC 3261 sections 8.1.2 and 12.2.1.1). It stays on the dialog's flow
// when that is the same place, when the name cannot be found, and when a PBX behind a
// NAT tells an address that only its own network knows.
func (e *Edge) farFlow(from dialog.Flow, next sip.Uri) dialog.Flow {
	was := dialog.HostOf(from.Remote)
	transport := from.Transport
	if text, ok := dialog.Param(next.UriParams, "transport"); ok {
		transport = strings.ToUpper(text)
	}
	if _, on := e.net.Local[transport]; !on {
		return from
	}
	host := strings.Trim(next.Host, "[]")
	if m, ok := dialog.Param(next.UriParams, "maddr"); ok {
		host = strings.Trim(m, "[]")
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		if addr = e.far.lookup(e.ctx, e.Resolver, host, e.Now()); !addr.IsValid() {
			return from
		}
	}
	addr = addr.Unmap()
	port := next.Port
	if port == 0 {
		port = 5060
		if transport == "TLS" {
			port = 5061
		}
	}
	if addr.IsUnspecified() || addr.IsMulticast() || port < 1 || port > 65535 || was.IsValid() && addr != was && local(addr) && !local(was) {
		return from
	}
	f := dialog.Flow{Transport: transport, Remote: netip.AddrPortFrom(addr, uint16(port)).String()}
	if f == from || transport != "UDP" && addr == was && transport == from.Transport {
		return from // on a stream, the connection that is open
	}
	if transport != "UDP" {
		e.far.mu.Lock()
		if len(e.far.flows) >= maxFar {
			clear(e.far.flows)
		}
		e.far.flows[f] = host
		e.far.mu.Unlock()
	}
	return f
}

// local tells whether an address is one that only its own network knows.
func local(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast()
}
