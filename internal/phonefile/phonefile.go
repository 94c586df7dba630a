package phonefile

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrSyntax: the bytes are not a file of this dialect; the message names the
// line.
var ErrSyntax = errors.New("configuration file cannot be read")

// Dialect names a grammar.
type Dialect string

// YealinkINI: a "#!version:" line, then "key = value" lines; "#" begins a
// comment line (Yealink IP phone administrator guide, "Configuration files").
const YealinkINI Dialect = "yealink-ini"

// File is a configuration file: its lines in order, of which some are parameters.
type File struct {
	lines []line
	index map[string]int // key -> lines
}

type line struct {
	text       string // of a line that is no parameter
	key, value string
}

// Parse reads a file. A key that comes twice is an error: phones differ in which
// one they take.
func Parse(d Dialect, data []byte) (*File, error) {
	if d != YealinkINI {
		return nil, fmt.Errorf("%w: unknown dialect %q", ErrSyntax, d)
	}
	f := &File{index: map[string]int{}}
	text := bytes.TrimSuffix(data, []byte("\n"))
	for n, raw := range bytes.Split(text, []byte("\n")) {
		raw = bytes.TrimSuffix(raw, []byte("\r"))
		switch trimmed := bytes.TrimSpace(raw); {
		case n == 0 && !bytes.HasPrefix(raw, []byte("#!version:")):
			return nil, fmt.Errorf("%w: line 1 must begin with #!version: and a number", ErrSyntax)
		case len(trimmed) == 0 || trimmed[0] == '#':
			f.lines = append(f.lines, line{text: string(raw)})
			continue
		}
		key, value, ok := bytes.Cut(raw, []byte("="))
		name := string(bytes.TrimSpace(key))
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: line %d is no \"key = value\"", ErrSyntax, n+1)
		}
		if _, twice := f.index[name]; twice {
			return nil, fmt.Errorf("%w: line %d: %s comes twice", ErrSyntax, n+1, name)
		}
		f.index[name] = len(f.lines)
		f.lines = append(f.lines, line{key: name, value: string(bytes.TrimSpace(value))})
	}
	return f, nil
}

// Keys lists the parameters in order.
func (f *File) Keys() []string {
	keys := make([]string, 0, len(f.index))
	for _, l := range f.lines {
		if l.key != "" {
			keys = append(keys, l.key)
		}
	}
	return keys
}

// Get returns a parameter's value; ok is false when it is not in the file.
func (f *File) Get(key string) (value string, ok bool) {
	i, ok := f.index[key]
	if !ok {
		return "", false
	}
	return f.lines[i].value, true
}

// Value returns a parameter's value, empty when it is not in the file.
func (f *File) Value(key string) string {
	v, _ := f.Get(key)
	return v
}

// Set replaces a parameter in its place or adds it at the end.
func (f *File) Set(key, value string) {
	if i, ok := f.index[key]; ok {
		f.lines[i].value = value
		return
	}
	f.index[key] = len(f.lines)
	f.lines = append(f.lines, line{key: key, value: value})
}

// Bytes writes the file.
func (f *File) Bytes() []byte {
	var b bytes.Buffer
	for _, l := range f.lines {
		if l.key == "" {
			b.WriteString(l.text)
		} else {
			b.WriteString(l.key)
			b.WriteString(" =")
			if l.value != "" {
				b.WriteString(" ")
				b.WriteString(l.value)
			}
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}
