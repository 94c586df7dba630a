package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/internal/memnet"
)

const message = "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nContent-Length: 3\r\n\r\nabc"

// hall is a listener on a network in memory, and what the library would read from
// its connections.
type hall struct {
	t   *testing.T
	g   *Guard
	net *memnet.Net
	l   *Listener
	at  string

	mu    sync.Mutex
	taken int // connections that the library has
	heard []string
	gone  []string
}

func inHall(t *testing.T, o Options, do func(*hall)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &hall{t: t, net: memnet.New(1, memnet.Conditions{}), at: "192.0.2.1:5060"}
		o.Gone = func(network, remote string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.gone = append(h.gone, network+" "+remote)
		}
		inner, err := h.net.Listen(netip.MustParseAddrPort(h.at))
		if err != nil {
			t.Fatal(err)
		}
		h.g = New(o)
		h.l = h.g.Listener("TCP", inner, nil)
		go h.serve(h.l)
		do(h)
		if err := h.l.Close(); err != nil {
			t.Error(err)
		}
		h.g.conns.mu.Lock()
		var left []*conn
		for _, c := range h.g.conns.open {
			left = append(left, c)
		}
		h.g.conns.mu.Unlock()
		for _, c := range left {
			_ = c.Close()
		}
	})
}

// so returns what was heard, and who is gone.
func (h *hall) so() (heard, gone []string) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.heard), slices.Clone(h.gone)
}

func (h *hall) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		h.mu.Lock()
		h.taken++
		h.mu.Unlock()
		go func() {
			defer c.Close()
			buf := make([]byte, 1<<16)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				h.mu.Lock()
				h.heard = append(h.heard, string(buf[:n]))
				h.mu.Unlock()
			}
		}()
	}
}

func (h *hall) dial() net.Conn {
	h.t.Helper()
	c, err := h.net.Dial(context.Background(), "tcp", h.at)
	if err != nil {
		h.t.Fatal(err)
	}
	synctest.Wait()
	return c
}

func (h *hall) send(c net.Conn, text string) {
	h.t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		h.t.Fatal(err)
	}
	synctest.Wait()
}

