package call

import (
	"errors"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/sip/dialog"
	"hotdeskd/sip/ingress"
)

// modify takes a re-INVITE or UPDATE: hold, codec or address changes go to the other
// side; a refresh of the session without a body is ours to answer (RFC 4028 section 7.4).
func (s *side) modify(req *sip.Request, tx sip.ServerTransaction) {
	c := s.call
	session, headers, brief := dialog.AnswerSession(req)
	if brief {
		c.Respond(req, tx, 422, "Session Interval Too Small", nil, dialog.MinSEHeader())
		return
	}
	s.dialog().Refresh(req)
	to := s.other.dialog()
	switch {
	case req.Method == sip.UPDATE && len(req.Body()) == 0:
		s.tellIdentity(req)
		s.agree(req, tx, nil, session, headers)
	case to == nil:
		c.Respond(req, tx, 500, "Server Internal Error", nil, sip.NewHeader("Retry-After", "1"))
	case req.Method == sip.UPDATE && to.Allows(sip.UPDATE):
		out := to.Request(sip.UPDATE)
		s.write(req, out)
		to.Sent(out.Body())
		res, err := to.Do(c.life, out)
		if err == nil && res.IsSuccess() {
			to.Refresh(res)
			s.agree(req, tx, res.Body(), session, headers)
			return
		}
		s.refuseModify(req, tx, res, err)
	case req.Method == sip.UPDATE && c.early() != nil:
		c.Respond(req, tx, 488, "Not Acceptable Here", nil, warning(399, "the other party takes no UPDATE before it has answered"))
	case c.early() != nil: // a re-INVITE before the answer
		c.Respond(req, tx, 491, "Request Pending", nil)
	case req.Method == sip.UPDATE: // for a party that has no UPDATE
		out := to.Request(sip.INVITE)
		s.write(req, out)
		res, m, err := to.Modify(c.life, out)
		if err != nil || m == nil {
			s.refuseModify(req, tx, res, err)
			return
		}
		s.confirmed(m.Confirm(nil))
		s.agree(req, tx, res.Body(), session, headers)
	default:
		s.reinvite(req, tx, session, headers)
	}
}

// write gives a re-INVITE or UPDATE of ours what the other side's has.
func (s *side) write(req, out *sip.Request) {
	dialog.SetSDP(out, ingress.SDP(req))
	out.AppendHeader(sip.NewHeader("Allow", dialog.AllowFor(s.dialog())))
	out.AppendHeader(sip.NewHeader("Supported", "timer"))
	for _, h := range append(s.identity(req), passed(s, req, "Alert-Info", "Call-Info")...) {
		out.AppendHeader(h)
	}
}

// agree answers an UPDATE with a 200 and keeps the session from now on.
func (s *side) agree(req *sip.Request, tx sip.ServerTransaction, body []byte, session dialog.Session, headers []sip.Header) {
	c, d := s.call, s.dialog()
	d.Sent(body)
	if err := tx.Respond(c.ok(req, d.Contact(), s.other.dialog(), body, headers...)); err != nil {
		c.Log.Debug("SIP response not sent", "err", err)
	}
	if session.Interval > 0 {
		s.keep(session)
	}
}

// reinvite carries a re-INVITE through, with an offer or without.
func (s *side) reinvite(req *sip.Request, tx sip.ServerTransaction, session dialog.Session, headers []sip.Header) {
	c, d, to := s.call, s.dialog(), s.other.dialog()
	out := to.Request(sip.INVITE)
	s.write(req, out)
	ack := s.acks.expect(req.CSeq().SeqNo)
	ctx, stop := c.until(nil)
	defer stop()
	res, m, err := to.Modify(ctx, out)
	if err != nil || m == nil {
		s.refuseModify(req, tx, res, err)
		return
	}
	offered := len(req.Body()) > 0
	if offered {
		s.confirmed(m.Confirm(nil))
	}
	headers = append(headers, s.other.identity(res)...)
	d.Sent(res.Body())
	confirmed, err := c.accept(ctx, tx, c.ok(req, d.Contact(), to, res.Body(), headers...), ack)
	if !offered && confirmed != nil {
		s.confirmed(m.Confirm(ingress.SDP(confirmed)))
	}
	if errors.Is(err, errNoACK) && !c.lasting() {
		c.end(nil, "")
		return
	}
	if session.Interval > 0 {
		s.keep(session)
	}
}

func (s *side) confirmed(err error) {
	if err != nil {
		s.call.Log.Debug("ACK not sent", "err", err)
	}
}

// refuseModify passes a refusal back. A side that does not know the call any more has
// ended it (RFC 3261 section 12.2.1.2).
func (s *side) refuseModify(req *sip.Request, tx sip.ServerTransaction, res *sip.Response, err error) {
	c := s.call
	switch {
	case err != nil:
		c.Respond(req, tx, 408, "Request Timeout", nil)
	case res.StatusCode == 401 || res.StatusCode == 407:
		c.Respond(req, tx, 503, "Service Unavailable", nil)
		return
	default:
		var headers []sip.Header
		for _, name := range []string{"Warning", "Retry-After"} {
			headers = append(headers, passed(s.other, res, name)...)
		}
		c.Respond(req, tx, res.StatusCode, phrase(res), nil, headers...)
		if res.StatusCode != 481 && (res.StatusCode != 408 || c.lasting()) {
			return
		}
	}
	if err != nil && c.lasting() {
		return
	}
	if c.early() == nil {
		c.end(s.other, "")
	}
}
