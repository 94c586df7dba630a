package g722

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"testing"
)

// G.722: the coder of the lower band and its decoder give, bit for bit, what another
// implementation of the recommendation gives. The two sums were made with spandsp
// 0.0.6 at 64 kbit/s and 8000 samples a second, whose filters are left out as ours
// are, from the same samples and from octets that have every value.
func TestField_G722Reference(t *testing.T) {
	e := NewEncoder()
	low := make([]byte, 8000)
	for i := range low {
		sample := (i*i*3%40009 - 20004) * (1 + i/400%4)
		low[i] = e.Encode(floor4(sample)) & 0x3F
	}
	if got := sha(low); got != "4a6a800ce37ca70b13237bda9970f2be497706f554a5f9fedba5c0bf3751ac4e" {
		t.Errorf("encoded: %s", got)
	}
	d, x := NewDecoder(), uint32(1)
	var out []byte
	for range 8000 {
		x = (x*1103515245 + 12345) & 0x7FFFFFFF
		out = binary.LittleEndian.AppendUint16(out, uint16(d.Decode(byte(x>>16))))
	}
	if got := sha(out); got != "ae501a47b061be29b0a2847df2768bdfceeee923372c762f5b178baca4632873" {
		t.Errorf("decoded: %s", got)
	}
}

func floor4(v int) int { return (v - (v%4+4)%4) / 4 }

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// The upper band, which telephone speech does not have, stays silent whatever is in the
// lower one.
func TestField_G722UpperBand(t *testing.T) {
	e, d := NewEncoder(), band{det: 8}
	for i := range 16000 {
		upper := int(e.Encode(int(20000*math.Sin(float64(i)*float64(i)/30000)))) >> 6
		v := d.s + (d.det*qm2[upper])>>15
		d.scale(wh[upper], 22528, 10)
		d.adapt((d.det * qm2[upper]) >> 15)
		if v > 16 || v < -16 {
			t.Fatalf("sample %d of the upper band is %d", i, v)
		}
	}
}

// Any octets from the network leave the decoder within its bounds.
func FuzzField_G722(f *testing.F) {
	f.Add([]byte{0, 255, 128, 1, 63, 64})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := NewDecoder()
		for _, octet := range b {
			v := d.Decode(octet)
			if v != clip16(v) || d.low.det < 32 || d.low.det > 32767 || clip16(d.low.s) != d.low.s {
				t.Fatalf("%x: %d, step %d", b, v, d.low.det)
			}
		}
	})
}
