package ivr

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Payload types (RFC 3551 section 6); ownEvents is the one we name in an offer.
const (
	staticPCMU = 0
	staticPCMA = 8
	staticG722 = 9
	ownEvents  = 101
)

const telephoneEvent = "TELEPHONE-EVENT/8000"

// codec is a way to write audio. All have one byte a sample, 8000 a second.
type codec byte

const (
	pcmu codec = iota
	pcma
	g722 // only for phones that have nothing else: prompts are stored in G.711
)

// codecs are those that we speak, by their names in an a=rtpmap line.
var codecs = map[string]codec{"PCMU/8000": pcmu, "PCMA/8000": pcma, "G722/8000": g722}

func (c codec) String() string {
	for name, of := range codecs {
		if of == c {
			return name
		}
	}
	return ""
}

// terms are what a description must fit, beside our codecs.
type terms struct {
	local  netip.Addr // of our sockets; not valid: either family
	secure bool       // keys of SRTP may stand in descriptions
	before *media     // what was settled before; nil: nothing
}

// media is what a pair of session descriptions settled.
type media struct {
	remote netip.AddrPort
	audio  uint8
	codec  codec
	// events is the telephone-event payload type of the peer's description. In
	// the dialogue of an offer of ours a phone may as well use ours.
	events, ours uint8
	direction    string // ours: what we do
	held         bool
	off          bool     // the phone has switched the stream off: a hold
	streams      []stream // of the peer's description, in order
	chosen       int      // index of ours in streams
	theirs       sdes     // what the phone encrypts with; none: plain RTP
	own          sdes     // what we encrypt with
}

// isEvent tells whether a payload type carries key presses.
func (m media) isEvent(pt uint8) bool { return pt != 0 && (pt == m.events || pt == m.ours) }

// means is what the phone says a payload type stands for, other than key presses;
// "" when it does not say.
func (m media) means(pt uint8) string {
	if m.chosen >= len(m.streams) {
		return ""
	}
	name := m.streams[m.chosen].rtpmap[strconv.Itoa(int(pt))]
	if strings.HasPrefix(name, "TELEPHONE-EVENT") {
		return ""
	}
	return name
}

// flows tells whether our audio has somewhere to go.
func (m media) flows() bool { return m.remote.IsValid() && !m.held }

// settle picks the stream and codec of a description from the phone: the first
// stream of audio that can flow, an encrypted one if there is any, and in it the
// phone's first choice that we speak. When there is none the error says what kept the
// one that came nearest.
func settle(body []byte, t terms) (media, error) {
	d, err := readSDP(body)
	if err != nil {
		return media{}, err
	}
	var plain *media
	why, nearest := notAcceptable(warnMedia, "no stream of audio is offered"), 0
	for i := range d.streams {
		m, near, err := d.take(i, t)
		switch {
		case err != nil && near > nearest:
			nearest, why = near, err
		case err == nil && m.theirs != (sdes{}):
			return m, nil
		case err == nil && plain == nil:
			plain = &m
		}
	}
	if plain != nil {
		return *plain, nil
	}
	if b := t.before; nearest == 0 && b != nil && b.chosen < len(d.streams) && strings.EqualFold(d.streams[b.chosen].media, "audio") {
		// Our stream is switched off in the middle of the call (RFC 3264 section 8.2).
		// Some phones hold calls in this way; it comes back with its port.
		m := *b
		m.streams, m.direction, m.held, m.off = d.streams, "inactive", true, true
		return m, nil
	}
	return media{}, why
}

// take settles on one stream, or says how near it came and what is wrong with it. A
// key in a stream of plain RTP means nothing (RFC 4568 section 4).
func (d *sessionSDP) take(i int, t terms) (m media, near int, err error) {
	s := &d.streams[i]
	m = media{streams: d.streams, chosen: i}
	secure := isSecure(s.proto)
	for _, line := range s.crypto {
		if c, ok := readCrypto(line); ok && secure && t.secure {
			m.theirs = c
			break
		}
	}
	switch {
	case !strings.EqualFold(s.media, "audio") || s.port == 0:
		return m, 0, errors.ErrUnsupported
	case secure && !t.secure:
		return m, 2, notAcceptable(warnTransport, "SRTP is available here over encrypted signalling only")
	case !secure && !strings.EqualFold(s.proto, "RTP/AVP") && !strings.EqualFold(s.proto, "RTP/AVPF"):
		return m, 1, notAcceptable(warnTransport, "only RTP/AVP, and RTP/SAVP with SDES keys, are available here")
	case secure && m.theirs == (sdes{}):
		return m, 3, notAcceptable(warnAttribute, "no a=crypto line with a suite that is available here")
	case !m.pickCodec(s):
		return m, 4, notAcceptable(warnFormat, "only PCMU, PCMA and G722 are available here")
	case s.port < 0:
		return m, 5, badOffer("an m= line has no port")
	}
	host, err := d.host(s, t.local)
	if err != nil {
		return m, 6, err
	}
	m.remote = netip.AddrPortFrom(host, uint16(s.port))
	m.turn(cmp.Or(s.direction, d.direction, "sendrecv"))
	return m, 7, nil
}

