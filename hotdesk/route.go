package hotdesk

import (
	"cmp"
	"slices"

	"hotdeskd/hotdesk/dial"
)

// RouteKind says where a call goes.
type RouteKind string

const (
	RouteEmergency RouteKind = "emergency"
	RouteHotDesk   RouteKind = "hot-desk"
	RouteInternal  RouteKind = "internal"
	RouteExternal  RouteKind = "external"
	RouteRefuse    RouteKind = "refuse"
)

// Reasons for which a call is refused; they are spoken and recorded.
const (
	ReasonIdle    = "idle"       // nobody is logged in on the phone
	ReasonNoPBX   = "no_pbx"     // the user has no PBX for outside calls
	ReasonUnknown = "not_found"  // no such number
	ReasonBlocked = "blocked"    // the device is blocked
	ReasonOffDesk = "off_desk"   // the called user sits nowhere
	ReasonNoRoute = "no_route"   // an emergency call with no PBX to take it
	ReasonPBXDown = "pbx_failed" // the PBX does not take the call
	// ReasonFallback: an internal call that we routed because the PBX is down.
	ReasonFallback = "fallback_local"
	// ReasonNotCertain: an emergency call that carried no valid credentials, so that
	// its desk is a guess.
	ReasonNotCertain = "desk_not_certain"
)

// Route is the decision about one call, complete: nothing is looked up later.
type Route struct {
	Kind    RouteKind
	Number  string     // what goes on the wire: the listed emergency number, the extension, the outside number
	Shown   string     // the same for records and events: nothing that may be a PIN
	Reason  string     // of RouteRefuse
	Devices []DeviceID // of RouteInternal: ring all of these
	User    Extension  // of RouteInternal: who is called
	Name    string     // of RouteInternal: that user's name
	PBX     []PBX      // of RouteExternal and RouteEmergency: try in this order
	// Caller is what the other side sees.
	Caller Caller
	// Speak: refuse by 200, spoken reason and BYE; otherwise by 403.
	Speak bool
}

// Caller is the identity of a call, frozen when it is set up.
type Caller struct {
	Number string
	Name   string
	User   Extension // empty on an idle device
	// Private: the number is kept from the other party (RFC 3323); never of an
	// emergency call.
	Private bool
}

// Route decides where a dialled string goes from a device. It reads memory only
// and cannot fail. Emergency numbers come before every other rule, from every
// known device in every state.
func (s *Service) Route(id DeviceID, dialed string) Route {
	number, sos := dial.Normalise(dialed)
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	p, ok := s.snap.phone(id, s.models)
	if !ok {
		return Route{Kind: RouteRefuse, Reason: ReasonBlocked}
	}
	if r, ok := s.snap.emergency(p, number, sos); ok {
		return r
	}
	caller := Caller{Number: string(id), Name: string(id)}
	if p.User != nil {
		caller = Caller{Number: string(p.User.Extension), Name: p.User.Name, User: p.User.Extension}
	}
	r := s.snap.route(p, number, s.pbxDown)
	if r.Caller == (Caller{}) {
		r.Caller = caller
	}
	r.Speak = r.Kind == RouteRefuse && s.snap.numbering.Settings.Refusal != "403"
	r.Shown = s.snap.shown(cmp.Or(r.Number, number))
	return r
}

// shown is a dialled number as records and events have it.
func (s *snapshot) shown(number string) string {
	return s.codes.Shown(number, func(ext string) bool { return s.users[Extension(ext)] != nil })
}

// emergency is the first rule. An emergency service URN means the site's first
// number.
func (s *snapshot) emergency(p Phone, number string, sos bool) (Route, bool) {
	e := p.Site.Emergency
	listed, ok := dial.Emergency(number, p.Site.Dialing.OutsidePrefix, e.Numbers)
	if sos && len(e.Numbers) > 0 {
		listed, ok = e.Numbers[0], true
	}
	if !ok {
		return Route{}, false
	}
	r := Route{Kind: RouteEmergency, Number: listed, Caller: Caller{Number: e.CallerID, Name: p.Device.Desk}}
	if p.User != nil {
		r.Caller.User = p.User.Extension // for the record; the other side sees the desk
	}
	if r.Caller.Number == "" {
		r.Caller.Number = string(p.Device.ID)
	}
	for _, route := range e.Routes {
		if pbx := s.pbxs[route.PBX]; pbx != nil && pbx.Mode != "none" {
			r.PBX = append(r.PBX, *pbx)
		}
	}
	if len(r.PBX) == 0 {
		r.Reason = ReasonNoRoute
	}
	return r, true
}

