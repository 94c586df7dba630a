package phonefile

import (
	"bytes"
	"fmt"
	"strings"
)

func (f *File) parseYealink(data []byte) error {
	text := bytes.TrimSuffix(data, []byte("\n"))
	for n, raw := range bytes.Split(text, []byte("\n")) {
		raw = bytes.TrimRight(raw, "\r")
		switch trimmed := bytes.TrimSpace(raw); {
		case n == 0 && !bytes.HasPrefix(raw, []byte("#!version:")):
			return fmt.Errorf("%w: line 1 must begin with #!version: and a number", ErrSyntax)
		case len(trimmed) == 0 || trimmed[0] == '#':
			f.lines = append(f.lines, line{text: string(raw)})
			continue
		}
		key, value, ok := bytes.Cut(raw, []byte("="))
		name := string(bytes.TrimSpace(key))
		if !ok || name == "" {
			return fmt.Errorf("%w: line %d is no \"key = value\"", ErrSyntax, n+1)
		}
		if err := f.add(line{key: name, value: string(bytes.TrimSpace(value))}); err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrSyntax, n+1, err)
		}
	}
	return nil
}

func (f *File) yealinkBytes() []byte {
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

// comment is the text of a comment line.
func comment(d Dialect, l line) string {
	text := strings.TrimSpace(l.text)
	if d != YealinkINI {
		return text
	}
	text, ok := strings.CutPrefix(text, "#")
	if !ok || strings.HasPrefix(text, "!") {
		return ""
	}
	return strings.TrimSpace(text)
}
