package sip

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/ingress"
	"hotdeskd/sip/trunk"
)

// ringFor is how long a call may ring before it is given up (timer C, RFC 3261
// section 16.6).
const ringFor = 3 * time.Minute

// How long a group may take before the next one, if there is one, rings too: without
// a ringing tone, and with it. Only emergency calls have more than one group; a route
// that took the call and does nothing with it must not keep it.
const (
	quietFor = 8 * time.Second
	ringsFor = 20 * time.Second
)

// call is two legs that are up.
type call struct {
	e    *Edge
	rec  *record
	life context.Context
	a, b *side
	mu   sync.Mutex
	over bool
	done chan struct{} // closed when the call is over
}

// side is one of the two legs.
type side struct {
	call   *call
	device hotdesk.DeviceID // whose phone it is; empty behind a PBX
	leg    *dialog.Dialog
	other  *side
	acks   acks
	busy   chan struct{} // one re-INVITE or UPDATE at a time
}

// connect rings the groups of targets until one answers, and carries the call until
// it ends. It runs in the INVITE's own goroutine.
func (e *Edge) connect(in *incoming, rec *record, groups [][]dialog.Target) {
	rec.join(in.device, in.req.CallID().Value())
	defer rec.end("failed", "")
	s := &setup{e: e, in: in, rec: rec, offer: ingress.SDP(in.req), cancelled: make(chan struct{}), tags: map[early]string{}}
	if !in.tx.OnCancel(func(*sip.Request) { s.cancel() }) {
		s.cancel() // it came before we listened
	}
	if s.ring(groups); s.winner == nil {
		s.fail()
		return
	}
	s.establish()
}

// setup is the time from the INVITE to the answer.
type setup struct {
	e         *Edge
	in        *incoming
	rec       *record
	offer     []byte // the caller's session description; nil: late offer
	once      sync.Once
	cancelled chan struct{} // the caller gave up

	trunk  bool             // some target was a PBX
	rang   bool             // somebody was heard ringing
	tags   map[early]string // our To tag in each early dialog
	final  *sip.Response    // the best refusal so far
	winner *dialog.Branch
	answer *sip.Response // the winner's 2xx

	confirmed *sip.Request // the INVITE as the answer's dialog has it
	tag       string       // our tag there
}

// early is one early dialog of the other side: a fork behind a branch makes several.
type early struct {
	branch *dialog.Branch
	tag    string // the party's
}

// dialog is the caller's INVITE with our tag in the dialog that stands for one of the
// other side: a caller that has heard one session description under a tag need not look
// at a second (RFC 3261 section 13.2.1).
func (s *setup) dialog(p dialog.Progress) (req *sip.Request, tag string) {
	theirs, _ := dialog.Param(p.Response.To().Params, "tag")
	key := early{p.Branch, theirs}
	tag, ok := s.tags[key]
	if !ok {
		if tag = s.in.tag; len(s.tags) > 0 {
			tag = sip.GenerateTagN(16)
		}
		s.tags[key] = tag
	}
	req = s.in.req.Clone()
	req.To().Params = req.To().Params.Clone()
	req.To().Params.Add("tag", tag)
	return req, tag
}

func (s *setup) cancel() { s.once.Do(func() { close(s.cancelled) }) }

// ring calls all targets of a group at once, and the first 200 wins. The next group's
// turn comes when all branches have failed, or when the last group has been patient
// for long enough: then both ring. Nothing that may still answer is given up for it.
func (s *setup) ring(groups [][]dialog.Target) {
	events, owner := make(chan dialog.Progress), make(chan struct{})
	defer close(owner)
	branches := map[*dialog.Branch]hotdesk.DeviceID{}
	limit, patience := time.NewTimer(ringFor), time.NewTimer(quietFor)
	defer limit.Stop()
	defer patience.Stop()
	var last []*dialog.Branch // of the last group, until one of them rings
	next := func() {
		last = s.start(groups[0], branches, events, owner)
		groups = groups[1:]
		patience.Reset(quietFor)
		limit.Reset(ringFor)
	}
	for s.winner == nil && !s.isCancelled() {
		if len(branches) == 0 {
			if len(groups) == 0 {
				return
			}
			next()
			continue
		}
		select {
		case p := <-events:
			s.progress(p, branches, len(groups) == 0)
			if p.Err == nil && p.Response.IsProvisional() && slices.Contains(last, p.Branch) {
				last = nil
				patience.Reset(ringsFor)
			}
		case <-patience.C:
			if len(groups) > 0 {
				s.e.Log.Warn("nobody has answered; the next route is called too", "device", string(s.in.device))
				next()
			}
		case <-s.in.tx.Done():
			s.cancel()
		case <-s.cancelled: // seen by the loop
		case <-limit.C:
			s.drop(branches, "")
			return
		case <-s.in.life.Done():
			s.drop(branches, "")
			return
		}
	}
	reason := ""
	if s.winner != nil {
		reason = `SIP;cause=200;text="Call completed elsewhere"`
	}
	s.drop(branches, reason)
}

