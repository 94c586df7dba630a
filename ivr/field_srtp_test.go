package ivr

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/srtp/v3"
)

const (
	suite80 = "AES_CM_128_HMAC_SHA1_80"
	suite32 = "AES_CM_128_HMAC_SHA1_32"
	keyA    = "inline:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5"
	keyB    = "inline:OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2NTQzMjEw"
)

// SDES by RFC 4568: over encrypted signalling an RTP/SAVP stream is taken with the
// first line whose suite and parameters we know, and answered with its tag and suite
// and a key of ours; RTP/AVP means plain RTP whatever keys stand in it; without
// encrypted signalling a key is neither taken nor given, and SAVP alone is a 488.
func TestField_SRTPAnswer(t *testing.T) {
	savp := func(lines ...string) []byte {
		return offerOf(append([]string{"m=audio 4000 RTP/SAVP 0 101", plainEvents}, lines...)...)
	}
	for _, test := range []struct {
		name     string
		insecure bool
		offer    []byte
		streams  string // "": refused
		crypto   string // tag and suite of the answer
		warn     int
	}{
		{name: "80", offer: savp("a=crypto:1 " + suite80 + " " + keyA), streams: "audio OURS RTP/SAVP 0 101", crypto: "1 " + suite80},
		{name: "32", offer: savp("a=crypto:7 " + suite32 + " " + keyA), streams: "audio OURS RTP/SAVP 0 101", crypto: "7 " + suite32},
		{name: "the phone's first that we know", offer: savp("a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:AAAA", "a=crypto:2 AEAD_AES_128_GCM inline:AAAA", "a=crypto:3 "+suite32+" "+keyA, "a=crypto:4 "+suite80+" "+keyB), streams: "audio OURS RTP/SAVP 0 101", crypto: "3 " + suite32},
		{name: "lifetime and MKI", offer: savp("a=crypto:1 " + suite80 + " " + keyA + "|2^20|1:4"), streams: "audio OURS RTP/SAVP 0 101", crypto: "1 " + suite80},
		{name: "advice", offer: savp("a=crypto:1 " + suite80 + " " + keyA + " WSH=128 -SOMETHING=1"), streams: "audio OURS RTP/SAVP 0 101", crypto: "1 " + suite80},
		{name: "feedback", offer: offerOf("m=audio 4000 RTP/SAVPF 0", "a=crypto:1 "+suite80+" "+keyA), streams: "audio OURS RTP/SAVPF 0", crypto: "1 " + suite80},
		{name: "both transports, plain first", offer: offerOf("m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/SAVP 0", "a=crypto:1 "+suite80+" "+keyA), streams: "audio 0 RTP/AVP 0 | audio OURS RTP/SAVP 0", crypto: "1 " + suite80},
		{name: "both transports, keys for nobody", offer: offerOf("m=audio 4002 RTP/SAVP 0", "a=crypto:1 F8_128_HMAC_SHA1_80 inline:AAAA", "m=audio 4000 RTP/AVP 0"), streams: "audio 0 RTP/SAVP 0 | audio OURS RTP/AVP 0"},
		{name: "keys in plain RTP", offer: offerOf("m=audio 4000 RTP/AVP 0", "a=crypto:1 "+suite80+" "+keyA), streams: "audio OURS RTP/AVP 0"},
		{name: "no key", offer: savp(), warn: 306},
		{name: "a key of another length", offer: savp("a=crypto:1 " + suite80 + " inline:AAAA"), warn: 306},
		{name: "no base64", offer: savp("a=crypto:1 " + suite80 + " inline:" + strings.Repeat("!", 40)), warn: 306},
		{name: "several keys", offer: savp("a=crypto:1 " + suite80 + " " + keyA + "|1:1;" + keyB + "|2:1"), warn: 306},
		{name: "a parameter that changes what is sent", offer: savp("a=crypto:1 " + suite80 + " " + keyA + " UNENCRYPTED_SRTP"), warn: 306},
		{name: "a tag that is no number", offer: savp("a=crypto:x " + suite80 + " " + keyA), warn: 306},
		{name: "DTLS", offer: offerOf("m=audio 4000 UDP/TLS/RTP/SAVP 0", "a=crypto:1 "+suite80+" "+keyA), warn: 302},
		{name: "in the clear: SAVP", insecure: true, offer: savp("a=crypto:1 " + suite80 + " " + keyA), warn: 302},
		{name: "in the clear: both", insecure: true, offer: offerOf("m=audio 4002 RTP/SAVP 0", "a=crypto:1 "+suite80+" "+keyA, "m=audio 4000 RTP/AVP 0"), streams: "audio 0 RTP/SAVP 0 | audio OURS RTP/AVP 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := calling(t, "192.0.2.20", "192.0.2.1", !test.insecure)
			body, err := c.Describe(test.offer)
			if code, _ := warningOf(err); code != test.warn || (err == nil) != (test.warn == 0) || err != nil && !errors.Is(err, ErrNotAcceptable) {
				t.Fatalf("%v with warning %d, want %d", err, code, test.warn)
			}
			if got := mLines(body, c.port); got != test.streams {
				t.Errorf("answered %s, want %s", got, test.streams)
			}
			line, ours := cryptoOf(body)
			if test.crypto == "" {
				if line != "" {
					t.Errorf("a key in an answer of plain RTP: %s", line)
				}
				return
			}
			if !strings.HasPrefix(line, test.crypto+" inline:") || len(ours) != 30 {
				t.Errorf("answered with key %s, want %s", line, test.crypto)
			}
			if strings.Contains(line, keyA[7:]) || strings.Contains(line, keyB[7:]) {
				t.Error("the phone's own key comes back")
			}
		})
	}
}

