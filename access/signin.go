package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"hotdeskd/hotdesk"
)

const (
	// LinkLife is how long a one-time link is good for.
	LinkLife = 60 * time.Minute
	// sessionLife is how long somebody stays signed in without doing anything.
	sessionLife = 12 * time.Hour
	maxSessions = 1000 // the one unused for the longest goes first
	minPassword = 10   // characters; NIST SP 800-63B asks for 8
)

// visits are the browser sessions and one-time links. They are kept by the hash
// of what the browser holds.
type visits struct {
	mu       sync.Mutex
	sessions map[string]visit
	links    map[string]time.Time // until
}

type visit struct {
	account string // or
	token   string // id
	until   time.Time
}

// NewLink makes a one-time link's code: whoever opens it within LinkLife may
// choose an owner's name and password.
func (a *Access) NewLink() string {
	code := random(15)
	a.visits.mu.Lock()
	defer a.visits.mu.Unlock()
	for old, until := range a.visits.links {
		if a.Now().After(until) {
			delete(a.visits.links, old)
		}
	}
	a.visits.links[hash(code)] = a.Now().Add(LinkLife)
	return code
}

// LinkOpen tells whether a one-time link can still be used.
func (a *Access) LinkOpen(code string) bool {
	a.visits.mu.Lock()
	defer a.visits.mu.Unlock()
	until, ok := a.visits.links[hash(code)]
	return ok && a.Now().Before(until)
}

// UseLink makes, or gives a new password to, an owner, and signs them in. A
// refused name or password leaves the link as it was; of two who use it at once,
// one wins.
func (a *Access) UseLink(ctx context.Context, code, name string, password hotdesk.Secret) (session string, err error) {
	if err := errors.Join(checkName("account", name), checkPassword(name, password)); err != nil {
		return "", err
	}
	a.visits.mu.Lock()
	until, ok := a.visits.links[hash(code)]
	delete(a.visits.links, hash(code))
	a.visits.mu.Unlock()
	if !ok || a.Now().After(until) {
		return "", fmt.Errorf("%w: this link was used already or is older than an hour; make a new one on the server: hotdeskd console link", hotdesk.ErrUnauthorized)
	}
	if err := a.SetAccount(ctx, Account{Name: name, Role: hotdesk.RoleOwner}, password, "one-time link"); err != nil {
		a.visits.mu.Lock()
		a.visits.links[hash(code)] = until // nothing came of it: it may be tried again
		a.visits.mu.Unlock()
		return "", err
	}
	return a.open(visit{account: name}), nil
}

// SetAccount makes an account or changes its role, site and password. Its
// browser sessions end.
func (a *Access) SetAccount(ctx context.Context, acc Account, password hotdesk.Secret, by string) error {
	if err := errors.Join(checkName("account", acc.Name), checkRole(acc.Role), checkPassword(acc.Name, password)); err != nil {
		return err
	}
	hashed, err := a.Hasher.HashPIN(ctx, password)
	if err != nil {
		return err
	}
	acc.Hash, acc.Created, acc.By = hashed, a.Now().UTC(), by
	row := a.row("account.saved", by, acc.Name)
	row.Detail["role"] = string(acc.Role)
	err = a.write(ctx, func(tx hotdesk.Txn) error {
		return errors.Join(put(tx, accountPrefix+acc.Name, acc), hotdesk.PutAudit(tx, row))
	})
	if err == nil {
		a.endSessions(acc.Name)
	}
	return err
}

func checkPassword(name string, password hotdesk.Secret) error {
	text := password.Reveal()
	if len([]rune(text)) < minPassword || len(text) > 200 || text == name {
		return fmt.Errorf("%w: password: choose one of at least %d characters", hotdesk.ErrInvalid, minPassword)
	}
	return nil
}

// SignIn opens a browser session by name and password, or by a token in the
// password's place with the name left empty. Wrong ones, unknown names and too
// many tries cannot be told apart but by ErrLocked.
func (a *Access) SignIn(ctx context.Context, name string, password hotdesk.Secret, source string) (session string, err error) {
	if err := a.guesses.enter(a.Now(), name, source); err != nil {
		return "", err
	}
	if text := password.Reveal(); name == "" && strings.HasPrefix(text, "hd_") {
		if _, err := a.ByToken(text); err != nil {
			return "", err
		}
		a.guesses.forgive(name, source)
		return a.open(visit{token: tokenID(text)}), nil
	}
	a.mu.RLock()
	acc, hashed := a.accounts[name], ""
	if acc != nil {
		hashed = acc.Hash
	}
	a.mu.RUnlock()
	select {
	case a.guesses.slot <- struct{}{}: // one at a time: PINs need the other place
		defer func() { <-a.guesses.slot }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	ok, err := a.Hasher.VerifyPIN(ctx, password, hashed)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", fmt.Errorf("%w: name and password do not match", hotdesk.ErrUnauthorized)
	}
	a.guesses.forgive(name, source)
	return a.open(visit{account: name}), nil
}

