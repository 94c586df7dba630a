package sounds

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Rate is the sampling rate of every clip in hertz, one byte a sample.
const Rate = 8000

const samplesPerMS = Rate / 1000

// Fallback is the language spoken when the wanted one has no pack or lacks a prompt.
const Fallback = "en"

// ErrDamaged says that the embedded files do not belong together: the table, the
// manifest and the audio disagree. Only a wrong build can cause it.
var ErrDamaged = errors.New("embedded sounds are damaged")

//go:embed prompts.tsv manifest.json */*.ulaw
var files embed.FS

// Clip is one piece of speech in both G.711 laws. Both slices have the same
// length, are shared by all calls and must not be written to.
type Clip struct {
	MuLaw, ALaw []byte
}

// Duration is how long the clip sounds.
func (c Clip) Duration() time.Duration {
	return time.Duration(len(c.MuLaw)) * time.Second / Rate
}

// Set is all prompts in all languages, ready to be played. It is read-only and
// safe for any number of calls at once.
type Set struct {
	keys  []string
	clips map[string]map[string]Clip // by language, by key
	tone  Clip
}

// manifest is what make.sh writes about the files it made.
type manifest struct {
	Sox       string          `json:"sox"`
	Languages map[string]pack `json:"languages"`
}

// pack is one language of the manifest.
type pack struct {
	Voice   string            `json:"voice"`
	Engine  string            `json:"engine"`
	GainDB  float64           `json:"gain_db"`
	Prompts map[string]hashes `json:"prompts"`
}

// hashes are the SHA-256 of a prompt's text and of its audio, in hexadecimal.
type hashes struct {
	Text  string `json:"text"`
	Audio string `json:"audio"`
}

// Load reads the embedded prompts and derives A-law from mu-law. overlay, when it
// is not nil, is a folder of an administrator's own recordings that take the
// place of embedded ones key by key; what is wrong with one of them is returned
// in bad, and the embedded prompt is heard instead. The error is ErrDamaged when
// a file that the manifest names is missing.
func Load(overlay fs.FS) (s *Set, bad []error, err error) {
	s, err = loadEmbedded()
	if err != nil || overlay == nil {
		return s, nil, err
	}
	return s, s.overlay(overlay), nil
}

func loadEmbedded() (*Set, error) {
	table, err := readTable(files)
	if err != nil {
		return nil, err
	}
	m, err := readManifest(files)
	if err != nil {
		return nil, err
	}
	toA := muToA()
	s := &Set{keys: table.keys, clips: make(map[string]map[string]Clip, len(m.Languages)), tone: newClip(tone(), &toA)}
	for lang, pack := range m.Languages {
		clips := make(map[string]Clip, len(pack.Prompts))
		for key := range pack.Prompts {
			audio, err := files.ReadFile(path.Join(lang, key+".ulaw"))
			if err != nil {
				return nil, fmt.Errorf("%w: %s/%s: %v", ErrDamaged, lang, key, err)
			}
			clips[key] = newClip(audio, &toA)
		}
		s.clips[lang] = clips
	}
	return s, nil
}

func newClip(mu []byte, toA *[256]byte) Clip {
	c := Clip{MuLaw: mu, ALaw: make([]byte, len(mu))}
	for i, b := range mu {
		c.ALaw[i] = toA[b]
	}
	return c
}

// Lookup returns the clip of a key in a language such as "it" or "it-IT". A
// language without a pack, or a pack without the key, falls back to English.
// False means that no language has it; the caller then plays Tone.
func (s *Set) Lookup(lang, key string) (Clip, bool) {
	lang, _, _ = strings.Cut(strings.ToLower(strings.ReplaceAll(lang, "_", "-")), "-")
	if c, ok := s.clips[lang][key]; ok {
		return c, true
	}
	c, ok := s.clips[Fallback][key]
	return c, ok
}

// Tone is two falling beeps that stand for a prompt nobody recorded.
func (s *Set) Tone() Clip { return s.tone }

// Keys lists the keys of prompts.tsv in its order. The caller owns the slice.
func (s *Set) Keys() []string { return slices.Clone(s.keys) }

// Languages lists the languages that have a pack, sorted.
func (s *Set) Languages() []string {
	langs := make([]string, 0, len(s.clips))
	for lang := range s.clips {
		langs = append(langs, lang)
	}
	slices.Sort(langs)
	return langs
}

// table is prompts.tsv: what each key says in each language.
type table struct {
	keys  []string
	texts map[string]map[string]string // by language, by key
}

func readTable(fsys fs.FS) (table, error) {
	raw, err := fs.ReadFile(fsys, "prompts.tsv")
	if err != nil {
		return table{}, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	t := table{texts: map[string]map[string]string{}}
	var langs []string
	for line := range bytes.Lines(raw) {
		cells := strings.Split(strings.TrimRight(string(line), "\r\n"), "\t")
		if langs == nil {
			langs = cells[1:]
			for _, lang := range langs {
				t.texts[lang] = map[string]string{}
			}
			continue
		}
		if len(cells) != len(langs)+1 {
			return table{}, fmt.Errorf("%w: prompts.tsv: %q has %d cells, the header has %d", ErrDamaged, cells[0], len(cells), len(langs)+1)
		}
		t.keys = append(t.keys, cells[0])
		for i, lang := range langs {
			t.texts[lang][cells[0]] = cells[i+1]
		}
	}
	return t, nil
}

func readManifest(fsys fs.FS) (manifest, error) {
	var m manifest
	raw, err := fs.ReadFile(fsys, "manifest.json")
	if err != nil {
		return m, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%w: manifest.json: %v", ErrDamaged, err)
	}
	return m, nil
}
