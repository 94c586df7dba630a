package ivr

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"hotdeskd/internal/memnet"
)

// wire is the packet as it is sent.
func (t tone) wire(pt uint8) []byte {
	b, err := (&rtp.Packet{Header: rtp.Header{
		Version: 2, PayloadType: pt, Marker: t.marker, SequenceNumber: t.seq, Timestamp: t.ts, SSRC: t.ssrc,
	}, Payload: t.payload[:]}).Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

// listening is a session that has agreed with a phone, without sockets.
func listening(m media) (*session, func(b []byte)) {
	m.remote = netip.MustParseAddrPort(phoneAt)
	s := newSession(nil, nil, m.remote.Addr())
	mustNegotiate(s.negotiated(m))
	return s, func(b []byte) { s.receive(m.remote, b) }
}

// oddSenders are those that break RFC 4733 in ways that phones were seen to.
var oddSenders = map[string]sender{
	"one timestamp for all presses":                            {frozen: true},
	"one timestamp, no marker":                                 {frozen: true, noMarker: true},
	"one timestamp, one end":                                   {frozen: true, ends: 1},
	"one timestamp, no end":                                    {frozen: true, ends: -1},
	"one timestamp, marker everywhere":                         {frozen: true, allMarker: true},
	"one timestamp, starts without duration":                   {frozen: true, zeroStart: true},
	"one timestamp, held long":                                 {frozen: true, frames: 90},
	"one timestamp, short taps":                                {frozen: true, frames: 1, noMarker: true},
	"ends with one sequence number":                            {sameEnd: true},
	"one timestamp, ends with one sequence number":             {frozen: true, sameEnd: true},
	"a clock that falls back a second after each press":        {back: 59},
	"a clock that falls back by less than a press":             {back: 12},
	"a clock that falls back, no marker":                       {back: 59, noMarker: true},
	"a clock that falls back, no end":                          {back: 59, ends: -1},
	"a clock that falls back, ends with one number":            {back: 59, sameEnd: true},
	"a clock that falls back far, with updates every 60 ms":    {back: 400, step: 3, frames: 6},
	"a clock that falls back, starts without duration, 1 end":  {back: 59, zeroStart: true, ends: 1},
	"a clock that falls back to where the last press began":    {back: 9},
	"a clock that falls back to there, without marker and end": {back: 9, noMarker: true, ends: -1},
}

// S21: a new press is told by marker, end bit, sequence number and duration (RFC
// 4733 sections 2.3 and 2.5.1) even where the timestamp does not tell: no key is
// lost and none doubled.
func TestField_S21Timestamps(t *testing.T) {
	for name, how := range oddSenders {
		const keys = "*77*100*4071#5550"
		s, receive := listening(media{events: 101})
		for _, p := range how.send(keys) {
			receive(p.wire(101))
		}
		if got := taken(s.keys); got != keys {
			t.Errorf("%s: got %s, want %s", name, got, keys)
		}
	}
}

// S21: a clock and sequence that start again inside one stream, as after a hold,
// cost no key, wherever they start again.
func TestField_S21Restart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, back := range []int{0, 1, 20, 50, 101, 1000, 40000} {
			for _, ticks := range []uint32{0, 160, 8000, 40000, 79999, 80000, 1 << 31} {
				s, receive := listening(media{events: 101})
				before, after := sender{}.send("4071"), sender{}.send("123#")
				for _, p := range before {
					receive(p.wire(101))
				}
				time.Sleep(3 * time.Second) // the hold
				last := before[len(before)-1]
				for _, p := range after {
					p.seq += last.seq + 1 - uint16(back) - after[0].seq
					p.ts += last.ts - ticks - after[0].ts
					receive(p.wire(101))
				}
				if got := taken(s.keys); got != "4071123#" {
					t.Errorf("%d numbers and %d ticks back: got %s", back, ticks, got)
				}
			}
		}
	})
}

