package trunk

import (
	"slices"
	"testing"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// The PBX is told the caller's number in exactly the headers that its identity names;
// From keeps the account, whose call it is for the registrar, unless From is one of
// them (RFC 3325 sections 9.1 and 9.2, draft-ietf-sip-privacy-04 section 6.2); and
// what shall not be shown is marked so (RFC 3325 section 9.3).
func TestField_S30IdentityHeaders(t *testing.T) {
	const number = `"2-14" <sip:+390612345600@pbx.example>`
	for _, c := range []struct {
		mode     string
		identity []string
		private  bool
		caller   string
		from     string
		want     []string
	}{
		{"register", nil, false, "+390612345600", "2100", []string{"P-Preferred-Identity: " + number}},
		{"register", []string{"ppi"}, false, "2100", "2100", nil}, // nothing to wish for
		{"register", []string{"pai"}, false, "+390612345600", "2100", []string{"P-Asserted-Identity: " + number}},
		{"register", []string{"pai"}, false, "2100", "2100", []string{`P-Asserted-Identity: "2-14" <sip:2100@pbx.example>`}},
		{"register", []string{"rpid"}, false, "+390612345600", "2100", []string{"Remote-Party-ID: " + number + ";party=calling;privacy=off;screen=yes"}},
		{"register", []string{"rpid"}, true, "+390612345600", "2100", []string{"Remote-Party-ID: " + number + ";party=calling;privacy=full;screen=yes", "Privacy: id"}},
		{"register", []string{"from"}, false, "+390612345600", "+390612345600", nil},
		{"register", []string{"from"}, false, "", "2100", nil}, // an idle phone without a number is nobody
		{"register", []string{"pai", "rpid", "ppi"}, false, "", "2100", nil},
		{"register", []string{"pai", "from"}, true, "+390612345600", "anonymous", []string{"P-Asserted-Identity: " + number, "Privacy: id"}},
		{"trunk", nil, false, "+390612345600", "+390612345600", []string{"P-Asserted-Identity: " + number}},
		{"trunk", []string{"rpid", "ppi"}, false, "+390612345600", "+390612345600", []string{"Remote-Party-ID: " + number + ";party=calling;privacy=off;screen=yes", "P-Preferred-Identity: " + number}},
	} {
		p := hotdesk.PBX{Name: "main", Mode: c.mode, Domain: "pbx.example", Identity: c.identity}
		got := Target(p, Call{
			Number: "112", Caller: dialog.Party{Name: "2-14", URI: sip.Uri{User: c.caller}}, Private: c.private,
			Account: hotdesk.PBXAccount{PBX: "main", Extension: "2100", AuthUser: "auth"}, Secret: "s",
		})
		var lines []string
		for _, h := range got.Headers {
			lines = append(lines, h.Name()+": "+h.Value())
		}
		if got.From.URI.User != c.from || !slices.Equal(lines, c.want) {
			t.Errorf("%s %q %q private %v: From %s, headers\n%q, want %s\n%q", c.mode, c.identity, c.caller, c.private, got.From.URI.User, lines, c.from, c.want)
		}
	}
}
