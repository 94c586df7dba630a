package ivr

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
)

var (
	// ErrNotAcceptable: the offer has nothing that this server speaks, such as
	// only wide-band codecs or only SRTP. In SIP it is 488 (RFC 3261 section 21.4.26).
	ErrNotAcceptable = errors.New("no common codec or transport")
	// ErrBadOffer: the session description cannot be read. In SIP it is 400.
	ErrBadOffer = errors.New("malformed session description")
)

// Bounds of what a desk phone would ever send.
const (
	maxSDP     = 16 << 10
	maxStreams = 16
)

// Payload types (RFC 3551 section 6); ownEvents is the one we name in an offer.
const (
	staticPCMU = 0
	staticPCMA = 8
	ownEvents  = 101
)

// media is what a pair of session descriptions settled.
type media struct {
	remote netip.AddrPort
	audio  uint8
	aLaw   bool
	// events is the telephone-event payload type of the peer's description. In
	// the dialogue of an offer of ours a phone may as well use ours.
	events, ours uint8
	direction    string // ours: what we do
	held         bool
	streams      []stream // of the peer's description, in order
	chosen       int      // index of ours in streams
}

// stream is one m= line, kept so that the streams we reject can be named again
// in the answer (RFC 3264 section 6).
type stream struct {
	media, proto string
	formats      []string
}

// isEvent tells whether a payload type carries key presses.
func (m media) isEvent(pt uint8) bool { return pt != 0 && (pt == m.events || pt == m.ours) }

// flows tells whether our audio has somewhere to go.
func (m media) flows() bool { return m.remote.IsValid() && !m.held }

// readSDP parses a description. The library refuses whole descriptions for lines
// that the standards want ignored: media types and transports that it does not
// know, which RFC 3264 section 6 wants rejected one by one, and bandwidth types
// (RFC 8866 section 5.8). So lines that nobody here reads are left out, and each
// m= line is read here and stands in the library's view as a plain one.
func readSDP(body []byte) (*sdp.SessionDescription, []stream, error) {
	if len(body) > maxSDP {
		return nil, nil, fmt.Errorf("%w: larger than %d bytes", ErrBadOffer, maxSDP)
	}
	var plain bytes.Buffer
	var streams []stream
	for line := range bytes.Lines(body) {
		line := string(bytes.TrimRight(line, "\r\n"))
		kind, value, found := strings.Cut(line, "=")
		if !found && strings.TrimSpace(line) != "" || len(kind) > 1 {
			return nil, nil, fmt.Errorf("%w: not a line of type=value", ErrBadOffer)
		}
		switch kind {
		case "v", "o", "s", "c", "t", "a":
			plain.WriteString(line + "\r\n")
		case "m":
			f := strings.Fields(value)
			if len(f) < 4 || len(streams) == maxStreams {
				return nil, nil, fmt.Errorf("%w: m= line", ErrBadOffer)
			}
			streams = append(streams, stream{media: f[0], proto: f[2], formats: f[3:]})
			plain.WriteString("m=audio " + f[1] + " RTP/AVP " + strings.Join(f[3:], " ") + "\r\n")
		}
	}
	if !bytes.HasPrefix(plain.Bytes(), []byte("v=0\r\n")) {
		return nil, nil, fmt.Errorf("%w: it does not begin with v=0", ErrBadOffer)
	}
	var d sdp.SessionDescription
	if err := d.Unmarshal(plain.Bytes()); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrBadOffer, err)
	}
	if len(d.MediaDescriptions) != len(streams) {
		return nil, nil, fmt.Errorf("%w: m= lines", ErrBadOffer)
	}
	return &d, streams, nil
}

// settle picks the stream and codec of a description from the phone: the first
// stream of plain RTP audio, and in it the phone's first choice that we speak.
func settle(body []byte) (media, error) {
	d, streams, err := readSDP(body)
	if err != nil {
		return media{}, err
	}
	for i, md := range d.MediaDescriptions {
		if !strings.EqualFold(streams[i].media, "audio") || !strings.EqualFold(streams[i].proto, "RTP/AVP") || md.MediaName.Port.Value == 0 {
			continue
		}
		m := media{streams: streams, chosen: i}
		if !m.pickCodec(md) {
			continue
		}
		addr, err := address(d, md)
		if err != nil {
			return media{}, err
		}
		m.remote = netip.AddrPortFrom(addr, uint16(md.MediaName.Port.Value))
		m.turn(direction(d, md))
		return m, nil
	}
	return media{}, ErrNotAcceptable
}

