package simphone

import (
	"context"
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

// The library would send no datagram of more than 1300 bytes, as phones do. The
// limit is a variable of its package: it is set while the program is initialised,
// before anything could read it at the same time.
var _ = liftUDPLimit()

func liftUDPLimit() struct{} {
	sip.UDPMTUSize = 65507
	return struct{}{}
}

// agent is the phone's SIP stack around its one socket. sipgo carries the
// transactions; the agent adds what it leaves to its user: one socket for
// everything, panics that end a request and not the process, CANCEL, and an end
// after which no goroutine runs.
type agent struct {
	conn   net.PacketConn
	local  netip.AddrPort
	name   string // User-Agent
	ua     *sipgo.UserAgent
	client *sipgo.Client

	trouble func(error) // told what should not happen

	ctx    context.Context // ends when the phone is switched off
	stop   context.CancelFunc
	served chan struct{} // closed when the socket is not read any more

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // handlers and requests
}

// openAgent binds the socket and answers requests by handle until close.
func openAgent(cfg Config, name string, handle sipgo.RequestHandler, trouble func(error)) (*agent, error) {
	conn, err := cfg.ListenPacket(netip.AddrPortFrom(netip.MustParseAddr(cfg.Local), 0))
	if err != nil {
		return nil, fmt.Errorf("the phone's SIP socket: %w", err)
	}
	a := &agent{conn: conn, name: name, trouble: trouble, served: make(chan struct{})}
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
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(quiet)),
		sipgo.WithUserAgentTransactionLayerOptions(
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
	srv, err := sipgo.NewServer(a.ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		return fmt.Errorf("the phone's SIP stack: %w", err)
	}
	srv.OnNoRoute(a.door(handle)) // no method has a route of its own: all come here
	ready := &readerConn{PacketConn: a.conn, reading: make(chan struct{})}
	go func() {
		defer close(a.served)
		err := srv.ServeUDP(ready)
		if a.ctx.Err() == nil {
			a.trouble(fmt.Errorf("the phone's SIP socket is not read any more: %v", err))
		}
	}()
	<-ready.reading
	return nil
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
	_ = a.conn.Close() // ends the reader; there is nobody left to tell
	<-a.served
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

// prepare pins a request to the phone's socket and, unless its route decides,
// to where it goes.
func (a *agent) prepare(req *sip.Request, to string) {
	req.SetTransport("UDP")
	if to != "" {
		req.SetDestination(to)
	}
	req.Laddr = sip.Addr{IP: a.local.Addr().AsSlice(), Port: int(a.local.Port())}
}

// do sends a request other than INVITE and waits for its final response.
func (a *agent) do(ctx context.Context, req *sip.Request, to string) (*sip.Response, error) {
	if !a.enter() {
		return nil, ErrStopped
	}
	defer a.running.Done()
	ctx, done := a.within(ctx)
	defer done()
	a.prepare(req, to)
	res, err := a.client.Do(ctx, req)
	if err != nil {
		return nil, a.failure(ctx, req, err)
	}
	return res, nil
}

// write sends an ACK, which has no transaction.
func (a *agent) write(req *sip.Request) error {
	if !a.enter() {
		return ErrStopped
	}
	defer a.running.Done()
	a.prepare(req, "")
	if err := a.client.WriteRequest(req); err != nil {
		return fmt.Errorf("ACK not sent: %w", err)
	}
	return nil
}

// invite runs one INVITE to its final response. When ctx ends it cancels, but
// not before the other side has said something (RFC 3261 section 9.1), and still
// returns the final response. progress takes each 1xx, again each repeated 2xx.
func (a *agent) invite(ctx context.Context, req *sip.Request, to string, progress, again func(*sip.Response)) (*sip.Response, error) {
	if !a.enter() {
		return nil, ErrStopped
	}
	defer a.running.Done()
	a.prepare(req, to)
	tx, err := a.client.TransactionRequest(context.WithoutCancel(ctx), req)
	if err != nil {
		return nil, a.failure(ctx, req, err)
	}
	tx.OnRetransmission(again)
	cancelled, heard, sent := ctx.Done(), false, false
	giveUp := time.NewTimer(cancelWait)
	giveUp.Stop()
	defer giveUp.Stop()
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil // the transaction lives on to repeat its ACK
			}
			heard = true
			if cancelled == nil && !sent {
				sent = true
				a.cancel(req, to)
			} else if res.StatusCode > 100 {
				progress(res)
			}
		case <-cancelled:
			cancelled = nil
			giveUp.Reset(cancelWait)
			if heard {
				sent = true
				a.cancel(req, to)
			}
		case <-giveUp.C:
			tx.Terminate()
			return nil, a.failure(ctx, req, ctx.Err())
		case <-a.ctx.Done():
			tx.Terminate()
			return nil, ErrStopped
		case <-tx.Done():
			return nil, a.failure(ctx, req, tx.Err())
		}
	}
}

// cancel sends the CANCEL of an INVITE, with its Via and CSeq, and does not wait.
// The INVITE's own response is what counts.
func (a *agent) cancel(invite *sip.Request, to string) {
	req := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	req.AppendHeader(sip.HeaderClone(invite.Via()))
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	for _, h := range []sip.Header{invite.From(), invite.To(), invite.CallID()} {
		req.AppendHeader(sip.HeaderClone(h))
	}
	req.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	if !a.enter() {
		return
	}
	go func() {
		defer a.running.Done()
		ctx, cancel := context.WithTimeout(a.ctx, cancelWait)
		defer cancel()
		_, _ = a.do(ctx, req, to)
	}()
}

// failure says in words why a request had no answer.
func (a *agent) failure(ctx context.Context, req *sip.Request, err error) error {
	switch {
	case a.ctx.Err() != nil:
		return ErrStopped
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, sip.ErrTransactionTimeout):
		return fmt.Errorf("%s was not answered by %s", req.Method, req.Destination())
	}
	return fmt.Errorf("%s to %s: %w", req.Method, req.Destination(), err)
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
