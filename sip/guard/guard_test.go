package guard

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var start = netip.MustParseAddrPort("192.0.2.7:5060")

// drain counts how many messages in a row are paid for.
func drain(g *Guard, f flow) (n int) {
	for {
		if wait, _ := g.pay(f, time.Now().UnixNano()); wait > 0 {
			return n
		}
		n++
	}
}

// A source may send its burst at once and its rate from then on; all strangers
// together have one budget; a flood of strangers takes nothing from a registered
// flow or a PBX; one IPv6 network is one source.
func TestBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{})
		stranger := flow{"UDP", start}
		if n := drain(g, stranger); n != int(strangerRate.Burst) {
			t.Errorf("a stranger sends %d at once, want %v", n, strangerRate.Burst)
		}
		time.Sleep(time.Second)
		if n := drain(g, flow{"TCP", netip.AddrPortFrom(start.Addr(), 6000)}); n != int(strangerRate.PerSecond) {
			t.Errorf("a second later, from another port of it, %d, want %v", n, strangerRate.PerSecond)
		}
		all := 0
		for i := range 100_000 {
			f := flow{"UDP", netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 5060)}
			if wait, _ := g.pay(f, time.Now().UnixNano()); wait == 0 {
				all++
			}
		}
		if all > int(strangersRate.Burst) || all < int(strangersRate.Burst)/2 {
			t.Errorf("100,000 strangers sent %d together, want at most %v", all, strangersRate.Burst)
		}
		g.Know("UDP", "192.0.2.7:5060")
		g.Peers([]Peer{{"TCP", netip.MustParsePrefix("192.0.2.100/32")}, {"UDP", netip.MustParsePrefix("192.0.2.101/32")}, {"UDP", netip.MustParsePrefix("198.51.100.3/29")}})
		if n := drain(g, stranger); n != int(flowRate.Burst) {
			t.Errorf("a registered flow in the flood sends %d, want %v", n, flowRate.Burst)
		}
		if n := drain(g, flow{"TCP", netip.MustParseAddrPort("192.0.2.100:33333")}); n != int(peerRate.Burst) {
			t.Errorf("a PBX in the flood sends %d, want %v", n, peerRate.Burst)
		}
		for f, want := range map[flow]bool{
			{"UDP", netip.MustParseAddrPort("192.0.2.101:5060")}: true, {"UDP", netip.MustParseAddrPort("192.0.2.101:5061")}: true,
			{"UDP", netip.MustParseAddrPort("198.51.100.7:5061")}: true, {"UDP", netip.MustParseAddrPort("198.51.100.8:5061")}: false,
			{"TCP", netip.MustParseAddrPort("192.0.2.101:5060")}: false, {"UDP", netip.MustParseAddrPort("192.0.2.100:5060")}: false,
		} {
			if g.isKnown(f) != want {
				t.Errorf("%v is a PBX: %v", f, !want)
			}
		}
		g.Know("UDP", "192.0.2.7:5060")
		g.Forget("UDP", "192.0.2.7:5060")
		if !g.Known("UDP", "192.0.2.7:5060") || g.Known("TCP", "192.0.2.7:5060") {
			t.Error("known twice, forgotten once: must be known, and on its own flow only")
		}
		g.Forget("UDP", "192.0.2.7:5060")
		if g.Known("UDP", "192.0.2.7:5060") {
			t.Error("forgotten, and still known")
		}
		if source(netip.MustParseAddr("2001:db8::1")) != source(netip.MustParseAddr("2001:db8::2:3")) || source(netip.MustParseAddr("::ffff:192.0.2.7")) != start.Addr() {
			t.Error("sources of IPv6")
		}
	})
}

// flaky is a socket that returns what a test has put down, in order, then that it
// is closed.
type flaky struct {
	net.PacketConn
	results []result
	sent    []string
}

type result struct {
	text string
	from string
	err  error
}

func (f *flaky) ReadFrom(b []byte) (int, net.Addr, error) {
	if len(f.results) == 0 {
		return 0, nil, net.ErrClosed
	}
	time.Sleep(time.Microsecond) // one after the other
	r := f.results[0]
	f.results = f.results[1:]
	if r.from == "" {
		r.from = "192.0.2.7:5060"
	}
	return copy(b, r.text), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(r.from)), r.err
}

func (f *flaky) WriteTo(b []byte, to net.Addr) (int, error) {
	f.sent = append(f.sent, to.String()+" "+string(b))
	return len(b), nil
}

// collect is what the library would do with a reader.
func collect(got *[]string) func(net.PacketConn) error {
	return func(c net.PacketConn) error {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return err
			}
			*got = append(*got, from.String()+" "+string(buf[:n]))
		}
	}
}

