// Everything in this file runs in testing/synctest bubbles: its time is not real.

package ivr

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"hotdeskd/sounds"
)

// phone is the far end of a call: it speaks SDP and RTP, and types keys.
type phone struct {
	conn      *memConn
	server    netip.AddrPort
	header    rtp.Header
	heard     []rtp.Packet
	eventType uint8               // 0 means 101
	seal      func([]byte) []byte // nil: plain RTP
	open      func([]byte) []byte
	times     []time.Time
}

const phoneAt = "192.0.2.20:4000"

func newPhone(t *testing.T, n *memNet, addr string) *phone {
	t.Helper()
	return &phone{conn: n.mustBind(t, addr), header: rtp.Header{Version: 2, SSRC: 77, Timestamp: 1000}}
}

// send sends one packet with the phone's next sequence number.
func (p *phone) send(t *testing.T, pt uint8, payload []byte) {
	t.Helper()
	p.header.PayloadType = pt
	b, err := (&rtp.Packet{Header: p.header, Payload: payload}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if p.seal != nil {
		b = p.seal(b)
	}
	_, _ = p.conn.WriteTo(b, net.UDPAddrFromAddrPort(p.server))
	p.header.SequenceNumber++
}

func (p *phone) audio(t *testing.T) {
	t.Helper()
	p.send(t, 0, bytes.Repeat([]byte{muLawSilence}, frameSize))
	p.header.Timestamp += frameSize
}

// press types keys as RFC 4733 events, each 100 ms long and 60 ms apart.
func (p *phone) press(t *testing.T, keys string) {
	t.Helper()
	for _, key := range []byte(keys) {
		event := []byte{byte(strings.IndexByte(eventSymbols, key)), 10, 0, 0}
		for n := range 7 {
			binary.BigEndian.PutUint16(event[2:], uint16(min(n+1, 5)*frameSize))
			if n >= 5 {
				event[1] |= 0x80
			}
			p.header.Marker = n == 0
			p.send(t, cmp.Or(p.eventType, 101), event)
			time.Sleep(frameTime)
		}
		p.header.Marker = false
		p.header.Timestamp += 8 * frameSize
		time.Sleep(frameTime)
	}
}

// listen takes what has arrived.
func (p *phone) listen(t *testing.T) {
	t.Helper()
	for {
		select {
		case d := <-p.conn.inbox:
			var packet rtp.Packet
			if p.open != nil {
				d.data = p.open(d.data)
			}
			if err := packet.Unmarshal(d.data); err != nil {
				t.Fatal(err)
			}
			p.heard = append(p.heard, packet)
			p.times = append(p.times, d.at)
		default:
			return
		}
	}
}

// said finds which prompts were heard, in order of their beginnings.
func (p *phone) said(t *testing.T, set *sounds.Set, aLaw bool, keys ...string) bool {
	t.Helper()
	p.listen(t)
	var stream []byte
	for _, packet := range p.heard {
		stream = append(stream, packet.Payload...)
	}
	for _, key := range keys {
		clip, ok := set.Lookup("en", key)
		if !ok {
			t.Fatalf("no such prompt: %s", key)
		}
		audio := clip.MuLaw
		if aLaw {
			audio = clip.ALaw
		}
		at := bytes.Index(stream, audio)
		if at < 0 {
			return false
		}
		stream = stream[at+len(audio):]
	}
	return true
}

// loadSounds loads the embedded prompts once: they are read-only.
var loadSounds = sync.OnceValues(func() (*sounds.Set, error) {
	set, _, err := sounds.Load(nil)
	return set, err
})

// office is a menu on a network in memory.
type office struct {
	net  *memNet
	menu *Menu
	desk *fakeDesk
	set  *sounds.Set
	log  *bytes.Buffer
}

func newOffice(t *testing.T, opts Options) *office {
	t.Helper()
	set, err := loadSounds()
	if err != nil {
		t.Fatal(err)
	}
	o := &office{net: newMemNet(), desk: newFakeDesk(), set: set, log: &bytes.Buffer{}}
	if opts.Sounds == nil {
		opts.Sounds = set
	}
	opts.Listen = o.net.listen
	opts.Log = slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if o.menu, err = New(o.desk, opts); err != nil {
		t.Fatal(err)
	}
	return o
}

func visit(dialed string) Visit {
	return Visit{
		CallID: "call-1", Device: "HD0012", Dialed: dialed,
		Source: netip.MustParseAddr("192.0.2.20"), Local: netip.MustParseAddr("192.0.2.1"),
	}
}

// attend begins a conversation and closes it with the test.
func (o *office) attend(t *testing.T, dialed string) *Conversation {
	t.Helper()
	c, err := o.menu.Attend(t.Context(), visit(dialed))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// offer sends the phone's description and reads where it may send.
func (p *phone) offer(t *testing.T, c *Conversation, lines ...string) {
	t.Helper()
	answer, err := c.Describe(offerOf(lines...))
	if err != nil {
		t.Fatal(err)
	}
	m, err := settle(answer, terms{})
	if err != nil {
		t.Fatalf("the answer cannot be used: %v\n%s", err, answer)
	}
	p.server = m.remote
}

// run runs a conversation in the background; the function returned waits for it.
func run(t *testing.T, c *Conversation) (hangUp func(), wait func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(cancel)
	return cancel, func() error {
		select {
		case err := <-ended:
			return err
		case <-time.After(2 * time.Minute):
			t.Fatal("the conversation does not end")
			return nil
		}
	}
}

func mustNegotiate(err error) {
	if err != nil {
		panic(err)
	}
}
