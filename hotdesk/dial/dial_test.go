package dial

import (
	"slices"
	"strings"
	"testing"
)

// However a phone spells it, the number is the same.
func TestNormalise(t *testing.T) {
	for _, c := range []struct {
		dialed, number string
		sos            bool
	}{
		{"sip:*77*100*@192.0.2.1:5060", "*77*100*", false},
		{"sip:%2A77%2a100%2A@h", "*77*100*", false},
		{"sip:*77*100*%23@h;user=phone", "*77*100*", false},
		{"sips:100;par=1@h", "100", false},
		{"tel:+39-06.123(45)", "+390612345", false},
		{"tel:112;phone-context=+39", "112", false},
		{"112#", "112", false},
		{" 112 ", "112", false},
		{"sip:%2531%31@h", "%311", false}, // undone once, not twice
		{"sip:100:secret@h", "100", false},
		{"urn:service:sos", "", true},
		{"URN:service:SOS.fire", "", true},
		{"urn:service:sosage", "", false},
		{"sip:h", "", false},
		{"sip:1%0d%0a2@h", "", false},
		{"sip:%zz@h", "", false},
		{"mailto:112@h", "", false},
	} {
		number, sos := Normalise(c.dialed)
		if number != c.number || sos != c.sos {
			t.Errorf("%q: %q %v, want %q %v", c.dialed, number, sos, c.number, c.sos)
		}
	}
}

// An emergency number is matched whole, also after the outside prefix or a plus.
func TestEmergency(t *testing.T) {
	listed := []string{"112", "113"}
	for number, want := range map[string]string{
		"112": "112", "113": "113", "0112": "112", "+112": "112", "+0113": "113",
		"1120": "", "11": "", "00112": "", "911": "", "": "", "112*": "",
	} {
		got, ok := Emergency(number, "0", listed)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, want %q", number, got, want)
		}
	}
	if _, ok := Emergency("0112", "", listed); ok {
		t.Error("0112 is an emergency number without an outside prefix")
	}
}