// start sends the INVITEs of a group.
func (s *setup) start(group []dialog.Target, branches map[*dialog.Branch]hotdesk.DeviceID, events chan dialog.Progress, owner chan struct{}) (all []*dialog.Branch) {
	for _, t := range group {
		t.Body = s.offer
		b := s.e.net.Ring(s.in.life, t, events, owner)
		all = append(all, b)
		branches[b] = ""
		if strings.HasPrefix(t.Label, trunk.Label) {
			s.trunk = true
		} else {
			branches[b] = hotdesk.DeviceID(t.Label)
			s.rec.join(branches[b], s.rec.call.ID)
		}
	}
	return all
}

// drop cancels the branches that are left.
func (s *setup) drop(branches map[*dialog.Branch]hotdesk.DeviceID, reason string) {
	for b, id := range branches {
		b.Cancel(reason)
		s.rec.leave(id)
	}
}

// progress takes one report of a branch; last tells that no group is left to be tried.
func (s *setup) progress(p dialog.Progress, branches map[*dialog.Branch]hotdesk.DeviceID, last bool) {
	res := p.Response
	switch {
	case p.Err != nil:
		s.e.Log.Info("branch failed", "branch", p.Branch.Label, "err", p.Err)
	case res.IsProvisional():
		s.rang = true
		s.ringing(p, last && len(branches) == 1)
		return
	case res.IsSuccess():
		s.winner, s.answer = p.Branch, res
		s.confirmed, s.tag = s.dialog(p)
		delete(branches, p.Branch)
		return
	default:
		s.worse(res)
	}
	s.rec.leave(branches[p.Branch])
	delete(branches, p.Branch)
}

// worse keeps the refusal that tells the caller most: busy before the rest. A
// phone's 603 declines for itself, so it counts as busy.
func (s *setup) worse(res *sip.Response) {
	busy := func(r *sip.Response) bool { return r.StatusCode == 486 || r.StatusCode == 600 || r.StatusCode == 603 }
	if s.final == nil || busy(res) && !busy(s.final) {
		s.final = res
	}
}

// ringing passes a 18x on. Early media only when nobody else may still answer: of
// several, nobody could say whose it is.
func (s *setup) ringing(p dialog.Progress, alone bool) {
	var body []byte
	status, reason := 180, "Ringing"
	if alone {
		body = p.Response.Body()
		if p.Response.StatusCode == 183 {
			status, reason = 183, "Session Progress"
		}
	}
	req, _ := s.dialog(p)
	s.e.respond(req, s.in.tx, status, reason, body, &sip.ContactHeader{Address: s.e.contact(dialog.FlowOf(s.in.req))})
}

// fail answers a caller whom nobody took. Nothing of a challenge is passed on.
func (s *setup) fail() {
	if s.isCancelled() { // sipgo has answered 487
		s.rec.end("cancelled", "")
		return
	}
	status, reason, result := 480, "Temporarily Unavailable", "no-answer"
	if s.final != nil {
		switch code := s.final.StatusCode; {
		case code == 486 || code == 600 || code == 603:
			status, reason, result = 486, "Busy Here", "busy"
		case code == 404 || code == 484 || code == 604:
			status, reason, result = 404, "Not Found", "refused"
		case code == 403 || code == 488 || code == 606:
			status, reason, result = code, s.final.Reason, "refused"
		case code == 401 || code == 407 || code >= 500:
			status, reason, result = 503, "Service Unavailable", "failed"
		}
	} else if !s.rang && (s.trunk || s.in.device != "" && s.rec.call.Kind != hotdesk.CallInternal) {
		// A caller from outside is told that we work and the phone does not: to a
		// PBX, 503 would mean that its trunk is down.
		status, reason, result = 503, "Service Unavailable", "failed"
	}
	s.e.respond(s.in.req, s.in.tx, status, reason, nil)
	why := ""
	switch {
	case result == "failed" && s.trunk:
		why = hotdesk.ReasonPBXDown
	case result == "failed" && s.rec.call.Kind != hotdesk.CallInternal:
		why = hotdesk.ReasonNoRoute
	}
	if s.rec.call.Kind == hotdesk.CallEmergency {
		s.e.Log.Error("emergency call not taken", "device", string(s.in.device), "number", s.rec.call.To, "result", result, "reason", why)
	}
	s.rec.end(result, why)
}