// S21: another end of a press that comes when the next key is down already begins
// nothing, with whatever sequence number (RFC 4733 section 2.5.1.4 has ends sent
// three times).
func TestField_S21LateEnds(t *testing.T) {
	two := sender{gap: 1}.send("45")
	s, receive := listening(media{events: 101})
	order := []int{0, 1, 2, 3, 4, 5, 8, 6, 9, 7, 10, 11, 12, 13, 14, 15}
	for i, n := range order {
		p := two[n]
		p.seq = two[0].seq + uint16(i) // numbered in the order of sending
		receive(p.wire(101))
	}
	if got := taken(s.keys); got != "45" {
		t.Errorf("got %s, want 45", got)
	}
}

// S21: SIPp's play_dtmf uses type 96 whatever was agreed, gives a press of 200 ms a
// timestamp 50 ms after the last, and sends empty packets of type 97 before: all
// keys are heard, once. The packets are those of SIPp 3.6.1.
func TestField_S21SIPp(t *testing.T) {
	f, err := os.Open("testdata/sipp_play_dtmf.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for name, m := range map[string]media{"events agreed as 101": {events: 101}, "no events agreed": {}} {
		synctest.Test(t, func(t *testing.T) {
			if _, err := f.Seek(0, 0); err != nil {
				t.Fatal(err)
			}
			s, receive := listening(m)
			began := time.Now()
			for lines := bufio.NewScanner(f); lines.Scan(); {
				var at float64
				var mark, payload string
				var h rtp.Header
				if strings.HasPrefix(lines.Text(), "#") {
					continue
				}
				if _, err := fmt.Sscan(lines.Text(), &at, &mark, &h.PayloadType, &h.SequenceNumber, &h.Timestamp, &payload); err != nil {
					t.Fatal(err)
				}
				h.Version, h.Marker, h.SSRC = 2, mark == "M", 0x1020305
				body, err := hex.DecodeString(payload)
				if err != nil {
					t.Fatal(err)
				}
				b, err := (&rtp.Packet{Header: h, Payload: body}).Marshal()
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Until(began.Add(time.Duration(at * float64(time.Second)))))
				receive(b)
			}
			if got := taken(s.keys); got != "4471#" {
				t.Errorf("%s: got %q, want 4471#", name, got)
			}
		})
	}
}

