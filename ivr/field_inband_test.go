package ivr

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// heardIn gives samples to a new detector.
func heardIn(samples []float64) string {
	var t tones
	var keys []byte
	for _, v := range samples {
		if key := t.hear(v); key != 0 {
			keys = append(keys, key)
		}
	}
	return string(keys)
}

// keypadTone is a key as a phone plays it.
type keypadTone struct {
	level   float64 // dBm0 of the low tone
	twist   float64 // dB by which the high tone is above the low one
	off     float64 // relative error of both frequencies
	ms, gap int
}

func (k keypadTone) play(keys string) []float64 {
	var out []float64
	amplitude := func(dBm0 float64) float64 { return math.Pow(10, (dBm0-3.17)/20) }
	for _, key := range []byte(keys) {
		for l, row := range toneKeys {
			for h := range row {
				if row[h] != key {
					continue
				}
				for n := range k.ms * 8 {
					at := 2 * math.Pi * float64(n) / 8000 * (1 + k.off)
					out = append(out, amplitude(k.level)*math.Sin(at*lowTones[l])+amplitude(k.level+k.twist)*math.Sin(at*highTones[h]))
				}
			}
		}
		out = append(out, make([]float64, k.gap*8)...)
	}
	return out
}

// coded sends samples through a law, as a phone does.
func coded(samples []float64, law *[256]float64) []float64 {
	out := make([]float64, len(samples))
	for i, b := range encoded(samples, law) {
		out[i] = law[b]
	}
	return out
}

// encoded is the nearest byte of a law for each sample.
func encoded(samples []float64, law *[256]float64) []byte {
	order := make([]byte, 256)
	for i := range order {
		order[i] = byte(i)
	}
	slices.SortFunc(order, func(a, b byte) int { return cmp.Compare(law[a], law[b]) })
	out := make([]byte, len(samples))
	for i, v := range samples {
		at, _ := slices.BinarySearchFunc(order, v, func(b byte, v float64) int { return cmp.Compare(law[b], v) })
		if at = min(at, 255); at > 0 && v-law[order[at-1]] < law[order[at]]-v {
			at--
		}
		out[i] = order[at]
	}
	return out
}

func noisy(samples []float64, seed uint64, dBm0 float64) []float64 {
	rng := rand.New(rand.NewPCG(seed, 1))
	sigma := math.Sqrt(0.241 * math.Pow(10, dBm0/10)) // 0 dBm0 is 0.241 of full scale squared
	out := make([]float64, len(samples))
	for i, v := range samples {
		out[i] = v + sigma*rng.NormFloat64()
	}
	return out
}

const allKeys = "1234567890*#ABCD1100##"

// S34: every key is heard once at the bounds of Q.24 (0 to -25 dBm0, 1.5 % off the
// frequency, the high tone 4 dB above to 8 dB below, 40 ms long and apart), in both
// laws.
func TestField_S34Keypad(t *testing.T) {
	for name, k := range map[string]keypadTone{
		"as phones do":           {-8, 2, 0, 100, 100},
		"short and close":        {-8, 0, 0, 40, 40},
		"loud":                   {-2, 2, 0, 60, 60},
		"faint":                  {-25, 0, 0, 60, 60},
		"high tone above":        {-10, 3.5, 0, 60, 60},
		"high tone below":        {-8, -7.5, 0, 60, 60},
		"1.5 % up":               {-8, 0, 0.015, 80, 60},
		"1.5 % down":             {-8, 0, -0.015, 80, 60},
		"held for half a second": {-8, 0, 0, 500, 60},
	} {
		keys := allKeys
		if k.off != 0 {
			keys = "1234567890*#1100##" // those that a telephone has
		}
		for law, table := range map[string]*[256]float64{"mu": &muSample, "A": &aSample} {
			for phase := range 3 {
				samples := append(make([]float64, 37*phase), k.play(keys)...)
				if got := heardIn(coded(samples, table)); got != keys {
					t.Errorf("%s, %s-law, from sample %d: heard %s, want %s", name, law, 37*phase, got, keys)
				}
			}
		}
	}
}

