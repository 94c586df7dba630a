package simphone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/emiago/sipgo/sip"
)

// errNoConnection: a connection to the server is not open, or cannot be opened.
var errNoConnection = errors.New("no connection to the SIP server")

const (
	// connectWait is how long a connection to the server may take to be open.
	connectWait = 10 * time.Second
	// pongWait is how long the answer to a keep-alive may take (RFC 5626 section
	// 4.4.1); after that the connection is taken for dead.
	pongWait = 10 * time.Second
)

// flowKey is what tells one flow from another.
type flowKey struct {
	transport string         // udp, tcp or tls
	remote    netip.AddrPort // of the server; of no meaning for udp
	host      string         // the server's name, for its certificate
	trust     trust
}

// flow is the way between the phone and its server (RFC 5626): over UDP the phone's
// one socket, over TCP and TLS one connection that the phone opens and that carries
// all requests of both sides. The server never opens one to a phone.
type flow struct {
	flowKey
	agent *agent
	lost  func(*flow) // told when the connection is gone and nobody wanted that
	turn  sync.Mutex  // one at a time opens it

	mu     sync.Mutex
	conn   *connection // nil when not open
	failed int         // attempts in a row
}

// flow returns the way to a server, which all accounts there share.
func (a *agent) flow(key flowKey, lost func(*flow)) *flow {
	if key.transport == "udp" {
		return a.udp
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.flows[key]
	if f == nil {
		f = &flow{flowKey: key, agent: a, lost: lost}
		a.flows[key] = f
	}
	return f
}

// only closes all connections but that of one flow; nil closes all.
func (a *agent) only(keep *flow) {
	a.mu.Lock()
	var others []*flow
	for key, f := range a.flows {
		if f != keep {
			others = append(others, f)
			delete(a.flows, key)
		}
	}
	a.mu.Unlock()
	for _, f := range others {
		f.close()
	}
}

func (f *flow) stream() bool { return f.transport != "udp" }

// local is the phone's end of the flow.
func (f *flow) local() (netip.AddrPort, error) {
	if !f.stream() {
		return f.agent.local, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn == nil {
		return netip.AddrPort{}, errNoConnection
	}
	return f.conn.local, nil
}

// open connects to the server unless that was done; UDP needs no connection.
func (f *flow) open(ctx context.Context) error {
	if !f.stream() {
		return nil
	}
	if !f.agent.enter() {
		return ErrStopped
	}
	defer f.agent.running.Done()
	f.turn.Lock()
	defer f.turn.Unlock()
	if _, err := f.local(); err == nil {
		return nil
	}
	ctx, done := f.agent.within(ctx)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	s, err := f.connect(ctx)
	f.mu.Lock()
	if f.failed++; err == nil {
		f.conn = s
	}
	f.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%w %s over %s: %w", errNoConnection, f.remote, f.transport, err)
	}
	select {
	case f.agent.arrivals[f.transport].conns <- s:
		<-s.reading // from now on sipgo knows it
		return nil
	case <-ctx.Done():
		f.close()
		return fmt.Errorf("%w: %w", errNoConnection, ctx.Err())
	}
}

// connect dials, and makes the connection secure when the transport says so.
func (f *flow) connect(ctx context.Context) (*connection, error) {
	conn, err := f.agent.dial(ctx, "tcp", f.remote.String())
	if err != nil {
		return nil, err
	}
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err == nil && f.transport == "tls" {
		client := tls.Client(conn, f.trust.config(f.agent.roots, f.host))
		err = client.HandshakeContext(ctx)
		conn = client
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &connection{Conn: conn, flow: f, local: local, reading: make(chan struct{})}, nil
}

// registered notes that the connection does what it is for.
func (f *flow) registered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = 0
}

// pause is the time to the next attempt to connect, which doubles up to twelve
// times the usual one.
func (f *flow) pause(usual time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return min(usual<<min(max(f.failed-1, 0), 4), 12*usual)
}

// ping keeps routers on the way from forgetting the phone; on a connection the
// server must answer (RFC 5626 sections 3.5.1 and 4.4.1).
func (f *flow) ping(to netip.AddrPort) {
	const ping = "\r\n\r\n"
	if !f.stream() {
		_, _ = f.agent.conn.WriteTo([]byte(ping), net.UDPAddrFromAddrPort(to)) // like any datagram it may be lost
		return
	}
	f.mu.Lock()
	s := f.conn
	f.mu.Unlock()
	if s != nil {
		s.ping([]byte(ping))
	}
}

// close ends the connection as the phone's own wish.
func (f *flow) close() {
	f.mu.Lock()
	s := f.conn
	f.conn = nil
	f.mu.Unlock()
	if s != nil {
		_ = s.Close()
	}
}

// gone notes that a connection has ended by itself.
func (f *flow) gone(s *connection) {
	f.mu.Lock()
	mine := f.conn == s
	if mine {
		f.conn = nil
	}
	f.mu.Unlock()
	if mine {
		f.lost(f)
	}
}

// contact is where the phone is called on the flow.
func (f *flow) contact(user string) sip.Uri {
	at, err := f.local()
	if err != nil { // it is not called before it has registered
		at = f.agent.local
	}
	uri := sip.Uri{Scheme: "sip", User: user, Host: bracketed(at.Addr().String()), Port: int(at.Port())}
	if f.stream() {
		uri.UriParams = sip.NewParams()
		uri.UriParams.Add("transport", strings.ToLower(f.transport))
	}
	return uri
}

// streams keep sipgo from opening connections by itself: only the phone does.
func streams() sip.TransportsConfig {
	never := func(net.Addr) net.Dialer {
		return net.Dialer{Control: func(string, string, syscall.RawConn) error { return errNoConnection }}
	}
	return sip.TransportsConfig{
		TCP: &sip.TransportTCP{DialerCreate: never},
		TLS: &sip.TransportTLS{TransportTCP: &sip.TransportTCP{DialerCreate: never}},
	}
}

// arrivals is a listener whose connections the phone has opened itself.
type arrivals struct {
	at     net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (a *arrivals) Accept() (net.Conn, error) {
	select {
	case c := <-a.conns:
		return c, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

func (a *arrivals) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

func (a *arrivals) Addr() net.Addr { return a.at }
