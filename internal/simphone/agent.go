package simphone

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// cancelWait is how long a cancelled INVITE may take to end.
const cancelWait = 4 * time.Second

// allow lists the methods that the phone answers.
const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY"

// The library would send no datagram of more than 1300 bytes, as phones do, and
// some of its parts know no logger but its default. Both are variables of its
// package: they are set while the program is initialised, before anything could
// read them at the same time.
var _ = setLibrary()

func setLibrary() struct{} {
	sip.UDPMTUSize = 65507
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
	return struct{}{}
}

// agent is the phone's SIP stack around its one socket and its connections. sipgo
// carries the transactions; the agent adds what it leaves to its user: the way of
// every request, panics that end a request and not the process, CANCEL, and an end
// after which no goroutine runs.
type agent struct {
	conn   net.PacketConn
	local  netip.AddrPort
	name   string // User-Agent
	ua     *sipgo.UserAgent
	client *sipgo.Client
	server *sipgo.Server
	udp    *flow // of the socket
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	roots  *x509.CertPool
	// arrivals take the connections that the phone has opened to sipgo, which takes
	// connections from listeners only.
	arrivals map[string]*arrivals

	trouble func(error) // told what should not happen

	ctx    context.Context // ends when the phone is switched off
	stop   context.CancelFunc
	served sync.WaitGroup // those who read the sockets

	mu      sync.Mutex
	closed  bool
	flows   map[flowKey]*flow
	running sync.WaitGroup // handlers and requests
}

// openAgent binds the socket and answers requests by handle until close.
func openAgent(cfg Config, name string, handle sipgo.RequestHandler, trouble func(error)) (*agent, error) {
	conn, err := cfg.ListenPacket(netip.AddrPortFrom(netip.MustParseAddr(cfg.Local), 0))
	if err != nil {
		return nil, fmt.Errorf("the phone's SIP socket: %w", err)
	}
	a := &agent{
		conn: conn, name: name, trouble: trouble, dial: cfg.Dial, roots: cfg.Roots,
		arrivals: map[string]*arrivals{}, flows: map[flowKey]*flow{},
	}
	a.udp = &flow{agent: a, flowKey: flowKey{transport: "udp"}}
	a.ctx, a.stop = context.WithCancel(context.Background())
	if err := a.start(handle); err != nil {
		a.stop()
		return nil, errors.Join(err, conn.Close())
	}
	return a, nil
}

func (a *agent) start(handle sipgo.RequestHandler) error {
	var err error
	if a.local, err = netip.ParseAddrPort(a.conn.LocalAddr().String()); err != nil {
		return fmt.Errorf("the phone's SIP socket: %w", err)
	}
	host, quiet := a.local.Addr().String(), slog.New(slog.DiscardHandler)
	a.ua, err = sipgo.NewUA(
		sipgo.WithUserAgent(a.name),
		sipgo.WithUserAgentHostname(host),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(quiet), sip.WithTransportLayerTransports(streams())),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerTerminateOnConnClose(),
			sip.WithTransactionLayerLogger(quiet),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {}),
		),
	)
	if err != nil {
		return fmt.Errorf("the phone's SIP stack: %w", err)
	}
	a.client, err = sipgo.NewClient(a.ua, sipgo.WithClientHostname(host), sipgo.WithClientPort(int(a.local.Port())),
		sipgo.WithClientNAT(), sipgo.WithClientLogger(quiet))
	if err != nil {
		return fmt.Errorf("the phone's SIP stack: %w", err)
	}
	a.server, err = sipgo.NewServer(a.ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		return fmt.Errorf("the phone's SIP stack: %w", err)
	}
	a.server.OnNoRoute(a.door(handle)) // no method has a route of its own: all come here
	ready := &readerConn{PacketConn: a.conn, reading: make(chan struct{})}
	a.serve(func() error { return a.server.ServeUDP(ready) })
	for transport, listen := range map[string]func(net.Listener) error{"tcp": a.server.ServeTCP, "tls": a.server.ServeTLS} {
		from := &arrivals{at: net.TCPAddrFromAddrPort(a.local), conns: make(chan net.Conn), closed: make(chan struct{})}
		a.arrivals[transport] = from
		a.serve(func() error { return listen(from) })
	}
	<-ready.reading
	return nil
}

// serve reads one of the phone's sockets until close.
func (a *agent) serve(read func() error) {
	a.served.Go(func() {
		err := read()
		if a.ctx.Err() == nil {
			a.trouble(fmt.Errorf("the phone's SIP socket is not read any more: %v", err))
		}
	})
}

// settle is how long the reader outlives its socket.
const settle = 20 * time.Millisecond

// readerConn is the socket as sipgo reads it. It tells when it is read for the
// first time: only then sipgo knows it, and sends from it instead of opening
// another one. And it reports its end a little late: sipgo handles each message
// in a goroutine that nobody can wait for, and one that finds the socket
// forgotten would open another one to answer.
type readerConn struct {
	net.PacketConn
	once    sync.Once
	reading chan struct{}
}

func (c *readerConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.once.Do(func() { close(c.reading) })
	n, from, err := c.PacketConn.ReadFrom(b)
	if errors.Is(err, net.ErrClosed) {
		<-time.NewTimer(settle).C
	}
	return n, from, err
}

// door lets a request in while the phone is on, and keeps a panic of a handler
// from ending the process (sipgo recovers nothing).
func (a *agent) door(handle sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		if !a.enter() {
			return
		}
		defer a.running.Done()
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			a.trouble(fmt.Errorf("the phone failed on %s: %v", req.Method, p))
			if !req.IsAck() {
				a.respond(req, tx, 500, "Server Internal Error", nil)
			}
		}()
		if req.Via() == nil || req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil {
			if !req.IsAck() {
				a.respond(req, tx, 400, "Bad Request", nil)
			}
			return
		}
		handle(req, tx)
	}
}

// enter notes something that close has to wait for, by running.Done; false means
// that it is too late to begin.
func (a *agent) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.running.Add(1)
	}
	return !a.closed
}

// close switches the stack off and waits for all that runs in it.
func (a *agent) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.stop()
	a.running.Wait()
	a.only(nil)
	for _, from := range a.arrivals {
		_ = from.Close()
	}
	_ = a.conn.Close() // ends the reader; there is nobody left to tell
	a.served.Wait()
	_ = a.ua.Close()
}

// within ties a context to the phone's being on.
func (a *agent) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(a.ctx, cancel)
	return ctx, func() { unhook(); cancel() }
}

// respond sends one response. A failure to send is like a lost datagram.
func (a *agent) respond(req *sip.Request, tx sip.ServerTransaction, status int, reason string, body []byte, headers ...sip.Header) {
	_ = tx.Respond(a.response(req, status, reason, body, headers...))
}

func (a *agent) response(req *sip.Request, status int, reason string, body []byte, headers ...sip.Header) *sip.Response {
	res := sip.NewResponseFromRequest(req, status, reason, nil)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	res.AppendHeader(sip.NewHeader("User-Agent", a.name))
	setBody(res, body, "application/sdp")
	return res
}

// setBody gives a message a body of a type; nil or empty gives none.
func setBody(msg sip.Message, body []byte, kind string) {
	if len(body) > 0 {
		ct := sip.ContentTypeHeader(kind)
		msg.AppendHeader(&ct)
	}
	msg.SetBody(body)
}

// param finds a parameter by its name in any case; sipgo compares exactly.
func param(params sip.HeaderParams, name string) string {
	for key, value := range params.Items() {
		if sip.ASCIIToLower(key) == name {
			return value
		}
	}
	return ""
}