// S34: the things that Q.24 wants refused are: too short, too faint, too unlike, too
// far off the frequency, and gaps of less than 10 ms make no second key.
func TestField_S34Refused(t *testing.T) {
	for name, test := range map[string]struct {
		k    keypadTone
		want string
	}{
		"20 ms":            {keypadTone{-8, 0, 0, 20, 100}, ""},
		"-45 dBm0":         {keypadTone{-45, 0, 0, 100, 100}, ""},
		"high tone 12 dB":  {keypadTone{-15, 12, 0, 100, 100}, ""},
		"high tone -15 dB": {keypadTone{-5, -15, 0, 100, 100}, ""},
		"6 % off":          {keypadTone{-8, 0, 0.06, 100, 100}, ""},
		"one tone":         {keypadTone{-8, -80, 0, 100, 100}, ""},
	} {
		if got := heardIn(test.k.play("1234567890*#ABCD")); got != test.want {
			t.Errorf("%s: heard %q, want %q", name, got, test.want)
		}
	}
	whole := keypadTone{-8, 0, 0, 200, 60}.play("5")
	for i := range 72 { // 9 ms
		whole[700+i] = 0
	}
	if got := heardIn(whole); got != "5" {
		t.Errorf("a gap of 9 ms: heard %q, want 5", got)
	}
}

// S34: nobody's voice is a key: all prompts of all languages, at every level at which
// a speakerphone might send them back, have none in them.
func TestField_S34Speech(t *testing.T) {
	set, err := loadSounds()
	if err != nil {
		t.Fatal(err)
	}
	seconds := 0.0
	for _, lang := range set.Languages() {
		for _, gain := range []float64{1, 0.5, 0.18} {
			var speech []float64
			for _, key := range set.Keys() {
				clip, ok := set.Lookup(lang, key)
				if !ok {
					continue
				}
				for _, b := range clip.MuLaw {
					speech = append(speech, gain*muSample[b])
				}
			}
			seconds += float64(len(speech)) / 8000
			for phase := range 2 {
				if got := heardIn(speech[phase*51:]); got != "" {
					t.Errorf("%s at %.2f from sample %d: heard %q in the prompts", lang, gain, phase*51, got)
				}
			}
		}
	}
	t.Logf("%.0f s of speech", seconds)
}

// S34: noise is no key, and keys are heard through it: 15 dB above, which no telephone
// line is below, none is lost and none invented.
func TestField_S34Noise(t *testing.T) {
	for seed := range uint64(5) {
		if got := heardIn(noisy(make([]float64, 8000*60), seed, -15)); got != "" {
			t.Errorf("seed %d: heard %q in a minute of noise", seed, got)
		}
		k := keypadTone{-10, 0, 0, 100, 80}
		if got := heardIn(noisy(k.play(allKeys), seed, -25)); got != allKeys {
			t.Errorf("seed %d: heard %q through noise, want %q", seed, got, allKeys)
		}
	}
}

// play sends samples as audio, a packet every 20 ms; skip names packets that are lost.
func (p *phone) play(t *testing.T, samples []float64, skip func(n int) bool) {
	t.Helper()
	for n := 0; len(samples) >= frameSize; n++ {
		if skip != nil && skip(n) {
			p.header.SequenceNumber++
		} else {
			p.send(t, 0, encoded(samples[:frameSize], &muSample))
		}
		p.header.Timestamp += frameSize
		samples = samples[frameSize:]
		time.Sleep(frameTime)
	}
}

