package trunk

import (
	"cmp"
	"slices"
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
	// Private: the number is for the PBX and not for whom it calls (RFC 3323).
	Private bool
}

// Target is a call through the PBX, without flow and our Contact. The caller's number
// stands in the headers that the PBX's identity names. In mode register the call is the
// account's own, which stays in From unless From is one of them. The device that calls
// is not named anywhere.
func Target(p hotdesk.PBX, c Call) dialog.Target {
	domain := cmp.Or(p.Domain, host(p.Proxy))
	at := func(user string) sip.Uri { return sip.Uri{Scheme: "sip", User: user, Host: domain} }
	caller := dialog.Party{Name: c.Caller.Name, URI: at(c.Caller.URI.User)}
	to := at(strings.ReplaceAll(c.Number, "#", "%23"))
	t := dialog.Target{
		Label: Label + p.Name, URI: to, From: caller, To: dialog.Party{URI: to},
		User: c.Account.AuthUser, Password: c.Secret.Reveal(),
	}
	inFrom := p.Mode != "register" || slices.Contains(p.IdentityHeaders(), hotdesk.IdentityFrom) && caller.URI.User != ""
	switch {
	case inFrom && c.Private:
		t.From = anonymous
	case !inFrom:
		t.From.URI = at(c.Account.Extension)
	}
	if caller.URI.User != "" {
		t.Headers = identity(p, c, caller)
	}
	return t
}

// anonymous is who calls when nobody shall know (RFC 3323 section 4.1.1.3).
var anonymous = dialog.Party{Name: "Anonymous", URI: sip.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}}

// identity writes who calls into the headers that the PBX reads. A wish for the number
// that the account has anyway is none.
func identity(p hotdesk.PBX, c Call, caller dialog.Party) (all []sip.Header) {
	value, hidden := NameAddr(caller), "off"
	if c.Private {
		hidden = "full"
	}
	for _, name := range p.IdentityHeaders() {
		switch name {
		case hotdesk.IdentityPAI:
			all = append(all, sip.NewHeader("P-Asserted-Identity", value))
		case hotdesk.IdentityRPID:
			all = append(all, sip.NewHeader("Remote-Party-ID", value+";party=calling;privacy="+hidden+";screen=yes"))
		case hotdesk.IdentityPPI:
			if p.Mode != "register" || caller.URI.User != c.Account.Extension {
				all = append(all, sip.NewHeader("P-Preferred-Identity", value))
			}
		}
	}
	if c.Private {
		all = append(all, sip.NewHeader("Privacy", "id"))
	}
	return all
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