// establish joins the two legs and stays until the caller has acknowledged.
func (s *setup) establish() {
	e := s.e
	a := dialog.NewUAS(e.net, s.in.req, s.tag, e.contact(dialog.FlowOf(s.in.req)))
	b := s.winner.Take(s.answer)
	c := &call{e: e, rec: s.rec, life: s.in.life, done: make(chan struct{})}
	c.a = &side{call: c, leg: a, device: s.in.device, busy: make(chan struct{}, 1)}
	c.b = &side{call: c, leg: b, device: s.answeredBy(), other: c.a, busy: make(chan struct{}, 1)}
	c.a.other = c.b
	e.dialogs.add(a, c.a)
	e.dialogs.add(b, c.b)
	defer func() {
		e.dialogs.remove(a)
		e.dialogs.remove(b)
	}()
	late := len(s.offer) == 0
	if !late || s.isCancelled() {
		s.ackAnswer(nil)
	}
	if s.isCancelled() { // crossed with the answer
		s.rec.end("cancelled", "")
		c.end(c.a, "")
		return
	}
	ack := c.a.acks.expect(s.in.req.CSeq().SeqNo)
	ctx, stop := c.until(s.cancelled)
	s.rec.answered(s.answeredBy())
	confirmed, err := e.accept(ctx, s.in.tx, e.ok(s.confirmed, a.Contact(), s.answer.Body()), ack)
	stop()
	if late {
		var body []byte
		if confirmed != nil {
			body = ingress.SDP(confirmed)
		}
		s.ackAnswer(body)
	}
	if s.isCancelled() { // sipgo has answered 487 in place of our 200
		s.rec.end("cancelled", "")
		c.end(c.a, "")
		return
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		e.Log.Info("caller never confirmed the call", "err", err)
		c.end(nil, "")
	}
	select {
	case <-c.done:
	case <-c.life.Done():
		c.stop()
	}
}

func (s *setup) isCancelled() bool {
	select {
	case <-s.cancelled:
		return true
	default:
		return false
	}
}

// ackAnswer acknowledges the winner's 2xx.
func (s *setup) ackAnswer(body []byte) {
	if err := s.winner.Ack(s.answer, body); err != nil {
		s.e.Log.Info("call lost while it was answered", "err", err)
	}
}

// answeredBy is the device that took the call; empty behind a PBX.
func (s *setup) answeredBy() hotdesk.DeviceID {
	if id := hotdesk.DeviceID(s.winner.Label); s.rec.has(id) {
		return id
	}
	return ""
}

func (r *record) has(id hotdesk.DeviceID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.legs[id]
	return ok
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
// did, nil for neither.
func (c *call) end(by *side, reason string) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.over = true
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range []*side{c.a, c.b} {
		if s != by {
			wg.Go(func() { c.e.hangUp(s.leg) })
		}
	}
	c.rec.end("answered", reason)
	close(c.done)
	wg.Wait()
}

// stop ends the call because the server stops. An emergency call goes on: its two ends
// have each other's address, and nobody tells them to hang up.
func (c *call) stop() {
	if c.rec.call.Kind != hotdesk.CallEmergency {
		c.end(nil, stopped)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.over = true
		c.rec.end("answered", stopped)
		close(c.done)
	}
}

func (s *side) whose() (*dialog.Dialog, hotdesk.DeviceID) { return s.leg, s.device }

func (s *side) acked(req *sip.Request) { s.acks.deliver(req) }

// request relays what happens inside the call to the other side.
func (s *side) request(req *sip.Request, tx sip.ServerTransaction) {
	e := s.call.e
	if req.Method != sip.BYE && !s.leg.InOrder(req) { // who wants to leave may leave
		e.respond(req, tx, 500, "Server Internal Error", nil, sip.NewHeader("Retry-After", "1"))
		return
	}
	switch req.Method {
	case sip.BYE:
		e.respond(req, tx, 200, "OK", nil)
		s.call.end(s, "")
	case sip.INVITE, sip.UPDATE:
		select {
		case s.call.a.busy <- struct{}{}:
			defer func() { <-s.call.a.busy }()
			s.modify(req, tx)
		default: // both sides at once, or one that did not wait (RFC 3261 section 14.2)
			e.respond(req, tx, 491, "Request Pending", nil)
		}
	case sip.INFO, sip.MESSAGE:
		s.relay(req, tx)
	case sip.OPTIONS:
		e.onOptions(req, tx, nil)
	case sip.REFER:
		e.respond(req, tx, 501, "Not Implemented", nil)
	default:
		e.onUnknown(req, tx, nil)
	}
}

// relay carries a request with its body to the other side and the status back.
func (s *side) relay(req *sip.Request, tx sip.ServerTransaction) {
	out := s.other.leg.Request(req.Method)
	copyBody(req, out)
	res, err := s.other.leg.Do(s.call.life, out)
	if err != nil {
		s.call.e.respond(req, tx, 408, "Request Timeout", nil)
		return
	}
	if res.StatusCode == 401 || res.StatusCode == 407 { // a challenge is not for the other side
		s.call.e.respond(req, tx, 503, "Service Unavailable", nil)
		return
	}
	s.call.e.respond(req, tx, res.StatusCode, res.Reason, nil)
}

// copyBody gives a relayed request the body and content type of the original.
func copyBody(from, to *sip.Request) {
	if ct := from.ContentType(); ct != nil {
		to.AppendHeader(sip.HeaderClone(ct))
	}
	to.SetBody(from.Body())
}
