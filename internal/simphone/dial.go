package simphone

import (
	"context"
	"fmt"
	"strconv"

	"github.com/emiago/sipgo/sip"
)

// Dial calls a number and returns when somebody has answered. A call that was
// not taken is a *Refused. When ctx ends first the call is cancelled.
func (p *Phone) Dial(ctx context.Context, number string) (*Call, error) {
	return p.dial(ctx, number, func(l *line) sip.Uri { return l.uri(escape(number)) })
}

// DialURI calls a Request-URI as it stands, such as "urn:service:sos".
func (p *Phone) DialURI(ctx context.Context, uri string) (*Call, error) {
	var target sip.Uri
	if err := sip.ParseUri(uri, &target); err != nil {
		return nil, fmt.Errorf("%q cannot be dialled: %w", uri, err)
	}
	return p.dial(ctx, uri, func(*line) sip.Uri { return target })
}

// DialKey presses a line key, which calls what its value says.
func (p *Phone) DialKey(ctx context.Context, position int) (*Call, error) {
	for _, k := range p.State().Keys {
		if k.Position == position && k.Value != "" {
			return p.Dial(ctx, k.Value)
		}
	}
	return nil, fmt.Errorf("line key %d calls nobody", position)
}

func (p *Phone) dial(ctx context.Context, shown string, target func(*line) sip.Uri) (*Call, error) {
	p.mu.Lock()
	a, l := p.agent, p.line
	p.mu.Unlock()
	if l == nil {
		return nil, ErrNoAccount
	}
	to := target(l)
	d := &dialog{
		callID: callID(a.local), local: party{l.name, l.uri(l.user), sip.GenerateTagN(10)},
		contact: l.contact(), remote: party{uri: to}, target: to,
	}
	c := p.newCall(a, l, d)
	c.caller = Caller{Number: unescape(to.User)}
	ctx, giveUp := a.within(ctx)
	defer giveUp()
	c.giveUp = giveUp
	if err := c.openMedia(); err != nil {
		return nil, err
	}
	p.change(func() { p.calls[c.key()] = c })
	p.step("dialing", "call", d.callID, "number", shown)
	res, err := c.inviteOut(ctx)
	switch {
	case err != nil:
		c.finish(Ended{By: "us", Reason: err.Error()})
		return nil, err
	case !res.IsSuccess():
		by := "them"
		if ctx.Err() != nil {
			by = "us"
		}
		c.finish(Ended{By: by, Status: res.StatusCode, Reason: res.Reason})
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &Refused{res.StatusCode, res.Reason}
	}
	return c.taken(ctx, res)
}

// inviteOut sends the INVITE to the registrar, answering challenges.
func (c *Call) inviteOut(ctx context.Context) (*sip.Response, error) {
	offer := c.media.offer()
	return c.line.calls.exchange(
		func() *sip.Request {
			req := c.dialog.next(sip.INVITE, c.agent.name)
			setBody(req, offer, "application/sdp")
			return req
		},
		func(req *sip.Request) (*sip.Response, error) {
			return c.line.flow.invite(ctx, req, c.line.registrar.String(), c.progress, c.confirm)
		},
	)
}

// progress takes a 18x, with the early media it may bring.
func (c *Call) progress(res *sip.Response) {
	if len(res.Body()) > 0 {
		if err := c.media.accept(res.Body()); err != nil {
			c.phone.trouble(err)
		}
	}
	c.step("ringing", "status", strconv.Itoa(res.StatusCode))
}

// taken makes the call of the 2xx to our INVITE.
func (c *Call) taken(ctx context.Context, res *sip.Response) (*Call, error) {
	c.dialog.answered(res)
	c.mu.Lock()
	c.up = true
	c.caller.Asserted, c.caller.Name = asserted(res.GetHeaders("P-Asserted-Identity"))
	c.mu.Unlock()
	c.confirm(res)
	if ctx.Err() != nil { // the answer crossed our CANCEL
		bye, cancel := context.WithTimeout(c.agent.ctx, cancelWait)
		defer cancel()
		_ = c.HangUp(bye)
		return nil, context.Cause(ctx)
	}
	if err := c.media.accept(res.Body()); err != nil {
		_ = c.HangUp(ctx)
		return nil, err
	}
	c.step("answered")
	return c, nil
}

// asserted reads the number and name of a P-Asserted-Identity (RFC 3325).
func asserted(headers []sip.Header) (number, name string) {
	for _, h := range headers {
		var uri sip.Uri
		name, err := sip.ParseAddressValue(h.Value(), &uri, nil)
		if err == nil && uri.User != "" {
			return unescape(uri.User), name
		}
	}
	return "", ""
}
