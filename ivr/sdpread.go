package ivr

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of what a desk phone would ever send.
const (
	maxSDP     = 16 << 10
	maxStreams = 16
	maxAttrs   = 256 // of one stream, or of the session
)

// sessionSDP is what we need of a session description, of the session and of each
// stream: everything else in it is somebody else's.
type sessionSDP struct {
	hosts     []netip.Addr // c=, the usable ones
	anyHost   bool         // there was a c= line, usable or not
	multicast bool
	direction string // "" when it says none
	streams   []stream
}

// stream is one m= line with what follows it.
type stream struct {
	media, proto string
	port         int // -1: not a port
	formats      []string
	hosts        []netip.Addr
	anyHost      bool
	multicast    bool
	direction    string
	rtpmap       map[string]string // by format, the encoding in capitals, such as PCMU/8000
	fmtp         map[string]string
	crypto       []string // the values of a=crypto
}

// readSDP reads the lines that we need and steps over all others. Phones write
// descriptions that the grammar (RFC 8866 section 9) does not allow: lines in
// another order or left out, another case, a stray NUL at the end. None of it says
// anything about where audio flows, so none of it costs the call. What is refused
// is what cannot be answered: no m= line that is whole, or too much of everything.
func readSDP(body []byte) (sessionSDP, error) {
	var d sessionSDP
	if len(body) > maxSDP {
		return d, badOffer("session description is too long")
	}
	version := false
	attrs := 0
	for text := range bytes.FieldsFuncSeq(body, func(r rune) bool { return r == '\r' || r == '\n' || r == 0 }) {
		kind, value, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(string(text), "\ufeff")), "=")
		kind, value = strings.ToLower(strings.TrimSpace(kind)), strings.TrimSpace(value)
		if !ok {
			continue
		}
		var last *stream
		if n := len(d.streams); n > 0 {
			last = &d.streams[n-1]
		}
		switch kind {
		case "v":
			version = true
		case "m":
			s, err := readStream(value)
			if err != nil {
				return d, err
			}
			if len(d.streams) == maxStreams {
				return d, badOffer("session description has too many streams")
			}
			d.streams, attrs = append(d.streams, s), 0
		case "c":
			if last != nil {
				last.anyHost = true
				readHost(value, &last.hosts, &last.multicast)
			} else {
				d.anyHost = true
				readHost(value, &d.hosts, &d.multicast)
			}
		case "a":
			if attrs++; attrs > maxAttrs {
				return d, badOffer("session description has too many attributes")
			}
			if name := strings.ToLower(value); isDirection(name) {
				if last != nil {
					last.direction = name
				} else {
					d.direction = name
				}
			} else if last != nil {
				last.attribute(value)
			}
		}
	}
	if !version && len(d.streams) == 0 {
		return d, badOffer("body is not a session description")
	}
	return d, nil
}

// readStream reads the value of an m= line. A rejected stream is named again in
// our answer, so its words must be such as may stand there.
func readStream(value string) (stream, error) {
	f := strings.Fields(value)
	if len(f) < 4 {
		return stream{}, badOffer("an m= line is not whole")
	}
	for i := range len(value) {
		if c := value[i]; c != ' ' && c != '\t' && (c <= ' ' || c > '~') {
			return stream{}, badOffer("an m= line has characters that may not stand there")
		}
	}
	s := stream{media: f[0], proto: f[2], formats: f[3:], port: -1, rtpmap: map[string]string{}, fmtp: map[string]string{}}
	first, _, _ := strings.Cut(f[1], "/")
	if port, err := strconv.ParseUint(first, 10, 16); err == nil {
		s.port = int(port)
	}
	return s, nil
}

// readHost reads the value of a c= line: the address is the word that is one.
func readHost(value string, hosts *[]netip.Addr, multicast *bool) {
	for word := range strings.FieldsSeq(value) {
		word, _, _ = strings.Cut(word, "/") // TTL, or a number of groups
		addr, err := netip.ParseAddr(word)
		switch {
		case err != nil || addr.Zone() != "":
		case addr.IsMulticast():
			*multicast = true
		case len(*hosts) < maxStreams:
			*hosts = append(*hosts, addr.Unmap())
		}
	}
}

// attribute reads an a= line of a stream.
func (s *stream) attribute(value string) {
	name, value, _ := strings.Cut(value, ":")
	value = strings.TrimSpace(value)
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "rtpmap":
		if f := strings.Fields(value); len(f) >= 2 {
			s.rtpmap[f[0]] = strings.ToUpper(strings.TrimSuffix(f[1], "/1"))
		}
	case "fmtp":
		if pt, text, ok := strings.Cut(value, " "); ok {
			s.fmtp[pt] = strings.TrimSpace(text)
		}
	case "crypto":
		s.crypto = append(s.crypto, value)
	}
}

func isDirection(s string) bool {
	return s == "sendrecv" || s == "sendonly" || s == "recvonly" || s == "inactive"
}

// encoding is what a format means: what the description maps it to, or what it
// means by itself (RFC 3551 section 6). Phones leave the map out even for
// telephone-event: a dynamic number that is only said to have events (RFC 4733
// section 2.4.1), or 101, which never means anything else, is taken as that.
func (s *stream) encoding(format string) string {
	name, mapped := s.rtpmap[format]
	switch {
	case name == "TELEPHONE-EVENT":
		return telephoneEvent // the clock left out
	case name == "G722/16000":
		return "G722/8000" // a common mistake: RFC 3551 section 4.5.2
	case mapped:
		return name
	case format == "0":
		return "PCMU/8000"
	case format == "8":
		return "PCMA/8000"
	case format == "9":
		return "G722/8000" // its samples are 16000 a second, its clock is not (RFC 3551 section 4.5.2)
	}
	pt, err := strconv.ParseUint(format, 10, 7)
	events, said := s.fmtp[format]
	if err == nil && pt >= 96 && (said && isEventList(events) || !said && pt == ownEvents) {
		return telephoneEvent
	}
	return ""
}

// isEventList tells whether a parameter is a list of events such as 0-11,16.
func isEventList(s string) bool {
	for part := range strings.SplitSeq(s, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		_, err := strconv.ParseUint(from, 10, 8)
		if err == nil && ranged {
			_, err = strconv.ParseUint(to, 10, 8)
		}
		if err != nil {
			return false
		}
	}
	return true
}

// host is where a stream's audio should go: an address of the family that we can
// send to, or the null address of an old hold. false: there is none.
func (d *sessionSDP) host(s *stream, ours netip.Addr) (netip.Addr, error) {
	hosts, anyHost, multicast := s.hosts, s.anyHost, s.multicast
	if !anyHost {
		hosts, anyHost, multicast = d.hosts, d.anyHost, d.multicast
	}
	for _, h := range hosts {
		if h.IsUnspecified() || !ours.IsValid() || h.Is4() == ours.Is4() {
			return h, nil
		}
	}
	switch {
	case !anyHost:
		return netip.Addr{}, badOffer("session description has no c= line")
	case multicast:
		return netip.Addr{}, notAcceptable(warnMulticast, "multicast not available")
	case len(hosts) == 0:
		return netip.Addr{}, notAcceptable(warnAddress, "the c= line has no IP address")
	case ours.Is4():
		return netip.Addr{}, notAcceptable(warnAddress, "only IPv4 is available here")
	}
	return netip.Addr{}, notAcceptable(warnAddress, "only IPv6 is available here")
}