// route is every rule after the first. The caller holds the lock.
func (s *snapshot) route(p Phone, number string, down func(pbx string) bool) Route {
	if p.Device.Blocked {
		return Route{Kind: RouteRefuse, Reason: ReasonBlocked}
	}
	if _, ok := s.code(p, number); ok {
		return Route{Kind: RouteHotDesk, Number: number}
	}
	if s.codes.Begins(number) { // with a slip; what follows may be a PIN
		return Route{Kind: RouteRefuse, Reason: ReasonUnknown}
	}
	if p.User == nil || !p.User.Enabled {
		if slices.Contains(p.Site.Dialing.IdleNumbers, number) {
			return s.idleNumber(p, number)
		}
		return Route{Kind: RouteRefuse, Reason: ReasonIdle}
	}
	var pbx *PBX
	if p.User.PBX != nil {
		pbx = s.pbxs[p.User.PBX.Name]
	}
	called := s.users[Extension(number)]
	if called != nil && (pbx == nil || pbx.Mode == "none" || pbx.Internal == "local") {
		return s.ring(called)
	}
	if called != nil && down(pbx.Name) { // its own calls go on without the PBX
		r := s.ring(called)
		if r.Kind == RouteInternal {
			r.Reason = ReasonFallback
		}
		return r
	}
	switch {
	case !dial.Dialable(number):
		return Route{Kind: RouteRefuse, Reason: ReasonUnknown}
	case pbx == nil || pbx.Mode == "none":
		return Route{Kind: RouteRefuse, Reason: ReasonNoPBX}
	}
	r := Route{Kind: RouteExternal, Number: number, PBX: []PBX{*pbx}}
	if called != nil {
		r.Kind, r.User = RouteInternal, called.Extension // through the PBX, which decides
	} else if p.User.CallerID != "" {
		r.Caller = Caller{Number: p.User.CallerID, Name: p.User.Name, User: p.User.Extension}
	}
	return r
}

func (s *Service) pbxDown(name string) bool { return s.live.PBX(name).State == PBXDown }

// ring calls a user on all devices.
func (s *snapshot) ring(u *User) Route {
	devices := slices.DeleteFunc(slices.Clone(s.rings[u.Extension]), func(id DeviceID) bool { return s.devices[id].Blocked })
	if !u.Enabled || len(devices) == 0 {
		return Route{Kind: RouteRefuse, Number: string(u.Extension), Reason: ReasonOffDesk}
	}
	return Route{Kind: RouteInternal, Number: string(u.Extension), User: u.Extension, Name: u.Name, Devices: devices}
}

// idleNumber lets an idle phone call one of the site's extra numbers.
func (s *snapshot) idleNumber(p Phone, number string) Route {
	if u := s.users[Extension(number)]; u != nil {
		r := s.ring(u)
		// The callee sees the site, or nobody: the device's name is its secret's half.
		r.Caller = Caller{Number: p.Site.Emergency.CallerID, Name: p.Device.Desk, Private: p.Site.Emergency.CallerID == ""}
		return r
	}
	for _, route := range p.Site.Emergency.Routes {
		if pbx := s.pbxs[route.PBX]; pbx != nil && pbx.Mode != "none" {
			return Route{Kind: RouteExternal, Number: number, PBX: []PBX{*pbx}, Caller: Caller{Number: cmp.Or(p.Site.Emergency.CallerID, "anonymous")}}
		}
	}
	return Route{Kind: RouteRefuse, Reason: ReasonNoPBX}
}

// RouteInbound decides where a call from a PBX to a user's extension goes.
func (s *Service) RouteInbound(number string) Route {
	n, _ := dial.Normalise(number)
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	r := s.snap.inbound(n)
	r.Shown = s.snap.shown(cmp.Or(r.Number, n))
	return r
}

func (s *snapshot) inbound(number string) Route {
	if u := s.users[Extension(number)]; u != nil {
		return s.ring(u)
	}
	for _, u := range s.users { // whom the PBX knows by another number
		if u.PBX != nil && u.PBX.Extension == number {
			return s.ring(u)
		}
	}
	return Route{Kind: RouteRefuse, Reason: ReasonUnknown}
}

// Code reads a dialled string as a hot-desk code of this device: a configured
// code, or on an idle device an own enabled extension.
func (s *Service) Code(id DeviceID, dialed string) (Code, bool) {
	number, _ := dial.Normalise(dialed)
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	p, ok := s.snap.phone(id, s.models)
	if !ok {
		return Code{}, false
	}
	return s.snap.code(p, number)
}

func (s *snapshot) code(p Phone, number string) (Code, bool) {
	if action, ext, ok := s.codes.Match(number); ok {
		return Code{Action: CodeAction(action), Extension: Extension(ext)}, true
	}
	if ext, pin, ok := s.codes.MatchPIN(number); ok {
		return Code{Action: CodeLogin, Extension: Extension(ext), PIN: Secret(pin)}, true
	}
	if p.User != nil || p.Device.Type == Fixed {
		return Code{}, false
	}
	if slices.Contains(p.Site.Dialing.IdleNumbers, number) {
		return Code{}, false
	}
	if u := s.users[Extension(number)]; u != nil && u.Enabled && u.HotDesk {
		return Code{Action: CodeLogin, Extension: u.Extension}, true
	}
	return Code{}, false
}
