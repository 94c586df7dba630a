package pbx

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/leg"
)

// A call to a PBX goes to its proxy, or its domain when it has none, and says
// who calls in the PBX's own domain.
func TestTarget(t *testing.T) {
	for _, c := range []struct {
		name          string
		pbx           hotdesk.PBX
		number        string
		remote, uri   string
		identity      string
		callerName    string
		user, secrets string
	}{
		{
			"proxy and domain",
			hotdesk.PBX{Name: "main", Domain: "pbx.example", Proxy: "192.0.2.9:5080", Account: hotdesk.Account{AuthUser: "u"}},
			"0612345",
			"192.0.2.9:5080", "sip:0612345@pbx.example", `"Anna" <sip:100@pbx.example>`, "Anna", "u", "s",
		},
		{"domain only", hotdesk.PBX{Name: "main", Domain: "pbx.example"}, "112", "pbx.example:5060", "sip:112@pbx.example", "<sip:100@pbx.example>", "", "", "s"},
		{"proxy only", hotdesk.PBX{Name: "main", Proxy: "192.0.2.9"}, "*98#", "192.0.2.9:5060", "sip:*98%23@192.0.2.9", `"A \"B\" \\" <sip:100@192.0.2.9>`, `A "B" \`, "", "s"},
		{"IPv6", hotdesk.PBX{Name: "main", Domain: "pbx.example", Proxy: "[2001:db8::9]:5060"}, "1", "[2001:db8::9]:5060", "sip:1@pbx.example", "<sip:100@pbx.example>", "", "", "s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Target(c.pbx, c.number, leg.Party{Name: c.callerName, URI: sip.Uri{User: "100"}}, hotdesk.Secret(c.secrets))
			if got.Flow.Remote != c.remote || got.URI.String() != c.uri || got.User != c.user || got.Password != c.secrets || got.Label != Label+"main" {
				t.Errorf("got %+v", got)
			}
			if pai := got.Headers[0]; pai.Name() != "P-Asserted-Identity" || pai.Value() != c.identity {
				t.Errorf("identity %s, want %s", pai.Value(), c.identity)
			}
		})
	}
}

// A trunk is known by its address and port and by nothing else.
func TestSender(t *testing.T) {
	all := []hotdesk.PBX{
		{Name: "register", Mode: "register", Proxy: "192.0.2.8:5060"},
		{Name: "named", Mode: "trunk", Domain: "pbx.example"},
		{Name: "main", Mode: "trunk", Proxy: "192.0.2.9:5080"},
		{Name: "six", Mode: "trunk", Proxy: "[2001:db8::9]:5060"},
	}
	for source, want := range map[string]string{
		"192.0.2.9:5080": "main", "[::ffff:192.0.2.9]:5080": "main", "[2001:db8::9]:5060": "six",
		"192.0.2.9:5081": "", "192.0.2.8:5060": "", "203.0.113.1:5060": "", "": "", "nonsense": "",
	} {
		got, ok := Sender(all, source)
		if got.Name != want || ok != (want != "") {
			t.Errorf("%q is %q, want %q", source, got.Name, want)
		}
	}
}
