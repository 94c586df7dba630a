package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"
)

// from dials from an address of this machine.
func from(t *testing.T, source string, to net.Listener) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	c, err := d.DialContext(t.Context(), "tcp", to.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(4 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// closed tells whether the other side closed the connection without an answer, and
// did so long before any timeout of the server.
func closed(c net.Conn) bool {
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n") // fails when it is closed already
	n, err := c.Read(make([]byte, 1))
	return n == 0 && !errors.Is(err, os.ErrDeadlineExceeded)
}

// The console has so many connections from one address and so many in all; what is
// too many is closed at once, and a place that is left is free again.
func TestDoorkeeper(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &doorkeeper{Listener: tcp, most: 3, mostOfOne: 2, from: map[netip.Prefix]int{}}
	let := make(chan net.Conn)
	go func() {
		defer close(let)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			let <- c
		}
	}()
	defer func() { _ = tcp.Close() }()
	enters := func(source string) net.Conn { from(t, source, tcp); return <-let }
	refused := func(source string) {
		t.Helper()
		if !closed(from(t, source, tcp)) {
			t.Fatalf("one too many from %s is let in", source)
		}
	}
	first := enters("127.0.0.1")
	enters("127.0.0.1")
	refused("127.0.0.1")
	other := enters("127.0.0.2")
	refused("127.0.0.3")
	_, _ = first.Close(), first.Close() // twice is one place
	enters("127.0.0.3")
	refused("127.0.0.1")
	_ = other.Close()
	enters("127.0.0.1")
	if l.open != 3 || len(l.from) != 2 {
		t.Errorf("%d open from %v", l.open, l.from)
	}
}

// Who opens all connections that one address may have holds up nobody elsewhere.
func TestConsoleFromElsewhere(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	go func() {
		done <- consoleListener{listener: tcp}.serve(hello, nil, slog.New(slog.DiscardHandler))(ctx)
	}()
	var held []net.Conn
	for range consoleConnsOfOne {
		held = append(held, from(t, "127.0.0.1", tcp))
	}
	if !closed(from(t, "127.0.0.1", tcp)) {
		t.Error("one too many is let in")
	}
	c := from(t, "127.0.0.2", tcp)
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(c); err != nil || len(text) == 0 {
		t.Errorf("from elsewhere: %q %v", text, err)
	}
	for _, c := range held {
		_ = c.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// One visitor is one address of IPv4 and one /64 of IPv6.
func TestNeighbourhood(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1/32", "[::ffff:192.0.2.1]:5": "192.0.2.1/32", "[2001:db8::1]:5": "2001:db8::/64", "[fe80::1%eth0]:5": "fe80::/64",
	} {
		ap, err := netip.ParseAddrPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := neighbourhood(net.TCPAddrFromAddrPort(ap)); got.String() != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

// No server waits for ever for a byte that does not come or is not taken.
func TestEveryServerHasTimeouts(t *testing.T) {
	s := httpServer(nil, slog.New(slog.DiscardHandler))
	if min(s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout, s.IdleTimeout) <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("%+v", s)
	}
}