// Passing errors are waited out without turning in a circle and end nothing;
// oversized datagrams and keep-alives go no further; a closed socket ends it.
func TestPassingErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{}
		for range 20 {
			f.results = append(f.results, result{err: errors.New("no buffer space available")})
		}
		f.results = append(f.results, result{text: strings.Repeat("x", maxDatagram+1)}, result{text: "\r\n\r\n"}, result{text: "\x00"}, result{text: "one"},
			result{err: errors.New("once more")}, result{text: "two"})
		var got []string
		reading, begun := 0, time.Now()
		if err := New(Options{}).ServePackets(f, collect(&got), func() { reading++ }); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a closed socket: %v", err)
		}
		if fmt.Sprint(got) != "[192.0.2.7:5060 one 192.0.2.7:5060 two]" || reading != 1 {
			t.Errorf("got %q; told %d times that it reads", got, reading)
		}
		if waited := time.Since(begun); waited < 9*time.Second || waited > 15*time.Second {
			t.Errorf("waited %v for 21 errors, want at most a second for each", waited)
		}
	})
}

// One reader follows another after some thousand strangers, so that what the
// library keeps of them is forgotten; nothing is lost in between and only one
// reads at a time. Registered phones do not count, and do not wait behind others.
func TestReadersFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{}
		const n = 3*readerStrangers + 10
		for i := range n {
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 5060)
			f.results = append(f.results, result{text: fmt.Sprint(i), from: at.String()})
		}
		old := strangersRate
		strangersRate = Rate{n, n}
		defer func() { strangersRate = old }()
		var got []string
		readers := 0
		err := New(Options{}).ServePackets(f, func(c net.PacketConn) error { readers++; return collect(&got)(c) }, func() {})
		if !errors.Is(err, net.ErrClosed) || len(got) != n || readers != 4 {
			t.Errorf("%v; %d messages of %d by %d readers", err, len(got), n, readers)
		}
		for i, text := range got {
			if !strings.HasSuffix(text, " "+fmt.Sprint(i)) {
				t.Fatalf("message %d is %q", i, text)
			}
		}
	})
}

// What cannot be read is answered a few times a second, to the port that the Via
// asks for; over the budget it is dropped without a word. While the server is full
// strangers are dropped, and registered flows are not.
func TestInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, full := &flaky{}, false
		for range 100 {
			f.results = append(f.results, result{text: "bad"})
		}
		f.results = append(f.results, result{text: "drop"}, result{text: "good"})
		g := New(Options{
			Full: func() bool { return full },
			Inspect: func(_ string, _ netip.AddrPort, b []byte, _ bool) Verdict {
				switch string(b) {
				case "bad":
					return Verdict{Answer: []byte("400"), Port: 5080}
				case "drop":
					return Verdict{Drop: true}
				}
				return Verdict{}
			},
		})
		var got []string
		_ = g.ServePackets(f, collect(&got), func() {})
		if len(got) != 1 || len(f.sent) != int(answerRate.Burst) || f.sent[0] != "192.0.2.7:5080 400" {
			t.Errorf("let in %q, answered %d times, first %q", got, len(f.sent), f.sent)
		}
		full = true
		f.results = []result{{text: "good"}, {text: "known", from: "192.0.2.8:5060"}}
		g.Know("UDP", "192.0.2.8:5060")
		got = nil
		_ = g.ServePackets(f, collect(&got), func() {})
		if fmt.Sprint(got) != "[192.0.2.8:5060 known]" {
			t.Errorf("while full: %q", got)
		}
	})
}

// The library's messages about packets come at debug level, at most ten a
// second, and without the packets' text.
func TestLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := Logger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
		for range 100 {
			log.With("caller", "x").WithGroup("g").Error("failed to parse", "data", "Authorization: Digest secret", "error", "broken")
			log.Info("chatter")
		}
		text := out.String()
		if lines := strings.Count(text, "\n"); lines != 10 {
			t.Errorf("%d lines, want 10", lines)
		}
		if strings.Contains(text, "secret") || strings.Contains(text, "chatter") || !strings.Contains(text, "level=DEBUG") || !strings.Contains(text, "error=broken") {
			t.Errorf("log:\n%s", text)
		}
		time.Sleep(time.Second)
		log.Warn("again")
		if !strings.Contains(out.String(), "again") {
			t.Error("nothing in the next second")
		}
		quiet := Logger(slog.New(slog.NewTextHandler(&out, nil)))
		before := out.Len()
		quiet.Error("failed to parse")
		if out.Len() != before {
			t.Error("written although debug is off")
		}
	})
}

// The way of a datagram that is dropped, and of one that is let in.
func BenchmarkPay(b *testing.B) {
	g := New(Options{})
	g.Know("UDP", "192.0.2.7:5060")
	b.Run("registered flow", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g.pay(flow{"UDP", start}, time.Now().UnixNano())
		}
	})
	b.Run("100,000 strangers", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i = (i + 1) % 100_000
			g.pay(flow{"UDP", netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 5060)}, time.Now().UnixNano())
		}
	})
}
