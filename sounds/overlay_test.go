package sounds

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// An administrator's recording takes the place of the embedded prompt, key by
// key, also in a language that has no embedded pack; what cannot be used is said
// with its name and the way out, and the embedded prompt stays.
func TestOverlay(t *testing.T) {
	own := fstest.MapFS{
		"it/enter_pin.ulaw": {Data: []byte("\x10\x20\x30")},
		"pt/goodbye.ulaw":   {Data: []byte("\x11")},
		"it/goodbye.wav":    {Data: []byte("RIFF")},
		"it/locked.ulaw":    {Data: []byte("RIFF....WAVE")},
		"it/nonsense.ulaw":  {Data: []byte("\x11")},
		"it/no_match.ulaw":  {Data: nil},
		"it/d1.ulaw":        {Data: make([]byte, 8000*31)},
		"Italian/d2.ulaw":   {Data: []byte("\x11")},
	}
	plain := load(t)
	s, bad, err := Load(own)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[[2]string]string{{"it", "enter_pin"}: "\x10\x20\x30", {"pt-BR", "goodbye"}: "\x11"} {
		if c, ok := s.Lookup(key[0], key[1]); !ok || string(c.MuLaw) != want || len(c.ALaw) != len(want) {
			t.Errorf("%v: %d bytes %v, want the own recording", key, len(c.MuLaw), ok)
		}
	}
	for _, key := range []string{"goodbye", "locked", "no_match", "d1"} {
		got, _ := s.Lookup("it", key)
		want, _ := plain.Lookup("it", key)
		if !slices.Equal(got.MuLaw, want.MuLaw) {
			t.Errorf("it/%s is not the embedded prompt any more", key)
		}
	}
	if len(bad) != 6 {
		t.Fatalf("%d complaints, want 6: %v", len(bad), bad)
	}
	for _, err := range bad {
		if !errors.Is(err, ErrOverlay) || !strings.Contains(err.Error(), "/") && !strings.Contains(err.Error(), "Italian") {
			t.Errorf("%v does not name its file", err)
		}
	}
}

// The three languages of the first offices speak for themselves: no prompt of
// theirs is another language's.
func TestLanguagesOfTheirOwn(t *testing.T) {
	s := load(t)
	for _, key := range s.Keys() {
		en, _ := s.Lookup("en", key)
		for _, lang := range []string{"it", "ru"} {
			if c, ok := s.clips[lang][key]; !ok || slices.Equal(c.MuLaw, en.MuLaw) {
				t.Errorf("%s/%s is missing, or English", lang, key)
			}
		}
	}
}
