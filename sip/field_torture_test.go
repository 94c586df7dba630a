package sip

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ipv6Message is a request whose addresses are IPv6, as RFC 5118 section 4 has them.
func ipv6Message(method, uri, via, contact, to string) string {
	return method + " " + uri + " SIP/2.0\r\nTo: " + to + "\r\nFrom: <sip:user@example.com>;tag=81x2\r\nVia: " + via + ";branch=z9hG4bKas3-111\r\nCall-ID: six-" + method +
		"\r\nContact: \"Caller\" <" + contact + ">\r\nMax-Forwards: 70\r\nCSeq: 98176 " + method + "\r\nContent-Length: 0\r\n\r\n"
}

// Messages with IPv6 addresses are read as RFC 5118 says, over UDP, over TCP byte by byte
// and over TLS, and their Via comes back as it was, brackets and all.
func TestRFC5118(t *testing.T) {
	const plain, desk = "SIP/2.0/UDP [2001:db8::9:1]", "sip:caller@[2001:db8::1]"
	for _, c := range []struct {
		name, section                 string
		method, uri, via, contact, to string
		want                          int
	}{
		{"good", "4.1", "REGISTER", "sip:[2001:db8::10]", plain, desk, "<sip:user@example.com>", 401},
		{"no brackets around the address", "4.2", "REGISTER", "sip:2001:db8::10", plain, desk, "<sip:user@example.com>", 400},
		{"port ambiguous", "4.3", "REGISTER", "sip:[2001:db8::10:5070]", plain, desk, "<sip:user@example.com>", 401},
		{"port unambiguous", "4.4", "REGISTER", "sip:[2001:db8::10]:5070", plain, desk, "<sip:user@example.com>", 401},
		{"received without brackets", "4.5", "OPTIONS", "sip:[2001:db8::10]", plain + ";received=2001:db8::9:255", desk, "<sip:user@example.com>", 200},
		{"received with brackets", "4.5", "OPTIONS", "sip:[2001:db8::10]", plain + ";received=[2001:db8::9:255]", desk, "<sip:user@example.com>", 200},
		{"several addresses in Vias", "4.8", "BYE", "sip:user@host.example.net", plain + ":6050;branch=z9hG4bKas3-112, SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjh, SIP/2.0/TCP [2001:db8::9:255]", desk, "<sip:user@example.net>;tag=9817", 481},
		{"mapped", "4.10", "OPTIONS", "sip:user@example.com", "SIP/2.0/UDP [::ffff:192.0.2.10]:19823", "sip:ted@[::ffff:192.0.2.2]", "<sip:user@example.com>", 200},
		{"two colons before IPv4", "4.9", "OPTIONS", "sip:user@[2001:db8::192.0.2.1]", "SIP/2.0/UDP lab1.east.example.com", desk, "<sip:user@[2001:db8::192.0.2.1]>", 200},
	} {
		for _, transport := range []string{"UDP", "TCP", "TLS"} {
			t.Run(c.name+" "+transport, func(t *testing.T) {
				inOffice(t, func(o *office) {
					p := o.phoneVia(1, transport)
					text := ipv6Message(c.method, c.uri, strings.Replace(c.via, "SIP/2.0/UDP", "SIP/2.0/"+transport, 1), c.contact, c.to)
					if transport == "UDP" {
						p.send(text)
					} else {
						bytewise(p, text)
					}
					buf := make([]byte, 1<<16) // as it comes: the library reads a Via without its brackets
					_ = p.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
					n, _, err := p.conn.ReadFrom(buf)
					if got := string(buf[:n]); err != nil || !strings.HasPrefix(got, fmt.Sprintf("SIP/2.0 %d ", c.want)) {
						t.Fatalf("section %s gets %v\n%s, want %d", c.section, err, got, c.want)
					}
					sent, _, _ := strings.Cut(strings.Fields(c.via)[1], ";")
					if got := string(buf[:n]); c.want != 400 && !strings.Contains(got, " "+sent+";") {
						t.Errorf("Via does not come back as %s:\n%s", sent, got)
					}
				})
			})
		}
	}
}

// bytewise sends a message on a stream in pieces of one byte.
func bytewise(p *peer, text string) {
	p.o.t.Helper()
	stream, ok := p.conn.(*streamPackets)
	if !ok {
		p.o.t.Fatal("no stream")
	}
	for i := range len(text) {
		if _, err := stream.Write([]byte(text[i : i+1])); err != nil {
			return // it was closed on us, as what cannot be read is
		}
	}
}

// flush reads what has come, whether anybody could read it or not.
func flush(p *peer) {
	buf := make([]byte, 1<<16)
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, _, err := p.conn.ReadFrom(buf); err != nil {
			return
		}
	}
}

// Each of the messages of RFC 4475, over UDP, over TCP byte by byte and over TLS, leaves
// a call and a registration as they were, and the next request is answered.
func TestRFC4475Everywhere(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/emiago/sipgo").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "sip", "testdata", "torture", "*", "*.dat"))
	if err != nil || len(files) != 50 {
		t.Fatalf("%d messages of RFC 4475, %v; want 50", len(files), err)
	}
	for _, transport := range []string{"UDP", "TCP", "TLS"} {
		t.Run(transport, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, bob, a, _ := up(o)
				for n, file := range files {
					text, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					var p *peer
					if transport == "UDP" {
						p = o.phone(3)
						p.send(string(text))
					} else {
						p = o.phoneVia(3, transport)
						bytewise(p, string(text))
					}
					flush(p)
					_ = p.conn.Close()
					p = o.phone(4)
					d := &leg{p: p, callID: filepath.Base(file), local: "<sip:a@b>;tag=1", remote: "<sip:192.0.2.1>", target: "sip:192.0.2.1", cseq: n + 1}
					d.do("OPTIONS", "", "")
					p.expect("200 OPTIONS")
					_ = p.conn.Close()
				}
				if l, ok := o.edge.registrar.Get("HD0001"); !ok || l.Flow.Remote != anna.at {
					t.Errorf("the registration is %+v", l)
				}
				bob.drop()
				anna.drop()
				a.bye()
				bob.ok("BYE")
			})
		})
	}
}
