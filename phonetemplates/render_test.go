package phonetemplates

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotdeskd/internal/phonefile"
)

var update = flag.Bool("update", false, "write the golden files anew; look at the difference before you commit")

func mustLoad(tb testing.TB) *Set {
	tb.Helper()
	s, err := Load()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// idle and inUse are one phone before and after a login.
func idle(model string) Phone {
	return Phone{
		MAC: "805ec0000001", Model: model, Version: 3, Language: "en", TimeZone: "Europe/Rome", Country: "IT",
		Account: Account{
			Enabled: true, User: "HD0001", AuthUser: "HD0001", Secret: "abcdefghijklmnopqrstuvwxyz", DisplayName: "HD0001", Label: "HD0001",
			Host: "192.0.2.1", Port: 5060, Transport: "udp", Expires: 300,
		},
		Keys:          []Key{{Type: "speed", Value: "*77*", Label: "Login"}},
		Server:        Server{URL: "http://192.0.2.1:8080/p/hd0001-1-token/", User: "HD0001", Password: "httppassword"},
		AdminPassword: "adminpassword",
		Dial:          DialPlan{Emergency: []string{"112", "113"}, Codes: []string{"*77*5*", "*12"}, Prefixes: []string{"*77*", "*11"}},
	}
}

func inUse(model string) Phone {
	p := idle(model)
	p.Version = 4
	p.Account.User, p.Account.DisplayName, p.Account.Label = "100", "Mario Rossi", "100 Mario Rossi"
	p.Account.Secret = "zyxwvutsrqponmlkjihgfedcba"
	p.Keys = []Key{
		{Type: "speed", Value: "*77*5*", Label: "Logout"}, {Type: "blf", Value: "101", Label: "Anna"}, {Type: "none"},
		{Type: "blf", Value: "100", Label: "me"}, {Type: "speed", Value: "118", Label: "Doctor"},
	}
	return p
}

// words is how a vendor spells what the tests look at.
type words struct {
	dialect phonefile.Dialect
	mac     string
	active  func(account int) string
	on, off string
	user, auth, secret,
	label, url string
	// key gives the parameters and value by which the nth key of a model, from 1,
	// dials a number, and blank those of one that does nothing.
	key func(m Model, n int) (parameter, value string)
}

func vocabulary(vendor string) words {
	switch vendor {
	case "snom":
		return words{
			dialect: phonefile.SnomXML, mac: "000413000002", active: func(n int) string { return fmt.Sprintf("user_active.%d", n) }, on: "on", off: "off",
			user: "user_name.1", auth: "user_pname.1", secret: "user_pass.1", label: "user_idle_text.1", url: "setting_server",
			key: func(_ Model, n int) (string, string) { return fmt.Sprintf("fkey.%d", n-1), "speed " },
		}
	case "grandstream":
		return words{
			dialect: phonefile.GrandstreamXML, mac: "c074ad000003", on: "1", off: "0",
			active: func(n int) string { return []string{"P271", "P401", "P501", "P601", "P1701", "P1801"}[n-1] },
			user:   "P35", auth: "P36", secret: "P34", label: "P270", url: "P237",
			key: func(m Model, n int) (string, string) {
				switch {
				case n > m.Screen():
					return fmt.Sprintf("P%d", 23003+5*(n-m.Screen()-1)), ""
				case n > 6:
					return fmt.Sprintf("P%d", 23803+4*(n-7)), ""
				}
				return fmt.Sprintf("P%d", 1466+2*(n-1)), ""
			},
		}
	}
	return words{
		dialect: phonefile.YealinkINI, mac: "805ec0000001", active: func(n int) string { return fmt.Sprintf("account.%d.enable", n) }, on: "1", off: "0",
		user: "account.1.user_name", auth: "account.1.auth_name", secret: "account.1.password", label: "account.1.label", url: "static.auto_provision.server.url",
		key: func(_ Model, n int) (string, string) { return fmt.Sprintf("linekey.%d.value", n), "" },
	}
}

// rendered is one file, read back by its grammar.
func rendered(t *testing.T, s *Set, kind Kind, p Phone) *phonefile.File {
	t.Helper()
	f, err := s.Render(kind, p, nil)
	if err != nil {
		t.Fatalf("%s: %v", p.Model, err)
	}
	parsed, err := phonefile.Parse(vocabulary(s.models[p.Model].Vendor).dialect, f.Content)
	if err != nil {
		t.Fatalf("%s: %v", p.Model, err)
	}
	return parsed
}

// The files are as a phone administrator would check them by eye.
func TestGolden(t *testing.T) {
	s := mustLoad(t)
	for _, model := range []string{"yealink-t46u", "snom-d785", "grandstream-grp2614"} {
		for name, kind := range map[string]Kind{"idle": Device, "in-use": Device, "holding": Holding, "release": Release, "enrolment": Enrolment} {
			p := idle(model)
			switch name {
			case "in-use":
				p = inUse(model)
			case "holding", "release", "enrolment":
				p = stranger(model)
			}
			p.MAC = vocabulary(s.models[model].Vendor).mac
			got, err := s.Render(kind, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", model+"-"+name+filepath.Ext(got.Name))
			if *update {
				if err := os.WriteFile(path, got.Content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Content) != string(want) {
				t.Errorf("%s differs; run \"make golden\" and look at the difference", path)
			}
		}
	}
}

// stranger is all that is known of a phone which has no account.
func stranger(model string) Phone {
	return Phone{
		MAC: "805ec0000001", Model: model, Account: Account{Label: "Waiting for approval"},
		Server: Server{URL: "http://192.0.2.1:8080/p/enrolment/"},
	}
}

// Every vendor has at least eight models, and none without a vendor's name.
func TestModels(t *testing.T) {
	count := map[string]int{}
	for _, m := range mustLoad(t).Models() {
		count[m.Vendor]++
		if m.ID != m.Vendor+"-"+strings.ToLower(m.Name) {
			t.Errorf("%s of %s is named %q", m.ID, m.Vendor, m.Name)
		}
	}
	for _, vendor := range []string{"yealink", "snom", "grandstream"} {
		if count[vendor] < 8 {
			t.Errorf("%s has %d models", vendor, count[vendor])
		}
	}
}

// Every model gets the same parameters whoever is logged in, none twice, the same
// bytes for the same phone, and after idle -> user -> idle only secret and version
// differ.
func TestSameParametersForEveryUser(t *testing.T) {
	s := mustLoad(t)
	for _, m := range s.Models() {
		w := vocabulary(m.Vendor)
		if a, b := rendered(t, s, Device, idle(m.ID)).Keys(), rendered(t, s, Device, inUse(m.ID)).Keys(); !slices.Equal(a, b) {
			t.Errorf("%s: idle has %d parameters, in use %d", m.ID, len(a), len(b))
		}
		again := idle(m.ID)
		again.Version, again.Account.Secret = 5, "thethirdsecretofthisdevice"
		first, _ := s.Render(Device, idle(m.ID), nil)
		second, _ := s.Render(Device, again, nil)
		if third, _ := s.Render(Device, again, nil); string(second.Content) != string(third.Content) {
			t.Errorf("%s: two renderings differ", m.ID)
		}
		a, b := strings.Split(string(first.Content), "\n"), strings.Split(string(second.Content), "\n")
		back := strings.NewReplacer("thethirdsecretofthisdevice", idle(m.ID).Account.Secret, "version 5", "version 3").Replace(string(second.Content))
		if len(a) != len(b) || back != string(first.Content) {
			t.Errorf("%s: more than secret and version differ", m.ID)
		}
		if parsed := rendered(t, s, Device, again); parsed.Value(w.secret) != again.Account.Secret || parsed.Comment() != "hotdeskd configuration version 5" {
			t.Errorf("%s: secret %q, comment %q", m.ID, parsed.Value(w.secret), parsed.Comment())
		}
	}
}

// One account a phone: every other one is disabled in every file, and the first is
// the device's or the user's, with the device's authentication name.
func TestOneAccount(t *testing.T) {
	s := mustLoad(t)
	for _, m := range s.Models() {
		w := vocabulary(m.Vendor)
		device := rendered(t, s, Device, inUse(m.ID))
		if device.Value(w.user) != "100" || device.Value(w.auth) != "HD0001" || device.Value(w.label) != "100 Mario Rossi" {
			t.Errorf("%s: account %q %q %q", m.ID, device.Value(w.user), device.Value(w.auth), device.Value(w.label))
		}
		for kind, f := range map[Kind]*phonefile.File{Device: device, Holding: rendered(t, s, Holding, stranger(m.ID)), Release: rendered(t, s, Release, stranger(m.ID))} {
			for n := 1; n <= m.Accounts; n++ {
				want := w.off
				if n == 1 && kind == Device {
					want = w.on
				}
				if got, ok := f.Get(w.active(n)); !ok || got != want {
					t.Errorf("%s, %s: account %d is %q, want %q", m.ID, kind, n, got, want)
				}
			}
		}
	}
}

// The files of phones without an account carry no secret and no user, blank what a
// user had, and lead to the enrolment URL.
func TestNoSecretsWithoutAccount(t *testing.T) {
	s := mustLoad(t)
	for _, m := range s.Models() {
		w := vocabulary(m.Vendor)
		for _, kind := range []Kind{Holding, Release, Enrolment} {
			p := inUse(m.ID) // a mistake of the caller's
			p.Server = Server{URL: "http://192.0.2.1:8080/p/enrolment/"}
			f, err := s.Render(kind, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{p.Account.Secret, p.AdminPassword, "httppassword"} {
				if strings.Contains(string(f.Content), secret) {
					t.Errorf("%s, %s: has the secret %q", m.ID, kind, secret)
				}
			}
			parsed := rendered(t, s, kind, stranger(m.ID))
			if got := parsed.Value(w.url); !strings.HasSuffix(got, "192.0.2.1:8080/p/enrolment/") {
				t.Errorf("%s, %s: leads to %q", m.ID, kind, got)
			}
			for n := 1; n <= m.LineKeys && kind != Enrolment; n++ {
				key, _ := w.key(m, n)
				if got, ok := parsed.Get(key); !ok || got != "" && got != "none" {
					t.Errorf("%s, %s: key %d is %q", m.ID, kind, n, got)
				}
			}
		}
		a, _ := s.Render(Enrolment, stranger(m.ID), nil)
		b, _ := s.Render(Enrolment, stranger(s.AnyModel(m.Vendor)), nil)
		if string(a.Content) != string(b.Content) {
			t.Errorf("%s: the enrolment file differs from other models' of the vendor", m.ID)
		}
	}
}

// Keys move up over empty places and one's own number; what does not fit is
// said and not lost in silence; no place is left without a value.
func TestKeyLayout(t *testing.T) {
	s := mustLoad(t)
	for _, m := range s.Models() {
		w := vocabulary(m.Vendor)
		f, err := s.Render(Device, inUse(m.ID), nil)
		if err != nil {
			t.Fatal(err)
		}
		wanted := []string{"Logout *77*5*", "Anna 101", "Doctor 118"}
		if want := wanted[min(m.LineKeys, 3):]; !slices.Equal(f.Dropped, want) && len(f.Dropped)+len(want) > 0 {
			t.Errorf("%s: dropped %q, want %q", m.ID, f.Dropped, want)
		}
		parsed := rendered(t, s, Device, inUse(m.ID))
		for n := 1; n <= m.LineKeys; n++ {
			key, prefix := w.key(m, n)
			got, ok := parsed.Get(key)
			want := ""
			if n <= 3 {
				want = prefix + strings.Fields(wanted[n-1])[1]
			}
			if n == 2 && m.Vendor == "snom" {
				want = "blf 101"
			}
			if n > 3 && m.Vendor == "snom" {
				want = "none"
			}
			if !ok || got != want {
				t.Errorf("%s: %s is %q %v, want %q", m.ID, key, got, ok, want)
			}
		}
	}
}

// Administrators' parameters replace by key, the stronger layer wins, and what
// is hotdeskd's own cannot be reached.
func TestOverrides(t *testing.T) {
	s := mustLoad(t)
	layers := []Layer{
		{"default", map[string]string{"phone_setting.ring_type": "Ring1.wav", "features.key_as_send": "0"}},
		{"model yealink-t46u", map[string]string{"phone_setting.ring_type": "Ring3.wav"}},
	}
	f, err := s.Render(Device, idle("yealink-t46u"), layers)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := phonefile.Parse(phonefile.YealinkINI, f.Content)
	if err != nil {
		t.Fatal(err)
	}
	if got := parsed.Value("phone_setting.ring_type"); got != "Ring3.wav" {
		t.Errorf("ring type %q", got)
	}
	if want := (Parameter{"phone_setting.ring_type", "Ring3.wav", "model yealink-t46u"}); !slices.Contains(f.Parameters, want) {
		t.Errorf("the parameters do not have %+v", want)
	}
	if err := s.CheckParameter("phone_setting.ring_type"); err != nil {
		t.Errorf("an ordinary parameter: %v", err)
	}
	for _, key := range []string{
		"account.1.password", "static.auto_provision.server.url", "phone_setting.emergency.number", "dialplan.digitmap.string",
		"user_pass.1", "user_dp_str.1", "keyboard_lock_emergency", "setting_server", "fkey.0", "fkey.0.label", "admin_mode_password",
		"P34", "P35", "P290", "P237", "P2", "P191", "P1363", "P1466", "P23800", "P23000", "P406", "P1706",
	} {
		if err := s.CheckParameter(key); !errors.Is(err, ErrProtected) {
			t.Errorf("%s: error %v, want ErrProtected", key, err)
		}
		for _, model := range []string{"yealink-t46u", "snom-d785", "grandstream-grp2614"} {
			f, err := s.Render(Device, idle(model), []Layer{{"device", map[string]string{key: "stolen"}}})
			if err != nil || strings.Contains(string(f.Content), "stolen") {
				t.Errorf("%s of %s: a stored override reaches the phone, or stops it: %v", key, model, err)
			}
		}
	}
	for _, key := range []string{"", "phone setting", "a=b.c", "x\ny.z", "P", "ä.b"} {
		if err := s.CheckParameter(key); !errors.Is(err, ErrValue) {
			t.Errorf("%q: error %v, want ErrValue", key, err)
		}
	}
}

// A parameter reaches the phones of the vendor that has such parameters and no
// others.
func TestOverridesOfOtherVendors(t *testing.T) {
	s := mustLoad(t)
	layers := []Layer{{"default", map[string]string{"phone_setting.ring_type": "Ring1.wav", "user_ringer.1": "Ringer3 & co", "P104": "2"}}}
	for model, want := range map[string]string{
		"yealink-t46u": "phone_setting.ring_type", "snom-d785": "user_ringer.1", "grandstream-grp2614": "P104",
	} {
		f, err := s.Render(Device, idle(model), layers)
		if model == "snom-d785" { // user_* is ours
			if err != nil || strings.Contains(string(f.Content), "Ringer3") {
				t.Errorf("%s: %v", model, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var set []string
		for _, p := range f.Parameters {
			if p.Layer != "" {
				set = append(set, p.Key)
			}
		}
		if !slices.Equal(set, []string{want}) {
			t.Errorf("%s: overridden are %q, want %q", model, set, want)
		}
	}
	if err := s.CheckParameter("ring_sound"); err != nil {
		t.Errorf("ring_sound: %v", err)
	}
	f, err := s.Render(Device, idle("snom-d785"), []Layer{{"vendor snom", map[string]string{"ring_sound": `Ringer3 & "co" <x>`}}})
	if err != nil || !strings.Contains(string(f.Content), "<ring_sound perm=\"RW\">Ringer3 &amp; &#34;co&#34; &lt;x&gt;</ring_sound>") {
		t.Errorf("%v\n%s", err, f.Content)
	}
}

// No value from outside can add or change a parameter, whatever is in it: the file
// that comes out has the same parameters, and the text where it belongs.
func FuzzNoInjection(f *testing.F) {
	s := mustLoad(f)
	models := []string{"yealink-t46u", "snom-d785", "grandstream-grp2614"}
	base := map[string][]string{}
	for _, model := range models {
		file, err := s.Render(Device, inUse(model), nil)
		if err != nil {
			f.Fatal(err)
		}
		parsed, err := phonefile.Parse(vocabulary(s.models[model].Vendor).dialect, file.Content)
		if err != nil {
			f.Fatal(err)
		}
		base[model] = parsed.Keys()
	}
	f.Add("Mario\r\naccount.1.password = stolen")
	f.Add("a\u2028b")
	f.Add("a\xffb\ufffd")
	f.Add(`{{.Account.Secret}} "quoted" = #`)
	f.Add(`</user_realname><user_pass idx="1">stolen</user_pass>`)
	f.Add(`" perm="RW"><fkey idx="0">`)
	f.Add(`</P270><P34>stolen</P34><!-- `)
	f.Add("]]>&amp;&#10;")
	f.Fuzz(func(t *testing.T, text string) {
		for _, model := range models {
			w := vocabulary(s.models[model].Vendor)
			p := inUse(model)
			p.Account.DisplayName, p.Account.Label = text, text
			p.Keys[1] = Key{Type: "blf", Value: text, Label: text}
			file, err := s.Render(Device, p, []Layer{{"user", map[string]string{"features.key_as_send": text, "language": text, "P1362": text}}})
			if err != nil {
				if !errors.Is(err, ErrValue) && !strings.Contains(err.Error(), ErrValue.Error()) {
					t.Fatalf("%q: %v", text, err)
				}
				continue
			}
			parsed, err := phonefile.Parse(w.dialect, file.Content)
			if err != nil {
				t.Fatalf("%q made a file that cannot be read: %v", text, err)
			}
			if !slices.Equal(parsed.Keys(), base[model]) {
				t.Fatalf("%q changed the parameters of %s", text, model)
			}
			if got := parsed.Value(w.label); got != strings.TrimSpace(text) || parsed.Value(w.secret) != p.Account.Secret {
				t.Fatalf("%q: label %q, secret %q", text, got, parsed.Value(w.secret))
			}
		}
	})
}

// One configuration, as it is rendered for every fetch of a phone.
func BenchmarkRender(b *testing.B) {
	s := mustLoad(b)
	for _, model := range []string{"yealink-t46u", "snom-d785", "grandstream-grp2614"} {
		b.Run(model, func(b *testing.B) {
			p := inUse(model)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Render(Device, p, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// All of it, as it is read and tried at every start.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		mustLoad(b)
	}
}
