package sounds

import "math"

// linear is the 16-bit sample that a mu-law byte stands for (ITU-T G.711, table 2).
func linear(mu byte) int {
	mu = ^mu
	v := (int(mu&0x0F)<<3+0x84)<<(mu>>4&7) - 0x84
	if mu&0x80 != 0 {
		return -v
	}
	return v
}

// muLaw encodes a 16-bit sample (ITU-T G.711, table 2).
func muLaw(v int) byte {
	sign := byte(0)
	if v < 0 {
		v, sign = -v, 0x80
	}
	v = min(v, 32635) + 0x84
	exp := 7
	for mask := 0x4000; exp > 0 && v&mask == 0; mask >>= 1 {
		exp--
	}
	return ^(sign | byte(exp)<<4 | byte(v>>(exp+3)&0x0F))
}

// aLaw encodes a 16-bit sample (ITU-T G.711, table 1).
func aLaw(v int) byte {
	sign := byte(0x80)
	if v < 0 {
		v, sign = -v-1, 0
	}
	v = min(v>>3, 0xFFF) // 13 bits with the sign
	exp := 7
	for mask := 0x800; exp > 0 && v&mask == 0; mask >>= 1 {
		exp--
	}
	shift := max(exp, 1)
	return (sign | byte(exp)<<4 | byte(v>>shift&0x0F)) ^ 0x55
}

// muToA maps every mu-law byte to the A-law byte nearest in level.
func muToA() (table [256]byte) {
	for i := range table {
		table[i] = aLaw(linear(byte(i)))
	}
	return table
}

// tone is two short falling beeps: what is played for a prompt that is missing.
func tone() []byte {
	const beep, gap = 200 * samplesPerMS, 80 * samplesPerMS
	b := make([]byte, 0, 2*beep+2*gap)
	for _, hz := range []float64{440, 330} {
		for i := range beep {
			fade := math.Min(1, math.Min(float64(i), float64(beep-i))/40)
			b = append(b, muLaw(int(4000*fade*math.Sin(2*math.Pi*hz*float64(i)/Rate))))
		}
		for range gap {
			b = append(b, muLaw(0))
		}
	}
	return b
}
