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
	// maxSessionsOfOne may one account or token have; of more, its own oldest goes.
	maxSessionsOfOne = 20
	minPassword      = 10  // characters; NIST SP 800-63B asks for 8
	maxPassword      = 200 // bytes
	maxName          = 64  // bytes
)

// visits are the browser sessions and one-time links. They are kept by the hash
// of what the browser holds.
type visits struct {
	mu       sync.Mutex
	sessions map[string]visit
	links    map[string]time.Time // until
}

// visit is one session. It is good as long as its token is there, or its account
// has the password that it was opened with.
type visit struct {
	account string
	hash    string // of the account's password then
	token   string // id; in the place of the two above
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
// one wins. source is the address that it came from.
func (a *Access) UseLink(ctx context.Context, code, name string, password hotdesk.Secret, source string) (session string, err error) {
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
	acc, err := a.setAccount(ctx, Account{Name: name, Role: hotdesk.RoleOwner}, password, "one-time link")
	if err != nil {
		a.visits.mu.Lock()
		a.visits.links[hash(code)] = until // nothing came of it: it may be tried again
		a.visits.mu.Unlock()
		return "", err
	}
	a.guesses.settle(name, source)
	return a.open(visit{account: name, hash: acc.Hash}), nil
}

// SetAccount makes an account or changes its role, site and password. Its
// browser sessions end.
func (a *Access) SetAccount(ctx context.Context, acc Account, password hotdesk.Secret, by string) error {
	_, err := a.setAccount(ctx, acc, password, by)
	return err
}

// setAccount returns the account as it was stored.
func (a *Access) setAccount(ctx context.Context, acc Account, password hotdesk.Secret, by string) (Account, error) {
	if err := errors.Join(checkName("account", acc.Name), checkRole(acc.Role), checkPassword(acc.Name, password)); err != nil {
		return acc, err
	}
	hashed, err := a.Hasher.HashPIN(ctx, password)
	if err != nil {
		return acc, err
	}
	acc.Hash, acc.Created, acc.By = hashed, a.Now().UTC(), by
	row := a.row("account.saved", by, acc.Name)
	row.Detail["role"] = string(acc.Role)
	return acc, a.write(ctx, func(tx hotdesk.Txn) error {
		return errors.Join(put(tx, accountPrefix+acc.Name, acc), hotdesk.PutAudit(tx, row))
	})
}

func checkPassword(name string, password hotdesk.Secret) error {
	text := password.Reveal()
	if len([]rune(text)) < minPassword || len(text) > maxPassword || text == name {
		return fmt.Errorf("%w: password: choose one of at least %d characters", hotdesk.ErrInvalid, minPassword)
	}
	return nil
}

// SignIn opens a browser session by name and password, or by a token in the
// password's place with the name left empty. Wrong ones, unknown names and too
// many tries cannot be told apart but by ErrLocked. source is the address that it
// came from.
func (a *Access) SignIn(ctx context.Context, name string, password hotdesk.Secret, source string) (session string, err error) {
	text := password.Reveal()
	if name == "" && strings.HasPrefix(text, "hd_") {
		// A token cannot be guessed: it needs neither a count nor a slow hash.
		if _, err := a.ByToken(text); err != nil {
			return "", err
		}
		return a.open(visit{token: tokenID(text)}), nil
	}
	if len(name) > maxName || len(text) > maxPassword {
		return "", errMismatch // nobody has such a one: not worth keeping or hashing
	}
	a.mu.RLock()
	acc, hashed := a.accounts[name], ""
	if acc != nil {
		hashed = acc.Hash
	}
	a.mu.RUnlock()
	t, err := a.guesses.enter(a.Now(), name, source, acc != nil)
	if err != nil {
		return "", err
	}
	if !t.home { // whoever is at home does not queue behind guessers
		select {
		case a.guesses.slot <- struct{}{}: // one at a time: PINs need the other place
			defer func() { <-a.guesses.slot }()
		case <-ctx.Done():
			a.guesses.back(t)
			return "", ctx.Err()
		}
	}
	ok, err := a.Hasher.VerifyPIN(ctx, password, hashed)
	if err != nil { // nothing was compared
		a.guesses.back(t)
		return "", err
	}
	if !ok {
		return "", errMismatch
	}
	a.guesses.right(t)
	return a.open(visit{account: name, hash: hashed}), nil
}

var errMismatch = fmt.Errorf("%w: name and password do not match", hotdesk.ErrUnauthorized)

// open makes a session.
func (a *Access) open(v visit) string {
	text := random(20)
	v.until = a.Now().Add(sessionLife)
	a.visits.mu.Lock()
	defer a.visits.mu.Unlock()
	own, oldest, oldestOwn := 0, "", ""
	for key, x := range a.visits.sessions {
		if oldest == "" || x.until.Before(a.visits.sessions[oldest].until) {
			oldest = key
		}
		if x.account != v.account || x.token != v.token {
			continue
		}
		if own++; oldestOwn == "" || x.until.Before(a.visits.sessions[oldestOwn].until) {
			oldestOwn = key
		}
	}
	switch {
	case own >= maxSessionsOfOne: // whoever opens many signs nobody else out
		delete(a.visits.sessions, oldestOwn)
	case len(a.visits.sessions) >= maxSessions:
		delete(a.visits.sessions, oldest)
	}
	a.visits.sessions[hash(text)] = v
	return text
}

// BySession says who a browser session belongs to, and prolongs it.
func (a *Access) BySession(text string) (hotdesk.Principal, error) {
	key, now := hash(text), a.Now()
	a.mu.RLock()
	defer a.mu.RUnlock()
	a.visits.mu.Lock()
	defer a.visits.mu.Unlock()
	v, ok := a.visits.sessions[key]
	if ok && now.After(v.until) {
		delete(a.visits.sessions, key)
		ok = false
	}
	p, good := a.visitor(v, now)
	if !ok || !good {
		return hotdesk.Principal{}, fmt.Errorf("%w: sign in again", hotdesk.ErrUnauthorized)
	}
	v.until = now.Add(sessionLife)
	a.visits.sessions[key] = v
	return p, nil
}

// visitor is whose session it is, and whether what it was opened with is still
// good. The caller holds mu.
func (a *Access) visitor(v visit, now time.Time) (hotdesk.Principal, bool) {
	if t := a.tokens[v.token]; t.good(now) {
		return t.principal(hotdesk.ByAdmin), true
	}
	acc := a.accounts[v.account]
	if acc == nil || acc.Hash != v.hash {
		return hotdesk.Principal{}, false
	}
	return hotdesk.Principal{Name: acc.Name, Role: acc.Role, Site: acc.Site, By: hotdesk.ByAdmin}, true
}

// SignOut ends a browser session.
func (a *Access) SignOut(text string) {
	a.visits.mu.Lock()
	defer a.visits.mu.Unlock()
	delete(a.visits.sessions, hash(text))
}
