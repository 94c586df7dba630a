package simphone

// Static payload types (RFC 3551 section 6).
const (
	pcmu uint8 = 0
	pcma uint8 = 8
)

// Frames are 20 ms at 8000 Hz.
const frameSize = 160

// frame is one packet's worth of what the phone sends: silence, or a tone of
// 400 Hz that whoever listens can tell from it.
func frame(pt uint8, tone bool) []byte {
	quiet, high, low := byte(0xff), byte(0x90), byte(0x10) // mu-law: 0 and about ±15,000
	if pt == pcma {
		quiet, high, low = 0xd5, 0xa5, 0x25
	}
	b := make([]byte, frameSize)
	for i := range b {
		switch {
		case !tone:
			b[i] = quiet
		case i%20 < 10:
			b[i] = high
		default:
			b[i] = low
		}
	}
	return b
}

// voiced tells speech and tones from silence: by the mean amplitude of a packet,
// of 32,767 at most. Digital silence is 0 or 8.
func voiced(pt uint8, payload []byte) bool {
	const threshold = 150
	if len(payload) == 0 {
		return false
	}
	sum := 0
	for _, b := range payload {
		if pt == pcma {
			sum += alaw(b)
		} else {
			sum += ulaw(b)
		}
	}
	return sum/len(payload) > threshold
}

// ulaw is the amplitude of a mu-law sample (ITU-T G.711).
func ulaw(b byte) int {
	b = ^b
	exponent, mantissa := int(b>>4&7), int(b&0x0f)
	return (mantissa<<3+0x84)<<exponent - 0x84
}

// alaw is the amplitude of an A-law sample (ITU-T G.711).
func alaw(b byte) int {
	b ^= 0x55
	exponent, mantissa := int(b>>4&7), int(b&0x0f)
	if exponent == 0 {
		return mantissa<<4 + 8
	}
	return (mantissa<<4 + 0x108) << (exponent - 1)
}

// fold mixes bytes into a running FNV-1a hash.
func fold(hash uint64, payload []byte) uint64 {
	for _, b := range payload {
		hash = (hash ^ uint64(b)) * 0x100000001b3
	}
	return hash
}
