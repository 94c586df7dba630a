package sip

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

	"hotdeskd/hotdesk"
	"hotdeskd/sip/call"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/guard"
	"hotdeskd/sip/ingress"
	"hotdeskd/sip/registrar"
	"hotdeskd/sip/trunk"
)

// Desk is what the edge asks the rules. All but Prove and HoldEmergency read
// memory only.
type Desk interface {
	Credentials(hotdesk.DeviceID) (creds []hotdesk.Credential, blocked, ok bool)
	Secret(id hotdesk.DeviceID, generation uint64) hotdesk.Secret
	Prove(ctx context.Context, id hotdesk.DeviceID, generation uint64) error
	Phone(hotdesk.DeviceID) (hotdesk.Phone, error)
	Route(id hotdesk.DeviceID, dialed string) hotdesk.Route
	RouteInbound(number string) hotdesk.Route
	MayBeEmergency(dialed string) bool
	InNetworks(netip.Addr) bool
	HoldEmergency(context.Context, hotdesk.DeviceID) error
	trunk.Desk
	PBXAccountOf(pbx string, user hotdesk.Extension) (hotdesk.PBXAccount, bool)
}

// What the attendant and the edge say to each other, as package call has it.
type (
	Attendant    = call.Attendant
	Visit        = call.Visit
	Conversation = call.Conversation
)

// Errors that an Attendant returns.
var (
	ErrBusy          = call.ErrBusy          // all lines are taken; 503 with Retry-After
	ErrNotAcceptable = call.ErrNotAcceptable // no common codec; 488
	ErrBadOffer      = call.ErrBadOffer      // the session description cannot be read; 400
)

// Options of New; all are required but Log and LocationFile.
type Options struct {
	Desk      Desk
	Live      *hotdesk.Live
	Attendant Attendant
	Realm     string
	NonceKey  []byte                       // 32 bytes, the same over restarts
	Record    func(hotdesk.Call)           // takes call records; must not block
	Audit     func(hotdesk.AuditRow) error // writes an emergency call to the audit log at once
	// Advertise is the host that phones and PBX are told; with a wildcard listener
	// it cannot be taken from the socket.
	Advertise string
	// DrainCalls and DrainEmergency are how long Drain lets calls go on; 0 is not at all.
	DrainCalls, DrainEmergency time.Duration
	// ChallengeUnproven: an emergency call without valid credentials, from where more
	// than one phone may be, is refused instead of placed as a guess.
	ChallengeUnproven bool
	LocationFile      string // where UDP locations outlive a restart; empty: nowhere
	// Resolver finds PBXes that are given by name; nil: the system's.
	Resolver trunk.Resolver
	// Dial opens connections to PBXes; nil: as the system does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time
	Log  *slog.Logger
}

// Edge is the SIP edge. Its methods may be called from any goroutine while Serve
// runs.
type Edge struct {
	Options
	auth      *ingress.Authenticator
	triage    *ingress.Triage
	registrar *registrar.Registrar
	table     *dialog.Table
	spoken    *spoken

	bench  *call.Bench // set by Serve before the first message
	net    *dialog.Net
	ua     *sipgo.UserAgent
	own    map[string]sip.Uri // our Contact by transport (UDP, TCP, TLS)
	name   string             // our host, as in URIs
	calls  *gate
	selves *selves
	guard  *guard.Guard
	pbx    *trunk.Registrar

	far        *far
	invites    *invites
	finals     finals
	unanswered *unanswered

	load  *load
	ready chan struct{}
	ctx   context.Context // of Serve: background work of calls ends with it

	ordinary    context.Context // of all calls but emergency calls
	endOrdinary context.CancelFunc
}

