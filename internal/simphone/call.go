package simphone

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Caller is who the other side says it is, as the display shows it.
type Caller struct {
	Name     string
	Number   string
	Asserted string // number in P-Asserted-Identity; empty without one
}

// Ended says how a call ended. Status is that of a refusal, 0 otherwise.
type Ended struct {
	By     string // "us" or "them"
	Status int
	Reason string
}

// callKey finds the call of a request inside a dialog.
type callKey struct{ id, tag string }

// Call is one call of the phone.
type Call struct {
	phone  *Phone
	agent  *agent
	line   *line
	dialog *dialog
	media  *media
	acks   acks
	busy   chan struct{} // one change of the session at a time
	ended  chan struct{} // closed when the call is over

	mu     sync.Mutex
	caller Caller
	end    Ended
	over   bool
	up     bool
	ring   *ring              // of an incoming call
	giveUp context.CancelFunc // of a call that is being dialled
}

func (p *Phone) newCall(a *agent, l *line, d *dialog) *Call {
	return &Call{
		phone: p, agent: a, line: l, dialog: d,
		busy: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

func (c *Call) key() callKey { return callKey{c.dialog.callID, c.dialog.local.tag} }

// openMedia opens the audio of the call.
func (c *Call) openMedia() error {
	c.phone.mu.Lock()
	profile := c.phone.profile
	c.phone.mu.Unlock()
	m, err := openMedia(c.phone.cfg, profile, func() { c.step("heard") })
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.media = m
	over := c.over
	c.mu.Unlock()
	if over {
		m.close()
		return ErrOver
	}
	return nil
}

// audio is the call's media; nil before there is any.
func (c *Call) audio() *media {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.media
}

// step tells a step of this call.
func (c *Call) step(name string, detail ...string) {
	c.phone.step(name, append([]string{"call", c.dialog.callID}, detail...)...)
}

// Caller is the other side as the display shows it.
func (c *Call) Caller() Caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.caller
}

// ID is the Call-ID.
func (c *Call) ID() string { return c.dialog.callID }

// Heard is what has come in so far.
func (c *Call) Heard() Heard {
	m := c.audio()
	if m == nil {
		return Heard{}
	}
	heard, _ := m.sofar()
	return heard
}

// WaitHeard waits until at least so many packets of more than silence have come
// in since the call began; there are 50 in a second of speech.
func (c *Call) WaitHeard(ctx context.Context, packets int) error {
	m := c.audio()
	if m == nil {
		return ErrOver
	}
	for {
		heard, news := m.sofar()
		if heard.Voiced >= packets {
			return nil
		}
		select {
		case <-news:
		case <-c.ended:
			return ErrOver
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Press presses keys, the way the phone's file says, and returns when the last
// one has been sent.
func (c *Call) Press(ctx context.Context, digits string) error {
	c.phone.mu.Lock()
	by := c.phone.profile.pressBy
	c.phone.mu.Unlock()
	if by == pressByInfo {
		for _, d := range digits {
			if err := c.Info(ctx, d); err != nil {
				return err
			}
		}
		return nil
	}
	m := c.audio()
	if m == nil || c.isOver() {
		return ErrOver
	}
	done, err := m.press(digits, c.phone.cfg.KeyTime, c.phone.cfg.KeyGap)
	if err != nil {
		return err
	}
	select {
	case <-done:
		c.step("pressed", "keys", strconv.Itoa(len(digits)))
		return nil
	case <-c.ended:
		return ErrOver
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Info presses one key by SIP INFO.
func (c *Call) Info(ctx context.Context, digit rune) error {
	if !strings.ContainsRune(keypad, digit) {
		return fmt.Errorf("%w: only 0 to 9, *, # and A to D are keys", ErrKeys)
	}
	res, err := c.do(ctx, sip.INFO, []byte(fmt.Sprintf("Signal=%c\r\nDuration=160\r\n", digit)), "application/dtmf-relay")
	if err != nil {
		return err
	}
	if !res.IsSuccess() {
		return &Refused{res.StatusCode, res.Reason}
	}
	c.step("pressed", "keys", "1", "by", "info")
	return nil
}

// HangUp ends the call: by BYE, by CANCEL while it is dialled, or by 603 while it
// rings here. It is no error when the call is over already.
func (c *Call) HangUp(ctx context.Context) error {
	c.mu.Lock()
	up, over, ring, giveUp := c.up, c.over, c.ring, c.giveUp
	c.mu.Unlock()
	switch {
	case over:
		return nil
	case !up && ring != nil:
		if err := c.Reject(603); err != nil {
			return err
		}
		_, err := c.Wait(ctx)
		return err
	case !up && giveUp != nil:
		giveUp()
		_, err := c.Wait(ctx)
		return err
	}
	// The call is over for us from the first BYE on, whatever is answered.
	c.finish(Ended{By: "us"})
	_, err := c.do(ctx, sip.BYE, nil, "")
	return err
}

// Wait waits until the call has ended and says how.
func (c *Call) Wait(ctx context.Context) (Ended, error) {
	select {
	case <-c.ended:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.end, nil
	case <-ctx.Done():
		return Ended{}, ctx.Err()
	}
}

func (c *Call) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// finish notes the end of the call, once, and lets the main loop do what had to
// wait for it.
func (c *Call) finish(how Ended) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.over, c.end = true, how
	m := c.media
	c.mu.Unlock()
	if m != nil {
		m.close()
	}
	detail := []string{"by", how.By}
	if how.Status != 0 {
		detail = append(detail, "status", strconv.Itoa(how.Status))
	}
	if how.Reason != "" {
		detail = append(detail, "reason", how.Reason)
	}
	c.step("ended", detail...)
	c.phone.change(func() { delete(c.phone.calls, c.key()) })
	close(c.ended)
	c.phone.poke()
}

// do sends a request inside the dialog to where its route and target say.
func (c *Call) do(ctx context.Context, method sip.RequestMethod, body []byte, kind string) (*sip.Response, error) {
	ctx, done := c.agent.within(ctx)
	defer done()
	return c.line.calls.exchange(
		func() *sip.Request {
			req := c.dialog.next(method, c.agent.name)
			setBody(req, body, kind)
			return req
		},
		func(req *sip.Request) (*sip.Response, error) { return c.line.flow.do(ctx, req, "") },
	)
}

// Hold puts the call on hold; Resume takes it back.
func (c *Call) Hold(ctx context.Context) error { return c.modify(ctx, true) }

// Resume ends a Hold.
func (c *Call) Resume(ctx context.Context) error { return c.modify(ctx, false) }

// modify offers the session anew. Two offers that cross are both refused with
// 491 and tried again after a while (RFC 3261 section 14.1).
func (c *Call) modify(ctx context.Context, hold bool) error {
	ctx, done := c.agent.within(ctx)
	defer done()
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	case <-c.ended:
		return ErrOver
	case <-ctx.Done():
		return ctx.Err()
	}
	m := c.audio()
	if m == nil || c.isOver() {
		return ErrOver
	}
	before := m.hold(hold)
	const again = 2100 * time.Millisecond
	for try := 0; ; try++ {
		res, err := c.reinvite(ctx, m.offer())
		switch {
		case err != nil:
			m.hold(before)
			return err
		case res.IsSuccess():
			return m.accept(res.Body())
		case res.StatusCode != 491 || try == 2:
			m.hold(before)
			return &Refused{res.StatusCode, res.Reason}
		}
		pause := time.NewTimer(again)
		select {
		case <-pause.C:
		case <-c.ended:
			pause.Stop()
			return ErrOver
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// reinvite sends one offer and acknowledges its answer.
func (c *Call) reinvite(ctx context.Context, offer []byte) (*sip.Response, error) {
	res, err := c.line.calls.exchange(
		func() *sip.Request {
			req := c.dialog.next(sip.INVITE, c.agent.name)
			setBody(req, offer, "application/sdp")
			return req
		},
		func(req *sip.Request) (*sip.Response, error) {
			return c.line.flow.invite(ctx, req, "", func(*sip.Response) {}, c.confirm)
		},
	)
	if err == nil && res.IsSuccess() {
		c.dialog.refresh(res.Contact())
		c.confirm(res)
	}
	return res, err
}

// confirm acknowledges a 2xx, the first one and every repetition. The 2xx of
// somebody else, behind a proxy that forked, is acknowledged and hung up
// (RFC 3261 section 13.2.2.4).
func (c *Call) confirm(res *sip.Response) {
	if !res.IsSuccess() {
		return
	}
	tag := param(res.To().Params, "tag")
	if ours := c.dialog.remoteTag(); ours != "" && tag != ours {
		go c.refuseFork(res)
		return
	}
	if err := c.line.flow.write(c.dialog.ack(res.CSeq().SeqNo, c.agent.name)); err != nil && !errors.Is(err, ErrStopped) {
		c.phone.trouble(err) // the repetition of the 2xx asks again
	}
}

// refuseFork hangs up a second answer to one INVITE.
func (c *Call) refuseFork(res *sip.Response) {
	if !c.agent.enter() {
		return
	}
	defer c.agent.running.Done()
	d := &dialog{callID: c.dialog.callID, local: c.dialog.local, contact: c.dialog.contact, cseq: res.CSeq().SeqNo}
	d.remote, d.target = party{uri: res.To().Address}, res.To().Address
	d.answered(res)
	if c.line.flow.write(d.ack(res.CSeq().SeqNo, c.agent.name)) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.agent.ctx, cancelWait)
	defer cancel()
	_, _ = c.line.flow.do(ctx, d.next(sip.BYE, c.agent.name), "")
}
