package sip

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/trunk"
)

// onInvite takes a new call, or a change of one that is up.
func (e *Edge) onInvite(req *sip.Request, tx sip.ServerTransaction, t *ticket) (keep bool) {
	if _, inside := dialog.Param(req.To().Params, "tag"); inside {
		return e.onInDialog(req, tx, t)
	}
	k := ordinary
	if e.mayBeEmergency(req) {
		k = emergency
	}
	if !e.calls.enter(k) {
		e.respond(req, tx, 503, "Service Unavailable", nil, sip.NewHeader("Retry-After", "10"))
		return false
	}
	defer e.calls.leave(k)
	defer e.invites.begin(req)()
	c, ok := e.identify(req, tx, t)
	switch {
	case !ok:
		return false
	case c.upstream:
		e.fromPBX(req, tx, c.pbx, c.user)
		return true
	}
	route := e.Desk.Route(c.device, req.Recipient.String())
	if c.blocked && route.Kind != hotdesk.RouteEmergency {
		e.respond(req, tx, 403, "Forbidden", nil)
		return true
	}
	in := e.trying(req, tx, c.device)
	in.unsure = c.unsure
	e.place(in, route)
	return true
}

// incoming is an INVITE that was let in.
type incoming struct {
	req    *sip.Request // a copy with our tag
	tx     sip.ServerTransaction
	device hotdesk.DeviceID // empty for a call from a PBX
	tag    string           // our To tag in this dialog
	unsure bool             // an emergency call whose device is a guess
	life   context.Context  // of the call: ends when the server stops, later for an emergency call
}

// trying says 100 and fixes our tag, so that every response carries the same
// one. It goes into a copy: sipgo reads the INVITE itself when a CANCEL comes.
func (e *Edge) trying(req *sip.Request, tx sip.ServerTransaction, device hotdesk.DeviceID) *incoming {
	e.respond(req, tx, 100, "Trying", nil)
	in := &incoming{req: req.Clone(), tx: tx, device: device, tag: sip.GenerateTagN(16), life: e.ordinary}
	in.req.To().Params.Add("tag", in.tag)
	return in
}

// place carries out the decision.
func (e *Edge) place(in *incoming, r hotdesk.Route) {
	switch r.Kind {
	case hotdesk.RouteEmergency:
		e.emergency(in, r)
	case hotdesk.RouteHotDesk:
		rec := e.begin(hotdesk.CallHotDesk, in.device, r.Caller.User, r.Shown)
		e.visit(in, rec, Visit{Dialed: r.Number})
	case hotdesk.RouteInternal:
		rec := e.begin(hotdesk.CallInternal, in.device, r.Caller.User, r.Shown)
		rec.call.Reason = r.Reason
		if len(r.PBX) > 0 {
			if r.User == r.Caller.User {
				defer e.selves.begin(in.device, rec)()
			}
			e.connect(in, rec, e.trunks(in.device, r))
			return
		}
		e.connect(in, rec, [][]dialog.Target{e.desks(r)})
	case hotdesk.RouteExternal:
		rec := e.begin(hotdesk.CallExternal, in.device, r.Caller.User, r.Shown)
		e.connect(in, rec, e.trunks(in.device, r))
	default:
		e.refuse(in, r)
	}
}

// refuse says no: by voice where the phone can hear it, a bare 403 when the site
// wants it so or the phone keeps asking.
func (e *Edge) refuse(in *incoming, r hotdesk.Route) {
	to := cmp.Or(r.Shown, r.Number)
	kind := hotdesk.CallExternal
	if r.Number != "" {
		kind = hotdesk.CallInternal
	}
	rec := e.begin(kind, in.device, r.Caller.User, to)
	if !r.Speak || in.device == "" || !e.spoken.take(in.device, e.Now()) {
		status, text := 403, "Forbidden"
		if r.Reason == hotdesk.ReasonUnknown {
			status, text = 404, "Not Found"
		}
		if r.Reason == hotdesk.ReasonOffDesk {
			status, text = 480, "Temporarily Unavailable"
		}
		e.respond(in.req, in.tx, status, text, nil)
		rec.end("refused", r.Reason)
		return
	}
	e.visit(in, rec, Visit{Dialed: r.Number, Reason: r.Reason})
}

