package trunk

import (
	"cmp"
	"strings"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// Label begins the label of every target here, which tells it from a device.
const Label = "pbx:"

// Call is a call that goes out through a PBX.
type Call struct {
	Number string
	Caller dialog.Party // whose call it is, as the other side sees it; only the URI's user part counts
	// Account is whose call it is for the PBX, in mode register; in mode trunk the
	// PBX's own.
	Account hotdesk.PBXAccount
	Secret  hotdesk.Secret
}

// Target is a call through the PBX, without flow and our Contact. A trunk is told
// the caller's number (P-Asserted-Identity, RFC 3325). In mode register the call is
// the account's own, and another number is a wish (P-Preferred-Identity). The
// device that calls is not named anywhere.
func Target(p hotdesk.PBX, c Call) dialog.Target {
	domain := cmp.Or(p.Domain, host(p.Proxy))
	at := func(user string) sip.Uri { return sip.Uri{Scheme: "sip", User: user, Host: domain} }
	caller := dialog.Party{Name: c.Caller.Name, URI: at(c.Caller.URI.User)}
	to := at(strings.ReplaceAll(c.Number, "#", "%23"))
	t := dialog.Target{
		Label: Label + p.Name, URI: to, From: caller, To: dialog.Party{URI: to},
		User: c.Account.AuthUser, Password: c.Secret.Reveal(),
	}
	if p.Mode != "register" {
		t.Headers = []sip.Header{sip.NewHeader("P-Asserted-Identity", NameAddr(caller))}
		return t
	}
	t.From.URI = at(c.Account.Extension)
	if caller.URI.User != "" && caller.URI.User != c.Account.Extension {
		t.Headers = []sip.Header{sip.NewHeader("P-Preferred-Identity", NameAddr(caller))}
	}
	return t
}

// NameAddr writes a party as a header value, with the quoting that a display
// name needs (RFC 3261 section 25.1).
func NameAddr(p dialog.Party) string {
	addr := "<" + p.URI.String() + ">"
	if p.Name == "" {
		return addr
	}
	return `"` + dialog.Quoted(p.Name) + `" ` + addr
}
