package phonetemplates

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
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
		MAC: "805ec0000001", Model: model, Version: 3, Language: "en", TimeZone: "Europe/Rome",
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

// The files are as a phone administrator would check them by eye.
func TestGolden(t *testing.T) {
	s := mustLoad(t)
	for name, p := range map[string]Phone{"idle": idle("yealink-t46u"), "in-use": inUse("yealink-t46u")} {
		for kind, file := range map[Kind]string{Device: name, Holding: "holding", Release: "release", Enrolment: "enrolment"} {
			got, err := s.Render(kind, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			if kind != Device && name != "idle" {
				continue
			}
			path := filepath.Join("testdata", "yealink-t46u-"+file+".cfg")
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

// Every model gets the same parameters whoever is logged in, none twice, and
// after idle -> user -> idle only secret and version differ.
func TestSameParametersForEveryUser(t *testing.T) {
	s := mustLoad(t)
	for _, m := range s.Models() {
		keys := func(p Phone) []string {
			f, err := s.Render(Device, p, nil)
			if err != nil {
				t.Fatalf("%s: %v", m.ID, err)
			}
			parsed, err := phonefile.Parse(phonefile.YealinkINI, f.Content)
			if err != nil {
				t.Fatalf("%s: %v", m.ID, err)
			}
			return parsed.Keys()
		}
		if a, b := keys(idle(m.ID)), keys(inUse(m.ID)); !slices.Equal(a, b) {
			t.Errorf("%s: idle has %d parameters, in use %d", m.ID, len(a), len(b))
		}
		again := idle(m.ID)
		again.Version, again.Account.Secret = 5, "thethirdsecretofthisdevice"
		first, _ := s.Render(Device, idle(m.ID), nil)
		second, _ := s.Render(Device, again, nil)
		var differing []string
		a, b := strings.Split(string(first.Content), "\n"), strings.Split(string(second.Content), "\n")
		for i := range a {
			if a[i] != b[i] {
				differing = append(differing, strings.Fields(a[i])[0])
			}
		}
		if want := []string{"#", "account.1.password"}; !slices.Equal(differing, want) {
			t.Errorf("%s: lines that differ begin with %q, want %q", m.ID, differing, want)
		}
	}
}

// One account a phone: every other one is disabled in every file.
func TestOneAccount(t *testing.T) {
	s := mustLoad(t)
	for _, m := range s.Models() {
		f, err := s.Render(Device, inUse(m.ID), nil)
		if err != nil {
			t.Fatal(err)
		}
		enabled := regexp.MustCompile(`(?m)^account\.(\d+)\.enable = 1$`).FindAllSubmatch(f.Content, -1)
		if len(enabled) != 1 || string(enabled[0][1]) != "1" {
			t.Errorf("%s: enabled accounts %q, want only 1", m.ID, enabled)
		}
		disabled := regexp.MustCompile(`(?m)^account\.\d+\.enable = 0$`).FindAll(f.Content, -1)
		if len(disabled) != m.Accounts-1 {
			t.Errorf("%s: %d disabled accounts, want %d", m.ID, len(disabled), m.Accounts-1)
		}
	}
}

// Keys move up over empty places and one's own number; what does not fit is
// said and not lost in silence.
func TestKeyLayout(t *testing.T) {
	s := mustLoad(t)
	f, err := s.Render(Device, inUse("yealink-t31p"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"Doctor 118"}; !slices.Equal(f.Dropped, want) {
		t.Errorf("dropped %q, want %q", f.Dropped, want)
	}
	parsed, err := phonefile.Parse(phonefile.YealinkINI, f.Content)
	if err != nil {
		t.Fatal(err)
	}
	if got := parsed.Value("linekey.1.value"); got != "*77*5*" {
		t.Errorf("first line key dials %q", got)
	}
	if got := parsed.Value("linekey.2.value"); got != "101" {
		t.Errorf("second line key is %q, want Anna's lamp", got)
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
	for _, key := range []string{"account.1.password", "static.auto_provision.server.url", "phone_setting.emergency.number", "dialplan.digitmap.string"} {
		if err := s.CheckParameter(key); !errors.Is(err, ErrProtected) {
			t.Errorf("%s: error %v, want ErrProtected", key, err)
		}
		f, err := s.Render(Device, idle("yealink-t46u"), []Layer{{"device", map[string]string{key: "stolen"}}})
		if err != nil || strings.Contains(string(f.Content), "stolen") {
			t.Errorf("%s: a stored override reaches the phone, or stops it: %v", key, err)
		}
	}
}

// No value from outside can add a line to the file, whatever is in it.
func FuzzNoInjectedLine(f *testing.F) {
	s := mustLoad(f)
	base, err := s.Render(Device, idle("yealink-t46u"), nil)
	if err != nil {
		f.Fatal(err)
	}
	lines := strings.Count(string(base.Content), "\n")
	f.Add("Mario\r\naccount.1.password = stolen")
	f.Add("a\u2028b")
	f.Add(`{{.Account.Secret}} "quoted" = #`)
	f.Fuzz(func(t *testing.T, text string) {
		p := idle("yealink-t46u")
		p.Account.DisplayName, p.Account.Label = text, text
		p.Keys = append(p.Keys, Key{Type: "speed", Value: text, Label: text})
		got, err := s.Render(Device, p, []Layer{{"user", map[string]string{"features.key_as_send": text}}})
		if err != nil {
			if !errors.Is(err, ErrValue) && !strings.Contains(err.Error(), ErrValue.Error()) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if n := strings.Count(string(got.Content), "\n"); n != lines {
			t.Fatalf("%q made %d lines of %d", text, n, lines)
		}
	})
}

// One configuration, as it is rendered for every fetch of a phone.
func BenchmarkRender(b *testing.B) {
	s := mustLoad(b)
	p := inUse("yealink-t46u")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Render(Device, p, nil); err != nil {
			b.Fatal(err)
		}
	}
}
