package sip

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// streamPackets gives a stream the look of a packet socket: each message is one
// packet.
type streamPackets struct {
	net.Conn
	buf []byte
}

func (s *streamPackets) WriteTo(b []byte, _ net.Addr) (int, error) { return s.Write(b) }

func (s *streamPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if head := bytes.Index(s.buf, []byte("\r\n\r\n")); head >= 0 {
			size := head + 4
			_, rest, _ := strings.Cut(strings.ToLower(string(s.buf[:head+2])), "content-length:")
			line, _, _ := strings.Cut(rest, "\r\n")
			if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
				size += n
			}
			if len(s.buf) >= size {
				n := copy(b, s.buf[:size])
				s.buf = s.buf[size:]
				return n, s.RemoteAddr(), nil
			}
		}
		piece := make([]byte, 4096)
		n, err := s.Read(piece)
		s.buf = append(s.buf, piece[:n]...)
		if err != nil {
			return 0, nil, err
		}
	}
}

// connect opens a connection to the edge.
func (o *office) connect(via string) net.Conn {
	o.t.Helper()
	to := serverTCP
	if via == "TLS" {
		to = serverTLS
	}
	conn, err := o.net.Dial(context.Background(), "tcp", to.String())
	if err != nil {
		o.t.Fatal(err)
	}
	if via == "TLS" {
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		if err := secure.Handshake(); err != nil {
			o.t.Fatal(err)
		}
		conn = secure
	}
	o.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// phoneVia connects the phone of a device over a transport.
func (o *office) phoneVia(n int, via string) *peer {
	o.t.Helper()
	if via == "UDP" {
		return o.phone(n)
	}
	p := &peer{o: o, via: via, id: fmt.Sprintf("HD%04d", n)}
	p.user, p.gen = p.id, o.generation(p.id)
	p.reconnect()
	p.call = "reg-1-" + p.at
	return p
}

// reconnect opens the phone's connection anew.
func (p *peer) reconnect() {
	p.o.t.Helper()
	conn := p.o.connect(p.via)
	p.conn, p.at = &streamPackets{Conn: conn}, conn.LocalAddr().String()
}

func (o *office) deskVia(n int, user hotdesk.Extension, via string) *peer {
	o.t.Helper()
	o.login(hotdesk.DeviceID(fmt.Sprintf("HD%04d", n)), user)
	p := o.phoneVia(n, via)
	p.user = string(user)
	p.register()
	return p
}

// Phones on any two transports call each other: every request comes on the phone's
// own flow, with a Contact and Via of its own transport; hold and BYE go through in
// both directions.
func TestTransportsMixed(t *testing.T) {
	for _, from := range []string{"UDP", "TCP", "TLS"} {
		for _, to := range []string{"UDP", "TCP", "TLS"} {
			t.Run(from+" to "+to, func(t *testing.T) {
				inOffice(t, func(o *office) {
					anna, bob := o.deskVia(1, "100", from), o.deskVia(2, "101", to)
					a := anna.invite("101", "v=0 anna")
					b := bob.ring()
					if got := b.invite.Via().Transport; got != to {
						t.Errorf("Via of the INVITE says %s", got)
					}
					port, param := map[string]int{"UDP": 5060, "TCP": 5062, "TLS": 5061}, map[string]string{"UDP": "", "TCP": ";transport=tcp", "TLS": ";transport=tls"}
					if got, want := b.invite.Contact().Address.String(), fmt.Sprintf("sip:hotdeskd@192.0.2.1:%d%s", port[to], param[to]); got != want {
						t.Errorf("Contact for the called phone %s, want %s", got, want)
					}
					if got := b.invite.Recipient.String(); got != bob.contact() {
						t.Errorf("Request-URI %s, want the Contact verbatim, %s", got, bob.contact())
					}
					anna.expect("180 INVITE")
					b.reply(200, "OK", "v=0 bob")
					res := a.answered("")
					if got, want := res.Contact().Address.String(), fmt.Sprintf("sip:hotdeskd@192.0.2.1:%d%s", port[from], param[from]); got != want {
						t.Errorf("Contact for the caller %s, want %s", got, want)
					}
					bob.expect("ACK")
					a.do("INVITE", sdp, "v=0 hold")
					hold := bob.request("INVITE")
					if string(hold.Body()) != "v=0 hold" {
						t.Errorf("hold arrives with %q", hold.Body())
					}
					bob.reply(hold, 200, "OK", "", "v=0 held")
					a.answered("")
					bob.expect("ACK")
					b.local, b.remote = b.invite.To().Value()+";tag=t2", b.invite.From().Value()
					b.local = hold.To().Value()
					b.cseq = 1
					b.do("BYE", "", "")
					anna.ok("BYE")
					bob.expect("200 BYE")
					o.recorded("answered", "")
					o.idle()
				})
			})
		}
	}
}

// All phones of a user ring, whatever their transports.
func TestForkMixed(t *testing.T) {
	inOffice(t, func(o *office) {
		anna := o.deskVia(1, "100", "TLS")
		phones := []*peer{o.deskVia(2, "101", "UDP"), o.deskVia(3, "101", "TCP"), o.deskVia(4, "101", "TLS")}
		a := anna.invite("101", "v=0")
		var rung []*leg
		for _, p := range phones {
			rung = append(rung, p.ring())
		}
		rung[1].reply(200, "OK", "v=0 tcp")
		anna.drop()
		_ = a
		for _, n := range []int{0, 2} {
			phones[n].ok("CANCEL")
			rung[n].reply(487, "Request Terminated", "")
			phones[n].expect("ACK")
		}
	})
}

// When a phone's connection ends it is not registered any more, and nobody dials
// it: a call finds it gone at once, and so does a check-sync.
func TestConnectionEnds(t *testing.T) {
	inOffice(t, func(o *office) {
		anna := o.deskVia(1, "100", "UDP")
		bob := o.deskVia(2, "101", "TCP")
		before := bob.at
		_ = bob.conn.Close()
		sleep(10 * time.Millisecond)
		if _, ok := o.live.Registration("HD0002"); ok {
			t.Error("still shown as registered")
		}
		// Somebody else listens where the phone's connection came from.
		lurker := o.listenStream(before)
		if err := o.edge.CheckSync(context.Background(), "HD0002", hotdesk.CheckSync{Event: "check-sync"}); !errors.Is(err, ErrNotRegistered) {
			t.Errorf("check-sync: %v", err)
		}
		begun := time.Now()
		anna.invite("101", "v=0").refused("480 INVITE")
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the caller waited %v", took)
		}
		sleep(time.Minute)
		if n := lurker(); n != 0 {
			t.Errorf("we have dialled the phone's old address %d times", n)
		}
	})
}

