package simphone

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
)

// read parses files one over the other, as a phone does.
func read(t *testing.T, names ...string) settings {
	t.Helper()
	s := settings{}
	for _, name := range names {
		body, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := yealinkParse(body, s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// A Yealink phone must understand a complete file as Yealink's guides define its
// parameters.
func TestYealinkFiles(t *testing.T) {
	own := server{"http://192.0.2.1:8080/p/hd0001-1-token/", "HD0001", "httppassword"}
	for _, c := range []struct {
		file    string
		label   string
		account account
		keys    []LineKey
		server  server
		opt66   bool
	}{
		{
			"yealink-t46u-idle.cfg", "HD0001",
			account{"HD0001", "HD0001", "abcdefghijklmnopqrstuvwxyz", "HD0001", "192.0.2.1", 5060, "udp", 300},
			[]LineKey{{1, "speed", "Login", "*77*"}}, own, false,
		},
		{
			"yealink-t46u-in-use.cfg", "100 Mario Rossi",
			account{"100", "HD0001", "zyxwvutsrqponmlkjihgfedcba", "Mario Rossi", "192.0.2.1", 5060, "udp", 300},
			[]LineKey{{1, "speed", "Logout", "*77*5*"}, {2, "blf", "Anna", "101"}, {3, "speed", "Doctor", "118"}}, own, false,
		},
		{
			"yealink-t46u-holding.cfg", "HD0001", account{}, nil,
			server{"http://192.0.2.1:8080/p/hd0001-1-token/", "", ""}, true,
		},
	} {
		t.Run(c.file, func(t *testing.T) {
			p := yealinkProfile(read(t, c.file))
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
			if p.notify != rebootWhenAsked {
				t.Errorf("a check-sync reboots: %v", p.notify)
			}
		})
	}
}

// Nothing of a user may be left on the phone after idle, user, idle: a phone
// keeps every parameter that a file does not blank.
func TestYealinkKeepsWhatIsNotBlanked(t *testing.T) {
	idle := read(t, "yealink-t46u-idle.cfg")
	if again := read(t, "yealink-t46u-idle.cfg", "yealink-t46u-in-use.cfg", "yealink-t46u-idle.cfg"); !maps.Equal(idle, again) {
		t.Error("the files leave something of the user behind")
	}
	if err := yealinkParse([]byte("#!version:1.0.0.1\nlinekey.9.type = 13\nlinekey.9.value = 5\n"), idle); err != nil {
		t.Fatal(err)
	}
	if err := yealinkParse([]byte("#!version:1.0.0.1\naccount.1.label = x\n"), idle); err != nil {
		t.Fatal(err)
	}
	if idle["linekey.9.value"] != "5" {
		t.Error("a parameter that the next file does not name was forgotten")
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
			return p.account == account{user: "100", authUser: "100", host: "pbx", port: 5060, transport: "udp", expires: 3600} &&
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
				if err := yealinkParse([]byte("#!version:1.0.0.1\n"+part), s); err != nil {
					t.Fatal(err)
				}
			}
			if p := yealinkProfile(s); !c.ok(p) {
				t.Errorf("understood as %+v", p)
			}
		})
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

// The phone must say who it is in its vendor's words, and a MAC in any spelling
// must be taken.
func TestIdentity(t *testing.T) {
	d, m, ok := findModel("yealink-t46u")
	if !ok {
		t.Fatal("no T46U")
	}
	mac, err := plainMAC("80:5E:C0:00:00:01")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.fill(d.userAgent, mac), "Yealink SIP-T46U 108.86.0.20 80:5e:c0:00:00:01"; got != want {
		t.Errorf("User-Agent %q, want %q", got, want)
	}
	if got, want := m.fill("{mac}.cfg", mac), "805ec0000001.cfg"; got != want {
		t.Errorf("file %q, want %q", got, want)
	}
	for _, id := range []string{"t31p", "t33g", "t42u", "t43u", "t46s", "t46u", "t48u", "t53w", "t54w", "t57w"} {
		if _, _, ok := findModel("yealink-" + id); !ok {
			t.Errorf("model %s is missing", id)
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
		"transport":     func(c *Config) { c.Transport = "tcp" },
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
