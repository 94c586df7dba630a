package phonefile

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrSyntax: the bytes are not a file of this dialect; the message names the
// line.
var ErrSyntax = errors.New("configuration file cannot be read")

// Dialect names a grammar.
type Dialect string

// The grammars that are known.
const (
	// YealinkINI: a "#!version:" line, then "key = value" lines; "#" begins a
	// comment line (Yealink IP phone administrator guide, "Configuration files").
	YealinkINI Dialect = "yealink-ini"
	// SnomXML: <settings> with <phone-settings> and <functionKeys> (Snom service
	// hub, "Provisioning: XML settings"). The parameter <user_name idx="1"> has the
	// key "user_name.1", one without idx just its name, and <fkey idx="0"> the keys
	// "fkey.0", "fkey.0.context" and "fkey.0.label".
	SnomXML Dialect = "snom-xml"
	// GrandstreamXML: <gs_provision version="1"> with <mac> and <config version="1">
	// of P values (Grandstream "Configuration file generator guide"). The keys are
	// "P271" and so on, and "mac".
	GrandstreamXML Dialect = "grandstream-xml"
)

// maxSize bounds a file; phones' own limits are lower.
const maxSize = 1 << 20

// File is a configuration file: its lines in order, of which some are parameters.
type File struct {
	dialect Dialect
	lines   []line
	index   map[string]int // key -> lines
}

type line struct {
	text       string // of a line that is no parameter
	key, value string
	perm       string // Snom's attribute, who may change the parameter
}

// Parse reads a file. A key that comes twice is an error: phones differ in which
// one they take.
func Parse(d Dialect, data []byte) (*File, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrSyntax, maxSize)
	}
	f := &File{dialect: d, index: map[string]int{}}
	switch d {
	case YealinkINI:
		return f, f.parseYealink(data)
	case SnomXML:
		return f, f.parseXML(data, snomReader{})
	case GrandstreamXML:
		return f, f.parseXML(data, grandstreamReader{})
	}
	return nil, fmt.Errorf("%w: unknown dialect %q", ErrSyntax, d)
}

// keys are the forms of keys that a dialect can write.
var keys = map[Dialect]*regexp.Regexp{
	YealinkINI:     regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)*\.[A-Za-z_][A-Za-z0-9_]*$|^[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)+\.[0-9]+$`),
	SnomXML:        regexp.MustCompile(`^[a-z][a-z0-9_]*(\.(0|[1-9][0-9]{0,2}))?$|^fkey\.(0|[1-9][0-9]{0,2})\.(context|label)$`),
	GrandstreamXML: regexp.MustCompile(`^P(0|[1-9][0-9]{0,5})$`),
}

// ValidKey tells whether a key has a form that the dialect can write; whether the
// phone has such a parameter is not known here. No key has a form of two dialects.
func ValidKey(d Dialect, key string) bool {
	if d == YealinkINI && strings.HasPrefix(key, fkey) {
		return false // of Snom
	}
	return keys[d] != nil && len(key) <= 128 && keys[d].MatchString(key)
}

// add appends a parameter.
func (f *File) add(l line) error {
	if _, twice := f.index[l.key]; twice {
		return fmt.Errorf("%s comes twice", l.key)
	}
	f.index[l.key] = len(f.lines)
	f.lines = append(f.lines, l)
	return nil
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

// Perm is a parameter's attribute perm in SnomXML, which says who may change it:
// "R" only a file, "RW" or empty the user too, "!" the user for good. It is empty
// in the other dialects.
func (f *File) Perm(key string) string {
	if i, ok := f.index[key]; ok {
		return f.lines[i].perm
	}
	return ""
}

// Comment is the first comment of the file, empty when there is none.
func (f *File) Comment() string {
	for _, l := range f.lines {
		if text := comment(f.dialect, l); text != "" {
			return text
		}
	}
	return ""
}

// Set replaces a parameter in its place or adds it at the end. ErrSyntax when the
// dialect cannot write such a key or value.
func (f *File) Set(key, value string) error {
	if !writable(value) {
		return fmt.Errorf("%w: the value of %s has a line break or control character", ErrSyntax, key)
	}
	if i, ok := f.index[key]; ok {
		f.lines[i].value = value
		return nil
	}
	if !ValidKey(f.dialect, key) {
		return fmt.Errorf("%w: %q is no parameter of %s", ErrSyntax, key, f.dialect)
	}
	return f.add(line{key: key, value: value, perm: "RW"})
}

// writable tells whether a value can stand in every dialect.
func writable(value string) bool {
	for _, r := range value {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r == 0xfffd || r == 0xfffe || r == 0xffff {
			return false
		}
	}
	return true
}

// Bytes writes the file.
func (f *File) Bytes() []byte {
	switch f.dialect {
	case SnomXML:
		return f.snomBytes()
	case GrandstreamXML:
		return f.grandstreamBytes()
	}
	return f.yealinkBytes()
}
