package call

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/ingress"
)

// Bench is what calls are made on. All fields are set before the first call.
type Bench struct {
	Net     *dialog.Net
	Table   *dialog.Table
	Contact func(dialog.Flow) sip.Uri // our address for whoever is on a flow
	Host    string                    // ours, as in URIs
	Local   netip.Addr                // where phones reach us; invalid when it is a name
	Life    context.Context           // of everything here

	Attendant Attendant
	Live      *hotdesk.Live
	Record    func(hotdesk.Call) // takes call records; must not block
	Now       func() time.Time
	Log       *slog.Logger
	// Redirect gives the targets to ring when one of them sends the caller on (3xx): to
	// the addresses that its Contacts name, best first. Nil follows none.
	Redirect func(from dialog.Target, contacts []sip.Uri) []dialog.Target
}

// Incoming is an INVITE that was let in.
type Incoming struct {
	Req    *sip.Request // a copy with our tag
	Tx     sip.ServerTransaction
	Device hotdesk.DeviceID // empty for a call from a PBX
	Tag    string           // our To tag in its first dialog
	Peer   dialog.Peer
	PBX    bool            // it comes from a PBX, whose word on identities is taken
	Life   context.Context // of the call: ends when the server stops, later for an emergency call
	Secure bool            // the signalling is encrypted
}

// Trying says 100 and fixes our tag, so that every response carries the same one. It
// goes into a copy: sipgo reads the INVITE itself when a CANCEL comes.
func (b *Bench) Trying(req *sip.Request, tx sip.ServerTransaction, in Incoming) *Incoming {
	b.Respond(req, tx, 100, "Trying", nil)
	in.Req, in.Tx, in.Tag = req.Clone(), tx, sip.GenerateTagN(16)
	in.Req.To().Params = in.Req.To().Params.Clone()
	in.Req.To().Params.Add("tag", in.Tag)
	in.Secure = req.Transport() == "TLS"
	return &in
}

// Respond sends one response; a failure to send is the transport's to retry.
func (b *Bench) Respond(req *sip.Request, tx sip.ServerTransaction, status int, reason string, body []byte, headers ...sip.Header) {
	res := sip.NewResponseFromRequest(req, status, ingress.Clean(reason), nil)
	res.SipVersion = "SIP/2.0"
	for _, h := range headers {
		res.AppendHeader(h)
	}
	res.AppendHeader(sip.NewHeader("Server", b.Net.Agent))
	dialog.SetSDP(res, body)
	if err := tx.Respond(res); err != nil {
		b.Log.Debug("SIP response not sent", "status", status, "remote", req.Source(), "err", err)
	}
}

// ok builds our 200 to an INVITE or UPDATE with a session description. other is the
// dialog that requests inside this one go on to; nil when it ends here.
func (b *Bench) ok(req *sip.Request, contact sip.Uri, other *dialog.Dialog, body []byte, headers ...sip.Header) *sip.Response {
	allow := dialog.Allow
	if other != nil {
		allow = dialog.AllowFor(other)
	}
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	res.SipVersion = "SIP/2.0"
	res.AppendHeader(&sip.ContactHeader{Address: contact})
	res.AppendHeader(sip.NewHeader("Allow", allow))
	res.AppendHeader(sip.NewHeader("Supported", "timer, 100rel"))
	for _, h := range headers {
		res.AppendHeader(h)
	}
	res.AppendHeader(sip.NewHeader("Server", b.Net.Agent))
	dialog.SetSDP(res, body)
	return res
}

// acks delivers ACKs to those who wait for them, by CSeq.
type acks struct {
	mu      sync.Mutex
	waiting map[uint32]chan *sip.Request
}

func (a *acks) expect(cseq uint32) <-chan *sip.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = map[uint32]chan *sip.Request{}
	}
	c := make(chan *sip.Request, 1)
	a.waiting[cseq] = c
	return c
}

func (a *acks) deliver(req *sip.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.waiting[req.CSeq().SeqNo]; c != nil {
		delete(a.waiting, req.CSeq().SeqNo)
		c <- req
	}
}

// errNoACK: a 2xx of ours was never acknowledged.
var errNoACK = errors.New("the 200 was never acknowledged")

// Retransmission of a 2xx to INVITE, which is ours and not the transaction's
// (RFC 3261 section 13.3.1.4), and of reliable provisional responses (RFC 3262
// section 3).
const (
	t1      = 500 * time.Millisecond
	t2      = 4 * time.Second
	ackWait = 64 * t1
)

// accept sends the 2xx to an INVITE until its ACK comes, which it returns.
func (b *Bench) accept(ctx context.Context, tx sip.ServerTransaction, res *sip.Response, ack <-chan *sip.Request) (*sip.Request, error) {
	if err := tx.Respond(res); err != nil {
		return nil, err
	}
	pause := t1
	again, enough := time.NewTimer(pause), time.NewTimer(ackWait)
	defer again.Stop()
	defer enough.Stop()
	for {
		select {
		case req := <-ack:
			return req, nil
		case req := <-tx.Acks(): // old phones reuse the INVITE's branch
			return req, nil
		case <-again.C:
			if err := tx.Respond(res); err != nil {
				return nil, err
			}
			pause = min(2*pause, t2)
			again.Reset(pause)
		case <-enough.C:
			return nil, errNoACK
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ByeWait is how long a BYE may take; a phone that is gone must not hold us.
const ByeWait = 4 * time.Second

// hangUp sends a BYE and does not care for its answer: the dialog is over.
func (b *Bench) hangUp(d *dialog.Dialog, reasons ...string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.Life), ByeWait)
	defer cancel()
	req := d.Request(sip.BYE)
	for _, reason := range reasons {
		req.AppendHeader(sip.NewHeader("Reason", reason))
	}
	if _, err := d.Do(ctx, req); err != nil {
		b.Log.Debug("BYE not answered", "call_id", d.CallID, "err", err)
	}
}

// Options answers an OPTIONS: that we are alive (RFC 3261 section 11).
func (b *Bench) Options(req *sip.Request, tx sip.ServerTransaction) {
	b.Respond(req, tx, 200, "OK", nil, sip.NewHeader("Allow", dialog.Allow+", REGISTER, SUBSCRIBE"), sip.NewHeader("Accept", "application/sdp"),
		sip.NewHeader("Supported", "timer, 100rel"))
}

// NotAllowed refuses methods that we do not have (RFC 3261 section 8.2.1).
func (b *Bench) NotAllowed(req *sip.Request, tx sip.ServerTransaction) {
	b.Respond(req, tx, 405, "Method Not Allowed", nil, sip.NewHeader("Allow", dialog.Allow+", REGISTER, SUBSCRIBE"))
}
