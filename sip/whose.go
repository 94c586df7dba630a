package sip

import (
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/ingress"
	"hotdeskd/sip/registrar"
)

// answerWithin is how long a phone may take to answer the challenge of an emergency
// call; one that calls again later without has had its chance.
const answerWithin = 2 * time.Second

// unansweredFor is how long we remember that somebody was challenged, and
// maxUnanswered how many.
const (
	unansweredFor = 5 * time.Minute
	maxUnanswered = 4096
)

// unanswered remembers whose emergency call was challenged and has not come back with
// good credentials.
type unanswered struct {
	mu    sync.Mutex
	calls map[string]challenged      // by Call-ID
	flows map[dialog.Flow]challenged // the first one of each flow
}

type challenged struct {
	branch string // of the INVITE, which may come again because our answer was lost
	at     time.Time
}

func newUnanswered() *unanswered {
	return &unanswered{calls: map[string]challenged{}, flows: map[dialog.Flow]challenged{}}
}

// had tells whether whoever sends this INVITE has had its challenge, and notes that it
// gets one now when not.
func (u *unanswered) had(req *sip.Request, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	branch, f, id := branchOf(req), dialog.FlowOf(req), req.CallID().Value()
	if c, ok := u.calls[id]; ok && now.Sub(c.at) < unansweredFor {
		return c.branch != branch
	}
	if c, ok := u.flows[f]; ok && now.Sub(c.at) < unansweredFor && now.Sub(c.at) >= answerWithin {
		return true
	}
	if len(u.calls) >= maxUnanswered || len(u.flows) >= maxUnanswered {
		for id, c := range u.calls {
			if now.Sub(c.at) >= answerWithin {
				delete(u.calls, id)
			}
		}
		for f, c := range u.flows {
			if now.Sub(c.at) >= unansweredFor {
				delete(u.flows, f)
			}
		}
	}
	if len(u.calls) >= maxUnanswered || len(u.flows) >= maxUnanswered {
		return true // nobody is refused because others call, too
	}
	u.calls[id] = challenged{branch, now}
	if c, ok := u.flows[f]; !ok || now.Sub(c.at) >= unansweredFor {
		u.flows[f] = challenged{branch, now}
	}
	return false
}

// proved forgets the challenges of a flow whose phone can answer them.
func (u *unanswered) proved(req *sip.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.calls, req.CallID().Value())
	delete(u.flows, dialog.FlowOf(req))
}

// emergencyCaller finds out whose emergency call it is that carries no valid
// credentials. The device of the flow, if there is exactly one and the call fits it;
// otherwise, once it was challenged, the best guess, which is marked. ok is false when
// it has to be challenged: the first time, and always when nothing says that it is one
// of our phones.
func (e *Edge) emergencyCaller(req *sip.Request, user string) (c caller, ok bool) {
	f, dialed := dialog.FlowOf(req), req.Recipient.String()
	emergency := func(id hotdesk.DeviceID) bool { return e.Desk.Route(id, dialed).Kind == hotdesk.RouteEmergency }
	named := deviceID(user)
	if here := e.registrar.On(f); len(here) == 1 && emergency(here[0]) {
		if l, known := e.registrar.Get(here[0]); known && fits(req, l) && (named == "" || named == l.Device) {
			return caller{device: l.Device}, true
		}
	}
	guess, found := e.guess(req, named, emergency)
	if e.ChallengeUnproven || !found || !e.unanswered.had(req, e.Now()) {
		return caller{}, false
	}
	return caller{device: guess, unsure: true}, true
}

// guess is the device whose call it most likely is: the one it names, if the call
// comes from where our phones are, or one that was heard there last.
func (e *Edge) guess(req *sip.Request, named hotdesk.DeviceID, emergency func(hotdesk.DeviceID) bool) (hotdesk.DeviceID, bool) {
	from := dialog.HostOf(req.Source())
	there := e.registrar.At(from)
	ours := len(there) > 0 || e.Desk.InNetworks(from)
	if !ours {
		return "", false
	}
	if named != "" && emergency(named) {
		return named, true
	}
	for _, id := range append(e.registrar.On(dialog.FlowOf(req)), there...) {
		if l, ok := e.registrar.Last(id); ok && fits(req, l) && emergency(id) {
			return id, true
		}
	}
	for _, user := range []string{req.From().Address.User, contactUser(req)} {
		if id := deviceID(user); user != "" && emergency(id) {
			return id, true
		}
		for _, id := range e.Desk.RouteInbound("sip:" + user + "@x").Devices {
			if user != "" && emergency(id) {
				return id, true
			}
		}
	}
	for _, id := range append(e.registrar.On(dialog.FlowOf(req)), there...) {
		if emergency(id) {
			return id, true
		}
	}
	return "", false
}

// fits tells whether a request is written as the phone at this location writes: with
// the name that it registered, or the same Contact.
func fits(req *sip.Request, l registrar.Location) bool {
	aor, contact := registrar.URI(l.AOR), registrar.URI(l.Contact)
	from := req.From().Address.User
	if from != "" && (strings.EqualFold(from, aor.User) || strings.EqualFold(from, string(l.Device))) {
		return true
	}
	c := req.Contact()
	return c != nil && c.Address.User == contact.User && c.Address.Host == contact.Host && c.Address.Port == contact.Port
}

func contactUser(req *sip.Request) string {
	if c := req.Contact(); c != nil {
		return c.Address.User
	}
	return ""
}

// identify finds out who sends an INVITE outside any dialog, in this order: valid
// credentials, whatever the flow; an emergency call's phone; a PBX. Everybody else is
// challenged, and ok is false.
func (e *Edge) identify(req *sip.Request, tx sip.ServerTransaction, t *ticket) (c caller, ok bool) {
	emergency := e.mayBeEmergency(req)
	c, result, user := e.check(req)
	if result == ingress.Right {
		t.prove()
		e.proven(c)
		if emergency {
			e.unanswered.proved(req)
		}
		return c, true
	}
	if emergency {
		if c, ok = e.emergencyCaller(req, user); ok {
			t.prove()
			return c, true
		}
	} else if c.pbx, c.user, ok = e.upstream(req); ok {
		t.prove()
		c.upstream = true
		return c, true
	}
	e.challenge(req, tx, result == ingress.Stale)
	return caller{}, false
}
