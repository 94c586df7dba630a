package simphone

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func sdp(lines ...string) []byte { return []byte(strings.Join(lines, "\r\n") + "\r\n") }

// The phone must find its stream, address, codec, key events and direction in
// what other phones and servers write.
func TestReadSDP(t *testing.T) {
	head := []string{"v=0", "o=- 1 1 IN IP4 192.0.2.9", "s=-"}
	for _, c := range []struct {
		name string
		body []string
		want description // without lines
		err  error
	}{
		{"plain", []string{"c=IN IP4 192.0.2.9", "t=0 0", "m=audio 4000 RTP/AVP 8 0 101", "a=rtpmap:101 telephone-event/8000"},
			description{addr: netip.MustParseAddrPort("192.0.2.9:4000"), codec: pcma, events: 101, direction: sendrecv}, nil},
		{"own address and direction of the stream", []string{"c=IN IP4 192.0.2.9", "a=inactive", "m=audio 4000 RTP/AVP 9 0", "c=IN IP4 192.0.2.10", "a=sendonly"},
			description{addr: netip.MustParseAddrPort("192.0.2.10:4000"), codec: pcmu, direction: sendonly}, nil},
		{"second stream", []string{"m=video 5000 RTP/AVP 96", "c=IN IP4 192.0.2.66", "a=sendonly", "m=audio 0 RTP/AVP 8", "m=audio 4000 RTP/AVP 0 97", "c=IN IP6 2001:db8::1", "a=rtpmap:97 telephone-event/8000"},
			description{addr: netip.MustParseAddrPort("[2001:db8::1]:4000"), codec: pcmu, events: 97, direction: sendrecv}, nil},
		{"events of another clock", []string{"c=IN IP4 192.0.2.9", "m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/48000"},
			description{addr: netip.MustParseAddrPort("192.0.2.9:4000"), codec: pcmu, direction: sendrecv}, nil},
		{"no audio", []string{"c=IN IP4 192.0.2.9", "m=video 4000 RTP/AVP 96"}, description{}, ErrMedia},
		{"encrypted only", []string{"c=IN IP4 192.0.2.9", "m=audio 4000 RTP/SAVP 0"}, description{}, ErrMedia},
		{"no G.711", []string{"c=IN IP4 192.0.2.9", "m=audio 4000 RTP/AVP 9"}, description{}, ErrMedia},
		{"no address", []string{"m=audio 4000 RTP/AVP 0"}, description{}, ErrMedia},
		{"nothing", nil, description{}, ErrMedia},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readSDP(sdp(append(head, c.body...)...), []uint8{pcma, pcmu})
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && (got.addr != c.want.addr || got.codec != c.want.codec || got.events != c.want.events || got.direction != c.want.direction) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// An answer must name every stream of the offer in its place, take one, and
// speak only what both sides have.
func TestAnswer(t *testing.T) {
	d, err := readSDP(sdp("v=0", "c=IN IP4 192.0.2.9", "m=video 5000 RTP/AVP 96", "m=audio 4000 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000"), []uint8{pcma})
	if err != nil {
		t.Fatal(err)
	}
	got := string(writeSDP(netip.MustParseAddrPort("192.0.2.50:6000"), 7, 2, []uint8{d.codec}, d.events, sendrecv, d))
	want := string(sdp("v=0", "o=- 7 2 IN IP4 192.0.2.50", "s=-", "c=IN IP4 192.0.2.50", "t=0 0",
		"m=video 0 RTP/AVP 96",
		"m=audio 6000 RTP/AVP 8 101", "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15", "a=ptime:20", "a=sendrecv"))
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Directions must answer each other (RFC 3264 section 6.1).
func TestDirection(t *testing.T) {
	for _, c := range []struct {
		theirs  string
		holding bool
		want    string
	}{
		{sendrecv, false, sendrecv}, {sendonly, false, recvonly}, {recvonly, false, sendonly}, {inactive, false, inactive},
		{sendrecv, true, sendonly}, {sendonly, true, inactive}, {recvonly, true, sendonly}, {inactive, true, inactive},
	} {
		if got := answerDirection(c.theirs, c.holding); got != c.want {
			t.Errorf("%s, holding %v: %s, want %s", c.theirs, c.holding, got, c.want)
		}
	}
}
