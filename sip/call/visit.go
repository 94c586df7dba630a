package call

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/ingress"
)

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

// visit is a call that ends at the attendant: a code, or a refusal that is
// spoken.
type visit struct {
	*Bench
	peer   *dialog.Dialog
	device hotdesk.DeviceID
	conv   Conversation
	rec    *Record
	ctx    context.Context    // ends when they hung up
	stop   context.CancelFunc // they hung up
	acks   acks
	mu     sync.Mutex // one session description at a time
	once   sync.Once
}

// MaxVisits is how many calls one device may have when it calls the attendant:
// one phone that dials by itself must not take all of the attendant's lines.
const MaxVisits = 4

// Visit answers the call and lets the attendant talk. It runs in the INVITE's
// own goroutine until the call is over.
func (b *Bench) Visit(in *Incoming, rec *Record, v Visit) {
	v.CallID, v.Device = in.Req.CallID().Value(), in.Device
	v.Source = dialog.HostOf(in.Req.Source())
	v.Local = b.Local
	v.Secure = in.Secure
	v.Show = func(string) {} // phones' displays follow their configuration
	rec.join(in.Device, v.CallID)
	result, reason := "failed", v.Reason
	defer func() { rec.End(result, reason) }()

	if b.Live.Legs(in.Device) > MaxVisits {
		b.Respond(in.Req, in.Tx, 486, "Busy Here", nil)
		result = "busy"
		return
	}
	conv, err := b.Attendant.Attend(in.Life, v)
	if err != nil {
		b.refuseVisit(in, err)
		return
	}
	defer func() {
		if err := conv.Close(); err != nil {
			b.Log.Warn("attendant's call not closed cleanly", "err", err)
		}
	}()
	offer := ingress.SDP(in.Req)
	sdp, err := conv.Describe(offer)
	if err != nil {
		b.refuseVisit(in, err)
		return
	}
	ctx, stop := context.WithCancel(in.Life)
	defer stop()
	p := &visit{Bench: b, peer: dialog.NewUAS(b.Net, in.Peer, in.Req, in.Tag, b.Contact(dialog.FlowOf(in.Req))), device: in.Device, conv: conv, rec: rec, ctx: ctx, stop: stop}
	if !in.Tx.OnCancel(func(*sip.Request) { stop() }) {
		stop() // it came before we listened
	}
	b.Table.Add(p.peer, p)
	defer b.Table.Remove(p.peer)
	ack := p.acks.expect(in.Req.CSeq().SeqNo)
	finished := false
	defer func() { // also when the attendant panics
		if !finished {
			p.hangUp()
		}
	}()
	confirmed, err := b.accept(ctx, in.Tx, b.ok(in.Req, p.peer.Contact(), nil, sdp), ack)
	if err == nil {
		err = ctx.Err() // what came was the ACK to sipgo's 487
	}
	if err == nil && len(offer) == 0 {
		err = conv.Accept(ingress.SDP(confirmed))
	}
	if err != nil {
		result = "cancelled"
		finished = ctx.Err() != nil && in.Life.Err() == nil
		if !finished {
			b.Log.Info("attendant's call not set up", "err", err)
		}
		return
	}
	rec.answered("")
	result = "answered"
	if v.Reason != "" {
		result = "refused"
	}
	if err := conv.Run(ctx); err != nil && ctx.Err() == nil {
		b.Log.Warn("attendant's call failed", "device", string(in.Device), "err", err)
	}
	finished = ctx.Err() != nil && in.Life.Err() == nil
}

// warnings say why an offer is refused, when the attendant does (RFC 3261 section 20.43).
func warnings(err error) []sip.Header {
	var why interface {
		Warning() (code int, text string)
	}
	if !errors.As(err, &why) {
		return nil
	}
	return []sip.Header{warning(why.Warning())}
}

