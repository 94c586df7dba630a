package ivr

// muSample and aSample are the samples, from -1 to 1, that the bytes of the two laws
// stand for (ITU-T G.711, tables 1 and 2).
var muSample, aSample = func() (mu, a [256]float64) {
	for i := range 256 {
		u := ^byte(i)
		v := float64((int(u&0x0F)<<3+0x84)<<(u>>4&7) - 0x84)
		if u&0x80 != 0 {
			v = -v
		}
		mu[i] = v / 32768
		x := byte(i) ^ 0x55
		v = float64(int(x&0x0F)<<4 + 8)
		if exp := x >> 4 & 7; exp > 0 {
			v = float64((int(x&0x0F)<<4 + 0x108) << (exp - 1))
		}
		if x&0x80 == 0 {
			v = -v
		}
		a[i] = v / 32768
	}
	return mu, a
}()