// listenStream counts the connections to an address.
func (o *office) listenStream(at string) func() int {
	o.t.Helper()
	l, err := o.net.Listen(netip.MustParseAddrPort(at))
	if err != nil {
		o.t.Fatal(err)
	}
	n := make(chan int, 1)
	n <- 0
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
			n <- 1 + <-n
		}
	}()
	o.t.Cleanup(func() { _ = l.Close() })
	return func() int {
		count := <-n
		n <- count
		_ = l.Close()
		return count
	}
}

// A call outlives the phone's connection: when the phone is back on another one,
// it is reached there. If it does not come back, the call ends.
func TestCallOutlivesConnection(t *testing.T) {
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprint("back ", back), func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, bob := o.deskVia(1, "100", "TCP"), o.deskVia(2, "101", "UDP")
				a := anna.invite("101", "v=0")
				b := bob.ring()
				anna.expect("180 INVITE")
				b.reply(200, "OK", "v=0")
				a.answered("")
				ack := bob.request("ACK")
				sleep(time.Second)
				_ = anna.conn.Close()
				sleep(time.Second)
				if busy, _ := o.live.InCall("HD0001", ""); !busy {
					t.Fatalf("the call ended with the connection: %+v, bob saw %q", o.records(), bob.seen)
				}
				if !back {
					sleep(2 * time.Minute)
					bob.ok("BYE")
					o.recorded("answered", "phone_gone")
					return
				}
				anna.reconnect()
				anna.register()
				b.local, b.remote, b.cseq = ack.To().Value(), ack.From().Value(), 1
				b.target = b.invite.Contact().Address.String()
				b.do("BYE", "", "")
				anna.ok("BYE")
				bob.expect("200 BYE")
			})
		})
	}
}

