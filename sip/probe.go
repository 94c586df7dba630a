package sip

import (
	"context"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

// probeWait is how long a phone may take to say that it still knows its call.
const probeWait = 8 * time.Second

// probe looks after the calls of a device whose phone was away: it has
// registered as if it had been started anew, or not registered again at all. In
// a call between two phones that both lost their power nobody would ever hang
// up, and the devices would be "in a call" for good. A phone that does not
// answer, or does not know the call any more (RFC 3261 section 12.2.2), has
// left it; whatever else it says, the call goes on.
//
// The question is an INFO without a body: phones answer OPTIONS in a dialog that they do
// not know with 200 or 404 (baresip 1.0.0) or 200 (linphone 5.1.65), and INFO with 481
// (both, and twinkle 1.10.2).
func (e *Edge) probe(id hotdesk.DeviceID) {
	for _, s := range e.dialogs.sidesOf(id) {
		if !e.calls.enter(chore) {
			return
		}
		go func() {
			defer e.calls.leave(chore)
			ctx, cancel := context.WithTimeout(e.ctx, probeWait)
			defer cancel()
			res, err := s.leg.Do(ctx, s.leg.Request(sip.INFO))
			if e.ctx.Err() != nil || err == nil && !gone(res.StatusCode) {
				return
			}
			if err != nil && s.call.rec.call.Kind == hotdesk.CallEmergency {
				return // its signalling is silent; people may be talking
			}
			e.Log.Info("call ended: its phone does not know it any more", "device", string(id), "call_id", s.leg.CallID)
			s.call.end(s, "phone_gone")
		}()
	}
}

// gone tells whether a status inside a dialog says that there is no such dialog, or
// nobody at its address, any more.
func gone(status int) bool {
	return status == 404 || status == 410 || status == 481 || status == 604
}

// sidesOf lists the sides of calls that are up whose party is a device.
func (d *dialogs) sidesOf(id hotdesk.DeviceID) []*side {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*side
	for _, p := range d.table {
		if s, ok := p.party.(*side); ok && s.device == id {
			all = append(all, s)
		}
	}
	return all
}
