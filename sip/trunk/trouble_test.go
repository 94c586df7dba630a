package trunk

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

// Each way in which a PBX can be silent is told by address and transport, with
// what to check, and without the words of a library.
func TestTrouble(t *testing.T) {
	p := hotdesk.PBX{Name: "main", Proxy: "pbx.example:5061", Transport: "tls"}
	for _, c := range []struct {
		err  error
		want string
	}{
		{errNoAddress, "pbx.example:5061 is being looked up"},
		{&net.DNSError{Err: "server misbehaving", Name: "pbx.example"}, "pbx.example:5061 cannot be looked up: check proxy"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "certificate of pbx.example:5061 over tls is not trusted"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "pbx.example"}, "good for the name in proxy"},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "does not speak TLS"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "refuses the connection: check port"},
		{&net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, "no way to pbx.example:5061"},
		{context.DeadlineExceeded, "nobody answers at pbx.example:5061 over tls"},
		{sip.ErrTransactionTimeout, "a firewall between"},
		{errors.New("use of closed network connection"), "no connection to pbx.example:5061 over tls"},
	} {
		err := fmt.Errorf("OPTIONS to TLS 192.0.2.9:5061: %w", c.err)
		got := trouble(p, err)
		if !strings.Contains(got, c.want) || strings.Contains(got, "192.0.2.9") || strings.Contains(got, c.err.Error()) {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

// The errors are those that a real socket and a real handshake give.
func TestTroubleOfSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p := hotdesk.PBX{Proxy: closed, Transport: "tcp"}
	_, err = net.Dial("tcp", closed)
	if got := trouble(p, err); got != closed+" over tcp refuses the connection: check port and transport, and whether the PBX runs" {
		t.Errorf("%v: %q", err, got)
	}
	away := addresses{resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no DNS here")
	}}}
	_, err = away.resolve(placeOf("pbx.example:5060", "udp"))
	if got := trouble(hotdesk.PBX{Proxy: "pbx.example"}, err); !strings.Contains(got, "cannot be looked up") {
		t.Errorf("%v: %q", err, got)
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	go func() { _, _ = theirs.Write([]byte("SIP/2.0 400 Bad Request\r\n\r\n")) }()
	err = tls.Client(ours, &tls.Config{ServerName: "pbx.example"}).HandshakeContext(t.Context())
	if got := trouble(hotdesk.PBX{Proxy: "192.0.2.9:5061", Transport: "tls"}, err); !strings.Contains(got, "does not speak TLS") {
		t.Errorf("%v: %q", err, got)
	}
}
