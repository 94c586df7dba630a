package trunk

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
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
	routes     []sip.Uri          // Service-Route of its registration
	said       time.Time          // when the PBX confirmed it last
	renew      bool               // the PBX came back while a transaction was in flight
	failures   int                // refusals in a row
	silences   int                // in a row
	trouble    hotdesk.PBXTrouble // what is wrong with it; without words: nothing
	held       bool               // it waits for others
	conflict   bool               // another contact is registered beside ours

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
		a.failures, a.proven, a.trouble, a.next = 0, false, hotdesk.PBXTrouble{}, now
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
	risky := 0
	if a.unproven() {
		risky = 1
	}
	p.trying += risky
	is, pbx := a.is, p.pbx
	r.running.Go(func() {
		out := r.register(ctx, pbx, is, a, expires)
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		a.busy = false
		p.trying -= risky
		r.take(p, a, expires, out)
	})
}

// take notes an outcome. The caller holds the lock.
func (r *Registrar) take(p *peer, a *account, expires int, out outcome) {
	now := r.Now()
	renew := a.renew
	a.renew = false
	if out.err == nil {
		r.alive(p, now)
		a.silences = 0
	}
	before := a.trouble
	a.trouble = diagnose(p.pbx, a.id, a.is, out)
	switch {
	case errors.Is(out.err, errNoAddress): // it is being looked up
		a.next = now
	case out.err != nil:
		a.silences++
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
	case out.status == 200:
		mended := a.failures > 0 || slices.ContainsFunc(p.failed, func(f failure) bool { return f.id == a.id })
		a.failures, a.proven = 0, true
		r.good[a.id] = keyOf(a.is)
		r.trusted(p, mended)
		r.registered(a, expires, out, now)
	case out.missing:
		a.registered = false
		a.next = now.Add(refused[len(refused)-1]) // or when it gets one
		r.refused(a, out)
	case out.sent && (out.status == 401 || out.status == 403 || out.status == 407):
		p.failed = append(p.failed, failure{now, a.id, keyOf(a.is)})
		delete(r.good, a.id)
		r.backOff(a, out, now)
	case out.problem != "" || out.status == 404 || out.status == 403:
		r.backOff(a, out, now)
	default:
		a.silences++
		a.next = now.Add(cmp.Or(out.retryAfter, min(time.Duration(a.silences)*10*time.Second, 5*time.Minute)) + rand.N(2*time.Second))
		if out.full() {
			r.conflict(a)
		}
	}
	if before.Words != "" && a.trouble.Words == "" {
		r.Log.Info("registration at the PBX works again", "pbx", a.id.pbx, "user", string(a.id.user))
	}
}

// registered notes a 200. The caller holds the lock.
func (r *Registrar) registered(a *account, expires int, out outcome, now time.Time) {
	if expires == 0 {
		a.registered, a.trouble, a.next = false, hotdesk.PBXTrouble{}, now
		return
	}
	a.registered, a.said, a.routes = out.ours > 0, now, out.routes
	seconds := cmp.Or(out.ours, 60)
	a.next = now.Add(time.Duration(seconds)*time.Second*4/5 - rand.N(time.Duration(seconds)*time.Second/20+1))
	if a.trouble.Words == "" {
		a.conflict = false
		return
	}
	r.conflict(a)
}

// backOff waits longer after every refusal: hammering a PBX with a wrong password gets
// the house banned by it.
func (r *Registrar) backOff(a *account, out outcome, now time.Time) {
	a.registered = false
	a.next = now.Add(refused[min(a.failures, len(refused)-1)])
	a.failures++
	r.refused(a, out)
}

// refused tells that an account is not let in, and why.
func (r *Registrar) refused(a *account, out outcome) {
	r.Log.Warn("registration refused by the PBX", "pbx", a.id.pbx, "user", string(a.id.user), "status", out.status, "problem", a.trouble.String(), "next", a.next.UTC())
	r.Live.Publish("pbx.user_failed", "", a.id.user, map[string]any{"pbx": a.id.pbx, "status": out.status, "problem": a.trouble.String()})
}

// conflict tells that somebody else is registered as this user, or that ours was
// thrown out.
func (r *Registrar) conflict(a *account) {
	if !a.conflict {
		r.Log.Warn("conflict of contacts at the PBX", "pbx", a.id.pbx, "user", string(a.id.user), "problem", a.trouble.String())
		r.Live.Publish("pbx.contact_conflict", "", a.id.user, map[string]any{"pbx": a.id.pbx, "problem": a.trouble.String()})
	}
	a.conflict = true
}
