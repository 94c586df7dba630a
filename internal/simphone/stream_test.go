package simphone

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// door is the server's listener, which can be slammed.
type door struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	deaf  bool // what comes in is not read
}

func (d *door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, c)
	return &deafConn{Conn: c, door: d}, nil
}

func (d *door) accepted() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns)
}

// drop ends all connections.
func (d *door) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		_ = c.Close()
	}
}

func (d *door) setDeaf(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deaf = on
}

// deafConn loses what it reads while its door is deaf, as a server does that has
// lost its state.
type deafConn struct {
	net.Conn
	door *door
}

func (c *deafConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		c.door.mu.Lock()
		deaf := c.door.deaf
		c.door.mu.Unlock()
		if err != nil || !deaf {
			return n, err
		}
	}
}

// selfSigned is a certificate for 192.0.2.1 and the pool that knows it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "office"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// ports of the office's streams.
var ports = map[string]string{"tcp": "5062", "tls": "5061"}

// openDoor opens a listener of the office for a transport.
func (o *office) openDoor(transport string, cert tls.Certificate) *door {
	o.t.Helper()
	l, err := o.net.Listen(netip.MustParseAddrPort("192.0.2.1:" + ports[transport]))
	if err != nil {
		o.t.Fatal(err)
	}
	d := &door{Listener: l}
	serve, from := o.agent.server.ServeTCP, net.Listener(d)
	if transport == "tls" {
		serve, from = o.agent.server.ServeTLS, tls.NewListener(d, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	go func() { _ = serve(from) }() // it ends with the listener
	o.t.Cleanup(func() { _ = l.Close(); d.drop() })
	return d
}

// over changes a file to a transport.
func over(transport string) []string {
	number := map[string]string{"tcp": "1", "tls": "2"}[transport]
	return []string{
		"account.1.sip_server.1.transport_type = " + number, "account.1.sip_server.1.port = " + ports[transport],
		"static.security.trust_certificates = 0", "account.1.nat.udp_update_time = 25",
	}
}

// ask sends a request to the phone on the connection that it registered by.
func (o *office) ask(p *Phone, transport string, method sip.RequestMethod, more ...sip.Header) *sip.Response {
	o.t.Helper()
	registers := o.came(sip.REGISTER)
	req := o.dialogTo(p).next(method, "server")
	for _, h := range more {
		req.AppendHeader(h)
	}
	req.SetTransport(strings.ToUpper(transport))
	req.SetDestination(registers[len(registers)-1].Source())
	res, err := o.agent.client.Do(o.soon(), req)
	if err != nil {
		o.t.Fatal(err)
	}
	return res
}

// Over TCP and TLS one connection, which the phone opens, carries all requests in
// both directions, and its keep-alives are answered.
func TestStreams(t *testing.T) {
	for _, transport := range []string{"tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				cert, _ := selfSigned(t)
				d := o.openDoor(transport, cert)
				o.give("HD0001", "secret", over(transport)...)
				p, _ := o.phone(func(c *Config) { c.Dial = o.net.Dial })
				if err := p.Registered(o.soon()); err != nil {
					t.Fatal(err)
				}
				req := o.came(sip.REGISTER)[0]
				contact := req.Contact().Address
				if got := fmt.Sprintf("sip:HD0001@%s;transport=%s", req.Source(), transport); contact.String() != got {
					t.Errorf("Contact %s, sent from %s", contact.String(), req.Source())
				}
				if via := req.Via(); via.Transport != strings.ToUpper(transport) || fmt.Sprintf("%s:%d", via.Host, via.Port) != req.Source() {
					t.Errorf("Via %s, sent from %s", via.Value(), req.Source())
				}
				o.take(t)
				o.give("100", "secret", over(transport)...)
				if res := o.ask(p, transport, sip.NOTIFY, sip.NewHeader("Event", "check-sync;reboot=false")); res.StatusCode != 200 {
					t.Errorf("check-sync: %d", res.StatusCode)
				}
				if err := p.WaitLabel(o.soon(), "Desk 100"); err != nil {
					t.Fatal(err)
				}
				if err := p.Registered(o.soon()); err != nil {
					t.Fatal(err)
				}
				if res := o.ask(p, transport, sip.OPTIONS); res.StatusCode != 200 {
					t.Errorf("OPTIONS: %d", res.StatusCode)
				}
				o.mu.Lock()
				o.onInvite = func(req *sip.Request, tx sip.ServerTransaction) { o.agent.respond(req, tx, 486, "Busy Here", nil) }
				o.mu.Unlock()
				if _, err := p.Dial(o.soon(), "101"); err == nil || err.Error() != "refused: 486 Busy Here" {
					t.Errorf("dial: %v", err)
				}
				o.pass(10 * time.Minute)
				if n := d.accepted(); n != 1 || !p.State().Registered {
					t.Errorf("%d connections; registered %v", n, p.State().Registered)
				}
			})
		})
	}
}

