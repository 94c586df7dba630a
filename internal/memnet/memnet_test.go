package memnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	alice = netip.MustParseAddrPort("192.0.2.1:5060")
	bob   = netip.MustParseAddrPort("192.0.2.2:5060")
)

func packets(t *testing.T, n *Net, at netip.AddrPort) net.PacketConn {
	t.Helper()
	c, err := n.ListenPacket(at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends numbered packets from alice to bob, one each 10 ms, and returns
// the numbers in the order in which they came.
func exchange(t *testing.T, seed uint64, c Conditions, count int) []byte {
	t.Helper()
	var got []byte
	synctest.Test(t, func(t *testing.T) {
		n := New(seed, c)
		from, to := packets(t, n, alice), packets(t, n, bob)
		for i := range count {
			if _, err := from.WriteTo([]byte{byte(i)}, to.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		_ = to.SetReadDeadline(time.Now().Add(time.Nanosecond))
		b := make([]byte, 10)
		for {
			size, sender, err := to.ReadFrom(b)
			if err != nil {
				break
			}
			if size != 1 || sender.String() != alice.String() {
				t.Fatalf("%d bytes from %s", size, sender)
			}
			got = append(got, b[0])
		}
	})
	return got
}

// A network without faults must deliver every packet once and in order, also
// those that were sent at one instant.
func TestPerfect(t *testing.T) {
	got := exchange(t, 1, Conditions{}, 100)
	if len(got) != 100 || !slices.IsSorted(got) {
		t.Errorf("got %v", got)
	}
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Conditions{Delay: time.Second})
		from, to := packets(t, n, alice), packets(t, n, bob)
		for i := range 50 {
			_, _ = from.WriteTo([]byte{byte(i)}, to.LocalAddr())
		}
		b := make([]byte, 1)
		for i := range 50 {
			if _, _, err := to.ReadFrom(b); err != nil || b[0] != byte(i) {
				t.Fatalf("packet %d: got %d, %v", i, b[0], err)
			}
		}
	})
}

// Each fault must show, and only that fault.
func TestFaults(t *testing.T) {
	const count = 200
	unique := func(b []byte) int { b = slices.Clone(b); slices.Sort(b); return len(slices.Compact(b)) }
	for _, c := range []struct {
		name                      string
		cond                      Conditions
		lost, reordered, repeated bool
	}{
		{"loss", Conditions{Loss: 0.2}, true, false, false},
		{"reorder", Conditions{Reorder: 0.2, Delay: 5 * time.Millisecond}, false, true, false},
		{"duplicate", Conditions{Duplicate: 0.2}, false, true, true}, // the copy is late
		{"everything lost", Conditions{Loss: 1}, true, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := exchange(t, 7, c.cond, count)
			if lost := unique(got) < count; lost != c.lost {
				t.Errorf("lost %v, want %v", lost, c.lost)
			}
			if reordered := !slices.IsSorted(got); reordered != c.reordered {
				t.Errorf("reordered %v, want %v", reordered, c.reordered)
			}
			if repeated := unique(got) < len(got); repeated != c.repeated {
				t.Errorf("repeated %v, want %v", repeated, c.repeated)
			}
		})
	}
}

// One seed must give one history, another seed another.
func TestSeed(t *testing.T) {
	bad := Conditions{Loss: 0.1, Reorder: 0.1, Duplicate: 0.1, Delay: 20 * time.Millisecond}
	first, again, other := exchange(t, 3, bad, 200), exchange(t, 3, bad, 200), exchange(t, 4, bad, 200)
	if !slices.Equal(first, again) {
		t.Error("two runs with one seed differ")
	}
	if slices.Equal(first, other) {
		t.Error("two seeds gave the same history")
	}
}

// Packets must take as long as the conditions say, in fake time, and a deadline
// must pass exactly when it is due.
func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Conditions{Delay: 40 * time.Millisecond})
		from, to := packets(t, n, alice), packets(t, n, bob)
		start := time.Now()
		_ = to.SetReadDeadline(start.Add(30 * time.Millisecond))
		_, _ = from.WriteTo([]byte("x"), to.LocalAddr())
		_, _, err := to.ReadFrom(make([]byte, 10))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != 30*time.Millisecond {
			t.Errorf("error %v after %v, want the deadline after 30ms", err, took)
		}
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v is no timeout", err)
		}
		_ = to.SetReadDeadline(time.Time{})
		if _, _, err := to.ReadFrom(make([]byte, 10)); err != nil || time.Since(start) != 40*time.Millisecond {
			t.Errorf("error %v after %v, want the packet after 40ms", err, time.Since(start))
		}
	})
}

// Closing must wake whoever reads or accepts with net.ErrClosed, and free the
// address.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Conditions{})
		c := packets(t, n, alice)
		if _, err := n.ListenPacket(alice); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a second socket on one address: %v", err)
		}
		failed := make(chan error, 1)
		go func() {
			_, _, err := c.ReadFrom(make([]byte, 1))
			failed <- err
		}()
		synctest.Wait()
		_ = c.Close()
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("reader got %v", err)
		}
		if _, err := c.WriteTo([]byte("x"), c.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writer got %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
		packets(t, n, alice)

		l, err := n.Listen(bob)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := l.Accept()
			failed <- err
		}()
		synctest.Wait()
		_ = l.Close()
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept got %v", err)
		}
		if _, err := n.Dial(t.Context(), "tcp", bob.String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial got %v", err)
		}
	})
}

// A stream must carry all bytes in order, deliver what was written before a
// close, and then io.EOF for as long as anybody reads.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Conditions{Loss: 1, Reorder: 1, Delay: time.Millisecond})
		l, err := n.Listen(bob)
		if err != nil {
			t.Fatal(err)
		}
		client, err := n.Dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if server.RemoteAddr().String() != client.LocalAddr().String() {
			t.Errorf("server sees %s, client is %s", server.RemoteAddr(), client.LocalAddr())
		}
		want := ""
		for i := range 100 {
			text := fmt.Sprintf("line %d\n", i)
			want += text
			if _, err := io.WriteString(client, text); err != nil {
				t.Fatal(err)
			}
		}
		_ = client.Close()
		got, err := io.ReadAll(server)
		if err != nil || string(got) != want {
			t.Errorf("read %d bytes, %v, want %d", len(got), err, len(want))
		}
		if _, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read on a closed connection: %v", err)
		}
		if _, err := server.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a closed connection: %v", err)
		}
	})
}

// net/http must work over it in fake time.
func TestHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Conditions{Delay: 10 * time.Millisecond})
		l, err := n.Listen(bob)
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "hello")
		})}
		go func() { _ = srv.Serve(l) }()
		transport := &http.Transport{DialContext: n.Dial}
		client := &http.Client{Transport: transport}
		res, err := client.Get("http://" + bob.String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || string(body) != "hello" {
			t.Errorf("got %q, %v", body, err)
		}
		transport.CloseIdleConnections()
		_ = srv.Shutdown(context.Background())
	})
}

// An address that is no single one must be refused.
func TestUnspecified(t *testing.T) {
	if _, err := New(1, Conditions{}).ListenPacket(netip.MustParseAddrPort("0.0.0.0:5060")); err == nil {
		t.Error("0.0.0.0 was taken")
	}
}
