package dial

import (
	"net/url"
	"strings"
)

// sosService is the emergency service URN (RFC 5031 section 4.2); its children
// (urn:service:sos.fire) are emergency calls too.
const sosService = "urn:service:sos"

// Normalise brings a dialled string to the plain number that the rules compare.
// It takes sip:, sips: and tel: URIs as well as bare numbers, undoes percent
// escapes exactly once, drops URI parameters, visual separators (RFC 3966
// section 5.1.1) and trailing '#', which many phones send as "done".
// For urn:service:sos and its children sos is true and number is empty.
// A string that hides control characters or broken escapes gives "".
func Normalise(dialed string) (number string, sos bool) {
	s := strings.TrimSpace(dialed)
	if service := strings.ToLower(s); service == sosService || strings.HasPrefix(service, sosService+".") {
		return "", true
	}
	scheme, rest, found := strings.Cut(s, ":")
	if found {
		switch strings.ToLower(scheme) {
		case "sip", "sips":
			at := strings.LastIndexByte(rest, '@')
			if at < 0 {
				return "", false // a bare host: nobody was dialled
			}
			s, _, _ = strings.Cut(rest[:at], ":") // a password is not part of the number
		case "tel":
			s = rest
		default:
			return "", false
		}
	}
	s, _, _ = strings.Cut(s, ";")
	s, err := url.PathUnescape(s)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < ' ' || r == 0x7f:
			return "", false
		case strings.ContainsRune("-.() ", r):
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimRight(b.String(), "#"), false
}

// Dialable tells whether a normalised number is made of what keypads have:
// digits, '*', '#' and one leading '+'.
func Dialable(number string) bool {
	return number != "" && strings.Trim(strings.TrimPrefix(number, "+"), "0123456789*#") == ""
}

// Emergency returns the listed emergency number that was dialled, also after
// the outside prefix or a '+'. It matches in full, never as a prefix: 112 is an
// emergency call, 1120039 is not.
func Emergency(number, outsidePrefix string, listed []string) (string, bool) {
	bare := strings.TrimPrefix(number, "+")
	for _, n := range listed {
		if bare == n || outsidePrefix != "" && bare == outsidePrefix+n {
			return n, true
		}
	}
	return "", false
}
