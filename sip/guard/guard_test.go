package guard

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// flaky is a socket that returns what a test has put down, in order.
type flaky struct {
	net.PacketConn
	results []result
}

type result struct {
	n   int
	err error
}

func (f *flaky) ReadFrom([]byte) (int, net.Addr, error) {
	if len(f.results) == 0 {
		return 0, nil, net.ErrClosed
	}
	r := f.results[0]
	f.results = f.results[1:]
	return r.n, &net.UDPAddr{}, r.err
}

// Passing errors and oversized datagrams end nothing and are waited out without
// turning in a circle; a closed socket ends the listener.
func TestPacketConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		passing := errors.New("no buffer space available")
		f := &flaky{}
		for range 20 {
			f.results = append(f.results, result{0, passing})
		}
		f.results = append(f.results, result{maxDatagram + 1, nil}, result{maxDatagram, nil}, result{0, passing}, result{100, nil})
		reading := 0
		c := PacketConn(f, slog.New(slog.DiscardHandler), func() { reading++ })
		start := time.Now()
		buf := make([]byte, 1<<16)
		for _, want := range []int{maxDatagram, 100} {
			if n, _, err := c.ReadFrom(buf); n != want || err != nil {
				t.Errorf("got %d bytes, %v; want %d", n, err, want)
			}
		}
		if waited := time.Since(start); waited < 9*time.Second || waited > 15*time.Second {
			t.Errorf("waited %v for 21 errors, want at most a second for each", waited)
		}
		if _, _, err := c.ReadFrom(buf); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed socket: %v", err)
		}
		if reading != 1 {
			t.Errorf("told %d times that it reads", reading)
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
