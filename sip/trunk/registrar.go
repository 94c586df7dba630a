package trunk

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// Desk is what the registrar asks the rules; all of it is in memory.
type Desk interface {
	PBXs() []hotdesk.PBX
	PBXAccounts() []hotdesk.PBXAccount
	PBXAccountSecret(hotdesk.PBXAccount) (hotdesk.Secret, error)
}

// Options of New; all are required but Resolver.
type Options struct {
	Desk Desk
	Live *hotdesk.Live
	Key  []byte // of the contacts' names; the same over restarts
	Now  func() time.Time
	Log  *slog.Logger
	// Resolver finds PBXes that are given by name; nil: the system's.
	Resolver Resolver
}

// Line is how requests are sent: the edge's own.
type Line struct {
	Net     *dialog.Net
	Contact func(dialog.Flow) sip.Uri // our address for whoever is on a flow
}

// Registrar keeps the PBXes informed of who sits where. Its methods may be called
// from any goroutine.
type Registrar struct {
	Options
	where addresses

	mu       sync.Mutex
	line     Line
	accounts map[accountID]*account
	peers    map[string]*peer // by PBX
	tokens   map[string]accountID
	good     map[accountID]string // what each account's registration succeeded with
	running  sync.WaitGroup
	wake     chan struct{} // something is due
	loop     []byte        // key of the marks by which we know what we have sent
}

// New makes a registrar; Serve runs it.
func New(o Options) *Registrar {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	return &Registrar{
		Options: o, where: addresses{resolver: o.Resolver, known: map[place]answer{}, failed: map[dialog.Flow]time.Time{}, leads: map[dialog.Flow]bool{}},
		accounts: map[accountID]*account{}, peers: map[string]*peer{}, tokens: map[string]accountID{}, good: map[accountID]string{}, wake: make(chan struct{}, 1), loop: loopKey(),
	}
}

// tick is how often the registrar looks what there is to do. Registrations are
// paced: perTick of them begin at once, 20 a second.
const (
	tick    = 500 * time.Millisecond
	perTick = 10
)

