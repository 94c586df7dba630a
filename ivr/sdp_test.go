package ivr

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// offerOf builds a description around the given lines; "" is a plain phone's.
func offerOf(lines ...string) []byte {
	head := []string{"v=0", "o=- 1 1 IN IP4 192.0.2.20", "s=-", "c=IN IP4 192.0.2.20", "t=0 0"}
	return []byte(strings.Join(append(head, lines...), "\r\n") + "\r\n")
}

const (
	plainAudio  = "m=audio 4000 RTP/AVP 0 8 101"
	plainEvents = "a=rtpmap:101 telephone-event/8000"
)

// The answer follows the offer: the phone's first G.711 codec under its own
// numbers, events only if they were offered, other streams refused in their place.
func TestAnswer(t *testing.T) {
	for _, test := range []struct {
		name   string
		offer  []byte
		want   string // the answer's m= lines and attributes, joined by " | "
		remote string
		held   bool
	}{
		{
			name: "a plain phone", offer: offerOf(plainAudio, plainEvents, "a=fmtp:101 0-16"), remote: "192.0.2.20:4000",
			want: "m=audio 20000 RTP/AVP 0 101 | a=rtpmap:0 PCMU/8000 | a=rtpmap:101 telephone-event/8000 | a=fmtp:101 0-15 | a=ptime:20 | a=sendrecv",
		},
		{
			name: "A-law first, own numbers, wide-band skipped", remote: "192.0.2.20:4000",
			offer: offerOf("m=audio 4000 RTP/AVP 9 96 8 0 97 98", "a=rtpmap:96 opus/48000/2", "a=rtpmap:97 telephone-event/48000", "a=rtpmap:98 telephone-event/8000", "a=ptime:30"),
			want:  "m=audio 20000 RTP/AVP 8 98 | a=rtpmap:8 PCMA/8000 | a=rtpmap:98 telephone-event/8000 | a=fmtp:98 0-15 | a=ptime:20 | a=sendrecv",
		},
		{
			name: "a dynamic number for a codec, in odd case, with one channel", offer: offerOf("m=audio 4000 RTP/AVP 112", "a=rtpmap:112 pcma/8000/1"), remote: "192.0.2.20:4000",
			want: "m=audio 20000 RTP/AVP 112 | a=rtpmap:112 PCMA/8000 | a=ptime:20 | a=sendrecv",
		},
		{
			name: "no events offered, none answered", offer: offerOf("m=audio 4000 RTP/AVP 0"), remote: "192.0.2.20:4000",
			want: "m=audio 20000 RTP/AVP 0 | a=rtpmap:0 PCMU/8000 | a=ptime:20 | a=sendrecv",
		},
		{
			name: "video, SRTP and fax beside audio are refused one by one", remote: "192.0.2.20:4000",
			offer: offerOf("m=video 5000 RTP/AVP 99", "a=rtpmap:99 H264/90000", "m=audio 4002 RTP/SAVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x", "m=audio 4000 RTP/AVP 0", "m=image 6000 udptl t38", "b=X-ODD:1"),
			want:  "m=video 0 RTP/AVP 99 | m=audio 0 RTP/SAVP 0 | m=audio 20000 RTP/AVP 0 | a=rtpmap:0 PCMU/8000 | a=ptime:20 | a=sendrecv | m=image 0 udptl t38",
		},
		{
			name: "the address of the stream comes before that of the session", offer: offerOf("m=audio 4000 RTP/AVP 0", "c=IN IP4 192.0.2.99"), remote: "192.0.2.99:4000",
			want: "m=audio 20000 RTP/AVP 0 | a=rtpmap:0 PCMU/8000 | a=ptime:20 | a=sendrecv",
		},
		{
			name: "IPv6", remote: "[2001:db8::20]:4000",
			offer: []byte("v=0\r\no=- 1 1 IN IP6 2001:db8::20\r\ns=-\r\nc=IN IP6 2001:db8::20\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"),
			want:  "m=audio 20000 RTP/AVP 0 | a=rtpmap:0 PCMU/8000 | a=ptime:20 | a=sendrecv",
		},
		{
			name: "bare line feeds and lines that nobody needs", remote: "192.0.2.20:4000",
			offer: []byte("v=0\no=- 1 1 IN IP4 192.0.2.20\ns=-\ni=x\nu=x\ne=x\np=x\nc=IN IP4 192.0.2.20\nb=TIAS:x\nt=0 0\nr=7\nk=x\nm=audio 4000 RTP/AVP 0\nb=ZZ:1\n"),
			want:  "m=audio 20000 RTP/AVP 0 | a=rtpmap:0 PCMU/8000 | a=ptime:20 | a=sendrecv",
		},
		{
			name: "hold by sendonly", offer: offerOf("m=audio 4000 RTP/AVP 0", "a=sendonly"), remote: "192.0.2.20:4000", held: true,
			want: "m=audio 20000 RTP/AVP 0 | a=rtpmap:0 PCMU/8000 | a=ptime:20 | a=recvonly",
		},
		{
			name: "hold by inactive, for the whole session", offer: offerOf("a=inactive", "m=audio 4000 RTP/AVP 0"), remote: "192.0.2.20:4000", held: true,
			want: "m=audio 20000 RTP/AVP 0 | a=rtpmap:0 PCMU/8000 | a=ptime:20 | a=inactive",
		},
		{
			name: "hold by a null address", offer: offerOf("m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0"), remote: "0.0.0.0:4000", held: true,
			want: "m=audio 20000 RTP/AVP 0 | a=rtpmap:0 PCMU/8000 | a=ptime:20 | a=recvonly",
		},
		{
			name: "a phone that only listens still hears", offer: offerOf("m=audio 4000 RTP/AVP 0", "a=recvonly"), remote: "192.0.2.20:4000",
			want: "m=audio 20000 RTP/AVP 0 | a=rtpmap:0 PCMU/8000 | a=ptime:20 | a=sendonly",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := settle(test.offer, terms{})
			if err != nil {
				t.Fatal(err)
			}
			body := describe(m)
			var got []string
			for line := range strings.SplitSeq(string(body), "\r\n") {
				if strings.HasPrefix(line, "m=") || strings.HasPrefix(line, "a=") {
					got = append(got, line)
				}
			}
			if got := strings.Join(got, " | "); got != test.want {
				t.Errorf("answer\n%s\nwant\n%s", got, test.want)
			}
			if m.remote.String() != test.remote || m.held != test.held {
				t.Errorf("remote %s, held %t; want %s, %t", m.remote, m.held, test.remote, test.held)
			}
		})
	}
}