// open makes a session.
func (a *Access) open(v visit) string {
	text := random(20)
	v.until = a.Now().Add(sessionLife)
	a.visits.mu.Lock()
	defer a.visits.mu.Unlock()
	if len(a.visits.sessions) >= maxSessions {
		oldest, at := "", time.Time{}
		for key, v := range a.visits.sessions {
			if oldest == "" || v.until.Before(at) {
				oldest, at = key, v.until
			}
		}
		delete(a.visits.sessions, oldest)
	}
	a.visits.sessions[hash(text)] = v
	return text
}

// BySession says who a browser session belongs to, and prolongs it.
func (a *Access) BySession(text string) (hotdesk.Principal, error) {
	key, now := hash(text), a.Now()
	a.visits.mu.Lock()
	v, ok := a.visits.sessions[key]
	if ok && now.After(v.until) {
		delete(a.visits.sessions, key)
		ok = false
	}
	if ok {
		v.until = now.Add(sessionLife)
		a.visits.sessions[key] = v
	}
	a.visits.mu.Unlock()
	a.mu.RLock()
	defer a.mu.RUnlock()
	if t := a.tokens[v.token]; ok && t.good(now) {
		return t.principal(hotdesk.ByAdmin), nil
	}
	if acc := a.accounts[v.account]; ok && acc != nil {
		return hotdesk.Principal{Name: acc.Name, Role: acc.Role, Site: acc.Site, By: hotdesk.ByAdmin}, nil
	}
	return hotdesk.Principal{}, fmt.Errorf("%w: sign in again", hotdesk.ErrUnauthorized)
}

// SignOut ends a browser session.
func (a *Access) SignOut(text string) {
	a.visits.mu.Lock()
	defer a.visits.mu.Unlock()
	delete(a.visits.sessions, hash(text))
}

func (a *Access) endSessions(account string) {
	a.visits.mu.Lock()
	defer a.visits.mu.Unlock()
	for key, v := range a.visits.sessions {
		if v.account == account {
			delete(a.visits.sessions, key)
		}
	}
}

// guesses bounds the trying of passwords: after five wrong ones of a name from one
// address, ten from one address or fifty of a name, the next must wait a minute,
// then two, up to fifteen. So nobody can lock out somebody else for long by
// guessing from another place.
type guesses struct {
	mu    sync.Mutex
	wrong map[string]wrong
	slot  chan struct{}
}

type wrong struct {
	tries int
	locks int
	until time.Time
	last  time.Time
}

const (
	pairTries   = 5
	sourceTries = 10
	nameTries   = 50
	maxGuessers = 10000
)

// enter charges one try before anything is compared.
func (g *guesses) enter(now time.Time, name, source string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.wrong) > maxGuessers {
		for key, w := range g.wrong {
			if now.Sub(w.last) > time.Hour {
				delete(g.wrong, key)
			}
		}
		if len(g.wrong) > maxGuessers {
			return fmt.Errorf("%w: wait a minute", hotdesk.ErrLocked)
		}
	}
	for _, of := range []struct {
		key  string
		most int
	}{{"pair " + name + " " + source, pairTries}, {"from " + source, sourceTries}, {"name " + name, nameTries}} {
		w := g.wrong[of.key]
		if now.Before(w.until) {
			return fmt.Errorf("%w: wait until %s", hotdesk.ErrLocked, w.until.UTC().Format("15:04:05 UTC"))
		}
		if now.Sub(w.last) > 24*time.Hour {
			w = wrong{}
		}
		w.tries, w.last = w.tries+1, now
		if w.tries >= of.most {
			w.until = now.Add(min(time.Minute<<min(w.locks, 10), 15*time.Minute))
			w.tries, w.locks = 0, w.locks+1
		}
		g.wrong[of.key] = w
	}
	return nil
}

func (g *guesses) forgive(name, source string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, key := range []string{"pair " + name + " " + source, "from " + source, "name " + name} {
		delete(g.wrong, key)
	}
}