// cryptoOf is the a=crypto line of a description, and its key.
func cryptoOf(body []byte) (line string, key []byte) {
	for l := range strings.SplitSeq(string(body), "\r\n") {
		if value, ok := strings.CutPrefix(l, "a=crypto:"); ok {
			_, text, _ := strings.Cut(value, "inline:")
			key, _ = base64.StdEncoding.DecodeString(text)
			return value, key
		}
	}
	return "", nil
}

// srtpPhone makes a phone encrypt with its line and decrypt with ours.
func srtpPhone(t *testing.T, p *phone, theirs string, answer []byte) {
	t.Helper()
	context := func(key []byte, suite string, opts ...srtp.ContextOption) *srtp.Context {
		profile := srtp.ProtectionProfileAes128CmHmacSha1_80
		if suite == suite32 {
			profile = srtp.ProtectionProfileAes128CmHmacSha1_32
		}
		c, err := srtp.CreateContext(key[:16], key[16:], profile, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	f := strings.Fields(theirs)
	text, rest, _ := strings.Cut(strings.TrimPrefix(f[2], "inline:"), "|")
	mine, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	var opts []srtp.ContextOption
	if rest != "" {
		opts = append(opts, srtp.MasterKeyIndicator([]byte{0, 0, 0, 1})) // 1:4
	}
	_, ours := cryptoOf(answer)
	out, in := context(mine, f[1], opts...), context(ours, f[1])
	p.seal = func(b []byte) []byte {
		sealed, err := out.EncryptRTP(nil, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	p.open = func(b []byte) []byte {
		plain, err := in.DecryptRTP(nil, b, nil)
		if err != nil {
			t.Errorf("what the phone gets is not sealed with our key: %v", err)
		}
		return plain
	}
}

// SRTP by RFC 3711: a phone logs in and hears it, in both suites, with and without an
// MKI, and with the phone's own other implementation at its end; the log says so.
func TestField_SRTPLogin(t *testing.T) {
	for _, crypto := range []string{"1 " + suite80 + " " + keyA, "5 " + suite32 + " " + keyA, "1 " + suite80 + " " + keyA + "|2^20|1:4", "2 " + suite32 + " " + keyA + "|1:4"} {
		synctest.Test(t, func(t *testing.T) {
			o := newOffice(t, Options{})
			p := newPhone(t, o.net, phoneAt)
			v := visit("*77*100*")
			v.Secure = true
			c, err := o.menu.Attend(t.Context(), v)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			answer, err := c.Describe(offerOf("m=audio 4000 RTP/SAVP 0 101", plainEvents, "a=crypto:"+crypto))
			if err != nil {
				t.Fatal(err)
			}
			p.server = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), c.port)
			srtpPhone(t, p, crypto, answer)
			_, wait := run(t, c)
			time.Sleep(time.Second)
			p.press(t, "4071#")
			if err := wait(); err != nil {
				t.Fatal(err)
			}
			if want := []string{"login 100 at HD0012 by ivr in call-1"}; !slices.Equal(o.desk.calls, want) {
				t.Errorf("%s: the rules were asked for %q, want %q", crypto, o.desk.calls, want)
			}
			if !p.said(t, o.set, false, "logged_in") {
				t.Errorf("%s: success was not heard", crypto)
			}
			if !strings.Contains(o.log.String(), "srtp=true") || strings.Contains(o.log.String(), keyA[7:]) {
				t.Errorf("log: %s", o.log)
			}
		})
	}
}

// eventPacket is one whole press in one packet.
func eventPacket(key byte, seq uint16) []byte {
	p := tone{seq: seq, ts: 8000 * uint32(seq), ssrc: 77, marker: true, payload: [4]byte{byte(strings.IndexByte(eventSymbols, key)), 0x8A}}
	binary.BigEndian.PutUint16(p.payload[2:], 800)
	return p.wire(101)
}

// RFC 3711 section 3.3: what does not authenticate, comes a second time, or is sealed
// with another key types nothing, is not latched, and is counted; plain RTP neither.
func TestField_SRTPForged(t *testing.T) {
	c := calling(t, "192.0.2.20", "192.0.2.1", true)
	const crypto = "1 " + suite80 + " " + keyA
	answer, err := c.Describe(offerOf("m=audio 4000 RTP/SAVP 0 101", plainEvents, "a=crypto:"+crypto))
	if err != nil {
		t.Fatal(err)
	}
	var good, other phone
	srtpPhone(t, &good, crypto, answer)
	srtpPhone(t, &other, "1 "+suite80+" "+keyB, answer)
	from := netip.MustParseAddrPort(phoneAt)
	first := good.seal(eventPacket('1', 1))
	for i := range first {
		forged := bytes.Clone(first)
		forged[i] ^= 1
		c.session.receive(from, forged)
	}
	c.session.receive(from, eventPacket('2', 2))
	c.session.receive(from, other.seal(eventPacket('3', 3)))
	c.session.receive(from, first[:len(first)-1])
	if got := taken(c.session.keys); got != "" || c.session.heard {
		t.Errorf("forged packets typed %q, heard is %t", got, c.session.heard)
	}
	want := len(first) + 3
	if c.session.refused < want-1 { // a flip of the version makes it no RTP at all
		t.Errorf("%d packets were counted as refused, want %d", c.session.refused, want)
	}
	c.session.receive(from, first)
	c.session.presses = presses{} // only SRTP can know the next ones for a repetition
	c.session.receive(from, first)
	c.session.receive(from, good.seal(eventPacket('4', 4)))
	if got := taken(c.session.keys); got != "14" {
		t.Errorf("the phone's own packets typed %q, want 14", got)
	}
}

// RFC 4568 section 7.1.4: a re-INVITE with a new key brings a new key of ours too, and
// from then on only the new ones count; the same key again changes nothing, and neither
// side's counters start again; a refused re-INVITE changes nothing.
func TestField_SRTPRekey(t *testing.T) {
	c := calling(t, "192.0.2.20", "192.0.2.1", true)
	from := netip.MustParseAddrPort(phoneAt)
	describe := func(crypto string) ([]byte, *phone) {
		t.Helper()
		answer, err := c.Describe(offerOf("m=audio 4000 RTP/SAVP 0 101", plainEvents, "a=crypto:"+crypto))
		if err != nil {
			t.Fatal(err)
		}
		var p phone
		srtpPhone(t, &p, crypto, answer)
		return answer, &p
	}
	press := func(b []byte, want string) {
		t.Helper()
		c.session.receive(from, b)
		if got := taken(c.session.keys); got != want {
			t.Errorf("typed %q, want %q", got, want)
		}
	}
	sent := &catch{}
	c.session.conn = sent
	first, old := describe("1 " + suite80 + " " + keyA)
	press(old.seal(eventPacket('1', 1)), "1")
	c.session.tick()
	again, _ := describe("1 " + suite80 + " " + keyA)
	if !bytes.Equal(first, again) {
		t.Errorf("the same offer was answered\n%s\nafter\n%s", again, first)
	}
	press(old.seal(eventPacket('2', 2)), "2")
	c.session.tick()
	for _, b := range sent.packets {
		old.open(b)
	}
	if _, err := c.Describe(offerOf("m=audio 4000 RTP/SAVP 0 101", "a=crypto:1 NULL inline:AAAA")); err == nil {
		t.Error("a key of no use was taken")
	}
	press(old.seal(eventPacket('3', 3)), "3")
	rekeyed, fresh := describe("1 " + suite80 + " " + keyB)
	if a, _ := cryptoOf(first); strings.Contains(string(rekeyed), a) {
		t.Error("our key stayed although the phone's changed")
	}
	press(old.seal(eventPacket('4', 4)), "")
	press(fresh.seal(eventPacket('5', 5)), "5")
	sent.packets = nil
	c.session.tick()
	fresh.open(sent.packets[0])
	_, other := describe("2 " + suite32 + " " + keyB)
	press(other.seal(eventPacket('6', 6)), "6")

	ours, err := c.Describe(nil)
	if err != nil || !strings.HasPrefix(mLines(ours, c.port), "audio OURS RTP/SAVP ") {
		t.Fatalf("our own offer is not encrypted any more: %v\n%s", err, ours)
	}
	if err := c.Accept(offerOf("m=audio 4000 RTP/AVP 0")); !errors.Is(err, ErrNotAcceptable) {
		t.Errorf("a plain answer to it: %v", err)
	}
	if err := c.Accept(offerOf("m=audio 4000 RTP/SAVP 0 101", plainEvents, "a=crypto:2 "+suite32+" "+keyA)); err != nil {
		t.Fatal(err)
	}
	var accepted phone
	srtpPhone(t, &accepted, "2 "+suite32+" "+keyA, ours)
	press(accepted.seal(eventPacket('7', 7)), "7")
	if _, err := c.Describe(offerOf(plainAudio, plainEvents)); err != nil {
		t.Fatal(err)
	}
	press(eventPacket('8', 8), "8") // back to plain RTP, as the phone asked
}

// catch is a socket that keeps what is sent.
type catch struct {
	net.PacketConn
	packets [][]byte
}

func (c *catch) WriteTo(b []byte, _ net.Addr) (int, error) {
	c.packets = append(c.packets, bytes.Clone(b))
	return len(b), nil
}

func (*catch) Close() error { return nil }

// Any line that is taken as a key gives a working context, and says the same when it
// is written and read again.
func FuzzField_SRTPCrypto(f *testing.F) {
	f.Add("1 " + suite80 + " " + keyA)
	f.Add("2 " + suite32 + " " + keyB + "|2^31|1:4 WSH=64")
	f.Add("3 " + suite32 + " " + keyB + "|18446744073709551615:128")
	f.Fuzz(func(t *testing.T, value string) {
		c, ok := readCrypto(value)
		if !ok {
			return
		}
		if _, err := c.context(); err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		again, ok := readCrypto(strings.TrimPrefix(strings.TrimSpace(c.line()), "a=crypto:"))
		if c.mki = ""; !ok || again != c {
			t.Errorf("%q is written as %q", value, c.line())
		}
	})
}

func BenchmarkTickSRTP(b *testing.B) {
	s := ticking(discard{})
	m := s.media
	m.own, m.theirs = ownSDES("1", suite80), ownSDES("1", suite80)
	mustNegotiate(s.negotiated(m))
	b.ReportAllocs()
	for b.Loop() {
		s.tick()
	}
}
