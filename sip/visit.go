package sip

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/ingress"
)

// visit is a call that ends at the attendant: a code, or a refusal that is
// spoken.
type visit struct {
	e      *Edge
	leg    *dialog.Dialog
	device hotdesk.DeviceID
	conv   Conversation
	rec    *record
	ctx    context.Context    // ends when they hung up
	stop   context.CancelFunc // they hung up
	acks   acks
	mu     sync.Mutex // one session description at a time
	once   sync.Once
}

// maxVisits is how many calls one device may have when it calls the attendant:
// one phone that dials by itself must not take all of the attendant's lines.
const maxVisits = 4

// visit answers the call and lets the attendant talk. It runs in the INVITE's
// own goroutine until the call is over.
func (e *Edge) visit(in *incoming, rec *record, v Visit) {
	v.CallID, v.Device = in.req.CallID().Value(), in.device
	v.Source = addrOf(in.req.Source())
	v.Local = e.host
	v.Secure = in.req.Transport() == "TLS"
	v.Show = func(string) {} // phones' displays follow their configuration
	rec.join(in.device, v.CallID)
	result, reason := "failed", v.Reason
	defer func() { rec.end(result, reason) }()

	if e.Live.Legs(in.device) > maxVisits {
		e.respond(in.req, in.tx, 486, "Busy Here", nil)
		result = "busy"
		return
	}
	conv, err := e.Attendant.Attend(in.life, v)
	if err != nil {
		e.refuseVisit(in, err)
		return
	}
	defer func() {
		if err := conv.Close(); err != nil {
			e.Log.Warn("attendant's call not closed cleanly", "err", err)
		}
	}()
	offer := ingress.SDP(in.req)
	sdp, err := conv.Describe(offer)
	if err != nil {
		e.refuseVisit(in, err)
		return
	}
	ctx, stop := context.WithCancel(in.life)
	defer stop()
	p := &visit{e: e, leg: dialog.NewUAS(e.net, in.req, in.tag, e.contact(dialog.FlowOf(in.req))), device: in.device, conv: conv, rec: rec, ctx: ctx, stop: stop}
	if !in.tx.OnCancel(func(*sip.Request) { stop() }) {
		stop() // it came before we listened
	}
	e.dialogs.add(p.leg, p)
	defer e.dialogs.remove(p.leg)
	ack := p.acks.expect(in.req.CSeq().SeqNo)
	finished := false
	defer func() { // also when the attendant panics
		if !finished {
			p.hangUp()
		}
	}()
	confirmed, err := e.accept(ctx, in.tx, e.ok(in.req, p.leg.Contact(), sdp), ack)
	if err == nil {
		err = ctx.Err() // what came was the ACK to sipgo's 487
	}
	if err == nil && len(offer) == 0 {
		err = conv.Accept(ingress.SDP(confirmed))
	}
	if err != nil {
		result = "cancelled"
		finished = ctx.Err() != nil && in.life.Err() == nil
		if !finished {
			e.Log.Info("attendant's call not set up", "err", err)
		}
		return
	}
	rec.answered("")
	result = "answered"
	if v.Reason != "" {
		result = "refused"
	}
	if err := conv.Run(ctx); err != nil && ctx.Err() == nil {
		e.Log.Warn("attendant's call failed", "device", string(in.device), "err", err)
	}
	finished = ctx.Err() != nil && in.life.Err() == nil
}

// refuseVisit answers when the attendant cannot.
func (e *Edge) refuseVisit(in *incoming, err error) {
	switch {
	case errors.Is(err, ErrBusy):
		e.respond(in.req, in.tx, 503, "Service Unavailable", nil, sip.NewHeader("Retry-After", "5"))
	case errors.Is(err, ErrNotAcceptable):
		e.respond(in.req, in.tx, 488, "Not Acceptable Here", nil)
	case errors.Is(err, ErrBadOffer):
		e.respond(in.req, in.tx, 400, "Bad Session Description", nil)
	default:
		e.Log.Error("attendant cannot take the call", "device", string(in.device), "err", err)
		e.respond(in.req, in.tx, 500, "Server Internal Error", nil)
	}
}

func (v *visit) hangUp() { v.once.Do(func() { v.e.hangUp(v.leg) }) }

func (v *visit) whose() (*dialog.Dialog, hotdesk.DeviceID) { return v.leg, v.device }

func (v *visit) acked(req *sip.Request) { v.acks.deliver(req) }

func (v *visit) request(req *sip.Request, tx sip.ServerTransaction) {
	if req.Method != sip.BYE && !v.leg.InOrder(req) {
		v.e.respond(req, tx, 500, "Server Internal Error", nil, sip.NewHeader("Retry-After", "1"))
		return
	}
	switch req.Method {
	case sip.BYE:
		v.e.respond(req, tx, 200, "OK", nil)
		v.stop()
	case sip.INVITE, sip.UPDATE:
		v.modify(req, tx)
	case sip.INFO:
		v.info(req, tx)
	case sip.OPTIONS:
		v.e.onOptions(req, tx, nil)
	default:
		v.e.onUnknown(req, tx, nil)
	}
}

// modify answers a new offer, such as hold.
func (v *visit) modify(req *sip.Request, tx sip.ServerTransaction) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leg.Refresh(req.Contact())
	var sdp []byte
	var err error
	if req.Method == sip.INVITE || len(req.Body()) > 0 {
		sdp, err = v.conv.Describe(req.Body())
	}
	if err != nil {
		v.e.respond(req, tx, 488, "Not Acceptable Here", nil)
		return
	}
	res := v.e.ok(req, v.leg.Contact(), sdp)
	if req.Method == sip.UPDATE {
		if err := tx.Respond(res); err != nil {
			v.e.Log.Debug("SIP response not sent", "err", err)
		}
		return
	}
	confirmed, err := v.e.accept(v.ctx, tx, res, v.acks.expect(req.CSeq().SeqNo))
	if err == nil && len(req.Body()) == 0 {
		err = v.conv.Accept(confirmed.Body())
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
		v.e.respond(req, tx, 415, "Unsupported Media Type", nil, sip.NewHeader("Accept", "application/dtmf-relay, application/dtmf"))
		return
	}
	if digit != 0 {
		v.conv.Press(digit) // before the answer, after which the next one comes
	}
	v.e.respond(req, tx, 200, "OK", nil)
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
