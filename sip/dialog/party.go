package dialog

import (
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Party is a name and a URI, as in From and To.
type Party struct {
	Name string // as people read it
	URI  sip.Uri
}

// Quoted writes a name as it stands between the quotes of a header (RFC 3261
// section 25.1); sipgo writes names as they are. Control characters are left out.
func Quoted(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r < ' ' || r == 0x7f {
			continue
		}
		if r == '"' || r == '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Unquoted reads a name that stood between the quotes of a header.
func Unquoted(text string) string {
	var b strings.Builder
	escaped := false
	for _, r := range text {
		if r == '\\' && !escaped {
			escaped = true
			continue
		}
		b.WriteRune(r)
		escaped = false
	}
	return b.String()
}
