package ivr

import g722codec "hotdeskd/ivr/g722"

// silence is the byte of a G.711 law that stands for it.
func (c codec) silence() byte {
	if c == pcma {
		return aLawSilence
	}
	return muLawSilence
}

// writer turns prompts into the bytes of a codec. Both laws are stored and go out as
// they are; G.722 is encoded as it leaves.
type writer struct {
	codec   codec
	encoder g722codec.Encoder
}

func newWriter(c codec) writer { return writer{codec: c, encoder: g722codec.NewEncoder()} }

// stored is the codec in which the player should give its frames.
func (w *writer) stored() codec {
	if w.codec == pcma {
		return pcma
	}
	return pcmu
}

// finish makes of a frame in the stored codec one in the wanted.
func (w *writer) finish(frame []byte) {
	if w.codec != g722 {
		return
	}
	for i, b := range frame {
		frame[i] = w.encoder.Encode(int(muSample[b] * 32768))
	}
}

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

// reader turns the bytes of a codec into samples from -1 to 1.
type reader struct {
	codec   codec
	decoder g722codec.Decoder
}

func newReader(c codec) reader { return reader{codec: c, decoder: g722codec.NewDecoder()} }

func (r *reader) sample(b byte) float64 {
	switch r.codec {
	case pcma:
		return aSample[b]
	case g722:
		return float64(r.decoder.Decode(b)) / 32768
	}
	return muSample[b]
}
