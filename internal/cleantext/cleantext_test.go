package cleantext

import (
	"errors"
	"testing"
)

// Each kind of text is let in or refused with its own reason, and what Clean leaves
// of it is let in.
func TestCheck(t *testing.T) {
	for text, want := range map[string]error{
		"":                      nil,
		"Mario Rossi":           nil,
		"Жанна Д’Арк 東京 😀":      nil,
		"نیما\u200cنژاد":        nil, // a joiner is part of the spelling
		"<b>&\"'{{.}}":          nil,
		"a\xffb":                ErrEncoding,
		"a\nb":                  ErrControl,
		"a\rb":                  ErrControl,
		"a\tb":                  ErrControl,
		"a\x00b":                ErrControl,
		"a\x7fb":                ErrControl,
		"a\u0085b":              ErrControl,
		"a\u009bb":              ErrControl,
		"a\u2028b":              ErrControl,
		"a\u2029b":              ErrControl,
		"a\ufffdb":              ErrControl,
		"a\ufffeb":              ErrControl,
		"a\U0001ffffb":          ErrControl,
		"a\ufdd0b":              ErrControl,
		"a\u202eb":              ErrDirection,
		"a\u2066b":              ErrDirection,
		"a\u200fb":              ErrDirection,
		"a\u061cb":              ErrDirection,
		"\u202dMario\u202c\xfe": ErrEncoding,
	} {
		if err := Check(text); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
		if err := Check(Clean(text)); err != nil {
			t.Errorf("%q is cleaned to %q: %v", text, Clean(text), err)
		}
	}
	if got := Clean("Ma\u202er\xffio"); got != "Mario" {
		t.Errorf("cleaned to %q", got)
	}
}
