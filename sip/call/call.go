package call

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// call is two sides that talk, or may come to: one for each early dialog, of which one
// is confirmed.
type call struct {
	*Bench
	rec      *Record
	life     context.Context
	a, b     *side
	invite   *sip.Request // the caller's, with our tag in this dialog
	reliable *reliable    // of the caller's INVITE; a PRACK may cross our 200

	mu    sync.Mutex
	setup *setup // while it is early; nil afterwards
	over  bool
	gone  bool          // left is closed
	left  chan struct{} // closed when the callee has left before it was confirmed
	done  chan struct{} // closed when the call is over
	busy  chan struct{} // one re-INVITE or UPDATE at a time
}

// side is one of the two.
type side struct {
	call    *call
	device  hotdesk.DeviceID // whose phone it is; empty behind a PBX
	trusted bool             // a PBX, whose word on identities and alerts is taken
	hidden  bool             // it has asked for privacy at the beginning, which holds for the whole call
	self    dialog.Party     // who it is, for the other side; empty when nobody knows
	branch  *dialog.Branch   // of the called side
	other   *side
	acks    acks

	mu    sync.Mutex
	peer  *dialog.Dialog // nil before it has given a tag
	timer *time.Timer    // of its session
}

func (s *side) dialog() *dialog.Dialog {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer
}

func (s *side) setDialog(d *dialog.Dialog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer = d
}

// confirm makes the call of an early one; false when the callee has left.
func (c *call) confirm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setup = nil
	return !c.gone
}

// leave notes that the callee has left an early call; false when it is none any more.
func (c *call) leave() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.setup == nil {
		return false
	}
	if !c.gone {
		c.gone = true
		close(c.left)
	}
	return true
}

// lasting tells whether silence, or a confirmation that is missing, is no reason to end
// the call: people may be talking all the same.
func (c *call) lasting() bool { return c.rec.Kind() == hotdesk.CallEmergency }

// early is the set-up while nobody has answered; nil afterwards.
func (c *call) early() *setup {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setup
}

// until is a context that ends with the call, or with what else is given.
func (c *call) until(also <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(c.life)
	go func() {
		select {
		case <-c.done:
			cancel()
		case <-also:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// end hangs up the sides that have not hung up themselves; by is the one that
// did, nil for neither. reasons are what it said of why.
func (c *call) end(by *side, reason string, reasons ...string) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.over = true
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range []*side{c.a, c.b} {
		if s == by {
			continue
		}
		why := reasons
		if !s.trusted && !s.other.trusted {
			why = nil // from phone to phone
		}
		wg.Go(func() { c.hangUp(s.dialog(), why...) })
	}
	c.rec.End("answered", reason)
	close(c.done)
	wg.Wait()
}

// close ends a call that nobody has to be told about; its record has ended.
func (c *call) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.over = true
		close(c.done)
	}
}

// Stopped is the reason in the records of calls that the server's stop has ended.
const Stopped = "server stopped"

// stop ends the call because the server stops. An emergency call goes on: its two ends
// have each other's address, and nobody tells them to hang up.
func (c *call) stop() {
	if c.rec.Kind() != hotdesk.CallEmergency {
		c.end(nil, Stopped)
		return
	}
	c.rec.End("answered", Stopped) // nothing when it is over
	c.close()
}

// Acked takes the ACK to a 2xx of ours.
func (s *side) Acked(req *sip.Request) { s.acks.deliver(req) }

// Request carries what happens inside the call, or before it is answered, to the other
// side.
func (s *side) Request(req *sip.Request, tx sip.ServerTransaction) {
	c := s.call
	if req.Method != sip.BYE && !s.dialog().InOrder(req) { // who wants to leave may leave
		c.Respond(req, tx, 500, "Server Internal Error", nil, sip.NewHeader("Retry-After", "1"))
		return
	}
	switch req.Method {
	case sip.BYE:
		c.Respond(req, tx, 200, "OK", nil)
		s.bye(reasonsOf(req))
	case sip.PRACK:
		s.prack(req, tx)
	case sip.INVITE, sip.UPDATE:
		select {
		case c.busy <- struct{}{}:
			defer func() { <-c.busy }()
			s.modify(req, tx)
		default: // both sides at once, or one that did not wait (RFC 3261 section 14.2)
			c.Respond(req, tx, 491, "Request Pending", nil)
		}
	case sip.INFO, sip.MESSAGE:
		s.relay(req, tx)
	case sip.NOTIFY:
		if !s.trusted || s.other.trusted { // talk and hold, by which a PBX lets a phone answer
			c.Respond(req, tx, 489, "Bad Event", nil)
			return
		}
		s.relay(req, tx)
	case sip.OPTIONS:
		c.Options(req, tx)
	case sip.REFER:
		c.Respond(req, tx, 501, "Not Implemented", nil)
	default:
		c.NotAllowed(req, tx)
	}
}