// S21: a packet of a type that was not agreed on is a key only if it can be nothing
// else.
func TestField_S21StrayTypes(t *testing.T) {
	phone := media{events: 101, streams: []stream{{rtpmap: map[string]string{"97": "OPUS/48000/2", "100": "TELEPHONE-EVENT/48000"}}}}
	for _, test := range []struct {
		name    string
		pt      uint8
		payload []byte
		want    string
	}{
		{"a dynamic type", 96, []byte{4, 10, 0, 160}, "4"},
		{"events of another clock", 100, []byte{4, 10, 0, 160}, "4"},
		{"a type that the phone uses for something else", 97, []byte{4, 10, 0, 160}, ""},
		{"a static type", 18, []byte{4, 10, 0, 160}, ""},
		{"audio of that size", 0, []byte{4, 10, 0, 160}, ""},
		{"a keep-alive", 96, []byte{0, 0, 0, 0}, ""},
		{"five bytes", 96, []byte{4, 10, 0, 160, 0}, ""},
		{"no key", 96, []byte{77, 10, 0, 160}, ""},
	} {
		s, receive := listening(phone)
		b := tone{marker: false, seq: 1, ts: 1, ssrc: 7}.wire(test.pt)
		receive(append(b[:12], test.payload...))
		if got := taken(s.keys); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// S21: telephone-event is agreed on when it is offered in less than the full form:
// without fmtp (RFC 4733 section 2.4.1: then it is 0-15), without a map but with its
// list of events, as a bare 101, or without its clock.
func TestField_S21OfferedEvents(t *testing.T) {
	for _, test := range []struct {
		name, formats string
		lines         []string
		want          string
	}{
		{"whole", "0 101", []string{"a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16"}, "0 101"},
		{"no fmtp", "0 101", []string{"a=rtpmap:101 telephone-event/8000"}, "0 101"},
		{"fmtp alone", "0 101", []string{"a=fmtp:101 0-15"}, "0 101"},
		{"fmtp alone, another number", "8 96", []string{"a=rtpmap:8 PCMA/8000", "a=fmtp:96 0-11,16"}, "8 96"},
		{"fmtp before the map", "0 99", []string{"a=fmtp:99 0-15", "a=rtpmap:99 telephone-event/8000"}, "0 99"},
		{"a bare 101", "0 8 101", nil, "0 101"},
		{"no clock", "0 101", []string{"a=rtpmap:101 telephone-event"}, "0 101"},
		{"one channel", "0 101", []string{"a=rtpmap:101 telephone-event/8000/1"}, "0 101"},
		{"events first", "101 0", []string{"a=rtpmap:101 telephone-event/8000"}, "0 101"},
		{"fmtp of a codec", "0 97", []string{"a=fmtp:97 mode=30"}, "0"},
		{"101 is something else", "0 101", []string{"a=rtpmap:101 iLBC/8000"}, "0"},
		{"101 with a codec's fmtp", "0 101", []string{"a=fmtp:101 mode=30"}, "0"},
		{"another clock only", "0 101", []string{"a=rtpmap:101 telephone-event/48000"}, "0"},
		{"a map for a number that is not offered", "0", []string{"a=rtpmap:101 telephone-event/8000"}, "0"},
	} {
		c := calling(t, "192.0.2.20", "192.0.2.1", false)
		body, err := c.Describe(offerOf(append([]string{"m=audio 4000 RTP/AVP " + test.formats}, test.lines...)...))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := mLines(body, c.port); got != "audio OURS RTP/AVP "+test.want {
			t.Errorf("%s: answered %s, want %s", test.name, got, test.want)
		}
		if events := strings.Contains(string(body), "telephone-event/8000\r\n"); events != strings.Contains(test.want, " ") {
			t.Errorf("%s: the answer is\n%s", test.name, body)
		}
	}
}

// tap notes which press the packets that arrive belong to.
type tap struct {
	net.PacketConn
	pressOf map[string]int
	arrived *[]int
}

func (c tap) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(b)
	if err == nil {
		if press, ok := c.pressOf[string(b[:n])]; ok {
			*c.arrived = append(*c.arrived, press)
		}
	}
	return n, from, err
}

// overNet sends keys from a phone to a session over a network and returns what was
// heard, and the keys of which a packet arrived before any of a later one.
func overNet(t *testing.T, seed uint64, c memnet.Conditions, how sender, keys string) (heard, want string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(seed, c)
		open := func(at string) net.PacketConn {
			conn, err := n.ListenPacket(netip.MustParseAddrPort(at))
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		phone, ours := open(phoneAt), open("192.0.2.1:20000")
		defer func() { _ = phone.Close() }()
		var arrived []int
		pressOf := map[string]int{}
		s, receive := listening(media{events: 101})
		done := make(chan struct{})
		go func() {
			defer close(done)
			read(tap{ours, pressOf, &arrived}, func(_ netip.AddrPort, b []byte) { receive(b) })
		}()
		sent := how.send(keys)
		for _, p := range sent {
			pressOf[string(p.wire(101))] = p.press
		}
		for i, p := range sent {
			if i > 0 && p.press != sent[i-1].press {
				time.Sleep(80 * time.Millisecond)
			}
			_, _ = phone.WriteTo(p.wire(101), ours.LocalAddr())
			time.Sleep(frameTime)
		}
		time.Sleep(time.Second)
		_ = ours.Close()
		<-done
		latest := -1
		for _, press := range arrived {
			if press > latest {
				latest = press
				want += keys[press : press+1]
			}
		}
		heard = taken(s.keys)
	})
	return heard, want
}