// pickCodec finds the first G.711 format and the telephone-event that fits it.
// Both run at 8000 Hz; an event at another clock belongs to another codec
// (RFC 4733 section 2.1).
func (m *media) pickCodec(md *sdp.MediaDescription) bool {
	maps := map[string]string{"0": "PCMU/8000", "8": "PCMA/8000"}
	for _, a := range md.Attributes {
		if pt, name, ok := strings.Cut(a.Value, " "); ok && a.Key == "rtpmap" {
			maps[pt] = strings.ToUpper(strings.TrimSuffix(strings.TrimSpace(name), "/1"))
		}
	}
	found := false
	for _, format := range md.MediaName.Formats {
		pt, err := strconv.ParseUint(format, 10, 7)
		if err != nil {
			continue
		}
		switch name := maps[format]; {
		case name == "TELEPHONE-EVENT/8000" && m.events == 0:
			m.events = uint8(pt)
		case !found && (name == "PCMU/8000" || name == "PCMA/8000"):
			found = true
			m.audio, m.aLaw = uint8(pt), name == "PCMA/8000"
		}
	}
	return found
}

// address is where the phone wants its audio (RFC 8866 section 5.7).
func address(d *sdp.SessionDescription, md *sdp.MediaDescription) (netip.Addr, error) {
	c := md.ConnectionInformation
	if c == nil {
		c = d.ConnectionInformation
	}
	if c == nil || c.Address == nil {
		return netip.Addr{}, fmt.Errorf("%w: no c= line", ErrBadOffer)
	}
	addr, err := netip.ParseAddr(c.Address.Address)
	if err != nil || addr.Zone() != "" || addr.IsMulticast() {
		return netip.Addr{}, fmt.Errorf("%w: c= line without a unicast IP address", ErrNotAcceptable)
	}
	return addr.Unmap(), nil
}

// direction is the phone's own: what it does (RFC 8866 section 6.7).
func direction(d *sdp.SessionDescription, md *sdp.MediaDescription) string {
	for _, list := range [][]sdp.Attribute{md.Attributes, d.Attributes} {
		for _, a := range list {
			switch a.Key {
			case "sendrecv", "sendonly", "recvonly", "inactive":
				return a.Key
			}
		}
	}
	return "sendrecv"
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
func (m media) answer(local netip.AddrPort) []*sdp.MediaDescription {
	name := "PCMU/8000"
	if m.aLaw {
		name = "PCMA/8000"
	}
	list := make([]*sdp.MediaDescription, len(m.streams))
	for i, s := range m.streams {
		list[i] = &sdp.MediaDescription{MediaName: sdp.MediaName{
			Media: s.media, Protos: strings.Split(s.proto, "/"), Formats: s.formats,
		}}
	}
	list[m.chosen] = audio(local.Port(), m.direction, []codec{{m.audio, name}}, m.events)
	return list
}

type codec struct {
	pt   uint8
	name string
}

// audio is one m= line of ours.
func audio(port uint16, direction string, codecs []codec, events uint8) *sdp.MediaDescription {
	md := &sdp.MediaDescription{MediaName: sdp.MediaName{
		Media: "audio", Port: sdp.RangedPort{Value: int(port)}, Protos: []string{"RTP", "AVP"},
	}}
	attribute := func(key, value string) {
		md.Attributes = append(md.Attributes, sdp.NewAttribute(key, value))
	}
	for _, c := range codecs {
		pt := strconv.Itoa(int(c.pt))
		md.MediaName.Formats = append(md.MediaName.Formats, pt)
		attribute("rtpmap", pt+" "+c.name)
	}
	if events != 0 {
		pt := strconv.Itoa(int(events))
		md.MediaName.Formats = append(md.MediaName.Formats, pt)
		attribute("rtpmap", pt+" telephone-event/8000")
		attribute("fmtp", pt+" 0-15")
	}
	attribute("ptime", "20")
	attribute(direction, "")
	return md
}

// offer describes what we can do. Streams of an earlier description keep their
// places, all but ours switched off (RFC 3264 section 8).
func (m media) offer(local netip.AddrPort) []*sdp.MediaDescription {
	ours := audio(local.Port(), "sendrecv", []codec{{staticPCMU, "PCMU/8000"}, {staticPCMA, "PCMA/8000"}}, ownEvents)
	if len(m.streams) == 0 {
		return []*sdp.MediaDescription{ours}
	}
	list := m.answer(local)
	list[m.chosen] = ours
	return list
}

// description writes a whole session description around media lines.
func description(local netip.Addr, id, version uint64, streams []*sdp.MediaDescription) ([]byte, error) {
	family := "IP4"
	if local.Is6() {
		family = "IP6"
	}
	d := sdp.SessionDescription{
		Origin: sdp.Origin{
			Username: "-", SessionID: id, SessionVersion: version,
			NetworkType: "IN", AddressType: family, UnicastAddress: local.String(),
		},
		SessionName: "hotdeskd",
		ConnectionInformation: &sdp.ConnectionInformation{
			NetworkType: "IN", AddressType: family, Address: &sdp.Address{Address: local.String()},
		},
		TimeDescriptions:  []sdp.TimeDescription{{}},
		MediaDescriptions: slices.Clone(streams),
	}
	return d.Marshal()
}
