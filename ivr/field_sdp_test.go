package ivr

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// calling is a conversation that came in between two addresses.
func calling(t *testing.T, source, local string, secure bool) *Conversation {
	t.Helper()
	v := visit("*77")
	v.Source, v.Local, v.Secure = netip.MustParseAddr(source), netip.MustParseAddr(local), secure
	c, err := newOffice(t, Options{}).menu.Attend(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// mLines are the m= lines of a description, with our own port written as OURS.
func mLines(body []byte, port uint16) string {
	var lines []string
	for line := range strings.SplitSeq(string(body), "\r\n") {
		if strings.HasPrefix(line, "m=") {
			lines = append(lines, strings.Replace(line[2:], fmt.Sprintf(" %d ", port), " OURS ", 1))
		}
	}
	return strings.Join(lines, " | ")
}

// warningOf is what a Warning header could say of an error, as SIP finds it: by
// method, however the error was wrapped.
func warningOf(err error) (int, string) {
	var w interface{ Warning() (int, string) }
	if !errors.As(errors.Join(errors.New("wrapped"), err), &w) {
		return 0, ""
	}
	return w.Warning()
}

// quotable tells whether a text may stand in a quoted-string as it is.
func quotable(s string) bool {
	for _, c := range s {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// S23: a description says where audio goes whatever its other lines look like: RFC
// 8866 section 9 fixes their order and form, phones do not keep to it, and none of
// the lines between says anything about audio.
func TestField_S23OddDescriptions(t *testing.T) {
	const m, e = "m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000"
	const v, o, s, c, z = "v=0", "o=- 1 1 IN IP4 192.0.2.20", "s=-", "c=IN IP4 192.0.2.20", "t=0 0"
	lines := func(l ...string) string { return strings.Join(l, "\r\n") + "\r\n" }
	for name, offer := range map[string]string{
		"in order":                        lines(v, o, s, c, z, m, e),
		"c= after t=":                     lines(v, o, s, z, c, m, e),
		"c= before s=":                    lines(v, o, c, s, z, m, e),
		"no s=":                           lines(v, o, c, z, m, e),
		"an empty s=":                     lines(v, o, "s=", c, z, m, e),
		"no t=":                           lines(v, o, s, c, m, e),
		"neither s= nor t=":               lines(v, o, c, m, e),
		"no o=":                           lines(v, s, c, z, m, e),
		"o= of one word":                  lines(v, "o=phone", s, c, z, m, e),
		"o= with a name of two words":     lines(v, "o=Anna Bell 1 1 IN IP4 192.0.2.20", s, c, z, m, e),
		"o= with numbers below zero":      lines(v, "o=- -5 -5 IN IP4 192.0.2.20", s, c, z, m, e),
		"o= with numbers beyond 64 bits":  lines(v, "o=- 99999999999999999999999 1 IN IP4 192.0.2.20", s, c, z, m, e),
		"o= with a host name":             lines(v, "o=- 1 1 IN IP4 phone.example", s, c, z, m, e),
		"o= without a user":               lines(v, "o= 1 1 IN IP4 192.0.2.20", s, c, z, m, e),
		"v= late":                         lines(o, v, s, c, z, m, e),
		"no v=":                           lines(o, s, c, z, m, e),
		"ip4 in lower case":               lines(v, "o=- 1 1 in ip4 192.0.2.20", s, "c=in ip4 192.0.2.20", z, m, e),
		"c= with blanks":                  lines(v, o, s, "c= IN  IP4 192.0.2.20 ", z, m, e),
		"c= with a count":                 lines(v, o, s, "c=IN IP4 192.0.2.20/1", z, m, e),
		"c= only in the stream, at last":  lines(v, o, s, z, m, e, c),
		"line feeds only":                 strings.ReplaceAll(lines(v, o, s, c, z, m, e), "\r\n", "\n"),
		"carriage returns only":           strings.ReplaceAll(lines(v, o, s, c, z, m, e), "\r\n", "\r"),
		"CR CR LF":                        strings.ReplaceAll(lines(v, o, s, c, z, m, e), "\r\n", "\r\r\n"),
		"no line end at the end":          strings.TrimSpace(lines(v, o, s, c, z, m, e)),
		"a NUL at the end":                lines(v, o, s, c, z, m, e) + "\x00",
		"a NUL after the last word":       strings.TrimSpace(lines(v, o, s, c, z, m, e)) + "\x00\x00",
		"an empty line in it":             lines(v, o, s, c, "", z, m, "", e),
		"an empty line first":             "\r\n" + lines(v, o, s, c, z, m, e),
		"blanks before and after":         lines(" v=0", o+"  ", s, c+" ", z, m+" ", e+"\t"),
		"blanks at the equals sign":       lines("v =0", o, s, "c = IN IP4 192.0.2.20", z, "m = audio 4000 RTP/AVP 0 101", e),
		"a byte order mark":               "\ufeff" + lines(v, o, s, c, z, m, e),
		"a line without an equals sign":   lines(v, o, s, "garbage", c, z, m, "more of it", e),
		"a line of one letter":            lines(v, o, s, "x", c, z, m, e),
		"an unknown type":                 lines(v, o, s, "y=0", "xx=1", c, z, m, e, "f=1"),
		"b= of nonsense":                  lines(v, o, s, c, "b=AS", "b=X-MINE:64", z, m, "b=:", e),
		"e= and p= and u= of nonsense":    lines(v, o, s, "e=", "p=", "u=:", "i=", "k=", "r=", "z=", c, z, m, e),
		"t= of one number":                lines(v, o, s, c, "t=0", m, e),
		"t= that is no number":            lines(v, o, s, c, "t=now later", m, e),
		"a= without a name":               lines(v, o, s, c, z, "a=", "a=:", m, e, "a="),
		"Latin-1 in the name":             lines(v, "o=M\xfcller 1 1 IN IP4 192.0.2.20", "s=B\xfcro", c, z, m, e),
		"attributes in capitals":          lines(v, o, s, c, z, m, "A=RTPMAP:101 Telephone-Event/8000", "a=SENDRECV"),
		"two blanks in m=":                lines(v, o, s, c, z, "m=audio  4000  RTP/AVP  0 101", e),
		"m= in capitals":                  lines(v, o, s, c, z, "M=AUDIO 4000 rtp/avp 0 101", e),
		"a number of ports":               lines(v, o, s, c, z, "m=audio 4000/1 RTP/AVP 0 101", e),
		"a format that is no number":      lines(v, o, s, c, z, "m=audio 4000 RTP/AVP xyz 300 0 101", e),
		"a map with a blank at the colon": lines(v, o, s, c, z, m, "a=rtpmap: 101 telephone-event/8000"),
		"feedback":                        lines(v, o, s, c, z, "m=audio 4000 RTP/AVPF 0 101", e, "a=rtcp-fb:* nack"),
	} {
		conv := calling(t, "192.0.2.20", "192.0.2.1", false)
		body, err := conv.Describe([]byte(offer))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.ToLower(mLines(body, conv.port)); got != "audio ours rtp/avp 0 101" && got != "audio ours rtp/avpf 0 101" {
			t.Errorf("%s: answered %s", name, got)
		}
		if got := conv.session.peer.String(); got != "192.0.2.20:4000" {
			t.Errorf("%s: audio goes to %s", name, got)
		}
	}
}

// S23: no 200 without audio: RFC 6157 leaves two parties of different families
// nothing but a relay, so an offer of the other family only is refused with
// Warning 301 (RFC 3261 section 20.43), and of several streams that one is taken
// which can be reached.
func TestField_S23Families(t *testing.T) {
	v6 := "v=0\r\no=- 1 1 IN IP6 2001:db8::20\r\ns=-\r\nc=IN IP6 2001:db8::20\r\nt=0 0\r\n"
	v4 := "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n"
	const m = "m=audio 4000 RTP/AVP 0\r\n"
	for _, test := range []struct {
		name, source, local, offer string
		warn                       int // 0: taken
		peer, streams              string
	}{
		{"IPv6 to IPv6", "2001:db8::20", "2001:db8::1", v6 + m, 0, "[2001:db8::20]:4000", "audio OURS RTP/AVP 0"},
		{"IPv6 only, to IPv4", "192.0.2.20", "192.0.2.1", v6 + m, 301, "", ""},
		{"IPv4 only, to IPv6", "2001:db8::20", "2001:db8::1", v4 + m, 301, "", ""},
		{"IPv4 spelled as IPv6", "192.0.2.20", "192.0.2.1", strings.ReplaceAll(v6, "2001:db8::20", "::ffff:192.0.2.20") + m, 0, "192.0.2.20:4000", "audio OURS RTP/AVP 0"},
		{"said to be IPv4, is IPv6", "2001:db8::20", "2001:db8::1", strings.ReplaceAll(v6, "IP6", "IP4") + m, 0, "[2001:db8::20]:4000", "audio OURS RTP/AVP 0"},
		{"a stream of each family", "192.0.2.20", "192.0.2.1", v6 + m + "m=audio 4002 RTP/AVP 8\r\nc=IN IP4 192.0.2.20\r\n", 0, "192.0.2.20:4002", "audio 0 RTP/AVP 0 | audio OURS RTP/AVP 8"},
		{"both families in one stream", "192.0.2.20", "192.0.2.1", v4 + m + "c=IN IP6 2001:db8::20\r\nc=IN IP4 192.0.2.20\r\n", 0, "192.0.2.20:4000", "audio OURS RTP/AVP 0"},
		{"the stream's own family counts", "192.0.2.20", "192.0.2.1", v4 + m + "c=IN IP6 2001:db8::20\r\n", 301, "", ""},
		{"a zone", "2001:db8::20", "2001:db8::1", strings.ReplaceAll(v6, "2001:db8::20", "fe80::20%eth0") + m, 301, "", ""},
		{"a host name", "192.0.2.20", "192.0.2.1", strings.ReplaceAll(v4, "192.0.2.20", "phone.example") + m, 301, "", ""},
		{"a hold by the other family's null address", "2001:db8::20", "2001:db8::1", strings.ReplaceAll(v4, "192.0.2.20", "0.0.0.0") + m, 0, "0.0.0.0:4000", "audio OURS RTP/AVP 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := calling(t, test.source, test.local, false)
			body, err := c.Describe([]byte(test.offer))
			if code, _ := warningOf(err); code != test.warn || (err == nil) != (test.warn == 0) {
				t.Fatalf("warning %d, want %d; error %v\n%s", code, test.warn, err, body)
			}
			if err != nil {
				if !errors.Is(err, ErrNotAcceptable) {
					t.Errorf("%v is not a 488", err)
				}
				return
			}
			if got := c.session.peer.String(); got != test.peer {
				t.Errorf("audio goes to %s, want %s", got, test.peer)
			}
			if got := mLines(body, c.port); got != test.streams {
				t.Errorf("answered %s, want %s", got, test.streams)
			}
		})
	}
}

// S23: the answer has the offer's streams in the offer's order, each one that is
// not ours with port 0 and its formats (RFC 3264 section 6), and our direction is
// the reverse of theirs.
func TestField_S23Streams(t *testing.T) {
	for _, test := range []struct {
		name      string
		offer     []byte
		streams   string
		direction string
	}{
		{"video first", offerOf("m=video 5000 RTP/AVP 99 34", "m=audio 4000 RTP/AVP 8"), "video 0 RTP/AVP 99 34 | audio OURS RTP/AVP 8", "sendrecv"},
		{"a stream that is off first", offerOf("m=audio 0 RTP/AVP 0", "m=audio 4000 RTP/AVP 8"), "audio 0 RTP/AVP 0 | audio OURS RTP/AVP 8", "sendrecv"},
		{"two that would do", offerOf("m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/AVP 0"), "audio OURS RTP/AVP 0 | audio 0 RTP/AVP 0", "sendrecv"},
		{"one with strange codecs first", offerOf("m=audio 4000 RTP/AVP 18 97", "m=audio 4002 RTP/AVP 0"), "audio 0 RTP/AVP 18 97 | audio OURS RTP/AVP 0", "sendrecv"},
		{"one with a port that is none first", offerOf("m=audio 70000 RTP/AVP 0", "m=audio 4002 RTP/AVP 0"), "audio 0 RTP/AVP 0 | audio OURS RTP/AVP 0", "sendrecv"},
		{"chat and slides", offerOf("m=message 7000 TCP/MSRP *", "m=audio 4000 RTP/AVP 0", "m=application 9 UDP/BFCP *"), "message 0 TCP/MSRP * | audio OURS RTP/AVP 0 | application 0 UDP/BFCP *", "sendrecv"},
		{"a direction of the session", offerOf("a=recvonly", "m=audio 4000 RTP/AVP 0"), "audio OURS RTP/AVP 0", "sendonly"},
		{"a direction of the stream", offerOf("a=inactive", "m=audio 4000 RTP/AVP 0", "a=sendonly"), "audio OURS RTP/AVP 0", "recvonly"},
		{"another stream's direction", offerOf("m=video 5000 RTP/AVP 99", "a=inactive", "m=audio 4000 RTP/AVP 0"), "video 0 RTP/AVP 99 | audio OURS RTP/AVP 0", "sendrecv"},
		{"inactive", offerOf("m=audio 4000 RTP/AVP 0", "a=inactive"), "audio OURS RTP/AVP 0", "inactive"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := calling(t, "192.0.2.20", "192.0.2.1", false)
			body, err := c.Describe(test.offer)
			if err != nil {
				t.Fatal(err)
			}
			if got := mLines(body, c.port); got != test.streams {
				t.Errorf("answered %s, want %s", got, test.streams)
			}
			if !strings.Contains(string(body), "a="+test.direction+"\r\n") || strings.Count(string(body), "\r\na=rtpmap") < 1 {
				t.Errorf("direction is not %s:\n%s", test.direction, body)
			}
		})
	}
}

// L13: a 488 and a 400 say why in a form that a Warning header can carry (RFC 3261
// sections 20.43 and 21.4.26), with nothing of the phone's own text in it.
func TestField_L13Warnings(t *testing.T) {
	for _, test := range []struct {
		name  string
		offer []byte
		is    error
		code  int
	}{
		{"video only", offerOf("m=video 4000 RTP/AVP 99"), ErrNotAcceptable, 304},
		{"no stream", offerOf(), ErrNotAcceptable, 304},
		{"audio that is off", offerOf("m=audio 0 RTP/AVP 0"), ErrNotAcceptable, 304},
		{"keys by DTLS", offerOf("m=audio 4000 UDP/TLS/RTP/SAVPF 0"), ErrNotAcceptable, 302},
		{"TCP", offerOf("m=audio 4000 TCP/RTP/AVP 0"), ErrNotAcceptable, 302},
		{"codecs that nobody here has", offerOf(`m=audio 4000 RTP/AVP 18 4 "\`), ErrNotAcceptable, 305},
		{"events only", offerOf("m=audio 4000 RTP/AVP 101", plainEvents), ErrNotAcceptable, 305},
		{"video, and audio of a strange codec", offerOf("m=video 4000 RTP/AVP 99", "m=audio 4000 RTP/AVP 18"), ErrNotAcceptable, 305},
		{"a multicast group", offerOf("m=audio 4000 RTP/AVP 0", "c=IN IP4 224.2.1.1/127"), ErrNotAcceptable, 330},
		{"a host name", offerOf("m=audio 4000 RTP/AVP 0", "c=IN IP4 phone.example"), ErrNotAcceptable, 301},
		{"no address", []byte("v=0\r\nm=audio 4000 RTP/AVP 0\r\n"), ErrBadOffer, 399},
		{"something else", []byte("<xml a=\"\\\"/>"), ErrBadOffer, 399},
		{"half an m= line", offerOf("m=audio 4000"), ErrBadOffer, 399},
		{"an m= line with a NUL in a word", offerOf("m=audio 4000 RTP/A\x01P 0"), ErrBadOffer, 399},
	} {
		_, err := calling(t, "192.0.2.20", "192.0.2.1", false).Describe(test.offer)
		code, text := warningOf(err)
		if !errors.Is(err, test.is) || code != test.code || !quotable(text) {
			t.Errorf("%s: %v with warning %d %q, want %d", test.name, err, code, text, test.code)
		}
	}
}

// S23: what somebody's lines say does not depend on the lines of nonsense between
// them, nor on how lines end.
func FuzzField_S23Nonsense(f *testing.F) {
	f.Add(offerOf(plainAudio, plainEvents), "garbage")
	f.Add(offerOf("m=video 5000 RTP/AVP 99", "m=audio 4000 RTP/AVP 8", "c=IN IP6 ::1"), "\x7f")
	f.Add(offerOf("m=audio 4000 RTP/AVP 9", "a=inactive"), "y=0")
	f.Fuzz(func(t *testing.T, offer []byte, junk string) {
		if kind, _, ok := strings.Cut(junk, "="); ok && strings.ContainsAny(strings.ToLower(kind), "vmca") || strings.ContainsAny(junk, "\r\n\x00") {
			return // a line of its own meaning
		}
		want, wantErr := settle(offer, terms{})
		var b strings.Builder
		for line := range strings.FieldsFuncSeq(string(offer), func(r rune) bool { return r == '\r' || r == '\n' || r == 0 }) {
			b.WriteString(line + "\n" + junk + "\n")
		}
		if b.Len() > maxSDP {
			return
		}
		got, err := settle([]byte(b.String()), terms{})
		if fmt.Sprint(got, err) != fmt.Sprint(want, wantErr) {
			t.Errorf("%+v, %v; without the nonsense %+v, %v", got, err, want, wantErr)
		}
	})
}