func describe(m media) []byte {
	local := netip.MustParseAddrPort("192.0.2.1:20000")
	return []byte(description(local.Addr(), 1, 1, m.answer(local)))
}

// What cannot be used is told from what cannot be read.
func TestRefusedOffers(t *testing.T) {
	for _, test := range []struct {
		name  string
		offer []byte
		want  error
	}{
		{"only SRTP", offerOf("m=audio 4000 RTP/SAVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"), ErrNotAcceptable},
		{"only compressed", offerOf("m=audio 4000 RTP/AVP 18"), ErrNotAcceptable},
		{"only events", offerOf("m=audio 4000 RTP/AVP 101", plainEvents), ErrNotAcceptable},
		{"only video", offerOf("m=video 4000 RTP/AVP 99"), ErrNotAcceptable},
		{"no stream", offerOf(), ErrNotAcceptable},
		{"a stream that is off", offerOf("m=audio 0 RTP/AVP 0"), ErrNotAcceptable},
		{"a number that says G.711 at another clock", offerOf("m=audio 4000 RTP/AVP 0", "a=rtpmap:0 PCMU/16000"), ErrNotAcceptable},
		{"a host name", offerOf("m=audio 4000 RTP/AVP 0", "c=IN IP4 phone.example"), ErrNotAcceptable},
		{"a multicast group", offerOf("m=audio 4000 RTP/AVP 0", "c=IN IP4 224.2.1.1/127"), ErrNotAcceptable},
		{"a multicast group without a TTL", offerOf("m=audio 4000 RTP/AVP 0", "c=IN IP4 224.2.1.1"), ErrNotAcceptable},
		{"no address", []byte("v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"), ErrBadOffer},
		{"nothing", []byte{}, ErrBadOffer},
		{"not a description", []byte("<xml/>"), ErrBadOffer},
		{"half an m= line", offerOf("m=audio 4000"), ErrBadOffer},
		{"a port that is none", offerOf("m=audio 70000 RTP/AVP 0"), ErrBadOffer},
		{"too many streams", offerOf(strings.Repeat("m=audio 4000 RTP/AVP 0\r\n", maxStreams+1)), ErrBadOffer},
		{"too long", offerOf("a=" + strings.Repeat("x", maxSDP)), ErrBadOffer},
	} {
		if m, err := settle(test.offer, terms{}); !errors.Is(err, test.want) {
			t.Errorf("%s: settled %+v, error %v, want %v", test.name, m, err, test.want)
		}
	}
}

// Any offer that is taken gets an answer that can be read again, with as many
// streams as the offer had, of which one is ours.
func FuzzAnswer(f *testing.F) {
	f.Add(offerOf(plainAudio, plainEvents))
	f.Add(offerOf("m=video 5000 RTP/AVP 99", "m=audio 4000 RTP/AVP 8", "m=image 6000 udptl t38"))
	f.Add(offerOf("a=inactive", "m=audio 4000/2 RTP/AVP 0 8"))
	f.Add([]byte("v=0\no=- 1 1 IN IP6 ::1\ns=-\nc=IN IP6 ::1\nt=0 0\nm=audio 1 RTP/AVP 8\n"))
	f.Fuzz(func(t *testing.T, offer []byte) {
		m, err := settle(offer, terms{})
		if err != nil {
			if !errors.Is(err, ErrBadOffer) && !errors.Is(err, ErrNotAcceptable) {
				t.Fatalf("an error without a name: %v", err)
			}
			if code, text := warningOf(err); code < 300 || code > 399 || !quotable(text) {
				t.Fatalf("%d %q is no warning", code, text)
			}
			return
		}
		body := describe(m)
		again, err := readSDP(body)
		if err != nil {
			t.Fatalf("the answer cannot be read: %v\n%s", err, body)
		}
		if got, want := len(again.streams), len(m.streams); got != want {
			t.Fatalf("the answer has %d streams, the offer %d\n%s", got, want, body)
		}
		if got := bytes.Count(offer, []byte("m=")); got < len(again.streams) {
			t.Fatalf("the offer says m= %d times, the answer has %d streams", got, len(again.streams))
		}
		on := 0
		for _, s := range again.streams {
			if s.port != 0 {
				on++
			}
		}
		if on != 1 {
			t.Fatalf("%d streams of the answer are on, want 1\n%s", on, body)
		}
	})
}
