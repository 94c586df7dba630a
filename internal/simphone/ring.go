package simphone

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Repetition of a 2xx to INVITE, which is the phone's and not the transaction's
// (RFC 3261 section 13.3.1.4).
const (
	t1      = 500 * time.Millisecond
	t2      = 4 * time.Second
	ackWait = 64 * t1
)

// errNoACK: a 2xx of ours was never acknowledged.
var errNoACK = errors.New("the answer was never acknowledged")

// ring is the time in which an incoming call can be answered or refused.
type ring struct {
	decided chan int // 200 or the status of a refusal
	once    sync.Once
	settled chan struct{} // closed when the call is up or over
}

func (r *ring) decide(status int) bool {
	first := false
	r.once.Do(func() { first = true; r.decided <- status })
	return first
}

// Incoming delivers calls when they begin to ring, also those that AutoAnswer and
// RejectWith deal with. Nobody has to read them; some may have ended since.
func (p *Phone) Incoming() <-chan *Call { return p.incoming }

// Answer takes a call that rings and returns when it is up.
func (c *Call) Answer(ctx context.Context) error {
	if c.ring == nil || !c.ring.decide(200) {
		return ErrNotRinging
	}
	select {
	case <-c.ring.settled:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.isOver() {
		return ErrOver
	}
	return nil
}

// Reject refuses a call that rings with a status such as 486 or 603.
func (c *Call) Reject(status int) error {
	if c.ring == nil || !c.ring.decide(status) {
		return ErrNotRinging
	}
	return nil
}

// onInvite takes a new call. It runs in the INVITE's own goroutine until the call
// is up or over.
func (p *Phone) onInvite(req *sip.Request, tx sip.ServerTransaction) {
	// Our tag stands in every response, also those that sipgo makes by itself,
	// and the 100 keeps it from reading the INVITE while we change it.
	tag := sip.GenerateTagN(10)
	req.To().Params.Add("tag", tag)
	p.mu.Lock()
	a, l, busy, auto := p.agent, p.line, len(p.calls) > 0, p.profile.autoAnswer || p.cfg.AutoAnswer
	p.mu.Unlock()
	a.respond(req, tx, 100, "Trying", nil)
	switch {
	case l == nil || !strings.EqualFold(unescape(req.Recipient.User), l.user):
		a.respond(req, tx, 404, "Not Found", nil)
		return
	case busy:
		a.respond(req, tx, 486, "Busy Here", nil)
		return
	}
	c := p.newCall(a, l, invited(req, tag, l.contact()))
	c.ring = &ring{decided: make(chan int, 1), settled: make(chan struct{})}
	defer close(c.ring.settled)
	number, name := asserted(req.GetHeaders("P-Asserted-Identity"))
	c.caller = Caller{Name: req.From().DisplayName, Number: unescape(req.From().Address.User), Asserted: number}
	if c.caller.Name == "" {
		c.caller.Name = name
	}
	cancelled := make(chan struct{})
	var once sync.Once
	if !tx.OnCancel(func(*sip.Request) { once.Do(func() { close(cancelled) }) }) {
		return
	}
	p.change(func() { p.calls[c.key()] = c })
	a.respond(req, tx, 180, "Ringing", nil, &sip.ContactHeader{Address: l.contact()})
	c.step("incoming", "name", c.caller.Name, "number", c.caller.Number)
	select {
	case p.incoming <- c:
	default: // nobody attends
	}
	c.attend(req, tx, auto, cancelled)
}

// attend rings until something is decided.
func (c *Call) attend(req *sip.Request, tx sip.ServerTransaction, auto bool, cancelled <-chan struct{}) {
	alarm := time.NewTimer(c.phone.cfg.RingFor)
	defer alarm.Stop()
	for {
		select {
		case status := <-c.ring.decided:
			if status == 200 {
				c.accept(req, tx, cancelled)
				return
			}
			c.agent.respond(req, tx, status, reason(status), nil)
			c.finish(Ended{By: "us", Status: status, Reason: reason(status)})
			return
		case <-alarm.C:
			switch {
			case c.phone.cfg.RejectWith != 0:
				c.ring.decide(c.phone.cfg.RejectWith)
			case auto:
				c.ring.decide(200)
			}
		case <-cancelled: // sipgo has answered 487
			c.finish(Ended{By: "them", Status: 487, Reason: "Request Terminated"})
			return
		case <-tx.Done():
			c.finish(Ended{By: "them", Reason: "the call was lost while it rang"})
			return
		case <-c.ended:
			return
		case <-c.agent.ctx.Done():
			return
		}
	}
}

// accept answers the call and waits for the ACK.
func (c *Call) accept(req *sip.Request, tx sip.ServerTransaction, cancelled <-chan struct{}) {
	refuse := func(status int, err error) {
		c.phone.trouble(err)
		c.agent.respond(req, tx, status, reason(status), nil)
		c.finish(Ended{By: "us", Status: status, Reason: reason(status)})
	}
	if err := c.openMedia(); err != nil {
		refuse(500, err)
		return
	}
	sdp, err := c.describe(req.Body())
	if err != nil {
		refuse(488, err)
		return
	}
	c.mu.Lock()
	c.up = true
	c.mu.Unlock()
	ack, err := c.send2xx(req, tx, sdp, cancelled)
	if err == nil && len(req.Body()) == 0 {
		err = c.media.accept(ack.Body())
	}
	switch {
	case err == nil:
		c.step("answered")
	case isClosed(cancelled): // it crossed the answer
		c.finish(Ended{By: "them", Status: 487, Reason: "Request Terminated"})
	case !c.isOver():
		c.phone.trouble(err)
		ctx, cancel := context.WithTimeout(c.agent.ctx, cancelWait)
		defer cancel()
		_ = c.HangUp(ctx)
	}
}

// describe answers an offer; without one it makes ours (RFC 3261 section 13.3.1).
func (c *Call) describe(offer []byte) ([]byte, error) {
	m := c.audio()
	if len(offer) == 0 {
		return m.offer(), nil
	}
	return m.answer(offer)
}

// send2xx sends the 2xx to an INVITE until its ACK comes, which it returns.
func (c *Call) send2xx(req *sip.Request, tx sip.ServerTransaction, sdp []byte, cancelled <-chan struct{}) (*sip.Request, error) {
	ack := c.acks.expect(req.CSeq().SeqNo)
	res := c.agent.response(req, 200, "OK", sdp,
		&sip.ContactHeader{Address: c.dialog.contact}, sip.NewHeader("Allow", allow))
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
		case req := <-tx.Acks(): // an ACK that reuses the INVITE's branch
			return req, nil
		case <-again.C:
			if err := tx.Respond(res); err != nil {
				return nil, err
			}
			pause = min(2*pause, t2)
			again.Reset(pause)
		case <-enough.C:
			return nil, errNoACK
		case <-cancelled:
			return nil, context.Canceled
		case <-c.ended:
			return nil, ErrOver
		case <-c.agent.ctx.Done():
			return nil, ErrStopped
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// reason is the phrase of a refusal (RFC 3261 section 21).
func reason(status int) string {
	phrases := map[int]string{
		404: "Not Found", 480: "Temporarily Unavailable", 486: "Busy Here", 487: "Request Terminated",
		488: "Not Acceptable Here", 500: "Server Internal Error", 600: "Busy Everywhere", 603: "Decline",
	}
	if text, ok := phrases[status]; ok {
		return text
	}
	return "Refused"
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
