package simphone

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Directions of a stream (RFC 8866 section 6.7).
const (
	sendrecv = "sendrecv"
	sendonly = "sendonly"
	recvonly = "recvonly"
	inactive = "inactive"
)

// description is what the phone reads of the other side's SDP.
type description struct {
	addr      netip.AddrPort
	codec     uint8 // static payload type (RFC 3551 section 6)
	events    uint8 // telephone-event at 8000 Hz; 0 for none
	direction string
	lines     []string // all m= values, to be answered one by one
	chosen    int      // which of them is ours
}

// holds tells whether the other side does not listen.
func (d description) holds() bool {
	return d.direction == sendonly || d.direction == inactive || d.addr.Addr().IsUnspecified()
}

// readSDP finds the first stream of audio over plain RTP, and in it the first
// codec that the phone has.
func readSDP(body []byte, codecs []uint8) (description, error) {
	var d description
	var host string // of the session, then of each stream
	direction, chosen, events := sendrecv, false, ""
	for line := range bytes.Lines(body) {
		kind, value, ok := strings.Cut(strings.TrimSpace(string(line)), "=")
		if !ok {
			continue
		}
		mine := len(d.lines) == 0 || chosen && d.chosen == len(d.lines)-1
		switch {
		case kind == "m":
			d.lines = append(d.lines, value)
			if f := strings.Fields(value); !chosen && len(f) > 3 && f[0] == "audio" && f[1] != "0" && f[2] == "RTP/AVP" {
				chosen, d.chosen = true, len(d.lines)-1
			}
		case kind == "c" && mine:
			if f := strings.Fields(value); len(f) == 3 {
				host = f[2]
			}
		case kind == "a" && mine:
			name, text, _ := strings.Cut(value, ":")
			if pt, codec, _ := strings.Cut(text, " "); name == "rtpmap" && strings.EqualFold(codec, "telephone-event/8000") {
				events = pt
			}
			if name == sendrecv || name == sendonly || name == recvonly || name == inactive {
				direction = name
			}
		}
	}
	if !chosen {
		return d, fmt.Errorf("%w: the other side offers no plain audio", ErrMedia)
	}
	d.direction = direction
	f := strings.Fields(d.lines[d.chosen])
	port, err := strconv.ParseUint(f[1], 10, 16)
	addr, addrErr := netip.ParseAddr(host)
	if err != nil || addrErr != nil {
		return d, fmt.Errorf("%w: the other side's SDP has no address that can be read", ErrMedia)
	}
	d.addr = netip.AddrPortFrom(addr, uint16(port))
	found := false
	for _, format := range f[3:] {
		pt, err := strconv.ParseUint(format, 10, 7)
		switch {
		case err != nil:
		case !found && slices.Contains(codecs, uint8(pt)):
			found, d.codec = true, uint8(pt)
		case format == events:
			d.events = uint8(pt)
		}
	}
	if !found {
		return d, fmt.Errorf("%w: the other side has no codec of this phone", ErrMedia)
	}
	return d, nil
}

// writeSDP describes the phone's own audio. The other lines of what is answered
// are refused with port 0 (RFC 3264 section 6).
func writeSDP(local netip.AddrPort, id, version uint64, codecs []uint8, events uint8, direction string, answered description) []byte {
	family := "IP4"
	if local.Addr().Is6() {
		family = "IP6"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\n", id, version, family, local.Addr(), family, local.Addr())
	for i := range max(len(answered.lines), 1) {
		if len(answered.lines) > 0 && i != answered.chosen {
			f := strings.Fields(answered.lines[i])
			if len(f) > 1 {
				f[1] = "0"
			}
			fmt.Fprintf(&b, "m=%s\r\n", strings.Join(f, " "))
			continue
		}
		formats := ""
		for _, pt := range codecs {
			formats += " " + strconv.Itoa(int(pt))
		}
		if events != 0 {
			formats += " " + strconv.Itoa(int(events))
		}
		fmt.Fprintf(&b, "m=audio %d RTP/AVP%s\r\n", local.Port(), formats)
		for _, pt := range codecs {
			name := "PCMU"
			if pt == pcma {
				name = "PCMA"
			}
			fmt.Fprintf(&b, "a=rtpmap:%d %s/8000\r\n", pt, name)
		}
		if events != 0 {
			fmt.Fprintf(&b, "a=rtpmap:%d telephone-event/8000\r\na=fmtp:%d 0-15\r\n", events, events)
		}
		fmt.Fprintf(&b, "a=ptime:20\r\na=%s\r\n", direction)
	}
	return []byte(b.String())
}

// answerDirection is ours to a direction of theirs (RFC 3264 section 6.1) while
// we hold the call or not.
func answerDirection(theirs string, holding bool) string {
	send := theirs == sendrecv || theirs == recvonly
	receive := !holding && (theirs == sendrecv || theirs == sendonly)
	switch {
	case send && receive:
		return sendrecv
	case send:
		return sendonly
	case receive:
		return recvonly
	}
	return inactive
}
