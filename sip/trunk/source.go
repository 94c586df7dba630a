package trunk

import (
	"net/netip"
	"slices"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// failedFor is how long an address that did not answer is tried after the others,
// unless it says itself how long (Retry-After of a 503).
const failedFor = 30 * time.Second

// Targets are the ways to a PBX in the order in which they are to be tried (RFC 3263
// section 4.3); none while its address is not known.
func (r *Registrar) Targets(p hotdesk.PBX) []dialog.Flow { return r.where.flows(p, r.Now()) }

// Flow is the best way to a PBX; ok is false while its address is not known.
func (r *Registrar) Flow(p hotdesk.PBX) (f dialog.Flow, ok bool) {
	if all := r.Targets(p); len(all) > 0 {
		return all[0], true
	}
	return f, false
}

// Failed tells whether nobody could be reached on a flow of late.
func (r *Registrar) Failed(f dialog.Flow) bool { return r.where.hasFailed(f, r.Now()) }

// Source is where a PBX sends from, by transport.
type Source struct {
	Network string // UDP, TCP or TLS
	Prefix  netip.Prefix
}

// networks are the transports on which a PBX's address is enough to tell it: its own,
// and those that are harder to forge. A large request comes by TCP from a PBX that
// speaks UDP (RFC 3261 section 18.1.1); one that speaks TLS never comes by UDP.
var networks = map[string][]string{"udp": {"UDP", "TCP", "TLS"}, "tcp": {"TCP", "TLS"}, "tls": {"TLS"}}

// Sources lists where the PBXes send from, as far as that is known.
func (r *Registrar) Sources() (all []Source) {
	for _, p := range r.Desk.PBXs() {
		if p.Mode == "none" {
			continue
		}
		for _, prefix := range r.where.sources(p, r.Now()) {
			for _, network := range networks[transport(p)] {
				all = append(all, Source{network, prefix})
			}
		}
	}
	return all
}

// Known tells whether we may open a connection on a flow: it is a PBX's. name is
// what its certificate must be for.
func (r *Registrar) Known(f dialog.Flow) (name string, ok bool) {
	for _, p := range r.Desk.PBXs() {
		if p.Mode != "none" && (slices.Contains(r.Targets(p), f) || r.where.led(f) && r.isSource(p, addrOf(f))) {
			return host(destination(p)), true
		}
	}
	return "", false
}

func addrOf(f dialog.Flow) netip.Addr {
	at, _ := netip.ParseAddrPort(f.Remote)
	return at.Addr()
}

// Sender is the PBX that a request comes from, whatever the port. Of several PBXes at
// one address it is the one that listens on the port it comes from, or else the first.
func (r *Registrar) Sender(f dialog.Flow) (p hotdesk.PBX, ok bool) {
	from, err := netip.ParseAddrPort(f.Remote)
	if err != nil {
		return p, false
	}
	f.Remote = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()).String()
	for _, one := range r.Desk.PBXs() {
		if one.Mode == "none" || !slices.Contains(networks[transport(one)], f.Transport) || !r.isSource(one, from.Addr()) {
			continue
		}
		if slices.Contains(r.Targets(one), f) {
			return one, true
		}
		if !ok {
			p, ok = one, true
		}
	}
	return p, ok
}

// IsSource tells whether a PBX may send from an address: a request inside one of its
// dialogs is taken from there, from any port.
func (r *Registrar) IsSource(pbx string, addr netip.Addr) bool {
	for _, p := range r.Desk.PBXs() {
		if p.Name == pbx {
			return p.Mode != "none" && r.isSource(p, addr)
		}
	}
	return false
}

func (r *Registrar) isSource(p hotdesk.PBX, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(r.where.sources(p, r.Now()), func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}
