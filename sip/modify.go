package sip

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// modify relays a re-INVITE or UPDATE: hold, codec or address changes.
func (s *side) modify(req *sip.Request, tx sip.ServerTransaction) {
	e := s.call.e
	s.leg.Refresh(req.Contact())
	out := s.other.leg.Request(req.Method)
	copyBody(req, out)
	if req.Method == sip.UPDATE {
		res, err := s.other.leg.Do(s.call.life, out)
		s.answerModify(req, tx, res, err)
		return
	}
	ack := s.acks.expect(req.CSeq().SeqNo)
	offered := len(req.Body()) > 0
	answer := &late{}
	res, err := s.reinvite(out, answer)
	if err != nil || !res.IsSuccess() {
		s.answerModify(req, tx, res, err)
		return
	}
	s.other.leg.Refresh(res.Contact())
	if offered {
		s.confirm(out, answer, nil)
	}
	ctx, stop := s.call.until(nil)
	defer stop()
	confirmed, err := e.accept(ctx, tx, e.ok(req, s.leg.Contact(), res.Body()), ack)
	if !offered && confirmed != nil {
		s.confirm(out, answer, confirmed.Body())
	}
	if errors.Is(err, errNoACK) {
		s.call.end(nil, "")
	}
}

// late is the ACK of a 2xx to a re-INVITE: nothing before it is there, again and
// again once it is.
type late struct {
	mu   sync.Mutex
	body []byte
	sent bool
}

// confirm acknowledges the other side's 2xx to a re-INVITE.
func (s *side) confirm(out *sip.Request, answer *late, body []byte) {
	answer.mu.Lock()
	answer.body, answer.sent = body, true
	answer.mu.Unlock()
	s.ackReinvite(out, body)
}

// confirmAgain does so when the 2xx comes again.
func (s *side) confirmAgain(out *sip.Request, answer *late) {
	answer.mu.Lock()
	body, sent := answer.body, answer.sent
	answer.mu.Unlock()
	if sent {
		s.ackReinvite(out, body)
	}
}

func (s *side) ackReinvite(out *sip.Request, body []byte) {
	if err := s.other.leg.Ack(out.CSeq().SeqNo, body); err != nil {
		s.call.e.Log.Debug("ACK not sent", "err", err)
	}
}

// reinviteWait is how long a party may think about a re-INVITE: nobody is asked
// to lift a handset for it.
const reinviteWait = 32 * time.Second

var errNoAnswer = errors.New("no answer inside the call")

// reinvite sends a re-INVITE to the other side and waits for its final response.
func (s *side) reinvite(out *sip.Request, answer *late) (*sip.Response, error) {
	tx, err := s.other.leg.Start(s.call.life, out)
	if err != nil {
		return nil, err
	}
	enough := time.NewTimer(reinviteWait)
	defer enough.Stop()
	for {
		select {
		case res := <-tx.Responses():
			if res.IsProvisional() {
				continue
			}
			if res.IsSuccess() {
				// A repeated 2xx means that our ACK was lost.
				tx.OnRetransmission(func(*sip.Response) { go s.confirmAgain(out, answer) })
			} else {
				tx.Terminate()
			}
			return res, nil
		case <-tx.Done():
			return nil, errors.Join(errNoAnswer, tx.Err())
		case <-enough.C:
			tx.Terminate()
			return nil, errNoAnswer
		case <-s.call.done:
			tx.Terminate()
			return nil, context.Canceled
		}
	}
}

// answerModify passes the outcome of an UPDATE, or of a re-INVITE that failed,
// back. A side that does not know the call any more has ended it (RFC 3261
// section 12.2.1.2).
func (s *side) answerModify(req *sip.Request, tx sip.ServerTransaction, res *sip.Response, err error) {
	e := s.call.e
	switch {
	case err != nil:
		e.respond(req, tx, 408, "Request Timeout", nil)
	case res.IsSuccess():
		if tErr := tx.Respond(e.ok(req, s.leg.Contact(), res.Body())); tErr != nil {
			e.Log.Debug("SIP response not sent", "err", tErr)
		}
		return
	case res.StatusCode == 401 || res.StatusCode == 407:
		e.respond(req, tx, 503, "Service Unavailable", nil)
		return
	default:
		e.respond(req, tx, res.StatusCode, res.Reason, nil)
		if res.StatusCode != 481 && res.StatusCode != 408 {
			return
		}
	}
	s.call.end(s.other, "")
}
