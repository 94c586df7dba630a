package simphone

import (
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// receive is the one door for requests. A phone without an account does not speak
// SIP at all, and one that trusts its server only does not even answer others.
func (p *Phone) receive(req *sip.Request, tx sip.ServerTransaction) {
	p.mu.Lock()
	a, l, trusted := p.agent, p.line, p.profile.trusted
	call := p.calls[callKey{req.CallID().Value(), param(req.To().Params, "tag")}]
	p.mu.Unlock()
	from, err := netip.ParseAddrPort(req.Source())
	if a == nil || l == nil || trusted && (err != nil || from.Addr().Unmap() != l.registrar.Addr()) {
		return
	}
	switch inside := param(req.To().Params, "tag") != ""; {
	case call != nil && req.Method == sip.ACK:
		call.acks.deliver(req)
	case req.Method == sip.ACK:
	case call != nil:
		call.receive(req, tx)
	case inside || req.Method == sip.BYE || req.Method == sip.CANCEL:
		a.respond(req, tx, 481, "Call/Transaction Does Not Exist", nil)
	case req.Method == sip.INVITE:
		p.onInvite(req, tx)
	case req.Method == sip.NOTIFY:
		p.onNotify(req, tx)
	case req.Method == sip.OPTIONS:
		a.respond(req, tx, 200, "OK", nil, sip.NewHeader("Allow", allow), sip.NewHeader("Accept", "application/sdp"))
	default:
		a.respond(req, tx, 405, "Method Not Allowed", nil, sip.NewHeader("Allow", allow))
	}
}

// receive takes a request inside the call.
func (c *Call) receive(req *sip.Request, tx sip.ServerTransaction) {
	if !c.dialog.inOrder(req) {
		c.agent.respond(req, tx, 500, "Server Internal Error", nil, sip.NewHeader("Retry-After", "1"))
		return
	}
	switch req.Method {
	case sip.BYE:
		c.agent.respond(req, tx, 200, "OK", nil)
		c.finish(Ended{By: "them", Reason: byeReason(req)})
	case sip.INVITE, sip.UPDATE:
		select {
		case c.busy <- struct{}{}:
			defer func() { <-c.busy }()
			c.modified(req, tx)
		default: // we are changing it ourselves (RFC 3261 section 14.2)
			c.agent.respond(req, tx, 491, "Request Pending", nil)
		}
	case sip.INFO:
		c.agent.respond(req, tx, 200, "OK", nil)
	case sip.OPTIONS:
		c.agent.respond(req, tx, 200, "OK", nil, sip.NewHeader("Allow", allow))
	default:
		c.agent.respond(req, tx, 405, "Method Not Allowed", nil, sip.NewHeader("Allow", allow))
	}
}

// byeReason is the Reason header of a BYE (RFC 3326), if it has one.
func byeReason(req *sip.Request) string {
	if h := req.GetHeader("Reason"); h != nil {
		return strings.TrimSpace(h.Value())
	}
	return ""
}

// modified answers a re-INVITE or UPDATE, such as hold by the other side.
func (c *Call) modified(req *sip.Request, tx sip.ServerTransaction) {
	m := c.audio()
	if m == nil {
		c.agent.respond(req, tx, 491, "Request Pending", nil)
		return
	}
	c.dialog.refresh(req.Contact())
	var sdp []byte
	if req.Method == sip.INVITE || len(req.Body()) > 0 {
		var err error
		if sdp, err = c.describe(req.Body()); err != nil {
			c.agent.respond(req, tx, 488, "Not Acceptable Here", nil)
			return
		}
	}
	if req.Method == sip.UPDATE {
		c.agent.respond(req, tx, 200, "OK", sdp, &sip.ContactHeader{Address: c.dialog.contact})
		return
	}
	ack, err := c.send2xx(req, tx, sdp, nil)
	if err == nil && len(req.Body()) == 0 {
		err = m.accept(ack.Body())
	}
	if err != nil && !c.isOver() {
		c.phone.trouble(err)
	}
}