// New builds the edge; nothing is sent or received until Serve.
func New(o Options) (*Edge, error) {
	if o.Desk == nil || o.Live == nil || o.Attendant == nil || o.Realm == "" || len(o.NonceKey) < 32 || o.Record == nil || o.Audit == nil || o.Now == nil {
		return nil, errors.New("sip.New: an option is missing")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	e := &Edge{Options: o, auth: ingress.NewAuthenticator(o.Realm, o.NonceKey, o.Now), ready: make(chan struct{}), load: newLoad(), far: newFar(), invites: &invites{from: map[string]netip.Addr{}}, unanswered: newUnanswered()}
	e.triage = ingress.NewTriage()
	e.guard = guard.New(guard.Options{Inspect: e.inspect, Full: e.load.crowded, Gone: e.flowGone, Log: o.Log})
	e.pbx = trunk.New(trunk.Options{Desk: o.Desk, Live: o.Live, Key: contactKey(o.NonceKey), Now: o.Now, Log: o.Log, Resolver: o.Resolver})
	know := func(f dialog.Flow) { e.guard.Know(f.Transport, f.Remote) }
	forget := func(f dialog.Flow) { e.guard.Forget(f.Transport, f.Remote) }
	e.table, e.calls = dialog.NewTable(know, forget), newGate()
	e.registrar = registrar.New(registrar.Options{
		Known: func(id hotdesk.DeviceID) bool {
			_, blocked, ok := o.Desk.Credentials(id)
			return ok && !blocked
		},
		Live: o.Live, Know: know, Forget: forget, Moved: e.follow, Away: e.probe, Chore: e.chore,
		File: o.LocationFile, Now: o.Now, Log: o.Log,
	})
	e.selves = &selves{calls: map[hotdesk.DeviceID]*call.Record{}}
	e.spoken = &spoken{at: map[hotdesk.DeviceID][]time.Time{}}
	return e, nil
}

// Ready is closed when the edge can send and receive.
func (e *Edge) Ready() <-chan struct{} { return e.ready }

// spoken counts the refusals that were spoken to each device of late.
type spoken struct {
	mu sync.Mutex
	at map[hotdesk.DeviceID][]time.Time
}

// handler answers a request. keep tells whether its transaction is to be remembered
// for retransmissions: what a stranger is told, and what is the same when it is asked
// again, is not (RFC 3261 section 8.2.7).
type handler func(req *sip.Request, tx sip.ServerTransaction, t *ticket) (keep bool)

// handlers binds every method we know to its handler, behind the same door.
func (e *Edge) handlers(s *sipgo.Server) {
	for method, h := range map[sip.RequestMethod]handler{
		sip.REGISTER:  e.onRegister,
		sip.INVITE:    e.onInvite,
		sip.ACK:       e.onAck,
		sip.CANCEL:    e.onCancel,
		sip.BYE:       e.onInDialog,
		sip.INFO:      e.onInDialog,
		sip.UPDATE:    e.onInDialog,
		sip.REFER:     e.onInDialog,
		sip.MESSAGE:   e.onInDialog,
		sip.NOTIFY:    e.onInDialog,
		sip.OPTIONS:   e.onOptions,
		sip.SUBSCRIBE: e.onSubscribe,
		sip.PRACK:     e.onInDialog,
		sip.PUBLISH:   e.onUnknown,
	} {
		s.OnRequest(method, e.door(h))
	}
	s.OnNoRoute(e.door(e.onUnknown))
}

// door lets a request in: a panic of a handler ends that request and not the
// process, and what is not well formed is refused before anybody reads it.
func (e *Edge) door(h handler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		defer func() {
			if p := recover(); p != nil {
				e.Log.Error("SIP handler failed", "method", string(req.Method), "remote", req.Source(), "panic", fmt.Sprint(p))
				if !req.IsAck() {
					e.respond(req, tx, 500, "Server Internal Error", nil)
				}
			}
		}()
		if r := ingress.Validate(req); r != nil && !(e.mayBeEmergency(req) && ingress.Mend(req)) {
			if !req.IsAck() {
				e.respond(req, tx, r.Status, r.Reason, nil, r.Header...)
				tx.Terminate()
			}
			return
		}
		if req.IsAck() {
			h(req, tx, nil)
			return
		}
		if e.pbx.Looped(req) { // our own; the address of a PBX is ours (RFC 3261 section 16.3)
			e.respond(req, tx, 482, "Loop Detected", nil)
			tx.Terminate()
			return
		}
		t, ok := e.admit(req, tx)
		if !ok {
			e.respond(req, tx, 503, "Service Unavailable", nil, sip.NewHeader("Retry-After", "10"))
			tx.Terminate()
			return
		}
		if !h(req, tx, t) {
			tx.Terminate()
		}
	}
}