// A phone whose connection ends must come back on a new one, with a Contact of its
// own; while nobody listens it tries more and more seldom.
func TestReconnects(t *testing.T) {
	for _, transport := range []string{"tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				cert, _ := selfSigned(t)
				d := o.openDoor(transport, cert)
				o.give("HD0001", "secret", over(transport)...)
				var mu sync.Mutex
				tries := 0
				p, _ := o.phone(func(c *Config) {
					c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
						mu.Lock()
						tries++
						mu.Unlock()
						return o.net.Dial(ctx, network, address)
					}
				})
				if err := p.Registered(o.soon()); err != nil {
					t.Fatal(err)
				}
				before := len(o.registered())
				d.drop()
				if err := p.Until(o.soon(), func(s State) bool { return !s.Registered }); err != nil {
					t.Fatal(err)
				}
				if err := p.Registered(o.soon()); err != nil {
					t.Fatal(err)
				}
				all := o.came(sip.REGISTER)
				if first, last := all[0], all[len(all)-1]; len(o.registered()) != before+1 || first.Source() == last.Source() ||
					!strings.Contains(last.Contact().Address.String(), last.Source()) || first.CallID().Value() != last.CallID().Value() {
					t.Errorf("came back from %s as %s, call %s", last.Source(), last.Contact().Value(), last.CallID().Value())
				}
				o.told("registered", "disconnected", "registered")

				_ = d.Listener.Close()
				d.drop()
				mu.Lock()
				tries = 0
				mu.Unlock()
				o.pass(10 * time.Minute)
				mu.Lock()
				if tries < 8 || tries > 20 {
					t.Errorf("%d attempts in 10 minutes", tries)
				}
				mu.Unlock()
				o.openDoor(transport, cert)
				o.pass(time.Minute)
				if !p.State().Registered {
					t.Error("the server is back and the phone is not")
				}
			})
		})
	}
}

// A server that does not answer a keep-alive is gone, whatever TCP thinks.
func TestDeadConnection(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		d := o.openDoor("tcp", tls.Certificate{})
		o.give("HD0001", "secret", over("tcp")...)
		p, _ := o.phone(func(c *Config) { c.Dial = o.net.Dial })
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		d.setDeaf(true)
		o.pass(34 * time.Second)
		if !p.State().Registered {
			t.Error("given up before the answer was overdue")
		}
		o.pass(2 * time.Second)
		d.setDeaf(false)
		if p.State().Registered {
			t.Error("still registered by a dead connection")
		}
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		if n := d.accepted(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// Whether a phone takes the server's certificate is its file's word.
func TestTrustOfCertificates(t *testing.T) {
	for _, c := range []struct {
		name   string
		lines  []string
		checks bool
		roots  bool
		taken  bool
	}{
		{"never checks", []string{"static.security.trust_certificates = 1"}, false, false, true},
		{"any", []string{"static.security.trust_certificates = 0"}, true, false, true},
		{"known only, unknown", []string{"static.security.trust_certificates = 1"}, true, false, false},
		{"known only, known", []string{"static.security.trust_certificates = 1"}, true, true, true},
		{"by name", []string{"static.security.trust_certificates = 1", "static.security.cn_validation = 1"}, true, true, true},
		{"by name, another", []string{
			"static.security.trust_certificates = 1", "static.security.cn_validation = 1", "account.1.outbound_proxy_enable = 1",
			"account.1.outbound_proxy.1.address = 192.0.2.2", "account.1.outbound_proxy.1.port = 5061",
		}, true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				cert, roots := selfSigned(t)
				o.openDoor("tls", cert)
				o.give("HD0001", "secret", append(over("tls"), c.lines...)...)
				p, _ := o.phone(func(cfg *Config) {
					cfg.CheckCertificates = c.checks
					cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
						return o.net.Dial(ctx, network, "192.0.2.1:5061")
					}
					if c.roots {
						cfg.Roots = roots
					} else {
						cfg.Roots = x509.NewCertPool()
					}
				})
				o.pass(3 * time.Second)
				if got := p.State().Registered; got != c.taken {
					t.Errorf("registered %v, want %v", got, c.taken)
				}
			})
		})
	}
}

// --transport is the last word: the port follows it.
func TestTransportOverridden(t *testing.T) {
	for _, c := range []struct {
		file, set string
		want      account
	}{
		{"udp", "tcp", account{transport: "tcp", port: 5060}},
		{"udp", "tls", account{transport: "tls", port: 5061}},
		{"tls", "udp", account{transport: "udp", port: 5059}},
		{"tls", "tls", account{transport: "tls", port: 5060}},
	} {
		if got := (account{transport: c.file, port: 5060}).over(c.set); got != c.want {
			t.Errorf("%s set to %s: %+v", c.file, c.set, got)
		}
	}
	a := account{transport: "udp", port: 5060, proxy: "192.0.2.9:5070"}.over("tls")
	if a.proxy != "192.0.2.9:5071" {
		t.Errorf("the proxy becomes %s", a.proxy)
	}
}