// bye is the end of the call, or of the ringing: by the caller in an early dialog (RFC
// 3261 section 15), or by a callee that may not, and means it all the same.
func (s *side) bye(reasons []string) {
	setup := s.call.early()
	switch {
	case setup != nil && s == s.call.a:
		setup.bye(reasons)
	case setup != nil && s.call.leave():
		s.branch.Leave()
	default:
		s.call.end(s, "", reasons...)
	}
}

// prack acknowledges a provisional response of ours.
func (s *side) prack(req *sip.Request, tx sip.ServerTransaction) {
	if s != s.call.a || !s.call.reliable.acknowledge(req, s.call.invite.CSeq().SeqNo) {
		s.call.Respond(req, tx, 481, "Call/Transaction Does Not Exist", nil)
		return
	}
	s.call.Respond(req, tx, 200, "OK", nil)
}

// relay carries a request with its body and what belongs to it to the other side, and
// the outcome back: nothing is said to have arrived that has not.
func (s *side) relay(req *sip.Request, tx sip.ServerTransaction) {
	c, to := s.call, s.other.dialog()
	if to == nil {
		c.Respond(req, tx, 480, "Temporarily Unavailable", nil, sip.NewHeader("Retry-After", "1"))
		return
	}
	out := to.Request(req.Method)
	copyBody(req, out)
	for _, h := range passed(s, req, "Record", "Info-Package", "Event", "Subscription-State") {
		out.AppendHeader(h)
	}
	res, err := to.Do(c.life, out)
	if err != nil {
		c.Respond(req, tx, 408, "Request Timeout", nil)
		return
	}
	if res.StatusCode == 401 || res.StatusCode == 407 { // a challenge is not for the other side
		c.Respond(req, tx, 503, "Service Unavailable", nil)
		return
	}
	c.Respond(req, tx, res.StatusCode, phrase(res), nil)
	if gone(res.StatusCode) && c.early() == nil && req.Method != sip.MESSAGE && res.StatusCode == 481 {
		c.end(s.other, "")
	}
}

// copyBody gives a relayed request the body of the original, and what says what it is.
func copyBody(from, to *sip.Request) {
	for _, h := range from.Headers() {
		switch strings.ToLower(h.Name()) {
		case "content-type", "c", "content-disposition", "content-encoding", "content-language":
			to.AppendHeader(sip.HeaderClone(h))
		}
	}
	to.SetBody(from.Body())
}

// gone tells whether a status inside a dialog says that there is no such dialog, or
// nobody at its address, any more.
func gone(status int) bool {
	return status == 404 || status == 410 || status == 481 || status == 604
}

// ProbeWait is how long a phone may take to say that it still knows its call.
const ProbeWait = 8 * time.Second

// Probe asks the party of a dialog whether it still knows the call, and ends the call
// when not: in one between two phones that have both lost their power nobody would ever
// hang up, and the devices would be "in a call" for good. A phone that does not answer,
// or does not know the call any more (RFC 3261 section 12.2.2), has left it; whatever
// else it says, the call goes on.
//
// The question is an INFO without a body: phones answer OPTIONS in a dialog that they do
// not know with 200 or 404 (baresip 1.0.0) or 200 (linphone 5.1.65), and INFO with 481
// (both, and twinkle 1.10.2).
func Probe(h dialog.Handler) {
	s, ok := h.(*side)
	if !ok || s.call.early() != nil {
		return
	}
	c, d := s.call, s.dialog()
	ctx, cancel := context.WithTimeout(c.Life, ProbeWait)
	defer cancel()
	res, err := d.Do(ctx, d.Request(sip.INFO))
	if c.Life.Err() != nil || err == nil && !gone(res.StatusCode) {
		return
	}
	if err != nil && c.rec.Kind() == hotdesk.CallEmergency {
		return // its signalling is silent; people may be talking
	}
	c.Log.Info("call ended: its phone does not know it any more", "device", string(s.device), "call_id", d.CallID)
	c.end(s, "phone_gone")
}
