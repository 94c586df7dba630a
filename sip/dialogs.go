package sip

import (
	"context"
	"strings"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/call"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/ingress"
)

// onInDialog handles the methods that exist only inside a dialog. Call-ID and both tags
// say which dialog it is (RFC 3261 section 12.2.2).
func (e *Edge) onInDialog(req *sip.Request, tx sip.ServerTransaction, t *ticket) (keep bool) {
	d, h, ok := e.table.Find(req)
	if ok {
		if !e.belongs(req, d) {
			e.Log.Warn("a request inside a call comes from another host; it is asked for credentials", "method", string(req.Method), "owner", d.Peer.Owner, "remote", req.Source())
			e.challenge(req, tx, false)
			return true
		}
		t.prove()
		h.Request(req, tx)
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

// belongs tells whether a request with a dialog's tags is its party's: it comes on the
// dialog's flow or from the same host (a NAT gives out new ports, a phone opens new
// connections), on the flow on which the device is registered, from another address of
// the PBX, or with the device's own credentials. It becomes the dialog's flow.
func (e *Edge) belongs(req *sip.Request, d *dialog.Dialog) bool {
	flow := dialog.FlowOf(req)
	if e.near(flow, d) {
		e.table.Move(d, flow)
		return true
	}
	if c, result, _ := e.check(req); result == ingress.Right && string(c.device) == d.Peer.Owner {
		e.table.Move(d, flow)
		return true
	}
	return false
}

// near is belongs without credentials.
func (e *Edge) near(flow dialog.Flow, d *dialog.Dialog) bool {
	was := d.Flow()
	if flow == was || dialog.HostOf(flow.Remote).IsValid() && dialog.HostOf(flow.Remote) == dialog.HostOf(was.Remote) {
		return true
	}
	if pbx, trunk := strings.CutPrefix(d.Peer.Owner, call.TrunkLabel); trunk {
		// One that is known by name only cannot be told by its address here; its tags
		// must do.
		return !dialog.HostOf(was.Remote).IsValid() || e.pbx.IsSource(pbx, dialog.HostOf(flow.Remote))
	}
	now, ok := e.registrar.Get(hotdesk.DeviceID(d.Peer.Owner))
	return ok && now.Flow == flow
}

// onAck brings the ACK of a 2xx to the one who waits for it.
func (e *Edge) onAck(req *sip.Request, _ sip.ServerTransaction, _ *ticket) bool {
	if d, h, ok := e.table.Find(req); ok && e.near(dialog.FlowOf(req), d) {
		h.Acked(req)
	}
	return true
}

// phonePeer is a device's phone as the other end of a dialog.
func (e *Edge) phonePeer(id hotdesk.DeviceID) dialog.Peer {
	return dialog.Peer{
		Owner: string(id),
		Account: func() dialog.Account {
			creds, _, _ := e.Desk.Credentials(id)
			if len(creds) == 0 {
				return dialog.Account{}
			}
			proven := creds[len(creds)-1].Generation // they come newest first
			return dialog.Account{User: string(id), Password: e.Desk.Secret(id, proven).Reveal()}
		},
		Spare: func() (dialog.Flow, bool) {
			l, ok := e.registrar.Get(id)
			return l.Flow, ok
		},
		Reach: func(f dialog.Flow) dialog.Flow {
			if l, ok := e.registrar.Get(id); ok && l.Flow == f {
				return l.To()
			}
			return f
		},
	}
}

// follow lets the dialogs of a device go on on another flow.
func (e *Edge) follow(id hotdesk.DeviceID, f dialog.Flow) {
	dialogs, _ := e.table.Of(string(id))
	for _, d := range dialogs {
		e.table.Move(d, f)
	}
}

// probe looks after the calls of a device whose phone was away: it has registered as if
// it had been started anew, or not registered again at all.
func (e *Edge) probe(id hotdesk.DeviceID) {
	_, handlers := e.table.Of(string(id))
	for _, h := range handlers {
		e.chore(func(context.Context) { call.Probe(h) })
	}
}