// pieces is a connection that delivers what it is told to, a piece a time.
type pieces struct {
	net.Conn
	left []string
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[0])
	p.left = p.left[1:]
	return n, nil
}

func (p *pieces) Close() error { return nil }

// However a stream is cut, its reader gets whole messages and nothing of what is
// between them; what has no end ends the connection.
func TestWholeMessages(t *testing.T) {
	const one, two = "OPTIONS sip:a SIP/2.0\r\nContent-Length: 4\r\n\r\n1\r\n2", "SIP/2.0 200 OK\r\nl : 0\r\n\r\n"
	for _, c := range []struct {
		name string
		in   []string
		want []string
	}{
		{"at once", []string{one + two}, []string{one, two}},
		{"keep-alives between", []string{"\r\n", one + "\r\n" + two, "\r\n\r\n"}, []string{one, two}},
		{"byte by byte", strings.Split(one+two, ""), []string{one, two}},
		{"no length", []string{"SIP/2.0 200 OK\r\n\r\n"}, nil},
		{"nonsense", []string{"SIP/2.0 200 OK\r\nContent-Length: x\r\n\r\n"}, nil},
		{"endless", []string{strings.Repeat("x", 4000), strings.Repeat("x", 4000)}, nil},
		{"cut off", []string{one[:30]}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			lost := 0
			f := &flow{flowKey: flowKey{transport: "tcp"}, lost: func(*flow) { lost++ }}
			s := &connection{Conn: &pieces{left: c.in}, flow: f, reading: make(chan struct{})}
			f.conn = s
			var got []string
			buf := make([]byte, 1000)
			for {
				n, err := s.Read(buf)
				if err != nil {
					break
				}
				got = append(got, string(buf[:n]))
			}
			if !slices.Equal(got, c.want) || lost != 1 {
				t.Errorf("read %q, want %q; lost %d times", got, c.want, lost)
			}
		})
	}
}

// Whatever a server sends and however it is cut: what is read is in what was sent,
// in order, each message as long as it says; and the end comes.
func FuzzWholeMessages(f *testing.F) {
	f.Add([]byte("OPTIONS sip:a SIP/2.0\r\nContent-Length: 4\r\n\r\n1\r\n2\r\n\r\nSIP/2.0 200 OK\r\nl : 0\r\n\r\n"), uint8(3))
	f.Add([]byte("\r\n\r\nA\r\nContent-Length: 99999999999\r\n\r\n"), uint8(0))
	f.Fuzz(func(t *testing.T, sent []byte, cut uint8) {
		var in []string
		for rest := string(sent); rest != ""; {
			n := min(int(cut)+1, len(rest))
			in, rest = append(in, rest[:n]), rest[n:]
		}
		fl := &flow{flowKey: flowKey{transport: "tcp"}, lost: func(*flow) {}}
		s := &connection{Conn: &pieces{left: in}, flow: fl, reading: make(chan struct{})}
		left, buf := string(sent), make([]byte, maxMessage*2)
		for {
			n, err := s.Read(buf)
			if err != nil {
				return
			}
			message := string(buf[:n])
			before, after, ok := strings.Cut(left, message)
			if !ok || strings.Trim(before, "\r\n") != "" {
				t.Fatalf("read %q of %q", message, left)
			}
			if size, err := messageSize([]byte(message)); err != nil || size != n {
				t.Fatalf("%q has %d bytes and says %d, %v", message, n, size, err)
			}
			left = after
		}
	})
}

// A call outlives the phone's connection: once the phone is back, both sides can
// end it on the new one.
func TestCallOutlivesConnection(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		d := o.openDoor("tcp", tls.Certificate{})
		o.mu.Lock()
		o.onInvite = func(req *sip.Request, tx sip.ServerTransaction) {
			o.agent.respond(req, tx, 200, "OK", farSDP(), &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", Host: "192.0.2.1", Port: 5062}})
		}
		o.mu.Unlock()
		o.give("HD0001", "secret", over("tcp")...)
		p, _ := o.phone(func(c *Config) { c.Dial = o.net.Dial })
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		call, err := p.Dial(o.soon(), "101")
		if err != nil {
			t.Fatal(err)
		}
		o.pass(time.Second)
		d.drop()
		if err := p.Until(o.soon(), func(s State) bool { return !s.Registered }); err != nil {
			t.Fatal(err)
		}
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		if n := p.State().Calls; n != 1 {
			t.Fatalf("%d calls after the connection was lost", n)
		}
		if err := call.HangUp(o.soon()); err != nil {
			t.Fatal(err)
		}
		registers := o.came(sip.REGISTER)
		if byes := o.came(sip.BYE); len(byes) != 1 || byes[0].Source() != registers[len(registers)-1].Source() {
			t.Errorf("%d BYEs, not on the new connection", len(byes))
		}
	})
}
