package simphone

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// line is an account in use: what the phone registers, calls and is called as.
// Each account that a file brings is a new line with a Call-ID of its own.
type line struct {
	account
	agent     *agent
	flow      *flow
	registrar netip.AddrPort
	dialog    *dialog // of its REGISTERs
	// Phones keep the nonces of their REGISTERs and of their calls apart.
	registers, calls *credentials
}

// newLine makes a line; lost is told when its connection is gone.
func (a *agent) newLine(ctx context.Context, acc account, lost func(*flow)) (*line, error) {
	host, port := acc.host, acc.port
	if acc.proxy != "" {
		host, port = hostPort(acc.proxy, 5060)
	}
	registrar, err := resolve(ctx, host, port)
	if err != nil {
		return nil, err
	}
	l := &line{
		account: acc, agent: a, registrar: registrar, flow: a.flow(flowKey{acc.transport, registrar, host, acc.trust}, lost),
		registers: &credentials{user: acc.authUser, password: acc.password},
		calls:     &credentials{user: acc.authUser, password: acc.password},
	}
	aor := l.uri(acc.user)
	l.dialog = &dialog{
		callID: callID(a.local), local: party{acc.name, aor, sip.GenerateTagN(10)},
		contact: l.contact(), remote: party{acc.name, aor, ""}, target: l.uri(""),
	}
	return l, nil
}

// resolve finds the registrar's address.
func resolve(ctx context.Context, host string, port int) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(addr, uint16(port)), nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("the SIP server %s cannot be found: %w", host, err)
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(port)), nil
}

func callID(local netip.AddrPort) string {
	return sip.GenerateTagN(20) + "@" + local.Addr().String()
}

// uri is a user at the line's server; no user gives the server itself.
func (l *line) uri(user string) sip.Uri {
	return sip.Uri{Scheme: "sip", User: user, Host: bracketed(l.host), Port: l.port}
}

// contact is where the line is called: the phone's end of its flow.
func (l *line) contact() sip.Uri { return l.flow.contact(l.user) }

// bracketed writes an IPv6 host as URIs need it.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// register registers for so many seconds, or un-registers with 0, and returns
// what was granted. It opens the way to the server when that is not open. A 423 is
// followed once (RFC 3261 section 10.2.8).
func (l *line) register(ctx context.Context, seconds int) (granted int, err error) {
	if err := l.flow.open(ctx); err != nil {
		return 0, err
	}
	l.dialog.relocate(l.contact())
	for longer := false; ; longer = true {
		res, err := l.registers.exchange(
			func() *sip.Request {
				req := l.dialog.next(sip.REGISTER, l.agent.name)
				req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(seconds)))
				return req
			},
			func(req *sip.Request) (*sip.Response, error) { return l.flow.do(ctx, req, l.registrar.String()) },
		)
		if err != nil {
			return 0, err
		}
		if res.StatusCode == 423 && !longer && seconds > 0 {
			if h := res.GetHeader("Min-Expires"); h != nil {
				seconds = max(seconds, number(strings.TrimSpace(h.Value()), seconds))
				continue
			}
		}
		if !res.IsSuccess() {
			return 0, &Refused{res.StatusCode, res.Reason}
		}
		return l.granted(res, seconds), nil
	}
}

// granted is the expiry of our own Contact in a 200 to REGISTER.
func (l *line) granted(res *sip.Response, asked int) int {
	own := l.contact()
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.User != own.User || c.Address.Host != own.Host || c.Address.Port != own.Port {
			continue
		}
		if n, err := strconv.Atoi(param(c.Params, "expires")); err == nil {
			return n
		}
	}
	if h := res.GetHeader("Expires"); h != nil {
		return number(strings.TrimSpace(h.Value()), asked)
	}
	return asked
}

// escape writes a dialled number as the user part of a URI (RFC 3261 section
// 25.1): a "#" becomes %23, a "*" stays.
func escape(number string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()&=+$,;?/"
	var b strings.Builder
	for _, c := range []byte(number) {
		if strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// unescape reads the user part of a URI.
func unescape(user string) string {
	var b strings.Builder
	for i := 0; i < len(user); i++ {
		if user[i] == '%' && i+2 < len(user) {
			if n, err := strconv.ParseUint(user[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(user[i])
	}
	return b.String()
}
