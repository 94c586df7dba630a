package trunk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"hotdeskd/hotdesk"
)

// accountID is a user at a PBX; without a user the PBX's own account.
type accountID struct {
	pbx  string
	user hotdesk.Extension
}

// Times of a registration.
const (
	askedExpiry  = 300              // seconds
	leaveAfter   = 10 * time.Second // after the last leg of a user who has left
	registerWait = 8 * time.Second
)

// refused says when to try again after so many refusals in a row of credentials
// that we believe in: one retry, then seldom.
var refused = []time.Duration{5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute}

// account is one registration: its wanted state, and one transaction at a time. The
// registrar's lock guards it; while it is busy, its transaction alone writes callID
// and cseq.
type account struct {
	id         accountID
	token      string
	is         hotdesk.PBXAccount
	wanted     bool
	left       time.Time // since when it is not
	registered bool
	proven     bool // the secret was right once
	next       time.Time
	busy       bool
	routes     []sip.Uri // Service-Route of its registration
	said       time.Time // when the PBX confirmed it last
	renew      bool      // the PBX came back while a transaction was in flight
	failures   int       // refusals in a row
	silences   int       // in a row
	problem    string
	conflict   bool // another contact is registered beside ours

	callID, tag string
	cseq        uint32
	expiry      int // that the PBX wants at least
}

func newAccount(id accountID, token string) *account {
	return &account{id: id, token: token, callID: uuid.NewString(), tag: sip.GenerateTagN(16), expiry: askedExpiry}
}

// owner names the account for administrators.
func (id accountID) owner() string {
	if id.user == "" {
		return "the account of the PBX"
	}
	return "user " + string(id.user)
}

// keyOf is what an account proves itself with.
func keyOf(a hotdesk.PBXAccount) string { return a.Sealed + "\x00" + a.AuthUser + "\x00" + a.Extension }

// want notes that the account is to be registered. A new secret is tried at once.
func (a *account) want(is hotdesk.PBXAccount, now time.Time) {
	if !a.wanted {
		a.wanted, a.next = true, now
	}
	if keyOf(a.is) != keyOf(is) {
		a.failures, a.proven, a.problem, a.next = 0, false, "", now
	}
	a.is = is
}

// unwant notes that it is not any more; its devices stay those of the last session.
func (a *account) unwant(now time.Time) {
	if a.wanted {
		a.wanted, a.left, a.next = false, now, now
	}
}

// done tells whether nothing is left to do.
func (a *account) done() bool { return !a.wanted && !a.registered }

// unproven tells whether its secret could be wrong; one that is not there is not.
func (a *account) unproven() bool { return a.is.Sealed != "" && (!a.proven || a.failures > 0) }

// due tells whether to register now, and for how long; 0 is to take it back, which
// waits for the end of the user's last call.
func (a *account) due(now time.Time, live *hotdesk.Live) (expires int, due bool) {
	if now.Before(a.next) {
		return 0, false
	}
	if a.wanted {
		return a.expiry, true
	}
	for _, id := range a.is.Devices {
		busy, since := live.InCall(id, "")
		if busy || now.Sub(since) < leaveAfter {
			return 0, false
		}
	}
	return 0, now.Sub(a.left) >= leaveAfter
}

// begin runs one registration beside the others. The caller holds the lock.
func (r *Registrar) begin(ctx context.Context, p *peer, a *account, expires int) {
	a.busy = true
	is, pbx := a.is, p.pbx
	r.running.Go(func() {
		out := r.register(ctx, pbx, is, a, expires)
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		a.busy = false
		r.take(p, a, expires, out)
	})
}

