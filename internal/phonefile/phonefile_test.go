package phonefile

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// What a phone would read must come out, in order, and what it would choke on
// must be named by its line.
func TestParse(t *testing.T) {
	f, err := Parse(YealinkINI, []byte("#!version:1.0.0.1\n# note\naccount.1.label = Mario = Rossi\nlinekey.2.value =\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.Keys(), []string{"account.1.label", "linekey.2.value"}; !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
	if got := f.Value("account.1.label"); got != "Mario = Rossi" {
		t.Errorf("label %q", got)
	}
	for name, text := range map[string]string{
		"no version line":        "account.1.label = x\n",
		"no equals sign":         "#!version:1.0.0.1\nrubbish\n",
		"a key that comes twice": "#!version:1.0.0.1\na = 1\na = 2\n",
		"no key":                 "#!version:1.0.0.1\n = 2\n",
	} {
		if _, err := Parse(YealinkINI, []byte(text)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: error %v, want ErrSyntax", name, err)
		}
	}
}

// Setting a parameter must change it in its place and keep everything else.
func TestSet(t *testing.T) {
	f, err := Parse(YealinkINI, []byte("#!version:1.0.0.1\na = 1\n# note\nb = 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	f.Set("a", "")
	f.Set("c", "3")
	want := "#!version:1.0.0.1\na =\n# note\nb = 2\nc = 3\n"
	if got := string(f.Bytes()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Whatever parses must write itself so that it parses to the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte("#!version:1.0.0.1\na = 1\n\n# x\r\nb=2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Parse(YealinkINI, data)
		if err != nil {
			return
		}
		written := first.Bytes()
		second, err := Parse(YealinkINI, written)
		if err != nil {
			t.Fatalf("%q was written as %q, which does not parse: %v", data, written, err)
		}
		if again := second.Bytes(); !bytes.Equal(written, again) {
			t.Fatalf("%q, then %q", written, again)
		}
	})
}
