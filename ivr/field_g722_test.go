package ivr

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	g722codec "hotdeskd/ivr/g722"
)

// likeness is how far the difference of two signals is below the first, in dB.
func likeness(want, got []float64) float64 {
	signal, noise := 0.0, 1e-9
	for i := range want {
		signal += want[i] * want[i]
		noise += (want[i] - got[i]) * (want[i] - got[i])
	}
	return 10 * math.Log10(signal/noise)
}

func decoded(b []byte, c codec) []float64 {
	r, out := newReader(c), make([]float64, len(b))
	for i := range b {
		out[i] = r.sample(b[i])
	}
	return out
}

// G.722: every prompt comes out as it went in, 15 dB above what the codec adds.
func TestField_G722Prompts(t *testing.T) {
	set, err := loadSounds()
	if err != nil {
		t.Fatal(err)
	}
	worst := math.Inf(1)
	for _, key := range set.Keys() {
		clip, _ := set.Lookup("en", key)
		w := newWriter(g722)
		coded := append([]byte(nil), clip.MuLaw...)
		w.finish(coded)
		like := likeness(decoded(clip.MuLaw, pcmu), decoded(coded, g722))
		worst = min(worst, like)
		if like < 15 {
			t.Errorf("%s: %.1f dB", key, like)
		}
	}
	t.Logf("worst prompt: %.1f dB", worst)
}

// An offer gets the codec that costs us least: G.711 in the phone's order if it has
// any, else G.722 at its RTP clock of 8000 Hz (RFC 3551 section 4.5.2), else 488.
func TestField_G722Answer(t *testing.T) {
	for _, test := range []struct {
		offer []byte
		want  string
		as    string
	}{
		{offerOf("m=audio 4000 RTP/AVP 9"), "audio OURS RTP/AVP 9", "9 G722/8000"},
		{offerOf("m=audio 4000 RTP/AVP 9 101", "a=rtpmap:9 G722/8000", plainEvents), "audio OURS RTP/AVP 9 101", "9 G722/8000"},
		{offerOf("m=audio 4000 RTP/AVP 9", "a=rtpmap:9 G722/16000"), "audio OURS RTP/AVP 9", "9 G722/8000"},
		{offerOf("m=audio 4000 RTP/AVP 109", "a=rtpmap:109 g722/8000"), "audio OURS RTP/AVP 109", "109 G722/8000"},
		{offerOf("m=audio 4000 RTP/AVP 9 18 0"), "audio OURS RTP/AVP 0", "0 PCMU/8000"},
		{offerOf("m=audio 4000 RTP/AVP 9 8 0"), "audio OURS RTP/AVP 8", "8 PCMA/8000"},
		{offerOf("m=audio 4000 RTP/AVP 18 97", "a=rtpmap:97 opus/48000/2"), "", ""},
	} {
		c := calling(t, "192.0.2.20", "192.0.2.1", false)
		body, err := c.Describe(test.offer)
		if got := mLines(body, c.port); got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s answered %s, %v; want %s", test.offer, got, err, test.want)
		}
		if code, _ := warningOf(err); err != nil && code != warnFormat {
			t.Errorf("refused with %d", code)
		}
		if !strings.Contains(string(body), test.as) {
			t.Errorf("answered without %s:\n%s", test.as, body)
		}
	}
}

// A phone that has nothing but G.722 hears the prompts and logs in, by events and by
// tones, and a change to G.711 and back in the middle of the call is heard too.
func TestField_G722Login(t *testing.T) {
	for _, test := range []struct {
		name  string
		offer []string
		dial  func(t *testing.T, p *phone, c *Conversation)
	}{
		{"events", []string{"m=audio 4000 RTP/AVP 9 101", plainEvents}, func(t *testing.T, p *phone, _ *Conversation) { p.press(t, "4071#") }},
		{"tones", []string{"m=audio 4000 RTP/AVP 9"}, func(t *testing.T, p *phone, _ *Conversation) {
			e := g722codec.NewEncoder()
			samples := keypadTone{-10, 1, 0, 120, 120}.play("4071#")
			for len(samples) >= frameSize {
				frame := make([]byte, frameSize)
				for i := range frame {
					frame[i] = e.Encode(int(samples[i] * 32767))
				}
				p.send(t, 9, frame)
				p.header.Timestamp += frameSize
				samples = samples[frameSize:]
				time.Sleep(frameTime)
			}
		}},
		{"a change of codec and back", []string{"m=audio 4000 RTP/AVP 9 101", plainEvents}, func(t *testing.T, p *phone, c *Conversation) {
			p.press(t, "40")
			p.offer(t, c, plainAudio, plainEvents)
			p.press(t, "7")
			p.offer(t, c, "m=audio 4000 RTP/AVP 9 101", plainEvents)
			p.press(t, "1#")
		}},
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
				if len(o.desk.calls) != 1 {
					t.Fatalf("the rules were asked for %q", o.desk.calls)
				}
				p.listen(t)
				var stream []byte
				for _, packet := range p.heard {
					if packet.PayloadType == 9 {
						stream = append(stream, packet.Payload...)
					}
				}
				clip, _ := o.set.Lookup("en", "logged_in")
				want, got, best := decoded(clip.MuLaw, pcmu), decoded(stream, g722), 0.0
				for at := 0; at+len(want) <= len(got); at += frameSize {
					best = max(best, likeness(want, got[at:]))
				}
				if best < 15 {
					t.Errorf("success was not heard: %.1f dB at best", best)
				}
			})
		})
	}
}

func BenchmarkTickG722(b *testing.B) {
	s := ticking(discard{})
	m := s.media
	m.codec = g722
	mustNegotiate(s.negotiated(m))
	b.ReportAllocs()
	for b.Loop() {
		s.tick()
	}
}
