package sip

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/guard"
)

// party is what stands behind our end of a dialog.
type party interface {
	// request handles a request inside the dialog; it answers it.
	request(req *sip.Request, tx sip.ServerTransaction)
	// acked takes the ACK to a 2xx of ours.
	acked(req *sip.Request)
	// whose is the dialog, and the device whose phone is on the other end of it;
	// empty behind a PBX.
	whose() (*dialog.Dialog, hotdesk.DeviceID)
}

// dialogs finds the party of a request by Call-ID and our tag. The flows of dialogs
// are known to the guard for as long as they last.
type dialogs struct {
	guard *guard.Guard
	mu    sync.Mutex
	table map[dialogID]entry
}

type dialogID struct{ callID, tag string }

type entry struct {
	party
	flow dialog.Flow // that the guard was told
}

func newDialogs(g *guard.Guard) *dialogs {
	return &dialogs{guard: g, table: map[dialogID]entry{}}
}

func (d *dialogs) add(l *dialog.Dialog, p party) {
	f := l.Flow()
	d.guard.Know(f.Transport, f.Remote)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.table[dialogID{l.CallID, l.LocalTag}] = entry{p, f}
}

func (d *dialogs) remove(l *dialog.Dialog) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := dialogID{l.CallID, l.LocalTag}
	if e, ok := d.table[id]; ok {
		delete(d.table, id)
		d.guard.Forget(e.flow.Transport, e.flow.Remote)
	}
}

// move lets the dialogs of a device follow its phone to another flow.
func (d *dialogs) move(id hotdesk.DeviceID, f dialog.Flow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.table {
		if l, whose := e.whose(); whose == id {
			l.Move(f)
		}
	}
}

func (d *dialogs) find(callID, tag string) party {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.table[dialogID{callID, tag}].party
}

// partyOf finds the dialog of a request. Nobody is challenged inside a dialog; a
// request belongs to it when it carries both tags and comes on the dialog's flow,
// or on the one on which the same device has registered since. Who has only
// overheard the Call-ID is a stranger.
func (e *Edge) partyOf(req *sip.Request) party {
	tag, ok := dialog.Param(req.To().Params, "tag")
	if !ok {
		return nil
	}
	p := e.dialogs.find(req.CallID().Value(), tag)
	if p == nil {
		return nil
	}
	l, device := p.whose()
	if theirs, _ := dialog.Param(req.From().Params, "tag"); theirs != l.RemoteTag {
		return nil
	}
	flow := dialog.FlowOf(req)
	if flow == l.Flow() {
		return p
	}
	if device != "" {
		if now, ok := e.locations.get(device); ok && now.Flow == flow {
			return p
		}
		return nil
	}
	// A PBX may send from another port than it listens on. One that is known by
	// name only cannot be told by its address here; its tags must do.
	if want := addrOf(l.Flow().Remote); want.IsValid() && want != addrOf(flow.Remote) {
		return nil
	}
	return p
}

// onInDialog handles the methods that exist only inside a dialog.
func (e *Edge) onInDialog(req *sip.Request, tx sip.ServerTransaction, t *ticket) (keep bool) {
	if p := e.partyOf(req); p != nil {
		t.prove()
		p.request(req, tx)
		return true
	}
	// What a PBX tells about mailboxes has no subscription; it is taken and dropped,
	// so that it does not take the contact for dead.
	if _, inside := dialog.Param(req.To().Params, "tag"); !inside && req.Method == sip.NOTIFY {
		if _, _, ok := e.upstream(req); ok {
			e.respond(req, tx, 200, "OK", nil)
			return false
		}
	}
	e.respond(req, tx, 481, "Call/Transaction Does Not Exist", nil)
	return false
}

// onAck brings the ACK of a 2xx to the one who waits for it.
func (e *Edge) onAck(req *sip.Request, _ sip.ServerTransaction, _ *ticket) bool {
	if p := e.partyOf(req); p != nil {
		p.acked(req)
	}
	return true
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

// errNoACK: a 2xx of ours was never acknowledged.
var errNoACK = errors.New("the 200 was never acknowledged")

// Retransmission of a 2xx to INVITE, which is ours and not the transaction's
// (RFC 3261 section 13.3.1.4).
const (
	t1      = 500 * time.Millisecond
	t2      = 4 * time.Second
	ackWait = 64 * t1
)

// accept sends the 2xx to an INVITE until its ACK comes, which it returns.
func (e *Edge) accept(ctx context.Context, tx sip.ServerTransaction, res *sip.Response, ack <-chan *sip.Request) (*sip.Request, error) {
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
		case req := <-tx.Acks(): // old phones reuse the INVITE's branch
			return req, nil
		case <-again.C:
			if err := tx.Respond(res); err != nil {
				return nil, err
			}
			pause = min(2*pause, t2)
			again.Reset(pause)
		case <-enough.C:
			return nil, errNoACK
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ok builds our 200 to an INVITE or UPDATE with a session description.
func (e *Edge) ok(req *sip.Request, contact sip.Uri, body []byte) *sip.Response {
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	res.AppendHeader(&sip.ContactHeader{Address: contact})
	res.AppendHeader(sip.NewHeader("Allow", dialog.Allow))
	res.AppendHeader(sip.NewHeader("Server", e.net.Agent))
	dialog.SetSDP(res, body)
	return res
}

// hangUp sends a BYE and does not care for its answer: the dialog is over.
func (e *Edge) hangUp(l *dialog.Dialog) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), byeWait)
	defer cancel()
	if _, err := l.Do(ctx, l.Request(sip.BYE)); err != nil {
		e.Log.Debug("BYE not answered", "call_id", l.CallID, "err", err)
	}
}

// byeWait is how long a BYE may take; a phone that is gone must not hold us.
const byeWait = 4 * time.Second
