package trunk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"
	"github.com/icholy/digest"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
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

// outcome is what came of one registration.
type outcome struct {
	err        error // nobody answered
	status     int
	reason     string
	why        string        // in the words of the registrar (P-Registrar-Error of Kamailio)
	ours       int           // seconds that our contact is registered for; 0: it is not
	foreign    bool          // another contact is, too
	missing    bool          // a secret is asked for, and there is none
	retryAfter time.Duration // when the PBX wants to be asked again; 0: it does not say
}

// hurry is how long an address may be silent while there is another one to try: long
// enough for three datagrams.
const hurry = 2500 * time.Millisecond

// register sends a REGISTER to the first address of a PBX that answers (RFC 3263
// section 4.3): silence, a refused connection and 503 move on to the next.
func (r *Registrar) register(ctx context.Context, p hotdesk.PBX, is hotdesk.PBXAccount, a *account, expires int) outcome {
	flows := r.Targets(p)
	if len(flows) == 0 {
		return outcome{err: r.lost(p)}
	}
	secret, err := r.Desk.PBXAccountSecret(is)
	if err != nil {
		return outcome{err: fmt.Errorf("its secret cannot be opened: %w", err)}
	}
	var out outcome
	for i, f := range flows {
		wait := registerWait
		if i < len(flows)-1 {
			wait = hurry
		}
		ctx, cancel := context.WithTimeout(ctx, wait)
		out = r.registerAt(ctx, p, f, is, secret, a, expires)
		cancel()
		if out.why != "" { // it is the account, and not the server
			r.where.heard(f)
			break
		}
		if !r.note(f, out.status, out.retryAfter, out.err) {
			break
		}
	}
	return out
}

// note remembers whether an address answers. It tells whether to try the next one.
func (r *Registrar) note(f dialog.Flow, status int, retryAfter time.Duration, err error) (next bool) {
	if err == nil && status != 503 {
		r.where.heard(f)
		return false
	}
	r.where.fail(f, r.Now().Add(cmp.Or(retryAfter, failedFor)))
	return true
}

// Told notes what came of a call by an account on a flow to its PBX, as a branch is
// told it. A PBX that gave no answer is asked whether it is there.
func (r *Registrar) Told(a hotdesk.PBXAccount, f dialog.Flow) func(*sip.Response, error) {
	return func(res *sip.Response, err error) {
		if err == nil {
			r.note(f, res.StatusCode, retryAfter(res), nil)
			return
		}
		r.note(f, 0, 0, err)
		r.mu.Lock()
		defer r.mu.Unlock()
		if p := r.peers[a.PBX]; p != nil {
			p.next = r.Now()
		}
	}
}

// longestRetry bounds what a Retry-After may ask for.
const longestRetry = time.Hour

// retryAfter reads a Retry-After (RFC 3261 section 20.33); 0 when there is none.
func retryAfter(res *sip.Response) time.Duration {
	text := headerValue(res, "Retry-After")
	digits := text[:len(text)-len(strings.TrimLeft(text, "0123456789"))]
	seconds, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return min(time.Duration(min(seconds, 86400))*time.Second, longestRetry)
}

// registerAt sends a REGISTER to one address and answers one challenge.
func (r *Registrar) registerAt(ctx context.Context, p hotdesk.PBX, f dialog.Flow, is hotdesk.PBXAccount, secret hotdesk.Secret, a *account, expires int) outcome {
	domain := sip.Uri{Scheme: "sip", Host: cmp.Or(p.Domain, host(p.Proxy))}
	aor := domain
	aor.User = is.Extension
	line := r.via()
	own := line.Contact(f)
	own.User = a.token
	var answer sip.Header
	for try := 0; ; try++ {
		a.cseq++
		req := request(line, sip.REGISTER, domain, aor, aor, a.callID, a.tag, a.cseq)
		contact := &sip.ContactHeader{Address: own, Params: sip.NewParams()}
		contact.Params.Add("expires", strconv.Itoa(expires))
		req.AppendHeader(contact)
		req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(expires)))
		if answer != nil {
			req.AppendHeader(answer)
		}
		res, err := line.Net.Do(ctx, req, f)
		if err != nil {
			return outcome{err: err}
		}
		out := outcome{status: res.StatusCode, reason: res.Reason, retryAfter: retryAfter(res), why: headerValue(res, "P-Registrar-Error")}
		switch {
		case (res.StatusCode == 401 || res.StatusCode == 407) && secret == "":
			out.missing = true // an answer could only be wrong
			return out
		case (res.StatusCode == 401 || res.StatusCode == 407) && (try == 0 || try == 1 && stale(res)):
			if answer, err = credentials(res, req, is.AuthUser, secret); err != nil {
				return outcome{status: res.StatusCode, reason: err.Error()}
			}
		case res.StatusCode == 423 && try < 3:
			min, err := strconv.Atoi(headerValue(res, "Min-Expires"))
			if err != nil || min <= expires || min > 86400 {
				return out
			}
			expires = min
			answer = nil
		case res.StatusCode == 200:
			out.ours, out.foreign = contacts(res, own, expires)
			return out
		default:
			return out
		}
	}
}