// S21: whatever a network loses, repeats or swaps, a press of which a packet comes
// is heard once. A phone that gives all presses one timestamp leaves less to tell
// them by: there nothing is doubled, and nothing is lost but by loss.
func TestField_S21BadNetworks(t *testing.T) {
	networks := map[string]memnet.Conditions{
		"perfect":     {Delay: 5 * time.Millisecond},
		"reordering":  {Delay: 20 * time.Millisecond, Reorder: 0.2},
		"duplicating": {Delay: 20 * time.Millisecond, Duplicate: 0.3},
		"losing":      {Loss: 0.2},
		"all of it":   {Loss: 0.1, Reorder: 0.1, Duplicate: 0.1, Delay: 30 * time.Millisecond},
	}
	all := map[string]sender{"textbook": {}, "one end": {ends: 1}, "no marker": {noMarker: true}, "ends only": {onlyEnds: true, noMarker: true}}
	for name, s := range oddSenders {
		all[name] = s
	}
	for name, how := range all {
		if how.back > 0 && how.back < 13 && (how.noMarker || how.ends < 0 || how.back == 9) {
			continue // presses on top of each other and nothing to tell them by
		}
		if how.frozen && how.frames == 1 {
			continue // the one packet that is no end tells them apart: its loss is theirs
		}
		for where, c := range networks {
			lost := 0
			for seed := range uint64(6) {
				heard, want := overNet(t, seed, c, how, "4400#")
				if how.frozen && (c.Loss > 0 || c.Reorder > 0) {
					if !subsequence(heard, want) {
						t.Errorf("%s, %s network, seed %d: heard %s, want at most %s", name, where, seed, heard, want)
					}
					lost += len(want) - len(heard)
				} else if heard != want {
					t.Errorf("%s, %s network, seed %d: heard %s, want %s", name, where, seed, heard, want)
				}
			}
			if lost > 1 {
				t.Errorf("%s, %s network: %d of 30 presses lost", name, where, lost)
			}
		}
	}
}

// L11: a packet whose padding does not add up (RFC 3550 section 5.1: its last byte
// counts the padding, itself included) still has its key; one whose padding does is
// read as ever.
func TestField_L11Padding(t *testing.T) {
	header := []byte{0xA0, 0x80 | 101, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7} // P is set
	for name, payload := range map[string][]byte{
		"a last byte of 0":         {4, 0x8A, 5, 0},
		"a count beyond the end":   {4, 10, 0, 160},
		"a count of the payload":   {4, 10, 0, 4},
		"a count into the payload": {4, 10, 3, 1},
		"padding as it should be":  {4, 10, 0, 160, 0, 0, 0, 4},
	} {
		s, receive := listening(media{events: 101})
		receive(append(bytes.Clone(header), payload...))
		if got := taken(s.keys); got != "4" {
			t.Errorf("%s: got %q, want 4", name, got)
		}
	}
}

// L11: what the library reads is read in the same way here, and everything from the
// network is read without a panic.
func FuzzField_L11ReadRTP(f *testing.F) {
	f.Add([]byte{0x80, 101, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 4, 10, 0, 160})
	f.Add([]byte{0xB1, 0xE5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 0xBE, 0xDE, 0, 1, 0, 0, 0, 0, 4, 10, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := readRTP(b)
		var want rtp.Packet
		if want.Unmarshal(bytes.Clone(b)) != nil || want.Version != 2 {
			return
		}
		if !ok || p.pt != want.PayloadType || p.marker != want.Marker || p.seq != want.SequenceNumber ||
			p.ts != want.Timestamp || p.ssrc != want.SSRC || !bytes.Equal(p.audio(), want.Payload) {
			t.Errorf("%x: read %+v, want %+v", b, p, want)
		}
	})
}
