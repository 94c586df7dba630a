package sounds

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ErrOverlay marks a recording that cannot be used.
var ErrOverlay = errors.New("own recording cannot be used")

// longest is how long one prompt may sound: nobody waits longer at a desk.
const longest = 30 * time.Second

// language is how a folder of an overlay is named.
var language = regexp.MustCompile(`^[a-z]{2}$`)

// overlay takes an administrator's recordings, <lang>/<key>.ulaw, over the
// embedded ones. A language that has no embedded pack may come whole.
func (s *Set) overlay(fsys fs.FS) (bad []error) {
	toA := muToA()
	names, err := fs.Glob(fsys, "*/*")
	if err != nil {
		return []error{fmt.Errorf("%w: %w", ErrOverlay, err)}
	}
	for _, name := range names {
		lang, file := path.Split(name)
		lang = strings.TrimSuffix(lang, "/")
		key, isULaw := strings.CutSuffix(file, ".ulaw")
		switch {
		case !language.MatchString(lang):
			bad = append(bad, fmt.Errorf("%w: folder %q; name it by a language of two letters, like it", ErrOverlay, lang))
			continue
		case !isULaw:
			bad = append(bad, fmt.Errorf("%w: %s; it must be G.711 mu-law with the ending .ulaw, made like this: sox -R -D %s -r 8000 -c 1 -t ul %s.ulaw",
				ErrOverlay, name, name, strings.TrimSuffix(name, path.Ext(name))))
			continue
		case !slices.Contains(s.keys, key):
			bad = append(bad, fmt.Errorf("%w: %s; there is no prompt %q (sounds/prompts.tsv lists them)", ErrOverlay, name, key))
			continue
		}
		audio, err := readClip(fsys, name)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		if s.clips[lang] == nil {
			s.clips[lang] = map[string]Clip{}
		}
		s.clips[lang][key] = newClip(audio, &toA)
	}
	return bad
}

// readClip reads one recording and refuses what is no plain mu-law of a prompt's
// length.
func readClip(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOverlay, err)
	}
	if most := int64(longest/time.Millisecond) * samplesPerMS; info.Size() == 0 || info.Size() > most {
		return nil, fmt.Errorf("%w: %s has %d bytes; a prompt has 1 to %d (8000 a second)", ErrOverlay, name, info.Size(), most)
	}
	audio, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOverlay, err)
	}
	if strings.HasPrefix(string(audio), "RIFF") || strings.HasPrefix(string(audio), ".snd") {
		return nil, fmt.Errorf("%w: %s has a file header; write raw mu-law: sox IN -r 8000 -c 1 -t ul %s", ErrOverlay, name, name)
	}
	return audio, nil
}
