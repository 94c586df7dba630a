package trunk

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
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
			got := Target(c.pbx, Call{Number: c.number, Caller: dialog.Party{Name: c.callerName, URI: sip.Uri{User: "100"}}, Account: hotdesk.PBXAccount{AuthUser: c.user}, Secret: hotdesk.Secret(c.secrets)})
			if destination(c.pbx) != c.remote || got.URI.String() != c.uri || got.User != c.user || got.Password != c.secrets || got.Label != Label+"main" {
				t.Errorf("got %+v", got)
			}
			if pai := got.Headers[0]; pai.Name() != "P-Asserted-Identity" || pai.Value() != c.identity {
				t.Errorf("identity %s, want %s", pai.Value(), c.identity)
			}
		})
	}
}

// In mode register a call is the account's own; who calls is a wish, and only when
// it is somebody else.
func TestTargetRegister(t *testing.T) {
	p := hotdesk.PBX{Name: "main", Mode: "register", Domain: "pbx.example", Proxy: "192.0.2.9:5080"}
	account := hotdesk.PBXAccount{PBX: "main", User: "100", Extension: "2100", AuthUser: "auth100"}
	for number, wish := range map[string]string{"2100": "", "": "", "+39061": `"Anna" <sip:+39061@pbx.example>`} {
		got := Target(p, Call{Number: "112", Caller: dialog.Party{Name: "Anna", URI: sip.Uri{User: number}}, Account: account, Secret: "s"})
		if got.From.URI.String() != "sip:2100@pbx.example" || got.User != "auth100" || got.Password != "s" {
			t.Errorf("got %+v", got)
		}
		value := ""
		for _, h := range got.Headers {
			value = h.Value()
			if h.Name() != "P-Preferred-Identity" {
				t.Errorf("header %s", h.Name())
			}
		}
		if value != wish {
			t.Errorf("wish %q, want %q", value, wish)
		}
	}
}

// A PBX is known by its address, from any port, on its own transport or one that is
// harder to forge, and by nothing else.
func TestSender(t *testing.T) {
	r := New(Options{Desk: desk{pbxs: []hotdesk.PBX{
		{Name: "none", Mode: "none", Transport: "udp", Proxy: "192.0.2.8:5060"},
		{Name: "main", Mode: "trunk", Transport: "udp", Proxy: "192.0.2.9:5080"},
		{Name: "stream", Mode: "trunk", Transport: "tcp", Proxy: "192.0.2.7:5080"},
		{Name: "six", Mode: "register", Transport: "udp", Proxy: "[2001:db8::9]:5060"},
	}}, Now: time.Now})
	for source, want := range map[string]string{
		"UDP 192.0.2.9:5080": "main", "UDP [::ffff:192.0.2.9]:5080": "main", "UDP [2001:db8::9]:5060": "six",
		"TCP 192.0.2.7:5080": "stream", "TCP 192.0.2.7:33333": "stream", "UDP 192.0.2.7:5080": "", "TLS 192.0.2.7:5080": "stream",
		"UDP 192.0.2.9:5081": "main", "TCP 192.0.2.9:33333": "main", "UDP 192.0.2.8:5060": "", "UDP 203.0.113.1:5060": "", "UDP ": "", "UDP nonsense": "",
	} {
		transport, remote, _ := strings.Cut(source, " ")
		got, ok := r.Sender(dialog.Flow{Transport: transport, Remote: remote})
		if got.Name != want || ok != (want != "") {
			t.Errorf("%q is %q, want %q", source, got.Name, want)
		}
	}
}

// desk is what the rules would say.
type desk struct {
	pbxs     []hotdesk.PBX
	accounts []hotdesk.PBXAccount
}

func (d desk) PBXs() []hotdesk.PBX                                         { return d.pbxs }
func (d desk) PBXAccounts() []hotdesk.PBXAccount                           { return d.accounts }
func (d desk) PBXAccountSecret(hotdesk.PBXAccount) (hotdesk.Secret, error) { return "s", nil }