// ended tells whether we have closed the connection.
func ended(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := io.Copy(io.Discard, c)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// The reader gets whole messages, one at a time, however they were cut; line breaks
// before them are taken off, and two of them are answered by one.
func TestWholeMessages(t *testing.T) {
	inHall(t, Options{}, func(h *hall) {
		c := h.dial()
		for i := range message {
			h.send(c, message[i:i+1])
		}
		h.send(c, "\r\n"+message+message+"\r\n\r\n")
		if heard, _ := h.so(); !slices.Equal(heard, []string{message, message, message}) {
			t.Errorf("heard %q", heard)
		}
		buf := make([]byte, 10)
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != "\r\n" {
			t.Errorf("keep-alive answered by %q, %v", buf[:n], err)
		}
	})
}

// A message whose end cannot be found is answered and its connection closed, at
// once when that is sure, after ten seconds when it might still come.
func TestBrokenFrames(t *testing.T) {
	answer := func(_ string, _ netip.AddrPort, _ []byte, broken bool) Verdict {
		if broken {
			return Verdict{Answer: []byte("400")}
		}
		return Verdict{}
	}
	for _, c := range []struct {
		name, text string
		after      time.Duration
	}{
		{"no length", "OPTIONS sip:x SIP/2.0\r\nVia: a\r\n\r\n", 0},
		{"negative length", strings.Replace(message, ": 3", ": -3", 1), 0},
		{"two lengths", strings.Replace(message, "Via", "l: 9\r\nVia", 1), 0},
		{"endless body", strings.Replace(message, ": 3", ": 2000000000", 1), 0},
		{"endless head", "OPTIONS sip:x SIP/2.0\r\nX: " + strings.Repeat("x", maxMessage), 0},
		{"half a body", strings.Replace(message, ": 3", ": 4", 1), messageWait},
		{"half a head", "OPTIONS sip", messageWait},
	} {
		t.Run(c.name, func(t *testing.T) {
			inHall(t, Options{Inspect: answer}, func(h *hall) {
				conn := h.dial()
				h.send(conn, c.text)
				if c.after > 0 {
					time.Sleep(c.after - time.Second)
					if ended(conn) {
						t.Fatal("closed too early")
					}
					time.Sleep(2 * time.Second)
				}
				got := make([]byte, 10)
				_ = conn.SetReadDeadline(time.Now().Add(time.Second))
				n, _ := conn.Read(got)
				heard, gone := h.so()
				if !ended(conn) || len(heard) != 0 {
					t.Errorf("not closed, or heard %q", heard)
				}
				if want := c.name != "endless head"; (string(got[:n]) == "400") != want {
					t.Errorf("answered %q", got[:n])
				}
				if len(gone) != 1 {
					t.Errorf("told %q that it is gone", gone)
				}
			})
		})
	}
}

// Who drips a message byte by byte has ten seconds for it, not ten for each byte;
// an idle stranger a minute; a known flow all the time.
func TestDeadlines(t *testing.T) {
	inHall(t, Options{}, func(h *hall) {
		drip, known := h.dial(), h.dial()
		h.g.Know("TCP", known.LocalAddr().String())
		for range 9 {
			h.send(drip, "x")
			time.Sleep(time.Second)
		}
		if ended(drip) {
			t.Error("closed after nine seconds")
		}
		time.Sleep(2 * time.Second)
		if !ended(drip) {
			t.Error("eleven seconds are not enough for it")
		}
		idle := h.dial()
		time.Sleep(idleWait + time.Second)
		if !ended(idle) || ended(known) {
			t.Error("after a minute the stranger must be gone and the phone not")
		}
		h.g.Forget("TCP", known.LocalAddr().String())
		time.Sleep(2*idleWait + time.Second)
		if !ended(known) {
			t.Error("a phone that is not registered any more may not stay")
		}
	})
}

// One address may have so many connections; then a newcomer takes the place of the
// oldest that has not spoken, or of the oldest, and nobody is kept out. Phones that
// have registered do not count and never go.
func TestConnectionCaps(t *testing.T) {
	inHall(t, Options{}, func(h *hall) {
		var all []net.Conn
		for range maxPerSource {
			c := h.dial()
			h.send(c, message)
			all = append(all, c)
		}
		h.g.Know("TCP", all[0].LocalAddr().String())
		silent := h.dial() // takes the place of the phone that is known now
		if ended(silent) || ended(all[1]) {
			t.Error("a registered phone takes a stranger's place")
		}
		for range 3 { // each drives out the silent one before it
			next := h.dial()
			if !ended(silent) || ended(next) {
				t.Error("the silent one stays, or the newcomer is refused")
			}
			silent = next
		}
		h.send(silent, message)
		if c := h.dial(); ended(c) || !ended(all[1]) || ended(all[2]) || ended(all[0]) {
			t.Error("of those who have spoken the oldest goes, and no phone")
		}
		_ = all[2].Close()
		synctest.Wait()
		if c := h.dial(); ended(c) || ended(all[3]) {
			t.Error("a connection that has ended takes a place")
		}
		if open, strangers := h.g.Connections(); open != maxPerSource+1 || strangers != maxPerSource {
			t.Errorf("%d open, %d strangers", open, strangers)
		}
		if n := h.g.Stats.Refused.Load(); n != 4 {
			t.Errorf("%d refused", n)
		}
	})
}

// Of all strangers together the oldest of the address that has the most goes.
func TestCrowdedSourcesMakeRoom(t *testing.T) {
	c := connections{open: map[flow]*conn{}, strangers: map[netip.Addr]*crowd{}}
	n := 0
	from := func(last byte) (w, leave *conn) {
		n++
		w = &conn{flow: flow{"TCP", netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), uint16(n))}}
		leave, ok := c.add(w, true)
		if !ok {
			t.Fatalf("number %d is refused", n)
		}
		return w, leave
	}
	first, _ := from(1)
	for range 999 {
		from(1)
	}
	for last := byte(2); c.unknown < maxStrangers; last = 2 + (last+1)%10 {
		from(last)
	}
	_, leave := from(200)
	if leave != first || first.stranger || c.unknown != maxStrangers {
		t.Errorf("%v goes, want the oldest of the fullest address; %d strangers", leave, c.unknown)
	}
	for _, w := range c.open {
		c.remove(w)
	}
	if len(c.open) != 0 || len(c.strangers) != 0 || c.unknown != 0 {
		t.Errorf("left: %d open, %d sources, %d strangers", len(c.open), len(c.strangers), c.unknown)
	}
}

// Who sends faster than it may is read more slowly, and loses nothing.
func TestStreamBudget(t *testing.T) {
	inHall(t, Options{}, func(h *hall) {
		c := h.dial()
		n := int(strangerRate.Burst) + int(strangerRate.PerSecond)
		if _, err := c.Write([]byte(strings.Repeat(message, n))); err != nil {
			t.Fatal(err)
		}
		heard := func() int { all, _ := h.so(); return len(all) }
		if got := heard(); got != int(strangerRate.Burst) {
			t.Errorf("heard %d at once, want %v", got, strangerRate.Burst)
		}
		time.Sleep(1100 * time.Millisecond)
		if got := heard(); got != n {
			t.Errorf("heard %d a second later, want %d", got, n)
		}
	})
}

// failing is a listener whose Accept fails for a while.
type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return nil, err
	}
	return f.Listener.Accept()
}