// S34: who has no telephone-event logs in by tones, also when every tenth packet is
// lost and when the same keys come by SIP INFO too; the log says how keys came. Who
// has agreed on telephone-event does not: what is agreed is how keys are sent.
func TestField_S34Login(t *testing.T) {
	everyTenth := func(n int) bool { return n%10 == 7 }
	keys := keypadTone{-10, 1, 0, 120, 120}
	for _, test := range []struct {
		name  string
		offer []string
		dial  func(t *testing.T, p *phone, c *Conversation)
		way   string // "": nobody logs in
	}{
		{"tones", []string{"m=audio 4000 RTP/AVP 0"}, func(t *testing.T, p *phone, _ *Conversation) {
			p.play(t, keys.play("4071#"), nil)
		}, "audio"},
		{"tones with loss", []string{"m=audio 4000 RTP/AVP 0"}, func(t *testing.T, p *phone, _ *Conversation) {
			p.play(t, keys.play("4071#"), everyTenth)
		}, "audio"},
		{"tones, and packets only while there is a tone", []string{"m=audio 4000 RTP/AVP 0"}, func(t *testing.T, p *phone, _ *Conversation) {
			short := keypadTone{-10, 1, 0, 100, 0}
			for _, key := range "4071#" {
				p.play(t, short.play(string(key)), nil)
				p.header.Timestamp += 8 * frameSize // silence that is not sent
			}
		}, "audio"},
		{"tones and INFO", []string{"m=audio 4000 RTP/AVP 0"}, func(t *testing.T, p *phone, c *Conversation) {
			for _, key := range []byte("4071#") {
				p.play(t, keys.play(string(key)), nil)
				c.Press(key)
			}
		}, "info"},
		{"INFO and tones", []string{"m=audio 4000 RTP/AVP 0"}, func(t *testing.T, p *phone, c *Conversation) {
			for _, key := range []byte("4071#") {
				c.Press(key)
				p.play(t, keys.play(string(key)), nil)
			}
		}, "info"},
		{"tones beside events", []string{plainAudio, plainEvents}, func(t *testing.T, p *phone, _ *Conversation) {
			p.play(t, keys.play("9999#"), nil)
			p.press(t, "4071#")
		}, "rtp"},
		{"tones although events were agreed on", []string{plainAudio, plainEvents}, func(t *testing.T, p *phone, _ *Conversation) {
			p.play(t, keys.play("4071#"), nil)
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOffice(t, Options{})
				p := newPhone(t, o.net, phoneAt)
				c := o.attend(t, "*77*100*")
				p.offer(t, c, test.offer...)
				_, wait := run(t, c)
				time.Sleep(time.Second)
				test.dial(t, p, c)
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				want := []string{"login 100 at HD0012 by ivr in call-1"}
				way := "keys=" + test.way
				if test.way == "" {
					want, way = nil, "keys=none"
				}
				if !slices.Equal(o.desk.calls, want) {
					t.Errorf("the rules were asked for %q, want %q", o.desk.calls, want)
				}
				if !strings.Contains(o.log.String(), way) {
					t.Errorf("the log does not say %s: %s", way, o.log)
				}
			})
		})
	}
}

// S34: packets that are lost, late or doubled double no key.
func FuzzField_S34Ear(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0}, byte(5))
	f.Add([]byte{1, 0, 0, 2, 0, 3}, byte(0))
	f.Fuzz(func(t *testing.T, fates []byte, key byte) {
		want := allKeys[key%16]
		samples := encoded(append(keypadTone{-10, 1, 0, 200, 0}.play(string(want)), make([]float64, frameSize)...), &muSample)
		var e ear
		var got []byte
		for n := 0; n*frameSize < len(samples); n++ {
			p := packet{seq: uint16(n), ts: uint32(n * frameSize), payload: samples[n*frameSize : (n+1)*frameSize]}
			fate, times := byte(0), 1
			if len(fates) > 0 {
				fate = fates[n%len(fates)]
			}
			switch fate % 4 {
			case 1:
				continue
			case 2:
				times = 2
			case 3:
				p.seq-- // too late
			}
			for range times {
				e.packet(p, pcmu, func(key byte) { got = append(got, key) })
			}
		}
		if len(got) > 1 || len(got) == 1 && got[0] != want {
			t.Errorf("heard %s, want %c at most once", got, want)
		}
	})
}

func BenchmarkTones(b *testing.B) {
	samples := noisy(keypadTone{-10, 0, 0, 100, 80}.play("5"), 1, -25)[:frameSize]
	var t tones
	b.ReportAllocs()
	for b.Loop() { // one packet of 20 ms
		for _, v := range samples {
			t.hear(v)
		}
	}
}