// take notes an outcome. The caller holds the lock.
func (r *Registrar) take(p *peer, a *account, expires int, out outcome) {
	now := r.Now()
	renew := a.renew
	a.renew = false
	if out.err == nil {
		r.alive(p)
		a.silences = 0
	}
	switch {
	case errors.Is(out.err, errNoAddress): // it is being looked up
		a.problem, a.next = trouble(p.pbx, out.err), now
	case out.err != nil:
		a.silences++
		a.problem = trouble(p.pbx, out.err)
		a.next = now.Add(min(time.Duration(a.silences)*5*time.Second, time.Minute) + rand.N(2*time.Second))
		if !p.pinged {
			r.silent(p, out.err, now)
		}
		p.next = now // ask it whether it is there
		if renew {
			a.next = now
		}
		if a.silences > 3 && expires == 0 {
			a.registered = false // it will run out
		}
	case out.status == 200 && expires == 0:
		a.registered, a.problem, a.failures, a.proven = false, "", 0, true
		a.next = now
	case out.status == 200:
		a.registered, a.proven, a.failures, a.problem, a.said = out.ours > 0, true, 0, "", now
		a.routes = out.routes
		r.good[a.id] = keyOf(a.is)
		seconds := cmp.Or(out.ours, 60)
		a.next = now.Add(time.Duration(seconds)*time.Second*4/5 - rand.N(time.Duration(seconds)*time.Second/20+1))
		r.noteConflict(a, out)
	case out.missing:
		a.registered = false
		a.next = now.Add(refused[len(refused)-1]) // or when it gets one
		r.refused(a, out, "the PBX asks for a password and "+a.id.owner()+" has none: give pbx.secret")
	case out.sent && (out.status == 401 || out.status == 403 || out.status == 407):
		p.failed = append(p.failed, failure{now, a.id, keyOf(a.is)})
		delete(r.good, a.id)
		r.backOff(a, out, now, fmt.Sprintf("the PBX refuses auth_user %q (%d): check pbx.auth_user and pbx.secret of %s", a.is.AuthUser, out.status, a.id.owner()))
	case out.problem != "":
		r.backOff(a, out, now, out.problem)
	case out.status == 404:
		r.backOff(a, out, now, fmt.Sprintf("the PBX does not know %q (404): check pbx.extension and domain of %s", a.is.Extension, a.id.owner()))
	case out.status == 403:
		r.backOff(a, out, now, fmt.Sprintf("the PBX forbids %q to register (403) without asking for a password: see whether it lets this server's address in", a.is.Extension))
	default:
		a.silences++
		a.problem = "the PBX answers " + out.words()
		if out.full() {
			r.conflict(a, fmt.Sprintf("the PBX keeps no further contact of %s (%s): raise its max contacts, or take the account out of the other phone", a.id.owner(), out.words()))
		}
		a.next = now.Add(cmp.Or(out.retryAfter, min(time.Duration(a.silences)*10*time.Second, 5*time.Minute)) + rand.N(2*time.Second))
	}
}

// backOff waits longer after every refusal: hammering a PBX with a wrong password gets
// the house banned by it.
func (r *Registrar) backOff(a *account, out outcome, now time.Time, problem string) {
	a.registered = false
	a.next = now.Add(refused[min(a.failures, len(refused)-1)])
	a.failures++
	r.refused(a, out, problem)
}

// refused tells that an account is not let in, and why.
func (r *Registrar) refused(a *account, out outcome, problem string) {
	a.problem = problem
	r.Live.Publish("pbx.user_failed", "", a.id.user, map[string]any{"pbx": a.id.pbx, "status": out.status, "problem": problem})
}

// noteConflict tells that somebody else is registered as this user, or that ours
// was thrown out.
func (r *Registrar) noteConflict(a *account, out outcome) {
	if !out.foreign && out.ours > 0 {
		a.conflict = false
		return
	}
	if out.ours == 0 {
		r.conflict(a, "the PBX does not keep our contact: raise its max contacts, or take the account out of the other phone")
		return
	}
	r.conflict(a, "another phone is registered there as the same user: take the account out of that phone, or let the PBX allow several contacts")
}

func (r *Registrar) conflict(a *account, problem string) {
	a.problem = problem
	if !a.conflict {
		r.Live.Publish("pbx.contact_conflict", "", a.id.user, map[string]any{"pbx": a.id.pbx, "problem": problem})
	}
	a.conflict = true
}