// A listener survives that there are no descriptors or buffers for a while, and
// does not turn in a circle meanwhile; one that is broken for good ends.
func TestAcceptErrors(t *testing.T) {
	inHall(t, Options{}, func(h *hall) {
		inner, err := h.net.Listen(netip.MustParseAddrPort("192.0.2.1:5070"))
		if err != nil {
			t.Fatal(err)
		}
		f := &failing{Listener: inner}
		for range 20 {
			f.errs = append(f.errs, syscall.EMFILE, syscall.ENOBUFS, syscall.ECONNABORTED)
		}
		l := h.g.Listener("TCP", f, nil)
		go h.serve(l)
		h.at = "192.0.2.1:5070"
		c := h.dial()
		begun := time.Now()
		h.send(c, message)
		time.Sleep(time.Minute)
		if heard, _ := h.so(); len(heard) != 1 {
			t.Errorf("a minute of errors later, heard %q (%v)", heard, time.Since(begun))
		}
		_ = inner.Close()
		synctest.Wait()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a closed socket: %v", err)
		}
		_ = l.Close()
	})
}

// A connection from an address that another one has come from ends that one first,
// and that is told before the new one is read.
func TestSameAddress(t *testing.T) {
	inHall(t, Options{}, func(h *hall) {
		one, two := net.Pipe()
		defer two.Close()
		at := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4000}
		first := h.g.wrap("TCP", fixed{one, at})
		h.g.conns.add(first, true)
		three, four := net.Pipe()
		defer four.Close()
		second := h.g.wrap("TCP", fixed{three, at})
		h.g.conns.add(second, true)
		if _, gone := h.so(); len(gone) != 1 || gone[0] != "TCP 192.0.2.7:4000" {
			t.Errorf("gone: %q", gone)
		}
		if h.g.conns.open[second.flow] != second || h.g.conns.unknown != 1 {
			t.Errorf("%d strangers", h.g.conns.unknown)
		}
	})
}

type fixed struct {
	net.Conn
	at net.Addr
}

func (f fixed) RemoteAddr() net.Addr { return f.at }

// A connection that we have opened comes in like the others, is taken over before
// Bring returns, and is never closed for being idle.
func TestBring(t *testing.T) {
	inHall(t, Options{}, func(h *hall) {
		l := h.g.Listener("TCP", nil, nil)
		go h.serve(l)
		ours, theirs := net.Pipe()
		if err := l.Bring(context.Background(), fixed{ours, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 100), Port: 5060}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * idleWait)
		if _, err := theirs.Write([]byte(message)); err != nil {
			t.Fatal(err)
		}
		if heard, _ := h.so(); len(heard) != 1 {
			t.Errorf("heard %q", heard)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Bring(context.Background(), fixed{ours, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 101), Port: 5060}}); err == nil {
			t.Error("brought to a closed listener")
		}
		_ = theirs.Close()
	})
}

// FuzzFrame: however a stream is cut, the same messages come out of it, and looking
// again costs nothing of the result.
func FuzzFrame(f *testing.F) {
	f.Add(message, 7)
	f.Add(message+message, 1)
	f.Add(strings.Replace(message, "Content-Length", "l", 1), 30)
	f.Fuzz(func(t *testing.T, text string, step int) {
		b := []byte(text)
		whole, broken := frame(b, 0)
		looked := 0
		for n := 0; n <= len(text); n += max(1, step%64) {
			size, bad := frame(b[:n], looked)
			if size > 0 || bad {
				if size != whole || bad != broken {
					t.Errorf("after %d bytes %d %v, whole %d %v", n, size, bad, whole, broken)
				}
				return
			}
			looked = n
		}
		if size, bad := frame(b, looked); size != whole || bad != broken {
			t.Errorf("%d %v, want %d %v: %s", size, bad, whole, broken, fmt.Sprint(looked))
		}
	})
}

// The library sees a connection when its first message is whole, not before, and
// never one that only keeps itself alive; closing the listener ends those that it
// has not seen, at once.
func TestLibrarySeesWhoSpeaks(t *testing.T) {
	inHall(t, Options{}, func(h *hall) {
		taken := func() int {
			h.so()
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.taken
		}
		half, quiet := h.dial(), h.dial()
		h.send(half, message[:20])
		h.send(quiet, "\r\n\r\n")
		if n := taken(); n != 0 {
			t.Errorf("the library has %d connections before any message", n)
		}
		h.send(half, message[20:])
		if heard, _ := h.so(); taken() != 1 || len(heard) != 1 || heard[0] != message {
			t.Errorf("the library has %d connections and heard %q", taken(), heard)
		}
		begun := time.Now()
		if err := h.l.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took != 0 || !ended(quiet) || ended(half) {
			t.Errorf("closing took %v; the young one is ended %v, the other %v", took, ended(quiet), ended(half))
		}
	})
}
