package sounds

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func load(t *testing.T) *Set {
	t.Helper()
	s, _, err := Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Every key of the table has audio in every embedded language, so that no flow
// falls back to another voice in the middle of a sentence.
func TestEveryKeyInEveryLanguage(t *testing.T) {
	s := load(t)
	if got := s.Languages(); !slices.Contains(got, Fallback) {
		t.Fatalf("languages are %v, want %s among them", got, Fallback)
	}
	if len(s.Keys()) < 40 {
		t.Errorf("only %d keys", len(s.Keys()))
	}
	for _, lang := range s.Languages() {
		for _, key := range s.Keys() {
			if _, ok := s.clips[lang][key]; !ok {
				t.Errorf("%s/%s has no audio", lang, key)
			}
		}
		if got, want := len(s.clips[lang]), len(s.Keys()); got != want {
			t.Errorf("%s has %d clips, the table %d keys", lang, got, want)
		}
	}
}

// The committed audio is what the manifest says was made from the text that the
// table says; whoever edits one runs make.sh.
func TestManifest(t *testing.T) {
	table, err := readTable(files)
	if err != nil {
		t.Fatal(err)
	}
	m, err := readManifest(files)
	if err != nil {
		t.Fatal(err)
	}
	for lang, pack := range m.Languages {
		if pack.Voice == "" || pack.Engine == "" {
			t.Errorf("%s names no voice or engine", lang)
		}
		for key, want := range pack.Prompts {
			if got := sum([]byte(table.texts[lang][key])); got != want.Text {
				t.Errorf("%s/%s: the text changed since its audio was made; run sounds/make.sh", lang, key)
			}
			audio, err := files.ReadFile(path.Join(lang, key+".ulaw"))
			if err != nil {
				t.Error(err)
				continue
			}
			if got := sum(audio); got != want.Audio {
				t.Errorf("%s/%s: the audio is not what make.sh made", lang, key)
			}
		}
	}
	err = fs.WalkDir(files, ".", func(file string, _ fs.DirEntry, err error) error {
		lang, key := path.Dir(file), strings.TrimSuffix(path.Base(file), ".ulaw")
		if _, ok := m.Languages[lang].Prompts[key]; err == nil && strings.HasSuffix(file, ".ulaw") && !ok {
			t.Errorf("%s is in no manifest", file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// Every prompt is in the table in all six languages: a pack made later needs no
// new texts.
func TestTableIsComplete(t *testing.T) {
	table, err := readTable(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, lang := range []string{"en", "it", "ru", "de", "fr", "es"} {
		for _, key := range table.keys {
			if strings.TrimSpace(table.texts[lang][key]) == "" {
				t.Errorf("%s/%s has no text", lang, key)
			}
		}
	}
}

// Prompts are short, begin and end in silence, and are neither faint nor clipped.
func TestLengthAndLevel(t *testing.T) {
	s := load(t)
	total := 0
	for lang, clips := range s.clips {
		for key, clip := range clips {
			total += len(clip.MuLaw)
			longest := 8 * time.Second
			if strings.HasPrefix(key, "d") && len(key) <= 3 {
				longest = 800 * time.Millisecond
			}
			if d := clip.Duration(); d < 250*time.Millisecond || d > longest {
				t.Errorf("%s/%s lasts %v, want at most %v", lang, key, d, longest)
			}
			if peak := peakDB(clip.MuLaw); peak > -3 || peak < -26 {
				t.Errorf("%s/%s peaks at %.1f dBFS, want -26 to -3", lang, key, peak)
			}
			edge := clip.MuLaw[:10*samplesPerMS]
			if peak := peakDB(edge); peak > -50 {
				t.Errorf("%s/%s begins at %.1f dBFS, want silence", lang, key, peak)
			}
		}
		if d := clips["no_match"].Duration() + clips["goodbye"].Duration(); d > 5*time.Second {
			t.Errorf("%s: after the third wrong PIN %v are spoken, want at most 5 s", lang, d)
		}
		if d := clips["enter_pin"].Duration(); d > 3*time.Second {
			t.Errorf("%s/enter_pin lasts %v, want at most 3 s", lang, d)
		}
	}
	if limit := len(s.clips) << 20; total > limit {
		t.Errorf("the packs have %d bytes, want at most 1 MiB a language", total)
	}
}

func peakDB(mu []byte) float64 {
	peak := 1.0
	for _, b := range mu {
		peak = max(peak, math.Abs(float64(linear(b))))
	}
	return 20 * math.Log10(peak/32768)
}

// A language without a pack speaks English; a key that nobody has is reported.
func TestLookup(t *testing.T) {
	s := load(t)
	english, ok := s.Lookup("en", "enter_pin")
	if !ok {
		t.Fatal("no English enter_pin")
	}
	for _, lang := range []string{"EN", "en-GB", "en_US", "tlh", ""} {
		if clip, ok := s.Lookup(lang, "enter_pin"); !ok || &clip.MuLaw[0] != &english.MuLaw[0] {
			t.Errorf("Lookup(%q) is not the English clip", lang)
		}
	}
	if _, ok := s.Lookup("en", "no_such_prompt"); ok {
		t.Error("Lookup found a prompt that does not exist")
	}
	if d := s.Tone().Duration(); d < 300*time.Millisecond || d > time.Second {
		t.Errorf("the tone lasts %v", d)
	}
	if peak := peakDB(s.Tone().MuLaw); peak > -15 || peak < -25 {
		t.Errorf("the tone peaks at %.1f dBFS", peak)
	}
}

// The laws agree with ITU-T G.711: fixed points of its tables, a mu-law byte
// survives a round trip, and A-law is as loud as mu-law.
func TestG711(t *testing.T) {
	for b, want := range map[byte]int{0xFF: 0, 0x7F: 0, 0x80: 32124, 0x00: -32124, 0xF0: 120, 0x8F: 16764} {
		if got := linear(b); got != want {
			t.Errorf("linear(%#x) = %d, want %d", b, got, want)
		}
	}
	for v, want := range map[int]byte{0: 0xD5, -1: 0x55, 32124: 0xAA, -32124: 0x2A, 1000: 0xFA} {
		if got := aLaw(v); got != want {
			t.Errorf("aLaw(%d) = %#x, want %#x", v, got, want)
		}
	}
	table := muToA()
	for i := range 256 {
		b := byte(i)
		if got := muLaw(linear(b)); got != b && linear(got) != linear(b) {
			t.Errorf("muLaw(linear(%#x)) = %#x", b, got)
		}
		got, want := linearOfA(table[b]), linear(b)
		if diff := math.Abs(float64(got - want)); diff > 16+math.Abs(float64(want))/16 {
			t.Errorf("mu-law %#x is %d, its A-law %#x is %d", b, want, table[b], got)
		}
	}
}

// linearOfA decodes A-law as ITU-T G.711 table 1 says, apart from the encoder.
func linearOfA(a byte) int {
	a ^= 0x55
	v := int(a&0x0F)<<4 + 8
	if exp := a >> 4 & 7; exp > 0 {
		v = (v + 0x100) << (exp - 1)
	}
	if a&0x80 == 0 {
		return -v
	}
	return v
}

// Files that do not fit together are refused and not half used.
func TestDamaged(t *testing.T) {
	const table = "key\ten\tit\na\tb\tc\n"
	for name, fsys := range map[string]fs.FS{
		"no table":      fstest.MapFS{"manifest.json": {Data: []byte("{}")}},
		"missing cells": fstest.MapFS{"prompts.tsv": {Data: []byte(table + "d\te\n")}},
	} {
		if _, err := readTable(fsys); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: error is %v, want ErrDamaged", name, err)
		}
	}
	if _, err := readTable(fstest.MapFS{"prompts.tsv": {Data: []byte(table)}}); err != nil {
		t.Errorf("a good table is refused: %v", err)
	}
	if _, err := readManifest(fstest.MapFS{"manifest.json": {Data: []byte("[")}}); !errors.Is(err, ErrDamaged) {
		t.Errorf("bad manifest: error is %v, want ErrDamaged", err)
	}
}
