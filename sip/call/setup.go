package call

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
)

// RingFor is how long a call may ring before it is given up (timer C, RFC 3261
// section 16.6).
const RingFor = 3 * time.Minute

// How long a group may take before the next one, if there is one, rings too: without
// a ringing tone, and with it. Only emergency calls have more than one group; a route
// that took the call and does nothing with it must not keep it.
const (
	QuietFor = 8 * time.Second
	RingsFor = 20 * time.Second
)

// maxRedirects is how often a call may be sent on by a 3xx.
const maxRedirects = 5

// TrunkLabel begins the label of every target that is a PBX, which tells it from a
// device.
const TrunkLabel = "pbx:"

// Connect rings the groups of targets until one answers, and carries the call until it
// ends. It runs in the INVITE's own goroutine. called is who is rung, for the caller's
// display; empty when nobody knows.
func (b *Bench) Connect(in *Incoming, rec *Record, called dialog.Party, groups [][]dialog.Target) {
	rec.join(in.Device, in.Req.CallID().Value())
	defer rec.End("failed", "")
	if _, _, brief := dialog.AnswerSession(in.Req); brief && rec.Kind() != hotdesk.CallEmergency {
		b.Respond(in.Req, in.Tx, 422, "Session Interval Too Small", nil, dialog.MinSEHeader())
		return
	}
	s := &setup{
		Bench: b, in: in, rec: rec, called: called, offer: ingress.SDP(in.Req), cancelled: make(chan struct{}), calls: map[early]*call{},
		reliable: reliable{bench: b, wanted: requires(in.Req, "100rel")},
	}
	if !in.Tx.OnCancel(func(r *sip.Request) { s.cancel(reasonsOf(r)) }) {
		s.cancel(nil) // it came before we listened
	}
	defer s.forget()
	if s.ring(groups); s.winner == nil {
		s.fail()
		return
	}
	s.establish()
}

func requires(msg sip.Message, option string) bool {
	for _, h := range msg.GetHeaders("Require") {
		for o := range strings.SplitSeq(h.Value(), ",") {
			if strings.EqualFold(strings.TrimSpace(o), option) {
				return true
			}
		}
	}
	return false
}

// setup is the time from the INVITE to the answer.
type setup struct {
	*Bench
	in        *Incoming
	rec       *Record
	called    dialog.Party
	offer     []byte // the caller's session description; nil: late offer
	once      sync.Once
	cancelled chan struct{} // the caller gave up
	reasons   []string      // why, as it said; set before cancelled is closed
	byBye     bool          // in an early dialog: the INVITE has no answer yet
	reliable  reliable

	calls     map[early]*call // of the early dialogs
	branches  map[*dialog.Branch]hotdesk.DeviceID
	rung      map[string]bool // by label
	redirects int
	trunk     bool          // some target was a PBX
	rang      bool          // somebody was heard ringing
	unreached bool          // the last group gave no answer, or 503: its party may be reached on another flow
	final     *sip.Response // the best refusal so far
	refuser   bool          // it was a PBX's
	winner    *dialog.Branch
	answer    *sip.Response // the winner's 2xx
	call      *call         // of the answer's dialog
}

// early is one early dialog of the other side: a fork behind a branch makes several.
type early struct {
	branch *dialog.Branch
	tag    string // the party's
}

