package g722

import "math"

// band is the adaptive predictor of one band (block 4L or 4H).
type band struct {
	s, sz int    // prediction
	a     [3]int // of the poles
	b, d  [7]int // of the zeros; past differences
	r, p  [3]int // past reconstructions
	nb    int    // logarithmic scale factor
	det   int    // and the linear one
}

func clip16(v int) int { return min(max(v, math.MinInt16), math.MaxInt16) }

// adapt takes the quantised difference d into the predictor.
func (g *band) adapt(d int) {
	g.d[0], g.r[0], g.p[0] = d, clip16(g.s+d), clip16(g.sz+d)
	same := func(a, b int) bool { return a < 0 == (b < 0) }
	pick := func(c bool, v int) int {
		if c {
			return v
		}
		return -v
	}
	// The second pole (UPPOL2), then the first (UPPOL1).
	w := min(pick(!same(g.p[0], g.p[1]), clip16(g.a[1]<<2)), math.MaxInt16)
	a2 := w>>7 + pick(same(g.p[0], g.p[2]), 128) + (g.a[2]*32512)>>15
	a2 = min(max(a2, -12288), 12288)
	a1 := clip16(pick(same(g.p[0], g.p[1]), 192) + (g.a[1]*32640)>>15)
	limit := clip16(15360 - a2)
	a1 = min(max(a1, -limit), limit)
	// The zeros (UPZERO).
	step := 128
	if d == 0 {
		step = 0
	}
	for i := 1; i < 7; i++ {
		g.b[i] = clip16(pick(same(g.d[i], d), step) + (g.b[i]*32640)>>15)
	}
	copy(g.d[1:], g.d[:6])
	g.r[2], g.r[1], g.p[2], g.p[1] = g.r[1], g.r[0], g.p[1], g.p[0]
	g.a[1], g.a[2] = a1, a2
	// The next prediction (FILTEP, FILTEZ).
	sp := clip16((g.a[1]*clip16(2*g.r[1]))>>15 + (g.a[2]*clip16(2*g.r[2]))>>15)
	sz := 0
	for i := 6; i > 0; i-- {
		sz += (g.b[i] * clip16(2*g.d[i])) >> 15
	}
	g.sz = clip16(sz)
	g.s = clip16(sp + g.sz)
}

// scale adapts the quantiser's step: log adds to the logarithm of it.
func (g *band) scale(log, limit, shift int) {
	g.nb = min(max((g.nb*127)>>7+log, 0), limit)
	v, by := ilb[g.nb>>6&31], shift-g.nb>>11
	if by < 0 {
		v <<= -by
	} else {
		v >>= by
	}
	g.det = v << 2
}

// lower takes the octet's six bits for the lower band into its predictor.
func (g *band) lower(code int) {
	d := (g.det * qm4[code>>2]) >> 15
	g.scale(wl[code>>2], 18432, 8)
	g.adapt(d)
}

// Encoder writes speech of 8000 samples a second. Its zero
// value is of no use.
type Encoder struct{ low, high band }

// NewEncoder is a coder at the beginning of a stream.
func NewEncoder() Encoder {
	return Encoder{low: band{det: 32}, high: band{det: 8}}
}

// Encode is the octet for a 16-bit sample.
func (e *Encoder) Encode(sample int) byte {
	diff := clip16(sample>>1 - e.low.s)
	size := diff
	if diff < 0 {
		size = -(diff + 1)
	}
	i := 1
	for i < 30 && size >= (q6[i]*e.low.det)>>12 {
		i++
	}
	code := positive[i]
	if diff < 0 {
		code = negative[i]
	}
	e.low.lower(code)

	diff = clip16(-e.high.s) // of silence
	size = diff
	if diff < 0 {
		size = -(diff + 1)
	}
	far := size >= (564*e.high.det)>>12
	upper := 3 // near, and not below
	switch {
	case diff < 0 && far:
		upper = 0
	case diff < 0:
		upper = 1
	case far:
		upper = 2
	}
	d := (e.high.det * qm2[upper]) >> 15
	e.high.scale(wh[upper], 22528, 10)
	e.high.adapt(d)
	return byte(upper<<6 | code)
}

// Decoder reads the lower band of speech. Its zero value
// is of no use.
type Decoder struct{ low band }

// NewDecoder is a decoder at the beginning of a stream.
func NewDecoder() Decoder { return Decoder{low: band{det: 32}} }

// Decode is the 16-bit sample that an octet stands for.
func (d *Decoder) Decode(octet byte) int {
	code := int(octet & 0x3F)
	v := d.low.s + (d.low.det*qm6[code])>>15
	d.low.lower(code)
	return min(max(v, -16384), 16383) << 1
}

// The tables of the lower band's quantiser and its inverses with 6 and 4 bits, of the
// adaptation of its step, and those of the upper band.
var (
	q6 = [30]int{
		0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714,
		786, 858, 940, 1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
	}
	negative = [31]int{
		0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19,
		18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4,
	}
	positive = [31]int{
		0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47,
		46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32,
	}
	qm6 = [64]int{
		-136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
		-7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
		24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
		4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
	}
	qm4 = [16]int{0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0}
	// The recommendation's WL by way of its RL42.
	wl  = [16]int{-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60}
	qm2 = [4]int{-7408, -1616, 7408, 1616}
	wh  = [4]int{798, -214, 798, -214} // WH by way of RH2
	ilb = [32]int{
		2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
		2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
	}
)
