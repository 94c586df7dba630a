package ingress

import (
	"strconv"
	"strings"
)

// credentials are one digest response as the phone wrote it (RFC 2617 section
// 3.2.2, RFC 3261 section 25.1). The values that the response is computed over are
// kept as they stand between the quotes, escapes included: whoever changes a
// character of them changes the digest. Nobody else reads credentials here, so
// that no two readers can disagree about what one header says.
type credentials struct {
	username, realm, nonce, uri, cnonce, response, qop, algorithm string

	nc    string // as written: the response is computed over that text
	count uint64 // its value
	text  string // the whole header value
}

// parameters of a digest response that carry a meaning here.
func (c *credentials) place(name string) *string {
	switch name {
	case "username":
		return &c.username
	case "realm":
		return &c.realm
	case "nonce":
		return &c.nonce
	case "uri":
		return &c.uri
	case "cnonce":
		return &c.cnonce
	case "response":
		return &c.response
	case "qop":
		return &c.qop
	case "algorithm":
		return &c.algorithm
	case "nc":
		return &c.nc
	}
	return nil
}

// parseCredentials reads the value of an Authorization header. digest is false for
// another scheme. ok is false when it cannot be read in exactly one way: a
// parameter that comes twice, or one that changes what the others mean (username*
// and userhash of RFC 7616). Names ignore case; white space, folding and empty list
// elements are legal; parameters that nobody here knows are passed over.
func parseCredentials(value string) (c credentials, digest, ok bool) {
	c.text = value
	scheme, rest := word(value)
	if !strings.EqualFold(scheme, "Digest") {
		return c, false, false
	}
	if rest == "" || !isSpace(rest[0]) {
		return c, true, false
	}
	seen := map[string]bool{}
	for {
		rest = skipSpace(rest)
		if rest == "" {
			break
		}
		if rest[0] == ',' { // an empty element, or the end of one
			rest = rest[1:]
			continue
		}
		var name, val string
		if name, val, rest, ok = parameter(rest); !ok {
			return c, true, false
		}
		name = strings.ToLower(name)
		if seen[name] || name == "username*" || name == "userhash" {
			return c, true, false
		}
		seen[name] = true
		if place := c.place(name); place != nil {
			*place = val
		}
	}
	n, err := strconv.ParseUint(c.nc, 16, 32)
	if err != nil && seen["nc"] {
		return c, true, false
	}
	c.count = n
	c.username = unescape(c.username)
	return c, true, true
}

// parameter reads one name=value, which a comma or the end must follow.
func parameter(s string) (name, value, rest string, ok bool) {
	if name, rest = word(s); name == "" {
		return "", "", "", false
	}
	rest = skipSpace(rest)
	if rest == "" || rest[0] != '=' {
		return "", "", "", false
	}
	rest = skipSpace(rest[1:])
	if rest != "" && rest[0] == '"' {
		end := quoteEnd(rest)
		if end < 0 {
			return "", "", "", false
		}
		value, rest = rest[1:end], rest[end+1:]
	} else {
		end := strings.IndexAny(rest, ", \t\r\n\"")
		if end < 0 {
			end = len(rest)
		}
		if value, rest = rest[:end], rest[end:]; value == "" {
			return "", "", "", false
		}
	}
	rest = skipSpace(rest)
	return name, value, rest, rest == "" || rest[0] == ','
}

// quoteEnd is the index of the quote that closes the string that s begins with; -1
// when none does, or when a control character stands in it.
func quoteEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			return i
		case c < ' ' && c != '\t' || c == 0x7f:
			return -1
		}
	}
	return -1
}

// word splits a token off (RFC 3261 section 25.1).
func word(s string) (token, rest string) {
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("-.!%*_+`'~", c) >= 0 {
			continue
		}
		return s[:i], s[i:]
	}
	return s, ""
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func skipSpace(s string) string { return strings.TrimLeft(s, " \t\r\n") }

// unescape takes the backslashes of a quoted string out.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