// dialogFor is the early call that stands for one dialog of the other side, each with a
// tag of ours of its own: a caller that has heard one session description under a tag
// need not look at a second (RFC 3261 section 13.2.1).
func (s *setup) dialogFor(p dialog.Progress) *call {
	theirs, _ := dialog.Param(p.Response.To().Params, "tag")
	key := early{p.Branch, theirs}
	if c, ok := s.calls[key]; ok {
		return c
	}
	if c, ok := s.calls[early{p.Branch, ""}]; ok && p.Dialog != nil { // it gave no tag so far
		delete(s.calls, early{p.Branch, ""})
		s.calls[key] = c
		c.b.setDialog(p.Dialog)
		s.Table.Add(p.Dialog, c.b)
		return c
	}
	tag := s.in.Tag
	if len(s.calls) > 0 {
		tag = sip.GenerateTagN(16)
	}
	req := s.in.Req.Clone()
	req.To().Params = req.To().Params.Clone()
	req.To().Params.Add("tag", tag)
	c := &call{Bench: s.Bench, rec: s.rec, life: s.in.Life, setup: s, invite: req, reliable: &s.reliable, done: make(chan struct{}), left: make(chan struct{}), busy: make(chan struct{}, 1)}
	c.a = &side{call: c, device: s.in.Device, trusted: s.in.PBX, hidden: s.in.PBX && Private(s.in.Req), peer: dialog.NewUAS(s.Net, s.in.Peer, req, tag, s.Contact(dialog.FlowOf(s.in.Req)))}
	c.b = &side{call: c, peer: p.Dialog, other: c.a, trusted: strings.HasPrefix(p.Branch.Label, TrunkLabel), self: s.called, branch: p.Branch}
	c.a.other = c.b
	if !c.b.trusted {
		c.b.device = hotdesk.DeviceID(p.Branch.Label)
	}
	s.calls[key] = c
	s.Table.Add(c.a.dialog(), c.a)
	if p.Dialog != nil {
		s.Table.Add(p.Dialog, c.b)
	}
	return c
}

// forget takes the early dialogs out that did not become the call.
func (s *setup) forget() {
	for _, c := range s.calls {
		if c == s.call {
			continue
		}
		s.Table.Remove(c.a.dialog())
		if d := c.b.dialog(); d != nil {
			s.Table.Remove(d)
		}
	}
}

// cancel ends the ringing because the caller gave up.
func (s *setup) cancel(reasons []string) {
	s.once.Do(func() {
		s.reasons = reasons
		close(s.cancelled)
	})
}

// bye is a caller that gives up by a BYE in an early dialog (RFC 3261 section 15).
func (s *setup) bye(reasons []string) {
	s.once.Do(func() {
		s.reasons, s.byBye = reasons, true
		close(s.cancelled)
	})
}

func (s *setup) isCancelled() bool {
	select {
	case <-s.cancelled:
		return true
	default:
		return false
	}
}

// ring calls all targets of a group at once, and the first 200 wins. The next group's
// turn comes when all branches have failed, or when the last group has been patient
// for long enough: then both ring. Nothing that may still answer is given up for it.
func (s *setup) ring(groups [][]dialog.Target) {
	events, owner := make(chan dialog.Progress), make(chan struct{})
	defer close(owner)
	s.branches, s.rung = map[*dialog.Branch]hotdesk.DeviceID{}, map[string]bool{}
	limit, patience := time.NewTimer(RingFor), time.NewTimer(QuietFor)
	defer limit.Stop()
	defer patience.Stop()
	var last []*dialog.Branch // of the last group, until one of them rings
	next := func() {
		last = s.start(groups[0], events, owner)
		groups = groups[1:]
		patience.Reset(QuietFor)
		limit.Reset(RingFor)
	}
	for s.winner == nil && !s.isCancelled() {
		if len(s.branches) == 0 {
			for len(groups) > 0 && alternate(groups[0]) && !s.unreached {
				groups = groups[1:] // who has refused refuses on every flow
			}
			if len(groups) == 0 {
				return
			}
			next()
			continue
		}
		select {
		case p := <-events:
			if more := s.progress(p, other(groups) < 0); len(more) > 0 {
				s.start(more, events, owner)
			}
			if p.Err == nil && p.Response.IsProvisional() && slices.Contains(last, p.Branch) {
				last = nil
				patience.Reset(RingsFor)
			}
		case <-patience.C:
			if n := other(groups); n >= 0 {
				groups = groups[n:]
				s.Log.Warn("nobody has answered; the next route is called too", "device", string(s.in.Device))
				next()
			}
		case <-s.in.Tx.Done():
			s.cancel(nil)
		case <-s.cancelled: // seen by the loop
		case <-limit.C:
			s.drop()
			return
		case <-s.in.Life.Done():
			s.drop()
			return
		}
	}
	if s.winner != nil {
		s.drop(`SIP;cause=200;text="Call completed elsewhere"`)
		return
	}
	s.drop(s.reasons...)
}