// Serve keeps the registrations until ctx ends. They are left to run out then: a
// restart must not make the PBX send everybody's calls to voicemail, and the
// contacts stay the same.
func (r *Registrar) Serve(ctx context.Context, l Line) error {
	r.mu.Lock()
	r.line = l
	r.mu.Unlock()
	defer r.running.Wait()
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for {
		r.look(ctx)
		select {
		case <-clock.C:
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// awake lets Serve look what is due before the next tick.
func (r *Registrar) awake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// via is how requests are sent, once Serve runs.
func (r *Registrar) via() Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.line
}

// look compares what is wanted with what is, and begins what is due.
func (r *Registrar) look(ctx context.Context) {
	now := r.Now()
	pbxs := map[string]hotdesk.PBX{}
	for _, p := range r.Desk.PBXs() {
		if p.Mode != "none" {
			pbxs[p.Name] = p
		}
	}
	wanted := map[accountID]hotdesk.PBXAccount{}
	for _, a := range r.Desk.PBXAccounts() {
		wanted[accountID{a.PBX, a.User}] = a
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.peers {
		if _, ok := pbxs[name]; !ok {
			delete(r.peers, name)
		}
	}
	for name, p := range pbxs {
		pe := r.peers[name]
		if pe == nil || !slices.Equal(places(pe.pbx), places(p)) { // new, or moved
			pe = &peer{}
			r.peers[name] = pe
			r.again(name, now)
		}
		pe.pbx = p
		r.ping(ctx, pe, now)
	}
	for id, a := range wanted {
		acc := r.accounts[id]
		if acc == nil {
			acc = newAccount(id, r.token(id))
			r.accounts[id], r.tokens[acc.token] = acc, id
		}
		acc.want(a, now)
		if r.good[id] == keyOf(a) && acc.failures == 0 {
			acc.proven = true // before the user left and came again
		}
		if pe := r.peers[id.pbx]; pe != nil {
			pe.forgive(id, keyOf(a))
		}
	}
	begun := 0
	for id, acc := range r.accounts {
		if _, ok := wanted[id]; !ok {
			acc.unwant(now)
		}
	}
	for _, acc := range r.order() {
		id := acc.id
		pe := r.peers[id.pbx]
		if acc.busy {
			continue
		}
		if acc.done() || pe == nil {
			delete(r.accounts, id)
			delete(r.tokens, acc.token)
			continue
		}
		expires, due := acc.due(now, r.Live)
		if !due || begun >= perTick || pe.away() {
			continue
		}
		if acc.held = expires > 0 && acc.unproven() && !pe.mayFail(now); acc.held {
			if acc.failures == 0 {
				acc.trouble = pe.waits(id)
			}
			continue
		}
		begun++
		r.begin(ctx, pe, acc, expires)
	}
	r.report(pbxs)
}

// again lets all accounts of a PBX register anew: it was away, and may have forgotten
// them. The caller holds the lock.
func (r *Registrar) again(pbx string, now time.Time) {
	for id, a := range r.accounts {
		if id.pbx == pbx && a.wanted {
			a.next, a.renew = now, a.busy
		}
	}
}

// order lists the accounts in the order of their turns: first what emergency calls
// need, then who has a phone that is on, then everybody else who sits somewhere, last
// who has left; among equals first who was not refused. The caller holds the lock.
func (r *Registrar) order() []*account {
	rank := func(a *account) int {
		switch {
		case !a.wanted:
			return 3
		case a.id.user == "":
			return 0
		case slices.ContainsFunc(a.is.Devices, func(id hotdesk.DeviceID) bool { _, on := r.Live.Registration(id); return on }):
			return 1
		}
		return 2
	}
	ranks := make(map[*account]int, len(r.accounts))
	for _, a := range r.accounts {
		ranks[a] = rank(a)
	}
	return slices.SortedFunc(maps.Keys(ranks), func(a, b *account) int {
		return cmp.Or(cmp.Compare(ranks[a], ranks[b]), cmp.Compare(a.failures, b.failures), cmp.Compare(a.id.user, b.id.user), cmp.Compare(a.id.pbx, b.id.pbx))
	})
}

// token names a contact: the same one after a restart, and nobody can guess it.
func (r *Registrar) token(id accountID) string {
	mac := hmac.New(sha256.New, r.Key)
	mac.Write([]byte(id.pbx + "\x00" + string(id.user)))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// report tells everybody what is known of the PBXes.
func (r *Registrar) report(pbxs map[string]hotdesk.PBX) {
	for name := range pbxs {
		pe := r.peers[name]
		s := pe.status()
		if s.State == hotdesk.PBXDown {
			words, fix, _ := strings.Cut(s.Problem, ": ")
			s.Troubles = append(s.Troubles, hotdesk.PBXTrouble{State: hotdesk.TroubleProblem, Words: words, Fix: fix})
		}
		for id, acc := range r.accounts {
			if id.pbx != name {
				continue
			}
			if acc.trouble.Words != "" {
				s.Troubles = append(s.Troubles, acc.trouble)
			}
			if id.user == "" {
				s.Account = acc.trouble.String()
				if s.Account == "" && pe.confirmed(acc) {
					s.Account = "registered"
				}
				continue
			}
			if pe.confirmed(acc) {
				s.Registered++
			}
			if acc.trouble.Words != "" {
				s.Failed = append(s.Failed, acc.trouble.Line())
			}
		}
		slices.SortFunc(s.Troubles, func(a, b hotdesk.PBXTrouble) int { return cmp.Compare(a.Who, b.Who) })
		slices.Sort(s.Failed)
		r.Live.SetPBX(name, s)
	}
}

// Contact is where a PBX reaches an account: a name that tells nothing, at our
// address.
func (r *Registrar) Contact(a hotdesk.PBXAccount, own sip.Uri) sip.Uri {
	own.User = r.token(accountID{a.PBX, a.User})
	return own
}

// Called finds the user whose contact a PBX calls, by its name.
func (r *Registrar) Called(token string) (p hotdesk.PBX, user hotdesk.Extension, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, known := r.tokens[token]
	pe := r.peers[id.pbx]
	if !known || pe == nil {
		return p, "", false
	}
	return pe.pbx, id.user, true
}

var errNoAddress = errors.New("its address is not known")
