package ingress

import (
	"bytes"
	"net/netip"
	"strings"
)

// Normalise writes a message so that the library reads what its grammar allows: leading
// line breaks go (RFC 3261 section 7.5), folded lines become one (section 7.3.1), white
// space around the separators of a Via goes (section 25.1), and a comma in a quoted
// parameter of a Contact is escaped, which the library would take for the next Contact.
//
// A request on UDP whose Via names another host than it comes from, without asking for
// answers at its source (RFC 3581), is behind a NAT all the same: rport is added, for at
// the port that it names nobody would hear the answer. It returns data itself when there
// is nothing to be done.
func Normalise(network string, from netip.AddrPort, data []byte) []byte {
	out := data
	if network == "UDP" {
		out = bytes.TrimLeft(out, "\r\n")
	}
	end := bytes.Index(out, []byte("\r\n\r\n"))
	if end < 0 {
		return out
	}
	head, rest := out[:end], out[end:]
	if bytes.Contains(head, []byte("\r\n ")) || bytes.Contains(head, []byte("\r\n\t")) {
		head = unfold(head)
	}
	lines := bytes.Split(head, []byte("\r\n"))
	changed, vias := false, 0
	for i, line := range lines {
		if i == 0 {
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		switch key := strings.ToLower(string(bytes.TrimRight(name, " \t"))); key {
		case "via", "v":
			clean := via(string(value))
			if vias++; vias == 1 && network == "UDP" && !bytes.HasPrefix(lines[0], []byte("SIP/")) {
				clean = rport(clean, from.Addr())
			}
			if clean != string(value) {
				lines[i], changed = []byte(string(name)+":"+clean), true
			}
		case "contact", "m":
			if clean := escapeCommas(string(value)); clean != string(value) {
				lines[i], changed = []byte(string(name)+":"+clean), true
			}
		}
	}
	if !changed && len(head)+len(rest) == len(out) {
		return out
	}
	return append(bytes.Join(lines, []byte("\r\n")), rest...)
}

// unfold joins lines that begin with white space to the one before.
func unfold(head []byte) []byte {
	out := make([]byte, 0, len(head))
	for i := 0; i < len(head); i++ {
		if head[i] == '\r' && i+2 < len(head) && head[i+1] == '\n' && (head[i+2] == ' ' || head[i+2] == '\t') {
			for i+2 < len(head) && (head[i+2] == ' ' || head[i+2] == '\t') {
				i++
			}
			i++ // the line feed
			out = append(out, ' ')
			continue
		}
		out = append(out, head[i])
	}
	return out
}

// via takes the white space around '/', ';', '=' and ':' out of the values of a Via,
// outside of quotes.
func via(value string) string {
	if !strings.ContainsAny(strings.TrimSpace(value), " \t") {
		return value
	}
	var b strings.Builder
	quoted, pending := false, false
	last := byte(';') // what white space after it is dropped
	for i := 0; i < len(value); i++ {
		c := value[i]
		if !quoted && (c == ' ' || c == '\t') {
			pending = true
			continue
		}
		separator := !quoted && strings.IndexByte("/;=:,", c) >= 0
		if pending && !separator && strings.IndexByte("/;=:,", last) < 0 {
			b.WriteByte(' ')
		}
		pending = false
		if c == '"' {
			quoted = !quoted
		}
		b.WriteByte(c)
		last = c
		if quoted {
			last = 'x'
		}
	}
	return " " + b.String()
}

// rport asks for the answer at the source when the sender is not where the Via says.
func rport(value string, source netip.Addr) string {
	first, more, several := strings.Cut(value, ",")
	for p := range strings.SplitSeq(first, ";") {
		name, _, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "rport") {
			return value
		}
	}
	sent, _, _ := strings.Cut(first, ";")
	fields := strings.Fields(sent)
	if len(fields) < 2 {
		return value
	}
	host := fields[len(fields)-1]
	if addr, err := netip.ParseAddrPort(host); err == nil {
		host = addr.Addr().String()
	} else if h, _, ok := strings.Cut(host, ":"); ok && strings.Count(host, ":") == 1 {
		host = h
	}
	at, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err == nil && at.Unmap() == source.Unmap() {
		return value
	}
	first = strings.TrimRight(first, " \t") + ";rport"
	if several {
		return first + "," + more
	}
	return first
}

// escapeCommas escapes the commas in quoted parameters after an address.
func escapeCommas(value string) string {
	end := strings.IndexByte(value, '>')
	if end < 0 || strings.IndexByte(value[end:], '"') < 0 {
		return value
	}
	var b strings.Builder
	quoted, angle, after := false, false, false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case quoted && c == '\\' && i+1 < len(value):
			b.WriteByte(c)
			i++
			c = value[i]
		case c == '"':
			quoted = !quoted
		case !quoted && c == '<':
			angle = true
		case !quoted && c == '>':
			angle, after = false, true
		case !quoted && !angle && c == ',':
			after = false
		case quoted && after && c == ',':
			b.WriteString("%2C")
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