// start sends the INVITEs of a group.
func (s *setup) start(group []dialog.Target, events chan dialog.Progress, owner chan struct{}) (all []*dialog.Branch) {
	for _, t := range group {
		t.Body = s.offer
		trunk := strings.HasPrefix(t.Label, TrunkLabel)
		if !trunk && s.rung[t.Label] {
			continue // two phones have sent the caller on to the same third
		}
		s.rung[t.Label] = true
		s.trunk = s.trunk || trunk
		b := s.Net.Ring(s.in.Life, t, events, owner)
		all = append(all, b)
		s.branches[b] = ""
		if !trunk {
			s.branches[b] = hotdesk.DeviceID(t.Label)
			s.rec.join(s.branches[b], s.rec.ID())
		}
	}
	return all
}

// drop cancels the branches that are left. What a caller says of why reaches a PBX, and
// a PBX's word the phones, but nothing goes from phone to phone.
func (s *setup) drop(reasons ...string) {
	for b, id := range s.branches {
		if s.winner == nil && id != "" && !s.in.PBX {
			reasons = nil
		}
		b.Cancel(reasons...)
		s.rec.leave(id)
	}
}

// other is the first group that is not the last one's party again on another flow;
// below zero, there is none.
func other(groups [][]dialog.Target) int {
	return slices.IndexFunc(groups, func(g []dialog.Target) bool { return !alternate(g) })
}

func alternate(group []dialog.Target) bool { return len(group) > 0 && group[0].Alternate }

// progress takes one report of a branch; last tells that no group is left to be tried.
// It returns who is to be rung in its place.
func (s *setup) progress(p dialog.Progress, last bool) (more []dialog.Target) {
	res := p.Response
	s.unreached = p.Err != nil || res.StatusCode == 503
	switch {
	case p.Err != nil:
		s.Log.Info("branch failed", "branch", p.Branch.Label, "err", p.Err)
	case res.IsProvisional():
		s.rang = true
		s.ringing(p, last && len(s.branches) == 1)
		return nil
	case res.IsSuccess():
		s.winner, s.answer = p.Branch, res
		s.call = s.dialogFor(p)
		delete(s.branches, p.Branch)
		return nil
	case res.IsRedirection():
		if more = s.redirect(p); len(more) == 0 {
			s.worse(res, strings.HasPrefix(p.Branch.Label, TrunkLabel))
		}
	default:
		s.worse(res, strings.HasPrefix(p.Branch.Label, TrunkLabel))
	}
	s.rec.leave(s.branches[p.Branch])
	delete(s.branches, p.Branch)
	return more
}

// redirect follows a 3xx (RFC 3261 section 8.1.3.4), best Contact first.
func (s *setup) redirect(p dialog.Progress) []dialog.Target {
	if s.Redirect == nil || s.redirects >= maxRedirects {
		return nil
	}
	s.redirects++
	return s.Redirect(p.Branch.Target(), contactsOf(p.Response))
}

// worse keeps the refusal that tells the caller most: busy before the rest. A
// phone's 603 declines for itself, so it counts as busy.
func (s *setup) worse(res *sip.Response, trunk bool) {
	busy := func(r *sip.Response) bool { return r.StatusCode == 486 || r.StatusCode == 600 || r.StatusCode == 603 }
	if s.final == nil || busy(res) && !busy(s.final) {
		s.final, s.refuser = res, trunk
	}
}

// ringing passes a 18x on. Early media only when nobody else may still answer: of
// several, nobody could say whose it is.
func (s *setup) ringing(p dialog.Progress, alone bool) {
	var body []byte
	status, reason := 180, "Ringing"
	if alone {
		body = p.Response.Body()
		if p.Response.StatusCode != 180 {
			status, reason = p.Response.StatusCode, phrase(p.Response)
		}
	}
	c := s.dialogFor(p)
	c.a.dialog().Sent(body)
	headers := append(c.b.identity(p.Response), passed(c.b, p.Response, "Alert-Info")...)
	headers = append(headers, &sip.ContactHeader{Address: c.a.dialog().Contact()}, sip.NewHeader("Allow", allowFor(c.b.dialog())))
	s.reliable.send(c.invite, s.in.Tx, status, reason, body, headers)
}

