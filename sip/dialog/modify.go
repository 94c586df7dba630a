package dialog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// reinviteWait is how long a party may think about a re-INVITE: nobody is asked
// to lift a handset for it.
const reinviteWait = 32 * time.Second

// ErrNoAnswer: a re-INVITE had no final response.
var ErrNoAnswer = errors.New("no answer inside the dialog")

// Modification is a re-INVITE that was answered with a 2xx. It must be confirmed.
type Modification struct {
	Response *sip.Response

	dialog *Dialog
	cseq   uint32
	mu     sync.Mutex
	body   []byte
	sent   bool
}

// Confirm acknowledges the 2xx, now and whenever it comes again: then our ACK was lost.
// body is the answer to an offer in it; nil sends none.
func (m *Modification) Confirm(body []byte) error {
	m.mu.Lock()
	m.body, m.sent = body, true
	m.mu.Unlock()
	return m.dialog.Ack(m.cseq, body)
}

func (m *Modification) again() {
	m.mu.Lock()
	body, sent := m.body, m.sent
	m.mu.Unlock()
	if sent {
		_ = m.dialog.Ack(m.cseq, body) // lost again: the next one asks again
	}
}

// Modify sends a re-INVITE of Request and waits for its final response. A challenge is
// answered once. m is set when that was a 2xx, whose target has been taken over.
func (d *Dialog) Modify(ctx context.Context, req *sip.Request) (res *sip.Response, m *Modification, err error) {
	if res, m, err = d.modify(ctx, req); err != nil {
		return nil, nil, err
	}
	if again, ok := d.authorise(req, res); ok {
		return d.modify(ctx, again)
	}
	return res, m, nil
}

func (d *Dialog) modify(ctx context.Context, req *sip.Request) (*sip.Response, *Modification, error) {
	d.Sent(req.Body())
	tx, err := d.net.Start(context.WithoutCancel(ctx), req, d.way())
	if err != nil {
		return nil, nil, err
	}
	enough := time.NewTimer(reinviteWait)
	defer enough.Stop()
	for {
		select {
		case res := <-tx.Responses():
			switch {
			case res.IsProvisional():
				continue
			case !res.IsSuccess():
				tx.Terminate()
				return res, nil, nil
			}
			m := &Modification{Response: res, dialog: d, cseq: req.CSeq().SeqNo}
			d.Refresh(res)
			tx.OnRetransmission(func(*sip.Response) { go m.again() }) // never under sipgo's lock
			return res, m, nil
		case <-tx.Done():
			return nil, nil, errors.Join(ErrNoAnswer, tx.Err())
		case <-enough.C:
			tx.Terminate()
			return nil, nil, ErrNoAnswer
		case <-ctx.Done():
			tx.Terminate()
			return nil, nil, ctx.Err()
		}
	}
}