// refuseVisit answers when the attendant cannot.
func (b *Bench) refuseVisit(in *Incoming, err error) {
	switch {
	case errors.Is(err, ErrBusy):
		b.Respond(in.Req, in.Tx, 503, "Service Unavailable", nil, sip.NewHeader("Retry-After", "5"))
	case errors.Is(err, ErrNotAcceptable):
		b.Respond(in.Req, in.Tx, 488, "Not Acceptable Here", nil, warnings(err)...)
	case errors.Is(err, ErrBadOffer):
		b.Respond(in.Req, in.Tx, 400, "Bad Session Description", nil, warnings(err)...)
	default:
		b.Log.Error("attendant cannot take the call", "device", string(in.Device), "err", err)
		b.Respond(in.Req, in.Tx, 500, "Server Internal Error", nil)
	}
}

func (v *visit) hangUp() { v.once.Do(func() { v.Bench.hangUp(v.peer) }) }

// Acked takes the ACK to a 2xx of ours.
func (v *visit) Acked(req *sip.Request) { v.acks.deliver(req) }

// Request handles a request inside the visit.
func (v *visit) Request(req *sip.Request, tx sip.ServerTransaction) {
	if req.Method != sip.BYE && !v.peer.InOrder(req) {
		v.Respond(req, tx, 500, "Server Internal Error", nil, sip.NewHeader("Retry-After", "1"))
		return
	}
	switch req.Method {
	case sip.BYE:
		v.Respond(req, tx, 200, "OK", nil)
		v.stop()
	case sip.INVITE, sip.UPDATE:
		v.modify(req, tx)
	case sip.INFO:
		v.info(req, tx)
	case sip.OPTIONS:
		v.Options(req, tx)
	default:
		v.NotAllowed(req, tx)
	}
}

// modify answers a new offer, such as hold.
func (v *visit) modify(req *sip.Request, tx sip.ServerTransaction) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.peer.Refresh(req)
	var sdp []byte
	offer := ingress.SDP(req) // of several parts, maybe
	var err error
	if req.Method == sip.INVITE || len(offer) > 0 {
		sdp, err = v.conv.Describe(offer)
	}
	if err != nil {
		v.Respond(req, tx, 488, "Not Acceptable Here", nil, warnings(err)...)
		return
	}
	res := v.ok(req, v.peer.Contact(), nil, sdp)
	if req.Method == sip.UPDATE {
		if err := tx.Respond(res); err != nil {
			v.Log.Debug("SIP response not sent", "err", err)
		}
		return
	}
	confirmed, err := v.accept(v.ctx, tx, res, v.acks.expect(req.CSeq().SeqNo))
	if err == nil && len(offer) == 0 {
		err = v.conv.Accept(ingress.SDP(confirmed))
	}
	if err != nil && v.ctx.Err() == nil {
		v.hangUp()
		v.stop()
	}
}

// info takes a digit that came by SIP INFO. What it was is not written anywhere.
func (v *visit) info(req *sip.Request, tx sip.ServerTransaction) {
	kind := ""
	if ct := req.ContentType(); ct != nil {
		kind = strings.ToLower(strings.TrimSpace(strings.SplitN(ct.Value(), ";", 2)[0]))
	}
	digit, known := infoDigit(kind, string(req.Body()))
	if !known {
		v.Respond(req, tx, 415, "Unsupported Media Type", nil, sip.NewHeader("Accept", "application/dtmf-relay, application/dtmf"))
		return
	}
	if digit != 0 {
		v.conv.Press(digit) // before the answer, after which the next one comes
	}
	v.Respond(req, tx, 200, "OK", nil)
}

// infoDigit reads the body of an INFO; 0 stands for "no digit in it". known is
// false for content that is not about digits.
func infoDigit(kind, body string) (digit byte, known bool) {
	text := strings.TrimSpace(body)
	switch kind {
	case "":
		return 0, text == ""
	case "application/dtmf", "audio/telephone-event", "application/telephone-event":
	case "application/dtmf-relay":
		text = ""
		for line := range strings.Lines(body) {
			key, value, ok := strings.Cut(line, "=")
			if ok && strings.EqualFold(strings.TrimSpace(key), "signal") {
				text = strings.TrimSpace(value)
			}
		}
	default:
		return 0, false
	}
	switch text {
	case "10":
		return '*', true
	case "11":
		return '#', true
	}
	if len(text) == 1 && strings.Contains("0123456789*#", text) {
		return text[0], true
	}
	return 0, true
}
