package sip

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/call"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/registrar"
)

// onInvite takes a new call, or a change of one that is up.
func (e *Edge) onInvite(req *sip.Request, tx sip.ServerTransaction, t *ticket) (keep bool) {
	if tag, _ := dialog.Param(req.To().Params, "tag"); tag != "" {
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
	in := e.bench.Trying(req, tx, call.Incoming{Device: c.device, Peer: e.phonePeer(c.device), Life: e.ordinary})
	if anonymous(req) && route.Kind != hotdesk.RouteEmergency {
		route.Caller.Private = true
	}
	if c.unsure && route.Kind == hotdesk.RouteEmergency {
		e.emergency(in, route, true)
		return true
	}
	e.place(in, route)
	return true
}

// anonymous tells whether a phone hides its user's number (RFC 3323 section 4.1).
func anonymous(req *sip.Request) bool {
	return call.Private(req) || strings.EqualFold(req.From().Address.User, "anonymous")
}

// place carries out the decision.
func (e *Edge) place(in *call.Incoming, r hotdesk.Route) {
	switch r.Kind {
	case hotdesk.RouteEmergency:
		e.emergency(in, r, false)
	case hotdesk.RouteHotDesk:
		rec := e.bench.Begin(hotdesk.CallHotDesk, in.Device, r.Caller.User, r.Shown)
		e.bench.Visit(in, rec, Visit{Dialed: r.Number})
	case hotdesk.RouteInternal:
		rec := e.bench.Begin(hotdesk.CallInternal, in.Device, r.Caller.User, r.Shown)
		rec.Note(r.Reason)
		if len(r.PBX) > 0 {
			if r.User == r.Caller.User {
				defer e.selves.begin(in.Device, rec)()
			}
			e.bench.Connect(in, rec, dialog.Party{}, e.outward(in.Device, r))
			return
		}
		e.bench.Connect(in, rec, e.userParty(r), [][]dialog.Target{e.desks(r)})
	case hotdesk.RouteExternal:
		rec := e.bench.Begin(hotdesk.CallExternal, in.Device, r.Caller.User, r.Shown)
		e.bench.Connect(in, rec, dialog.Party{}, e.outward(in.Device, r))
	default:
		e.refuse(in, r)
	}
}

// refuse says no: by voice where the phone can hear it, a bare 403 when the site
// wants it so or the phone keeps asking.
func (e *Edge) refuse(in *call.Incoming, r hotdesk.Route) {
	to := cmp.Or(r.Shown, r.Number)
	kind := hotdesk.CallExternal
	if r.Number != "" {
		kind = hotdesk.CallInternal
	}
	rec := e.bench.Begin(kind, in.Device, r.Caller.User, to)
	if !r.Speak || in.Device == "" || !e.spoken.take(in.Device, e.Now()) {
		status, text := 403, "Forbidden"
		if r.Reason == hotdesk.ReasonUnknown {
			status, text = 404, "Not Found"
		}
		if r.Reason == hotdesk.ReasonOffDesk {
			status, text = 480, "Temporarily Unavailable"
		}
		e.respond(in.Req, in.Tx, status, text, nil)
		rec.End("refused", r.Reason)
		return
	}
	e.bench.Visit(in, rec, Visit{Dialed: r.Number, Reason: r.Reason})
}

// notCertain is what the rescue centre reads behind the desk that is a guess.
const notCertain = " (desk not certain)"

// emergency places an emergency call: the site's routes in order, the desk's
// identity, no announcement, and an alarm beside it.
func (e *Edge) emergency(in *call.Incoming, r hotdesk.Route, unsure bool) {
	in.Life = e.ctx
	rec := e.bench.Begin(hotdesk.CallEmergency, in.Device, r.Caller.User, r.Number)
	data := map[string]any{"number": r.Number, "desk": r.Caller.Name, "call": rec.ID()}
	detail := map[string]string{"number": r.Number, "desk": r.Caller.Name}
	if unsure {
		data["desk_certain"], detail["desk_certain"] = false, "false"
		rec.Note(hotdesk.ReasonNotCertain)
		r.Caller.Name += notCertain
		e.Log.Warn("emergency call without valid credentials; its desk is a guess", "device", string(in.Device), "remote", in.Req.Source())
	}
	e.Live.Publish("emergency.called", in.Device, r.Caller.User, data)
	e.alarm(in.Device, r.Caller.User, detail)
	e.bench.Connect(in, rec, dialog.Party{}, e.trunks(in.Device, r))
	e.hold(in.Device)
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

// outward makes the groups of targets of a call through PBXes. A private caller is
// nobody in From where the PBX has our word for who it is, and asks for the rest to be
// kept there (RFC 3323, RFC 3325 section 7); in mode register From is the account's.
func (e *Edge) outward(id hotdesk.DeviceID, r hotdesk.Route) [][]dialog.Target {
	groups := e.trunks(id, r)
	if !r.Caller.Private {
		return groups
	}
	for _, group := range groups {
		for i := range group {
			t := &group[i]
			t.From.Name = "Anonymous"
			if slices.ContainsFunc(t.Headers, func(h sip.Header) bool { return h.Name() == "P-Asserted-Identity" }) {
				t.From.URI = sip.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}
			}
			t.Headers = append(slices.Clone(t.Headers), sip.NewHeader("Privacy", "id"))
		}
	}
	return groups
}

// userParty is a called user as the caller is to see them.
func (e *Edge) userParty(r hotdesk.Route) dialog.Party {
	return dialog.Party{Name: r.Name, URI: sip.Uri{Scheme: "sip", User: r.Number, Host: e.name}}
}

// callerParty is the caller as a phone is to see it; nobody when it is private.
func (e *Edge) callerParty(c hotdesk.Caller) dialog.Party {
	if c.Private || c.Number == "" {
		return dialog.Party{Name: "Anonymous", URI: sip.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}}
	}
	return dialog.Party{Name: c.Name, URI: sip.Uri{Scheme: "sip", User: c.Number, Host: e.name}}
}

// desks makes the targets of an internal call: every registered phone of the
// called user, on its own flow, by the Contact it gave.
func (e *Edge) desks(r hotdesk.Route, headers ...sip.Header) []dialog.Target {
	var all []dialog.Target
	from := e.callerParty(r.Caller)
	headers = append([]sip.Header{sip.NewHeader("P-Called-Party-ID", "<sip:"+r.Number+"@"+e.name+">")}, headers...)
	if !r.Caller.Private && r.Caller.Number != "" {
		headers = append(headers, sip.NewHeader("P-Asserted-Identity", call.NameAddr(from)))
	}
	for _, id := range r.Devices {
		l, ok := e.registrar.Get(id)
		if !ok || e.registrar.Silent(id) {
			continue
		}
		all = append(all, dialog.Target{
			Label: string(id), URI: registrar.URI(l.Contact), Flow: l.To(), From: from, Peer: e.phonePeer(id),
			To: dialog.Party{URI: registrar.URI(l.AOR)}, Contact: e.contact(l.Flow), Headers: append(l.Route(), headers...),
		})
	}
	return all
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