// An emergency call on a registered connection is not challenged; on a connection
// of somebody else it is.
func TestEmergencyOnStreams(t *testing.T) {
	for _, via := range []string{"TCP", "TLS"} {
		t.Run(via, func(t *testing.T) {
			inOffice(t, func(o *office) {
				main := o.trunk()
				p := o.phoneVia(1, via)
				p.register()
				p.dial("112", "v=0", "")
				if d := main.ring(); d.invite.Recipient.User != "112" {
					t.Errorf("INVITE to %s", d.invite.Recipient.User)
				}
				stranger := o.phoneVia(2, via)
				stranger.dial("112", "v=0", "").refused("401 INVITE")
				main.silent(time.Second)
			})
		})
	}
}

// A call to the attendant goes over any transport; only TLS counts as secure.
func TestVisitOnStreams(t *testing.T) {
	for _, via := range []string{"UDP", "TCP", "TLS"} {
		t.Run(via, func(t *testing.T) {
			inOffice(t, func(o *office) {
				var secure bool
				hear := make(chan struct{})
				o.attend = func(_ context.Context, v Visit) (Conversation, error) {
					secure = v.Secure
					return &talk{run: func(context.Context) error { close(hear); return nil }}, nil
				}
				p := o.phoneVia(1, via)
				p.register()
				d := p.invite("*77*100*", "v=0")
				d.answered("")
				<-hear
				p.ok("BYE")
				if secure != (via == "TLS") {
					t.Errorf("secure is %v", secure)
				}
				o.recorded("answered", "")
				o.idle()
			})
		})
	}
}

// Each phone gets its own check-sync on its own connection, whatever connected
// last.
func TestCheckSyncOnStreams(t *testing.T) {
	inOffice(t, func(o *office) {
		var all []*peer
		for n := 1; n <= 4; n++ {
			p := o.phoneVia(n, []string{"TCP", "TLS"}[n%2])
			p.register()
			all = append(all, p)
		}
		for n, p := range all {
			id := hotdesk.DeviceID(fmt.Sprintf("HD%04d", n+1))
			done := make(chan error, 1)
			go func() { done <- o.edge.CheckSync(context.Background(), id, hotdesk.CheckSync{Event: "check-sync"}) }()
			if req := p.ok("NOTIFY"); req.Recipient.User != string(id) {
				t.Errorf("%s got a NOTIFY for %s", id, req.Recipient.User)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			for _, other := range all {
				other.silent(5 * time.Millisecond)
			}
		}
	})
}

// A request on a connection that is broken in the middle of it does not dial.
func TestFlowGone(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phoneVia(1, "TCP")
		p.register()
		f := dialog.Flow{Transport: "TCP", Remote: p.at}
		if !o.edge.net.Alive(f) || o.edge.net.Alive(dialog.Flow{Transport: "TCP", Remote: "192.0.2.99:5060"}) {
			t.Error("alive")
		}
		_ = p.conn.Close()
		sleep(10 * time.Millisecond)
		if o.edge.net.Alive(f) {
			t.Error("a closed connection is alive")
		}
	})
}