func headerValue(res *sip.Response, name string) string {
	if h := res.GetHeader(name); h != nil {
		return strings.TrimSpace(h.Value())
	}
	return ""
}

// stale tells whether the PBX only wants a newer nonce (RFC 2617 section 3.2.1).
func stale(res *sip.Response) bool {
	for _, name := range []string{"WWW-Authenticate", "Proxy-Authenticate"} {
		if c, err := digest.ParseChallenge(headerValue(res, name)); err == nil && c.Stale {
			return true
		}
	}
	return false
}

func credentials(res *sip.Response, req *sip.Request, user string, secret hotdesk.Secret) (sip.Header, error) {
	challenge, name := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		challenge, name = "Proxy-Authenticate", "Proxy-Authorization"
	}
	value, err := dialog.Answer(res.GetHeaders(challenge), digest.Options{
		Method: string(req.Method), URI: req.Recipient.String(), Username: user, Password: secret.Reveal(),
	})
	return sip.NewHeader(name, value), err
}

// contacts looks for ours among those that the PBX lists.
func contacts(res *sip.Response, own sip.Uri, asked int) (ours int, foreign bool) {
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			continue
		}
		if c.Address.User != own.User {
			foreign = true
			continue
		}
		ours = asked
		text, ok := dialog.Param(c.Params, "expires")
		if !ok {
			text = headerValue(res, "Expires")
		}
		if n, err := strconv.Atoi(text); err == nil {
			ours = n
		}
	}
	return ours, foreign
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
		r.good[a.id] = keyOf(a.is)
		seconds := cmp.Or(out.ours, 60)
		a.next = now.Add(time.Duration(seconds)*time.Second*4/5 - rand.N(time.Duration(seconds)*time.Second/20+1))
		r.noteConflict(a, out)
	case out.missing:
		a.registered = false
		a.next = now.Add(refused[len(refused)-1]) // or when it gets one
		r.refused(a, out, "the PBX asks for a password and "+a.id.owner()+" has none: give pbx.secret")
	case out.status == 401 || out.status == 403 || out.status == 407 || out.status == 404:
		r.noteRefusal(p, a, out, now)
	default:
		a.silences++
		a.problem = "the PBX answers " + out.words()
		if out.full() {
			r.conflict(a, fmt.Sprintf("the PBX keeps no further contact of %s (%s): raise its max contacts, or take the account out of the other phone", a.id.owner(), out.words()))
		}
		a.next = now.Add(cmp.Or(out.retryAfter, min(time.Duration(a.silences)*10*time.Second, 5*time.Minute)) + rand.N(2*time.Second))
	}
}

// noteRefusal backs off: hammering a PBX with a wrong password gets the house
// banned by it.
func (r *Registrar) noteRefusal(p *peer, a *account, out outcome, now time.Time) {
	p.failed = append(p.failed, failure{now, a.id, keyOf(a.is)})
	delete(r.good, a.id)
	a.registered = false
	a.next = now.Add(refused[min(a.failures, len(refused)-1)])
	a.failures++
	if out.status == 404 {
		r.refused(a, out, fmt.Sprintf("the PBX does not know %q (404): check pbx.extension and domain of %s", a.is.Extension, a.id.owner()))
		return
	}
	r.refused(a, out, fmt.Sprintf("the PBX refuses auth_user %q (%d): check pbx.auth_user and pbx.secret of %s", a.is.AuthUser, out.status, a.id.owner()))
}

// refused tells that an account is not let in, and why.
func (r *Registrar) refused(a *account, out outcome, problem string) {
	a.problem = problem
	r.Live.Publish("pbx.user_failed", "", a.id.user, map[string]any{"pbx": a.id.pbx, "status": out.status, "problem": problem})
}

// words is what was answered.
func (out outcome) words() string {
	if out.why != "" {
		return fmt.Sprintf("%d, %s", out.status, out.why)
	}
	return fmt.Sprintf("%d %s", out.status, out.reason)
}

// full tells whether the registrar has as many contacts of the account as it keeps.
func (out outcome) full() bool { return strings.Contains(strings.ToLower(out.why), "too many") }

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