func allowFor(d *dialog.Dialog) string {
	if d == nil {
		return dialog.Allow
	}
	return dialog.AllowFor(d)
}

// establish joins the two sides and stays until the caller has acknowledged.
func (s *setup) establish() {
	c := s.call
	d := s.winner.Take(s.answer)
	if c.b.dialog() != d { // of a party without a tag
		c.b.setDialog(d)
	}
	d.Sent(s.offer)
	s.Table.Add(c.a.dialog(), c.a)
	s.Table.Add(d, c.b)
	defer func() {
		s.Table.Remove(c.a.dialog())
		s.Table.Remove(d)
	}()
	late := len(s.offer) == 0
	if !late || s.isCancelled() {
		s.ackAnswer(nil)
	}
	if s.isCancelled() { // crossed with the answer
		s.refuseCancelled()
		s.rec.End("cancelled", "")
		c.end(c.a, "", s.reasons...)
		return
	}
	patience := prackWait
	if s.rec.Kind() == hotdesk.CallEmergency {
		patience = prackWaitEmergency
	}
	s.reliable.wait(c.life, patience, s.cancelled, c.left)
	if !c.confirm() { // the callee left before the caller had its answer
		s.Respond(c.invite, s.in.Tx, 480, "Temporarily Unavailable", nil)
		s.rec.End("no-answer", "")
		c.close()
		return
	}
	if s.isCancelled() {
		s.refuseCancelled()
		s.rec.End("cancelled", "")
		c.end(c.a, "", s.reasons...)
		return
	}
	ack := c.a.acks.expect(s.in.Req.CSeq().SeqNo)
	ctx, stop := c.until(s.cancelled)
	s.rec.answered(s.answeredBy())
	session, headers, _ := dialog.AnswerSession(s.in.Req)
	headers = append(headers, c.b.identity(s.answer)...)
	c.a.dialog().Sent(s.answer.Body())
	confirmed, err := s.accept(ctx, s.in.Tx, s.ok(c.invite, c.a.dialog().Contact(), c.b.dialog(), s.answer.Body(), headers...), ack)
	stop()
	if late {
		var body []byte
		if confirmed != nil {
			body = ingress.SDP(confirmed)
		}
		s.ackAnswer(body)
	}
	if s.isCancelled() { // sipgo has answered 487 in place of our 200
		s.rec.End("cancelled", "")
		c.end(c.a, "", s.reasons...)
		return
	}
	if unheard := errors.Is(err, errNoACK) && !late && s.rec.Kind() == hotdesk.CallEmergency; unheard {
		s.Log.Warn("the caller of an emergency call never confirmed it; people may be talking", "device", string(s.in.Device))
	} else if err != nil && !errors.Is(err, context.Canceled) {
		s.Log.Info("caller never confirmed the call", "err", err)
		c.end(nil, "")
	}
	c.a.keep(session)
	c.b.keep(dialog.AcceptedSession(s.answer))
	select {
	case <-c.done:
	case <-c.life.Done():
		c.stop()
	}
	c.a.keep(dialog.Session{})
	c.b.keep(dialog.Session{})
}

// refuseCancelled answers the INVITE of a caller that gave up by BYE; a CANCEL has been
// answered by sipgo.
func (s *setup) refuseCancelled() {
	if s.byBye {
		s.Respond(s.in.Req, s.in.Tx, 487, "Request Terminated", nil)
	}
}

// ackAnswer acknowledges the winner's 2xx.
func (s *setup) ackAnswer(body []byte) {
	if err := s.winner.Ack(s.answer, body); err != nil {
		s.Log.Info("call lost while it was answered", "err", err)
	}
}

// answeredBy is the device that took the call; empty behind a PBX.
func (s *setup) answeredBy() hotdesk.DeviceID {
	if id := hotdesk.DeviceID(s.winner.Label); s.rec.has(id) {
		return id
	}
	return ""
}
