package pbx

import (
	"cmp"
	"net"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/leg"
)

// Label begins the label of every target here, which tells it from a device.
const Label = "pbx:"

// Target is a call to a number through the PBX, without our Contact. The caller's
// number is asserted (RFC 3325); the device that calls is not named anywhere.
func Target(p hotdesk.PBX, number string, caller leg.Party, secret hotdesk.Secret) leg.Target {
	domain := cmp.Or(p.Domain, host(p.Proxy))
	caller.URI = sip.Uri{Scheme: "sip", User: caller.URI.User, Host: domain}
	to := sip.Uri{Scheme: "sip", User: strings.ReplaceAll(number, "#", "%23"), Host: domain}
	return leg.Target{
		Label: Label + p.Name, URI: to, Flow: leg.Flow{Transport: "UDP", Remote: destination(p)},
		From: caller, To: leg.Party{URI: to},
		Headers:  []sip.Header{sip.NewHeader("P-Asserted-Identity", NameAddr(caller))},
		User:     p.Account.AuthUser,
		Password: secret.Reveal(),
	}
}

// NameAddr writes a party as a header value, with the quoting that a display
// name needs (RFC 3261 section 25.1).
func NameAddr(p leg.Party) string {
	addr := "<" + p.URI.String() + ">"
	if p.Name == "" {
		return addr
	}
	return `"` + leg.Quoted(p.Name) + `" ` + addr
}

// destination is where requests to the PBX are sent: its proxy, or its domain.
func destination(p hotdesk.PBX) string {
	to := cmp.Or(p.Proxy, p.Domain)
	if _, _, err := net.SplitHostPort(to); err != nil {
		return net.JoinHostPort(to, "5060")
	}
	return to
}

func host(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return hostport
}

// Addresses lists where the PBXes are, as far as they are given by address.
func Addresses(all []hotdesk.PBX) []netip.Addr {
	var addrs []netip.Addr
	for _, p := range all {
		if at, err := netip.ParseAddrPort(destination(p)); err == nil && p.Mode != "none" {
			addrs = append(addrs, at.Addr())
		}
	}
	return addrs
}

// Sender finds the trunk that a request comes from by its address and port.
func Sender(all []hotdesk.PBX, source string) (hotdesk.PBX, bool) {
	from, err := netip.ParseAddrPort(source)
	if err != nil {
		return hotdesk.PBX{}, false
	}
	for _, p := range all {
		to, err := netip.ParseAddrPort(destination(p))
		if err == nil && p.Mode == "trunk" && to.Addr().Unmap() == from.Addr().Unmap() && to.Port() == from.Port() {
			return p, true
		}
	}
	return hotdesk.PBX{}, false
}
