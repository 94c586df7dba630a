package ivr

import "encoding/binary"

// packet is an RTP packet as far as we look at it.
type packet struct {
	pt      uint8
	marker  bool
	padded  bool
	seq     uint16
	ts      uint32
	ssrc    uint32
	payload []byte // with its padding
}

// readRTP reads a packet (RFC 3550 section 5.1); false: it is none. A padding that
// does not add up is no reason to lose a key press, which stands at the beginning
// of its payload: phones set the bit with a last byte of 0.
func readRTP(b []byte) (p packet, ok bool) {
	if len(b) < 12 || b[0]>>6 != 2 {
		return p, false
	}
	at := 12 + 4*int(b[0]&0x0F)
	if b[0]&0x10 != 0 {
		if len(b) < at+4 {
			return p, false
		}
		at += 4 + 4*int(binary.BigEndian.Uint16(b[at+2:]))
	}
	if len(b) < at {
		return p, false
	}
	return packet{
		pt: b[1] & 0x7F, marker: b[1]&0x80 != 0, padded: b[0]&0x20 != 0,
		seq: binary.BigEndian.Uint16(b[2:]), ts: binary.BigEndian.Uint32(b[4:]), ssrc: binary.BigEndian.Uint32(b[8:]),
		payload: b[at:],
	}, true
}

// audio is the payload without its padding, if that can be.
func (p packet) audio() []byte {
	if n := len(p.payload); p.padded && n > 0 {
		if pad := int(p.payload[n-1]); pad > 0 && pad <= n {
			return p.payload[:n-pad]
		}
	}
	return p.payload
}
