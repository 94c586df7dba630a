package simphone

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// golden is where the files lie that the server writes, to be read as a phone does.
const golden = "../../phonetemplates/testdata/"

// read parses a model's files one over the other, as a phone does.
func read(t *testing.T, model string, names ...string) settings {
	t.Helper()
	d, _, ok := findModel(model)
	if !ok {
		t.Fatalf("no %s", model)
	}
	s := settings{}
	for _, name := range names {
		body, err := os.ReadFile(golden + model + "-" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.parse(body, macs[model], s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// macs are the phones of the files.
var macs = map[string]string{"yealink-t46u": "805ec0000001", "snom-d785": "000413000002", "grandstream-grp2614": "c074ad000003"}

// endings are of each vendor's files.
var endings = map[string]string{"yealink-t46u": ".cfg", "snom-d785": ".htm", "grandstream-grp2614": ".xml"}

// A phone must understand complete files as its vendor's guides define their
// parameters.
func TestFiles(t *testing.T) {
	own := server{"http://192.0.2.1:8080/p/hd0001-1-token/", "HD0001", "httppassword", trustAny}
	idle := account{"HD0001", "HD0001", "abcdefghijklmnopqrstuvwxyz", "HD0001", "192.0.2.1", 5060, "udp", 300, "", trustAny}
	user := account{"100", "HD0001", "zyxwvutsrqponmlkjihgfedcba", "Mario Rossi", "192.0.2.1", 5060, "udp", 300, "", trustAny}
	for model, proxy := range map[string]string{"yealink-t46u": "", "snom-d785": "192.0.2.1:5060", "grandstream-grp2614": ""} {
		idle, user := idle, user
		idle.proxy, user.proxy = proxy, proxy
		for _, c := range []struct {
			file    string
			label   string
			account account
			keys    []LineKey
			server  server
			opt66   bool
		}{
			{"idle", "HD0001", idle, []LineKey{{1, "speed", "Login", "*77*"}}, own, false},
			{
				"in-use", "100 Mario Rossi", user,
				[]LineKey{{1, "speed", "Logout", "*77*5*"}, {2, "blf", "Anna", "101"}, {3, "speed", "Doctor", "118"}}, own, false,
			},
			{"holding", "Waiting for approval", account{}, nil, server{"http://192.0.2.1:8080/p/enrolment/", "", "", trustAny}, true},
		} {
			t.Run(model+" "+c.file, func(t *testing.T) {
				d, m, _ := findModel(model)
				p := d.profile(read(t, model, c.file+endings[model]), m)
				if p.label != c.label {
					t.Errorf("label %q, want %q", p.label, c.label)
				}
				if p.account != c.account {
					t.Errorf("account %+v, want %+v", p.account, c.account)
				}
				if !slices.Equal(p.keys, c.keys) {
					t.Errorf("keys %v, want %v", p.keys, c.keys)
				}
				if p.server != c.server || p.option66 != c.opt66 {
					t.Errorf("server %+v, option 66 %v", p.server, p.option66)
				}
				if want := map[bool]reboots{true: rebootAlways, false: rebootWhenAsked}[model == "grandstream-grp2614"]; p.notify != want || p.challenged {
					t.Errorf("a check-sync reboots: %v, and is challenged: %v", p.notify, p.challenged)
				}
				if c.account.user != "" && (!slices.Equal(p.codecs, []uint8{pcma, pcmu}) || p.events != 101 || p.pressBy != pressByRTP || p.keepAlive == 0) {
					t.Errorf("codecs %v, telephone-event %d, keys sent by %v, kept alive every %v", p.codecs, p.events, p.pressBy, p.keepAlive)
				}
			})
		}
	}
}

// Nothing of a user may be left on the phone after idle, user, idle, nor after the
// phone was let go: a phone keeps every parameter that a file does not blank.
func TestKeepsWhatIsNotBlanked(t *testing.T) {
	private := []string{"Mario", "zyxwvutsrqponmlkjihgfedcba", "Anna", "118", "*77*5*"}
	for model, ending := range endings {
		t.Run(model, func(t *testing.T) {
			idle := read(t, model, "idle"+ending)
			if again := read(t, model, "idle"+ending, "in-use"+ending, "idle"+ending); !maps.Equal(idle, again) {
				t.Error("the files leave something of the user behind")
			}
			for _, last := range []string{"holding", "release"} {
				s := read(t, model, "idle"+ending, "in-use"+ending, last+ending)
				for name, value := range s {
					for _, of := range private {
						// Dial plans hold the codes; they are nobody's.
						if (strings.Contains(value, of) || value == "100") && name != "dialplan.digitmap.string" {
							t.Errorf("after %s the phone still holds %s = %q", last, name, value)
						}
					}
				}
				d, m, _ := findModel(model)
				if p := d.profile(s, m); p.account != (account{}) || len(p.keys) > 0 || p.server.password != "" {
					t.Errorf("after %s the phone is %+v", last, p)
				}
			}
		})
	}
	d, _, _ := findModel("snom-d785")
	s := settings{"fkey.9": "speed 5", "language": "English"}
	if _, err := d.parse([]byte("<settings><phone-settings><language/></phone-settings></settings>"), "", s); err != nil {
		t.Fatal(err)
	}
	if s["fkey.9"] != "speed 5" || s["language"] != "" {
		t.Errorf("not kept, or not blanked: %v", s)
	}
}

// Parameters that a file leaves out must have their factory values, and the odd
// spellings must be read.
func TestYealinkValues(t *testing.T) {
	base := "account.1.enable = 1\naccount.1.user_name = 100\naccount.1.sip_server.1.address = pbx\n"
	for _, c := range []struct {
		name, text string
		ok         func(profile) bool
	}{
		{"factory", base, func(p profile) bool {
			return p.account == account{user: "100", authUser: "100", host: "pbx", port: 5060, transport: "udp", expires: 3600, trust: trustKnown} &&
				p.label == "100" && p.notify == rebootAlways && p.option66 && !p.trusted && p.events == 101 &&
				slices.Equal(p.codecs, []uint8{pcmu, pcma}) && p.pressBy == pressByRTP
		}},
		{"disabled", base + "account.1.enable = 0\n", func(p profile) bool { return p.account == account{} }},
		{"blank address", base + "account.1.sip_server.1.address = %NULL%\n", func(p profile) bool { return p.account == account{} }},
		{"tcp", base + "account.1.sip_server.1.transport_type = 1\n", func(p profile) bool { return p.account.transport == "tcp" }},
		{"tls", base + "account.1.sip_server.1.transport_type = 2\n", func(p profile) bool { return p.account.transport == "tls" }},
		{"never reboots", base + "sip.notify_reboot_enable = 2\n", func(p profile) bool { return p.notify == rebootNever }},
		{"keys by INFO", base + "account.1.dtmf.type = 2\n", func(p profile) bool { return p.pressBy == pressByInfo }},
		{"A-law only", base + "account.1.codec.pcmu.enable = 0\n", func(p profile) bool { return slices.Equal(p.codecs, []uint8{pcma}) }},
		{"priorities", base + "account.1.codec.pcmu.priority = 2\naccount.1.codec.pcma.priority = 1\n",
			func(p profile) bool { return slices.Equal(p.codecs, []uint8{pcma, pcmu}) }},
		{"unknown key type", base + "linekey.4.type = 99\nlinekey.4.value = v\n",
			func(p profile) bool { return slices.Equal(p.keys, []LineKey{{4, "99", "", "v"}}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := settings{}
			// The last of two equal keys counts here, so the text is laid on in two.
			for _, part := range []string{base, c.text[len(base):]} {
				if _, err := yealinkParse([]byte("#!version:1.0.0.1\n"+part), "", s); err != nil {
					t.Fatal(err)
				}
			}
			if p := yealinkProfile(s); !c.ok(p) {
				t.Errorf("understood as %+v", p)
			}
		})
	}
}

// What a Snom file leaves out must have its factory value, and the odd spellings
// must be read.
func TestSnomValues(t *testing.T) {
	base := settings{"user_name.1": "100", "user_host.1": "pbx"}
	for _, c := range []struct {
		name string
		more settings
		ok   func(profile) bool
	}{
		{"factory", nil, func(p profile) bool {
			return p.account == account{user: "100", authUser: "100", host: "pbx", port: 5060, transport: "udp", expires: 3600} &&
				p.label == "100" && p.notify == rebootWhenAsked && !p.challenged && p.option66 && p.trusted && p.events == 101 &&
				slices.Equal(p.codecs, []uint8{pcmu, pcma}) && p.pressBy == pressByRTP
		}},
		{"off", settings{"user_active.1": "off"}, func(p profile) bool { return p.account == account{} }},
		{"no server", settings{"user_host.1": ""}, func(p profile) bool { return p.account == account{} }},
		{"transport of the proxy", settings{"user_outbound.1": "192.0.2.9:5061;transport=tls"}, func(p profile) bool {
			return p.account.transport == "tls" && p.account.proxy == "192.0.2.9:5061" && p.account.host == "pbx"
		}},
		{"transport of the registrar", settings{"user_host.1": "pbx:5070;transport=tcp"}, func(p profile) bool {
			return p.account.transport == "tcp" && p.account.host == "pbx" && p.account.port == 5070 && p.account.proxy == ""
		}},
		{"challenges", settings{"challenge_checksync": "on"}, func(p profile) bool { return p.challenged }},
		{"answers everybody", settings{"filter_registrar": "off"}, func(p profile) bool { return !p.trusted }},
		{"keys by INFO", settings{"user_dtmf_info.1": "sip_info_only"}, func(p profile) bool { return p.pressBy == pressByInfo }},
		{"codecs", settings{"codec_priority_list.1": "g722, pcma"}, func(p profile) bool {
			return slices.Equal(p.codecs, []uint8{pcma}) && p.events == 0
		}},
		{"checks certificates", settings{"check_trusted_certificate": "on"}, func(p profile) bool {
			return p.account.trust == trustKnown && p.server.trust == trustKnown
		}},
		{"keys", settings{"fkey.0": "line", "fkey.4": "orbit 71", "fkey.5": "blf 101|*8", "fkey.6": "keyevent F_REDIAL", "fkey.7": "none", "fkey.4.label": "Park"}, func(p profile) bool {
			return slices.Equal(p.keys, []LineKey{{1, "line", "", ""}, {5, "park", "Park", "71"}, {6, "blf", "", "101"}, {7, "keyevent", "", "F_REDIAL"}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := maps.Clone(base)
			maps.Copy(s, c.more)
			if p := snomProfile(s); !c.ok(p) {
				t.Errorf("understood as %+v", p)
			}
		})
	}
}

// What a Grandstream file leaves out must have its factory value, and P values
// that belong together must be read together.
func TestGrandstreamValues(t *testing.T) {
	base := settings{"P35": "100", "P47": "pbx"}
	for _, c := range []struct {
		name string
		more settings
		ok   func(profile) bool
	}{
		{"factory", nil, func(p profile) bool {
			return p.account == account{user: "100", authUser: "100", host: "pbx", port: 5060, transport: "udp", expires: 3600} &&
				p.label == "100" && p.notify == rebootAlways && p.challenged && p.option66 && !p.trusted && p.events == 101 &&
				slices.Equal(p.codecs, []uint8{pcmu, pcma}) && p.pressBy == pressByRTP && p.server.url == "" && p.keepAlive == 20*time.Second
		}},
		{"off", settings{"P271": "0"}, func(p profile) bool { return p.account == account{} }},
		{"tcp", settings{"P130": "1"}, func(p profile) bool { return p.account.transport == "tcp" }},
		{"tls", settings{"P130": "2", "P47": "pbx:5061"}, func(p profile) bool { return p.account.transport == "tls" && p.account.port == 5061 }},
		{"checks names", settings{"P2311": "1"}, func(p profile) bool { return p.account.trust == trustNamed }},
		{"checks certificates", settings{"P2867": "1", "P8463": "1"}, func(p profile) bool { return p.account.trust == trustKnown && p.server.trust == trustKnown }},
		{"minutes", settings{"P32": "5"}, func(p profile) bool { return p.account.expires == 300 }},
		{"proxy", settings{"P48": "192.0.2.9:5070"}, func(p profile) bool { return p.account.proxy == "192.0.2.9:5070" }},
		{"no challenge", settings{"P4428": "1"}, func(p profile) bool { return !p.challenged }},
		{"keys by INFO", settings{"P2302": "0", "P2303": "1"}, func(p profile) bool { return p.pressBy == pressByInfo }},
		{"keys in the audio", settings{"P2302": "0", "P2301": "1"}, func(p profile) bool { return p.events == 0 }},
		{"codecs", settings{"P57": "9", "P58": "8", "P59": "8", "P60": "0"}, func(p profile) bool { return slices.Equal(p.codecs, []uint8{pcma, pcmu}) }},
		{"http", settings{"P212": "1", "P237": "192.0.2.1/p/x/"}, func(p profile) bool { return p.server.url == "http://192.0.2.1/p/x/" }},
		{"https", settings{"P212": "2", "P237": "192.0.2.1/p/x/"}, func(p profile) bool { return p.server.url == "https://192.0.2.1/p/x/" }},
		{"tftp", settings{"P212": "0", "P237": "192.0.2.1/p/x/"}, func(p profile) bool { return p.server.url == "" }},
		{"keys", settings{
			"P1363": "31", "P1365": "-1", "P1373": "5", "P1475": "Tones", "P1476": "12", "P23800": "1", "P23802": "Anna", "P23803": "101", "P23836": "29",
			"P23000": "9", "P23003": "71", "P23115": "0", "P23118": "118",
		}, func(p profile) bool {
			return slices.Equal(p.keys, []LineKey{
				{1, "line", "", ""}, {6, "dtmf", "Tones", "12"}, {7, "blf", "Anna", "101"}, {16, "29", "", ""}, {17, "park", "", "71"}, {40, "speed", "", "118"},
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := maps.Clone(base)
			maps.Copy(s, c.more)
			if p := grandstreamProfile(s, model{screen: 16}); !c.ok(p) {
				t.Errorf("understood as %+v", p)
			}
		})
	}
	if _, err := grandstreamParse([]byte(`<gs_provision version="1"><mac>c074ad000009</mac><config version="1"/></gs_provision>`), "c074ad000003", settings{}); err == nil {
		t.Error("another phone's file was taken")
	}
}

// A check-sync must reboot the phone exactly when the parameter says so.
func TestReboots(t *testing.T) {
	for _, c := range []struct {
		rule        reboots
		asked, want bool
	}{
		{rebootWhenAsked, false, false}, {rebootWhenAsked, true, true},
		{rebootAlways, false, true}, {rebootAlways, true, true},
		{rebootNever, false, false}, {rebootNever, true, false},
	} {
		if got := c.rule.now(c.asked); got != c.want {
			t.Errorf("rule %d, asked %v: %v", c.rule, c.asked, got)
		}
	}
}

// The phone must say who it is in its vendor's words, ask for its file by its
// vendor's name, and every model that there are files for must be there.
func TestIdentity(t *testing.T) {
	for _, c := range []struct{ model, mac, web, sip, file string }{
		{"yealink-t46u", "80:5E:C0:00:00:01", agentT46U, "Yealink SIP-T46U 108.86.0.20", "805ec0000001.cfg"},
		{
			"snom-d785", "00-04-13-00-00-0a", "Mozilla/4.0 (compatible; snomD785-SIP 10.1.175.16 2010.12-00004-g9ba52f5 00041300000A SXM:0 UXM:0)",
			"snomD785/10.1.175.16", "snomD785-00041300000A.htm",
		},
		{
			"grandstream-grp2614", "C074.AD00.0003", "Grandstream Model HW GRP2614 SW 1.0.13.47 DevId c074ad000003",
			"Grandstream GRP2614 1.0.13.47", "cfg.xml",
		},
	} {
		d, m, ok := findModel(c.model)
		if !ok {
			t.Fatalf("no %s", c.model)
		}
		mac, err := plainMAC(c.mac)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.fill(d.webAgent, mac); got != c.web {
			t.Errorf("User-Agent %q, want %q", got, c.web)
		}
		if got := m.fill(d.sipAgent, mac); got != c.sip {
			t.Errorf("User-Agent %q, want %q", got, c.sip)
		}
		if got := m.fill(d.files[len(d.files)-1], mac); got != c.file {
			t.Errorf("last file %q, want %q", got, c.file)
		}
	}
	for vendor, models := range map[string]string{
		"yealink":     "t31p t33g t42u t43u t46s t46u t48u t53w t54w t57w",
		"snom":        "d120 d140 d150 d315 d335 d375 d385 d713 d717 d735 d765 d785 d812 d815 d862 d865",
		"grandstream": "grp2612 grp2613 grp2614 grp2615 grp2616 gxp2130 gxp2135 gxp2170 gxp1610 gxp1625",
	} {
		for _, id := range strings.Fields(models) {
			if _, _, ok := findModel(vendor + "-" + id); !ok {
				t.Errorf("model %s-%s is missing", vendor, id)
			}
		}
	}
}

// A boot file must be read for its includes, in order.
func TestYealinkIncludes(t *testing.T) {
	got := yealinkIncludes([]byte("#!version:1.0.0.1\ninclude:config <common.cfg>\ninclude:config \"http://192.0.2.9/$MAC.cfg\"\noverwrite_mode = 1\n"))
	if want := []string{"common.cfg", "http://192.0.2.9/$MAC.cfg"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A config that describes no phone must be refused with a sentence.
func TestConfig(t *testing.T) {
	good := Config{Provision: "http://192.0.2.1/p/token", MAC: "805ec0000001", Model: "yealink-t46u"}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no URL":        func(c *Config) { c.Provision = "" },
		"a tftp URL":    func(c *Config) { c.Provision = "tftp://192.0.2.1/" },
		"short MAC":     func(c *Config) { c.MAC = "805ec0" },
		"unknown model": func(c *Config) { c.Model = "acme-1" },
		"transport":     func(c *Config) { c.Transport = "sctp" },
		"order":         func(c *Config) { c.UnregisterOld = "later" },
		"status":        func(c *Config) { c.RejectWith = 200 },
		"wildcard":      func(c *Config) { c.Local = "0.0.0.0" },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A number must reach the server as a phone writes it.
func TestEscape(t *testing.T) {
	for number, want := range map[string]string{
		"*77*100*": "*77*100*", "*77*100#": "*77*100%23", "+39 06": "+39%2006", "a@b": "a%40b", "112": "112",
	} {
		got := escape(number)
		if got != want {
			t.Errorf("escape(%q) = %q, want %q", number, got, want)
		}
		if back := unescape(got); back != number {
			t.Errorf("unescape(%q) = %q, want %q", got, back, number)
		}
	}
	if got := unescape("50%"); got != "50%" {
		t.Errorf("a bare percent sign became %q", got)
	}
	if got := fmt.Sprint(&Refused{486, "Busy Here"}); got != "refused: 486 Busy Here" {
		t.Errorf("got %q", got)
	}
}