func codes(t testing.TB) Codes {
	t.Helper()
	c, err := NewCodes("*77*", "*77*5*", "*77*6*", map[string][]string{"login": {"*11"}, "logout": {"*12"}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The codes with and without their last star, the aliases, and what is no code.
func TestMatch(t *testing.T) {
	c := codes(t)
	for _, x := range []struct {
		number string
		action Action
		ext    string
	}{
		{"*77*100*", Login, "100"},
		{"*77*100", Login, "100"},
		{"*77*", Login, ""},
		{"*77", Login, ""},
		{"*11", Login, ""},
		{"*11100", Login, "100"},
		{"*77*5*", Logout, ""},
		{"*77*5", Logout, ""},
		{"*12", Logout, ""},
		{"*77*6*", LogoutAll, ""},
		{"*77*8*", ChangePIN, ""},
		{"*77*9*", Who, ""},
		{"*77*55*", Login, "55"},
		{"*77100", "", ""},
		{"*77*10a*", "", ""},
		{"*78", "", ""},
		{"77", "", ""},
		{"*", "", ""},
		{"", "", ""},
	} {
		action, ext, ok := c.Match(x.number)
		if action != x.action || ext != x.ext || ok != (x.action != "") {
			t.Errorf("%q: %q %q %v, want %q %q", x.number, action, ext, ok, x.action, x.ext)
		}
	}
	if got, want := c.Reserved(), []string{"5", "6", "8", "9"}; !slices.Equal(got, want) {
		t.Errorf("reserved extensions %q, want %q", got, want)
	}
}

// What cannot be a code table is refused when it is made.
func TestNewCodesRefuses(t *testing.T) {
	for name, make := range map[string]func() (Codes, error){
		"login without a star":  func() (Codes, error) { return NewCodes("*77", "*77*5*", "*77*6*", nil) },
		"the same code twice":   func() (Codes, error) { return NewCodes("*77*", "*77*5*", "*77*5*", nil) },
		"same but for the star": func() (Codes, error) { return NewCodes("*77*", "*77*5*", "*77*5", nil) },
		"a code of digits":      func() (Codes, error) { return NewCodes("*77*", "112", "*77*6*", nil) },
		"letters":               func() (Codes, error) { return NewCodes("*77*", "*out", "*77*6*", nil) },
		"a star alone":          func() (Codes, error) { return NewCodes("*77*", "*", "*77*6*", nil) },
		"alias of nothing": func() (Codes, error) {
			return NewCodes("*77*", "*77*5*", "*77*6*", map[string][]string{"signin": {"*13"}})
		},
	} {
		if _, err := make(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// Whatever comes in: the number has no control characters and no trailing '#',
// normalising it again changes nothing but percent signs, and an emergency match
// is always one of the listed numbers.
func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"sip:112@h", "tel:+1(2)", "%31%31%32", "urn:service:sos", "sip:a:b@c@d;x#"} {
		f.Add(s)
	}
	listed := []string{"112", "113"}
	c := codes(f)
	f.Fuzz(func(t *testing.T, dialed string) {
		number, sos := Normalise(dialed)
		if sos && number != "" || strings.HasSuffix(number, "#") || strings.ContainsFunc(number, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("%q became %q", dialed, number)
		}
		if !strings.ContainsAny(number, "%:;@") {
			if again, _ := Normalise(number); strings.TrimSpace(number) == number && again != number {
				t.Fatalf("%q, then %q", number, again)
			}
		}
		if n, ok := Emergency(number, "0", listed); ok && !slices.Contains(listed, n) {
			t.Fatalf("%q matched %q", dialed, n)
		}
		if action, ext, ok := c.Match(number); ok && ext != "" && (action != Login || strings.Trim(ext, "0123456789") != "") {
			t.Fatalf("%q matched %s %q", dialed, action, ext)
		}
	})
}

// A PIN that is typed behind the code is read with it, and no spelling of a code, nor a
// slip in one, shows in a record what may be a PIN.
func TestField_S26PINBehindTheCode(t *testing.T) {
	c := codes(t)
	known := func(ext string) bool { return ext == "100" || ext == "101" }
	for _, x := range []struct {
		number, ext, pin string
		begins           bool
		shown            string
	}{
		{"*77*101*5162", "101", "5162", true, "*77*101*…"},
		{"*77*101*5162*", "101", "5162", true, "*77*101*…"},
		{"*77*101**5162", "101", "5162", true, "*77*101*…"},
		{"*11101*5162", "101", "5162", true, "*11101*…"},
		{"*11*101*5162", "101", "5162", true, "*11*101*…"},
		{"*77**101*5162", "101", "5162", true, "*77*…"},
		{"*77*100*", "", "", true, "*77*100*"},
		{"*77*100", "", "", true, "*77*100"},
		{"*77*1005162", "", "", true, "*77*…"},
		{"*111005162", "", "", true, "*11…"},
		{"*77*", "", "", true, "*77*"},
		{"*77", "", "", true, "*77"},
		{"*77*5*", "", "", true, "*77*5*"},
		{"*77*5*5162", "5", "5162", true, "*77*5*…"},
		{"*77100*5162", "", "", true, "*77100*…"},
		{"*77*101#5162", "", "", true, "*77*…"},
		{"*77*999*5162", "999", "5162", true, "*77*…"},
		{"*12*5162", "", "", true, "*12*…"},
		{"*12", "", "", false, "*12"},
		{"100*5162", "", "", false, "100*…"},
		{"*86*1234", "", "", false, "*86*1234"}, // a code of the PBX's
		{"*78", "", "", false, "*78"},
		{"0612345", "", "", false, "0612345"},
	} {
		ext, pin, _ := c.MatchPIN(x.number)
		if begins, shown := c.Begins(x.number), c.Shown(x.number, known); ext != x.ext || pin != x.pin || begins != x.begins || shown != x.shown {
			t.Errorf("%q: %q %q, begins %v, shown %q; want %q %q %v %q", x.number, ext, pin, begins, shown, x.ext, x.pin, x.begins, x.shown)
		}
	}
}
