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
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/guard"
	"hotdeskd/sip/ingress"
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

// Attendant answers the calls that end at hotdeskd itself: codes and refusals.
type Attendant interface {
	Attend(context.Context, Visit) (Conversation, error)
}

// Visit is one call to the attendant.
type Visit struct {
	CallID string
	Device hotdesk.DeviceID
	Dialed string
	Reason string // a refused call: say why
	Source netip.Addr
	Local  netip.Addr // our address as this phone sees it
	Secure bool
	Show   func(string) // text for the phone's display
}

// Conversation is the attendant's side of one call.
type Conversation interface {
	// Describe answers the offer of an INVITE, re-INVITE or UPDATE; nil asks for
	// an offer.
	Describe(offer []byte) ([]byte, error)
	// Accept takes the answer to an offer of ours: the SDP of the ACK.
	Accept(answer []byte) error
	// Press is a digit that came by SIP INFO.
	Press(digit byte)
	// Run talks until it returns, then we hang up; ctx ends when they did.
	Run(context.Context) error
	Close() error
}

// Errors that an Attendant returns.
var (
	// ErrBusy: all lines of the attendant are taken; 503 with Retry-After.
	ErrBusy = errors.New("attendant is busy")
	// ErrNotAcceptable: no common codec; 488.
	ErrNotAcceptable = errors.New("no common codec")
	// ErrBadOffer: the session description cannot be read; 400.
	ErrBadOffer = errors.New("bad session description")
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
	locations *locations
	dialogs   *dialogs
	spoken    *spoken

	net    *dialog.Net // set by Serve before the first message
	ua     *sipgo.UserAgent
	own    map[string]sip.Uri // our Contact by transport (UDP, TCP, TLS)
	name   string             // our host, as in URIs
	host   netip.Addr         // where phones reach us; invalid when it is a name
	calls  *gate
	selves *selves
	guard  *guard.Guard
	pbx    *trunk.Registrar

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
	e := &Edge{Options: o, auth: ingress.NewAuthenticator(o.Realm, o.NonceKey, o.Now), ready: make(chan struct{}), load: newLoad(), invites: &invites{from: map[string]netip.Addr{}}, unanswered: newUnanswered()}
	e.triage = ingress.NewTriage()
	e.guard = guard.New(guard.Options{Inspect: e.inspect, Full: e.load.crowded, Gone: e.flowGone, Log: o.Log})
	e.pbx = trunk.New(trunk.Options{Desk: o.Desk, Live: o.Live, Key: contactKey(o.NonceKey), Now: o.Now, Log: o.Log, Resolver: o.Resolver})
	e.locations, e.dialogs, e.calls = newLocations(e.guard), newDialogs(e.guard), newGate()
	e.selves = &selves{calls: map[hotdesk.DeviceID]*record{}}
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

// respond sends one response; a failure to send is the transport's to retry.
func (e *Edge) respond(req *sip.Request, tx sip.ServerTransaction, status int, reason string, body []byte, headers ...sip.Header) {
	res := sip.NewResponseFromRequest(req, status, ingress.Clean(reason), nil)
	res.SipVersion = "SIP/2.0"
	for _, h := range headers {
		res.AppendHeader(h)
	}
	res.AppendHeader(sip.NewHeader("Server", e.net.Agent))
	dialog.SetSDP(res, body)
	if err := tx.Respond(res); err != nil {
		e.Log.Debug("SIP response not sent", "status", status, "remote", req.Source(), "err", err)
	}
}

// onOptions answers that we are alive, to anybody (RFC 3261 section 11).
func (e *Edge) onOptions(req *sip.Request, tx sip.ServerTransaction, _ *ticket) bool {
	if _, inside := dialog.Param(req.To().Params, "tag"); inside && e.partyOf(req) == nil {
		e.respond(req, tx, 481, "Call/Transaction Does Not Exist", nil)
		return false
	}
	e.respond(req, tx, 200, "OK", nil, sip.NewHeader("Allow", dialog.Allow+", REGISTER, SUBSCRIBE"), sip.NewHeader("Accept", "application/sdp"))
	return false
}

// onUnknown refuses methods that we do not have (RFC 3261 section 8.2.1).
func (e *Edge) onUnknown(req *sip.Request, tx sip.ServerTransaction, _ *ticket) bool {
	e.respond(req, tx, 405, "Method Not Allowed", nil, sip.NewHeader("Allow", dialog.Allow+", REGISTER, SUBSCRIBE"))
	return false
}

// onCancel answers a CANCEL whose INVITE is unknown; sipgo answers the others.
func (e *Edge) onCancel(req *sip.Request, tx sip.ServerTransaction, _ *ticket) bool {
	e.respond(req, tx, 481, "Call/Transaction Does Not Exist", nil)
	return false
}