// pickCodec finds the first format that we speak, G.722 last, and the telephone-event
// that fits it. Both have a clock of 8000 Hz; an event at another clock belongs to another
// codec (RFC 4733 section 2.1).
func (m *media) pickCodec(s *stream) bool {
	found := false
	for _, format := range s.formats {
		pt, err := strconv.ParseUint(format, 10, 7)
		if err != nil {
			continue
		}
		name := s.encoding(format)
		c, ours := codecs[name]
		switch {
		case name == telephoneEvent && m.events == 0:
			m.events = uint8(pt)
		case ours && (!found || m.codec == g722 && c != g722):
			found, m.audio, m.codec = true, uint8(pt), c
		}
	}
	return found
}

// turn derives our direction from the phone's (RFC 3264 section 6.1) and whether
// it holds the call: by direction, or in the old way by a null address (section 8.4).
func (m *media) turn(theirs string) {
	null := m.remote.Addr().IsUnspecified()
	switch {
	case theirs == "inactive" || theirs == "recvonly" && null:
		m.direction = "inactive"
	case theirs == "sendonly" || null:
		m.direction = "recvonly"
	case theirs == "recvonly":
		m.direction = "sendonly"
	default:
		m.direction = "sendrecv"
	}
	m.held = m.direction == "inactive" || m.direction == "recvonly"
}

// answer describes our side of what was settled: the chosen stream with the
// phone's own payload type numbers, since many phones ignore others, and the
// rest rejected by port 0.
func (m media) answer(local netip.AddrPort) []string {
	list := make([]string, len(m.streams))
	for i, s := range m.streams {
		list[i] = fmt.Sprintf("m=%s 0 %s %s\r\n", s.media, s.proto, strings.Join(s.formats, " "))
	}
	if m.off {
		return list
	}
	list[m.chosen] = audio(local.Port(), m.streams[m.chosen].proto, m.direction, []format{{m.audio, m.codec.String()}}, m.events, m.own)
	return list
}

// format is a payload type and what it means.
type format struct {
	pt   uint8
	name string
}

// audio is one stream of ours: its m= line and attributes.
func audio(port uint16, proto, direction string, formats []format, events uint8, key sdes) string {
	if events != 0 {
		formats = append(slices.Clip(formats), format{events, "telephone-event/8000"})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "m=audio %d %s", port, proto)
	for _, f := range formats {
		fmt.Fprintf(&b, " %d", f.pt)
	}
	b.WriteString("\r\n")
	for _, f := range formats {
		fmt.Fprintf(&b, "a=rtpmap:%d %s\r\n", f.pt, f.name)
	}
	if events != 0 {
		fmt.Fprintf(&b, "a=fmtp:%d 0-15\r\n", events)
	}
	if key != (sdes{}) {
		b.WriteString(key.line())
	}
	fmt.Fprintf(&b, "a=ptime:20\r\na=%s\r\n", direction)
	return b.String()
}

// offer describes what we can do. Streams of an earlier description keep their
// places, all but ours switched off (RFC 3264 section 8), and an encrypted one stays
// encrypted. A first offer is of plain RTP, which every phone has.
func (m media) offer(local netip.AddrPort) []string {
	proto := "RTP/AVP"
	if len(m.streams) > 0 {
		proto = m.streams[m.chosen].proto
	}
	ours := audio(local.Port(), proto, "sendrecv", []format{{staticPCMU, pcmu.String()}, {staticPCMA, pcma.String()}, {staticG722, g722.String()}}, ownEvents, m.own)
	if len(m.streams) == 0 {
		return []string{ours}
	}
	list := m.answer(local)
	list[m.chosen] = ours
	return list
}

// description writes a whole session description around streams.
func description(local netip.Addr, id, version uint64, streams []string) string {
	family := "IP4"
	if local.Is6() {
		family = "IP6"
	}
	return fmt.Sprintf("v=0\r\no=- %d %d IN %s %s\r\ns=hotdeskd\r\nc=IN %s %s\r\nt=0 0\r\n%s",
		id, version, family, local, family, local, strings.Join(streams, ""))
}