// respond sends one response. A stranger is told no more than it must be: nobody is to
// get more from us for a forged address than it costs to forge one.
func (e *Edge) respond(req *sip.Request, tx sip.ServerTransaction, status int, reason string, body []byte, headers ...sip.Header) {
	if status < 300 && status != 200 || e.guard.Known(dialog.FlowOf(req).Transport, req.Source()) {
		e.bench.Respond(req, tx, status, reason, body, headers...)
		return
	}
	short := req
	if to := req.To(); to != nil {
		if _, tagged := dialog.Param(to.Params, "tag"); !tagged {
			short = req.Clone()
			short.To().Params = append(short.To().Params.Clone(), sip.HeaderKV{K: "tag", V: sip.GenerateTagN(6)})
		}
	}
	res := sip.NewResponseFromRequest(short, status, ingress.Clean(reason), body)
	res.SipVersion = "SIP/2.0"
	for _, h := range headers {
		res.AppendHeader(h)
	}
	if err := tx.Respond(res); err != nil {
		e.Log.Debug("SIP response not sent", "status", status, "remote", req.Source(), "err", err)
	}
}

// onOptions answers that we are alive, to anybody (RFC 3261 section 11).
func (e *Edge) onOptions(req *sip.Request, tx sip.ServerTransaction, t *ticket) bool {
	if _, inside := dialog.Param(req.To().Params, "tag"); inside {
		return e.onInDialog(req, tx, t)
	}
	if !e.guard.Known(dialog.FlowOf(req).Transport, req.Source()) {
		e.respond(req, tx, 200, "OK", nil)
		return false
	}
	e.bench.Options(req, tx)
	return false
}

// onUnknown refuses methods that we do not have (RFC 3261 section 8.2.1).
func (e *Edge) onUnknown(req *sip.Request, tx sip.ServerTransaction, _ *ticket) bool {
	if !e.guard.Known(dialog.FlowOf(req).Transport, req.Source()) {
		e.respond(req, tx, 405, "Method Not Allowed", nil, sip.NewHeader("Allow", "INVITE,ACK,BYE,CANCEL,OPTIONS,REGISTER"))
		return false
	}
	e.bench.NotAllowed(req, tx)
	return false
}

// onCancel answers a CANCEL whose INVITE is unknown; sipgo answers the others.
func (e *Edge) onCancel(req *sip.Request, tx sip.ServerTransaction, _ *ticket) bool {
	e.respond(req, tx, 481, "Call/Transaction Does Not Exist", nil)
	return false
}

// onRegister finds out whose REGISTER it is and lets the registrar answer.
//
// Its transaction is not remembered: a retransmission carries the same nonce count,
// which is good for the identical request alone, and gets the same answer.
func (e *Edge) onRegister(req *sip.Request, tx sip.ServerTransaction, t *ticket) (keep bool) {
	c, ok := e.authenticate(req, tx)
	if !ok {
		return false
	}
	t.prove()
	if c.blocked {
		e.respond(req, tx, 403, "Forbidden", nil)
		return false
	}
	e.proven(c)
	a := e.registrar.Register(c.device, req)
	e.respond(req, tx, a.Status, a.Reason, nil, a.Header...)
	return false
}

// chore runs something beside everything else; nothing when the server stops.
func (e *Edge) chore(do func(context.Context)) {
	if !e.calls.enter(chore) {
		return
	}
	go func() {
		defer e.calls.leave(chore)
		do(e.ctx)
	}()
}