// notCertain is what the rescue centre reads behind the desk that is a guess.
const notCertain = " (desk not certain)"

// emergency places an emergency call: the site's routes in order, the desk's
// identity, no announcement, and an alarm beside it.
func (e *Edge) emergency(in *incoming, r hotdesk.Route) {
	in.life = e.ctx
	rec := e.begin(hotdesk.CallEmergency, in.device, r.Caller.User, r.Number)
	data := map[string]any{"number": r.Number, "desk": r.Caller.Name, "call": rec.call.ID}
	detail := map[string]string{"number": r.Number, "desk": r.Caller.Name}
	if in.unsure {
		data["desk_certain"], detail["desk_certain"] = false, "false"
		rec.call.Reason = hotdesk.ReasonNotCertain
		r.Caller.Name += notCertain
		e.Log.Warn("emergency call without valid credentials; its desk is a guess", "device", string(in.device), "remote", in.req.Source())
	}
	e.Live.Publish("emergency.called", in.device, r.Caller.User, data)
	e.alarm(in.device, r.Caller.User, detail)
	e.connect(in, rec, e.trunks(in.device, r))
	e.hold(in.device)
}

// alarm writes the emergency call down and begins the hold, beside the call and
// never before it.
func (e *Edge) alarm(id hotdesk.DeviceID, user hotdesk.Extension, detail map[string]string) {
	if !e.calls.enter(chore) {
		return
	}
	go func() {
		defer e.calls.leave(chore)
		defer func() {
			if p := recover(); p != nil {
				e.Log.Error("emergency call not written to the audit log", "device", string(id), "panic", fmt.Sprint(p))
			}
		}()
		row := hotdesk.AuditRow{
			Op: sip.GenerateTagN(16), Time: e.Now().UTC(), Action: "emergency.called", By: "phone",
			Device: id, User: user, Detail: detail,
		}
		if err := e.Audit(row); err != nil {
			e.Log.Error("emergency call not written to the audit log", "device", string(id), "err", err)
		}
		e.hold(id)
	}()
}

func (e *Edge) hold(id hotdesk.DeviceID) {
	if err := e.Desk.HoldEmergency(e.ctx, id); err != nil {
		e.Log.Error("emergency hold not stored", "device", string(id), "err", err)
	}
}

// desks makes the targets of an internal call: every registered phone of the
// called user, on its own flow, by the Contact it gave.
func (e *Edge) desks(r hotdesk.Route) []dialog.Target {
	var all []dialog.Target
	for _, id := range r.Devices {
		l, ok := e.locations.get(id)
		if !ok || e.locations.silent(id) {
			continue
		}
		from := dialog.Party{Name: r.Caller.Name, URI: sip.Uri{Scheme: "sip", User: r.Caller.Number, Host: e.name}}
		all = append(all, dialog.Target{
			Label: string(id), URI: uri(l.Contact), Flow: l.Flow, From: from,
			To: dialog.Party{URI: uri(l.AOR)}, Contact: e.contact(l.Flow),
			Headers: []sip.Header{
				sip.NewHeader("P-Called-Party-ID", "<sip:"+r.Number+"@"+e.name+">"),
				sip.NewHeader("P-Asserted-Identity", trunk.NameAddr(from)),
			},
		})
	}
	return all
}

// addrOf is the address part of "host:port".
func addrOf(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// spokenRefusals is how many refusals a minute are spoken to one device; the
// rest get a bare 403, because somebody's phone is dialling by itself.
const spokenRefusals = 3

// take tells whether one more refusal may be spoken now.
func (s *spoken) take(id hotdesk.DeviceID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	recent := s.at[id][:0]
	for _, t := range s.at[id] {
		if now.Sub(t) < time.Minute {
			recent = append(recent, t)
		}
	}
	if len(recent) >= spokenRefusals {
		s.at[id] = recent
		return false
	}
	s.at[id] = append(recent, now)
	return true
}
