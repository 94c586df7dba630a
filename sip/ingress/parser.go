package ingress

import (
	"maps"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Parser reads SIP messages for the edge. The library's own drops a request
// with one unreadable header without a word; here the header stays as bare text,
// which Validate answers with 400. Via is left as it is: without a readable one
// there is nowhere to answer to.
func Parser() *sip.Parser {
	parsers := maps.Clone(sip.DefaultHeadersParser())
	for name, parse := range parsers {
		parse = trimmed(parse)
		if name != "via" && name != "v" {
			parse = lenient(parse)
		}
		parsers[name] = parse
	}
	for _, name := range []string{"contact", "m"} {
		parsers[name] = contact(parsers[name])
	}
	return sip.NewParser(sip.WithHeadersParsers(parsers))
}

// lenient keeps a header that cannot be read as text.
func lenient(parse sip.HeaderParser) sip.HeaderParser {
	return func(name []byte, text string) (sip.Header, error) {
		h, err := parse(name, text)
		if err == nil || err.Error() == "comma detected" { // how the library says that another value follows
			return h, err
		}
		return sip.NewHeader(fullName(string(name)), text), nil
	}
}

// trimmed takes the white space around '=' and ';' out of parameters, which the
// library leaves in and then does not find a tag or branch.
func trimmed(parse sip.HeaderParser) sip.HeaderParser {
	return func(name []byte, text string) (sip.Header, error) {
		h, err := parse(name, text)
		var params sip.HeaderParams
		switch h := h.(type) {
		case *sip.FromHeader:
			params = h.Params
		case *sip.ToHeader:
			params = h.Params
		case *sip.ContactHeader:
			params = h.Params
		case *sip.ViaHeader:
			params = h.Params
			// The library writes an IPv4 address inside an IPv6 one without its brackets.
			if at, err := netip.ParseAddr(h.Host); err == nil && at.Is4In6() {
				h.Host = "[" + h.Host + "]"
			}
		}
		for i, p := range params {
			params[i] = sip.HeaderKV{K: strings.TrimSpace(p.K), V: strings.TrimSpace(p.V)}
		}
		return h, err
	}
}

// contact keeps an address with '?' outside angle brackets as text: nobody can
// tell what the '?' belongs to (RFC 3261 section 20.10).
func contact(parse sip.HeaderParser) sip.HeaderParser {
	return func(name []byte, text string) (sip.Header, error) {
		if mark := strings.IndexByte(text, '?'); mark >= 0 && !strings.Contains(text[:mark], "<") {
			return sip.NewHeader("Contact", text), nil
		}
		return parse(name, text)
	}
}

// fullName writes out the compact name of a header that Validate looks at.
func fullName(name string) string {
	switch strings.ToLower(name) {
	case "t":
		return "To"
	case "f":
		return "From"
	case "i":
		return "Call-ID"
	case "l":
		return "Content-Length"
	case "m":
		return "Contact"
	case "c":
		return "Content-Type"
	}
	return name
}
