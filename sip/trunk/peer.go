package trunk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// A PBX is asked whether it is there; it is down when it was silent twice, and up
// at the first word.
const (
	pingEvery  = 30 * time.Second
	pingAgain  = 5 * time.Second  // after the first silence, and while it is down
	pingPart   = 15 * time.Second // while one of several addresses is silent
	pingWait   = 4 * time.Second
	pingMisses = 2
)

// At most so many failed authentications in so long a time may come from us, over
// all users: a PBX bans an address after a few.
const (
	authFailures = 3
	authWindow   = 10 * time.Minute
)

// peer is what is known of one PBX. The registrar's lock guards it.
type peer struct {
	pbx     hotdesk.PBX
	next    time.Time // of the next question
	asking  bool
	heard   bool // it has answered something
	pinged  bool // it answers OPTIONS; some do not, and are there all the same
	misses  int
	back    time.Time // since when it answers without a silence
	problem string
	failed  []failure // failed authentications of late, oldest first
	looped  time.Time // when something that was sent to it came to ourselves
	trying  int       // secrets in flight that could be wrong
	risked  time.Time // when one more refusal was risked
}

// failure is one failed authentication, and with what.
type failure struct {
	at  time.Time
	id  accountID
	key string
}

func (p *peer) status() hotdesk.PBXStatus {
	s := hotdesk.PBXStatus{State: hotdesk.PBXUnknown, Problem: p.problem}
	switch {
	case p.down():
		s.State = hotdesk.PBXDown
	case p.heard:
		s.State, s.Problem = hotdesk.PBXUp, ""
	}
	return s
}

// down tells whether it was silent for long enough, and away, whether to wait for an
// answer to OPTIONS before anything else is asked of it.
func (p *peer) down() bool { return p.misses >= pingMisses }
func (p *peer) away() bool { return p.down() && p.pinged }

// confirmed tells whether an account is registered as far as the PBX has said since it
// came back.
func (p *peer) confirmed(a *account) bool {
	return a.registered && !p.down() && !a.said.Before(p.back)
}

// mayFail tells whether one more authentication may fail: what is in flight could.
func (p *peer) mayFail(now time.Time) bool {
	p.failed = slices.DeleteFunc(p.failed, func(f failure) bool { return now.Sub(f.at) >= authWindow })
	return len(p.failed) == 0 || len(p.failed)+p.trying < authFailures
}

// forgive takes out the failures of an account that were with another secret: it was
// mended, so they say nothing of what comes.
func (p *peer) forgive(id accountID, key string) {
	p.failed = slices.DeleteFunc(p.failed, func(f failure) bool { return f.id == id && f.key != key })
}

// refusedWho names those whose passwords were refused.
func (p *peer) refusedWho() string {
	var who []string
	for _, f := range p.failed {
		if name := f.id.owner(); !slices.Contains(who, name) {
			who = append(who, name)
		}
	}
	return strings.Join(who, ", ")
}

// trusted ends the wait of all: the PBX has taken credentials from us. What was refused
// before is forgotten when it was refused to the same account, or an administrator asks
// for it; otherwise one more refusal is risked, once in a while. The caller holds the lock.
func (r *Registrar) trusted(p *peer, mended bool) {
	now := r.Now()
	switch {
	case mended:
		p.failed = nil
	case len(p.failed) < authFailures || now.Sub(p.risked) < authWindow:
		return
	default:
		p.risked = now
		p.failed = p.failed[len(p.failed)-(authFailures-1):]
	}
	for id, a := range r.accounts {
		if id.pbx == p.pbx.Name && a.wanted && (a.failures > 0 || a.held) {
			a.next = now
			if mended {
				a.failures = 0
			}
		}
	}
	r.awake()
}

// Retry tries all accounts of a PBX that are not registered at once: what was wrong was
// mended there.
func (r *Registrar) Retry(pbx string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.peers[pbx]
	if p == nil {
		return
	}
	p.next = r.Now()
	r.trusted(p, true)
	for id, a := range r.accounts {
		if id.pbx == pbx && a.wanted && !p.confirmed(a) {
			a.next, a.renew = r.Now(), a.busy
		}
	}
}