// The keep-alive of a phone is answered, and its connection lives as long as its
// registration; a stranger's is closed after a minute, and after ten seconds when
// it has begun a message.
func TestConnectionLimits(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phoneVia(1, "TCP")
		p.register()
		idle, slow := o.connect("TCP"), o.connect("TCP")
		if _, err := slow.Write([]byte("OPTIONS sip")); err != nil {
			t.Fatal(err)
		}
		ended := func(c net.Conn) bool {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
		}
		sleep(9 * time.Second)
		if ended(slow) || ended(idle) {
			t.Error("closed too early")
		}
		sleep(2 * time.Second)
		if !ended(slow) || ended(idle) {
			t.Error("a message that was begun 11 seconds ago")
		}
		sleep(50 * time.Second)
		if !ended(idle) {
			t.Error("a stranger that is idle for a minute")
		}
		stream := p.conn.(*streamPackets).Conn
		for range 3 {
			sleep(50 * time.Second)
			if _, err := stream.Write([]byte("\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			pong := make([]byte, 8)
			_ = stream.SetReadDeadline(time.Now().Add(time.Second))
			if n, err := stream.Read(pong); err != nil || string(pong[:n]) != "\r\n" {
				t.Fatalf("keep-alive answered by %q, %v", pong[:n], err)
			}
		}
		p.register()
	})
}

// The messages of RFC 4475 get the same reaction over TCP, byte by byte, and over
// TLS; after each the server goes on.
func TestTortureOnStreams(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(tortureDir(t), "*", "*.dat"))
	if err != nil || len(files) != 50 {
		t.Fatalf("%d messages, %v", len(files), err)
	}
	for _, via := range []string{"TCP", "TLS"} {
		t.Run(via, func(t *testing.T) {
			inOffice(t, func(o *office) {
				for _, file := range files {
					text, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					conn := o.connect(via)
					for i := range text {
						if via == "TLS" {
							_, _ = conn.Write(text)
							break
						}
						if _, err := conn.Write(text[i : i+1]); err != nil {
							break // it was enough
						}
					}
					base := strings.TrimSuffix(filepath.Base(file), ".dat")
					status := statusOf(t, base, &streamPackets{Conn: conn}, 11*time.Second)
					if want, ok := tortureWant(base); ok && status != want {
						t.Errorf("%s: answered %q, want %s", base, status, want)
					}
					_ = conn.Close()
					sleep(time.Second)
				}
				o.phoneVia(1, via).register()
			})
		})
	}
}

// A PBX is reached over a connection that we open, once for all calls, and again
// when it was closed; requests of the PBX come on it like anywhere else.
func TestPBXOverTCP(t *testing.T) {
	inOffice(t, func(o *office) {
		l, err := o.net.Listen(netip.MustParseAddrPort(pbxAddr))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		tcp := "tcp"
		if _, err := o.Apply(context.Background(), hotdesk.Desired{PBX: []hotdesk.PBXSpec{{Name: "main", Transport: &tcp}}}, hotdesk.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		accept := func() *peer {
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			return &peer{o: o, via: "TCP", user: "pbx", at: pbxAddr, conn: &streamPackets{Conn: conn}}
		}
		main := accept() // we ask whether it is there
		p := o.phone(1)
		p.register()
		for range 2 {
			a := p.dial("112", "v=0", "")
			d := main.ring()
			if got := d.invite.Contact().Address.String(); got != "sip:hotdeskd@192.0.2.1:5062;transport=tcp" || d.invite.Via().Transport != "TCP" {
				t.Errorf("Contact %s, Via %s", got, d.invite.Via().Value())
			}
			p.expect("180 INVITE")
			d.reply(200, "OK", "v=0 pbx")
			a.answered("")
			ack := main.request("ACK")
			d.local, d.remote, d.cseq = ack.To().Value(), ack.From().Value(), 1
			d.do("BYE", "", "")
			p.ok("BYE")
			main.expect("200 BYE")
			_ = main.conn.Close()
			sleep(time.Second)
			p.dial("112", "v=0", "") // opens the next one
			main = accept()
			main.ring().reply(486, "Busy Here", "")
			p.drop()
			main.drop()
		}
	})
}