// ping asks the PBX when it is time, at all its addresses at once. The caller holds
// the lock.
func (r *Registrar) ping(ctx context.Context, p *peer, now time.Time) {
	if p.asking || now.Before(p.next) {
		return
	}
	p.asking = true
	pbx := p.pbx
	r.running.Go(func() {
		flows := r.Targets(pbx)
		errs := make([]error, len(flows))
		var all sync.WaitGroup
		for i, f := range flows {
			all.Go(func() {
				_, errs[i] = r.ask(ctx, pbx, f)
				r.answered(ctx, p, f, errs[i])
			})
		}
		all.Wait()
		err := errors.Join(errs...)
		if len(flows) == 0 {
			err = r.lost(pbx)
		}
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		p.asking = false
		switch {
		case slices.Contains(errs, nil):
			if err != nil { // some address is silent
				p.next = r.Now().Add(pingPart)
			}
		case errors.Is(err, errNoAddress): // it is being looked up
			p.problem, p.next = trouble(pbx, err), r.Now()
		case p.heard && !p.pinged: // it answers no OPTIONS
			p.next = r.Now().Add(pingEvery)
		default:
			r.silent(p, err, now)
		}
	})
}

// answered notes whether one address of a PBX answers. One that answers no OPTIONS
// may take calls all the same.
func (r *Registrar) answered(ctx context.Context, p *peer, f dialog.Flow, err error) {
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.where.heard(f)
		p.pinged = true
		r.alive(p, r.Now())
	case p.pinged || !p.heard:
		r.where.fail(f, r.Now().Add(failedFor))
	}
}

// alive and silent note whether the PBX answers. One that answers after a silence may
// have been started anew: everybody is registered again. The caller holds the lock; now
// is the moment that the answer is noted with: a registration which is that answer counts
// as made since the return.
func (r *Registrar) alive(p *peer, now time.Time) {
	if p.misses > 0 {
		p.back = now
		r.again(p.pbx.Name, now)
	}
	p.heard, p.misses, p.problem = true, 0, ""
	if p.pinged { // otherwise let us learn soon whether it answers OPTIONS
		p.next = now.Add(pingEvery)
	}
}

func (r *Registrar) silent(p *peer, err error, began time.Time) {
	p.misses++
	if errors.Is(err, ErrLoop) {
		p.misses = pingMisses // there is no doubt
	}
	p.problem, p.next = trouble(p.pbx, err), began.Add(pingAgain)
	if p.misses == pingMisses {
		r.Log.Warn("no answer from the PBX", "pbx", p.pbx.Name, "problem", p.problem, "err", err)
	}
}

// ask sends an OPTIONS to one address of a PBX.
func (r *Registrar) ask(ctx context.Context, p hotdesk.PBX, f dialog.Flow) (*sip.Response, error) {
	line := r.via()
	to := sip.Uri{Scheme: "sip", Host: cmp.Or(p.Domain, host(p.Proxy))}
	req := request(line, sip.OPTIONS, to, sip.Uri{Scheme: "sip", User: "hotdeskd", Host: to.Host}, to, uuid.NewString(), sip.GenerateTagN(16), 1)
	req.AppendHeader(&sip.ContactHeader{Address: line.Contact(f)})
	req.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	req.AppendHeader(r.mark(p.Name, to))
	ctx, cancel := context.WithTimeout(ctx, pingWait)
	defer cancel()
	res, err := line.Net.Do(ctx, req, f)
	if err == nil && r.cameBack(p.Name, res) {
		return nil, ErrLoop
	}
	return res, err
}

// lost says why the address of a PBX is not known.
func (r *Registrar) lost(p hotdesk.PBX) error {
	_, err := r.where.find(places(p)[0], r.Now())
	return fmt.Errorf("%s: %w", destination(p), cmp.Or(err, errNoAddress))
}

// request builds a request outside any dialog.
func request(line Line, method sip.RequestMethod, target, from, to sip.Uri, callID, tag string, cseq uint32) *sip.Request {
	req := sip.NewRequest(method, target)
	f := &sip.FromHeader{Address: from, Params: sip.NewParams()}
	f.Params.Add("tag", tag)
	id, hops := sip.CallIDHeader(callID), sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(f)
	req.AppendHeader(&sip.ToHeader{Address: to, Params: sip.NewParams()})
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
	req.AppendHeader(sip.NewHeader("User-Agent", line.Net.Agent))
	return req
}
