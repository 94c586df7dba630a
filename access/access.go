package access

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"hotdeskd/hotdesk"
)

// Hasher hashes passwords slowly; vault does it.
type Hasher interface {
	HashPIN(ctx context.Context, secret hotdesk.Secret) (string, error)
	VerifyPIN(ctx context.Context, secret hotdesk.Secret, hash string) (bool, error)
}

// Options of New; all are required but Log.
type Options struct {
	Store  hotdesk.Store
	Hasher Hasher
	Now    func() time.Time
	Log    *slog.Logger
}

// Access answers who somebody is. Its methods may be called from any goroutine
// once Serve has read the store (Ready).
type Access struct {
	Options
	ready    chan struct{}
	mu       sync.RWMutex
	rev      hotdesk.Rev
	changed  chan struct{}
	tokens   map[string]*token
	accounts map[string]*Account
	used     map[string]time.Time // tokens, since the start
	visits   visits
	guesses  guesses
	making   sync.Mutex // of tokens, one at a time: their names differ
}

// token is a token's record (key /token/<id>).
type token struct {
	hotdesk.APIToken
	Hash string `json:"hash"` // SHA-256 of the token's text: it has 160 random bits
}

// Account is a person who signs in with a password (key /account/<name>).
type Account struct {
	Name    string       `json:"name"`
	Role    hotdesk.Role `json:"role"`
	Site    string       `json:"site,omitempty"`
	Hash    string       `json:"hash,omitempty"` // argon2id of the password
	Created time.Time    `json:"created"`
	By      string       `json:"by"`
}

const (
	tokenPrefix   = "/token/"
	accountPrefix = "/account/"
)

// New builds it; nothing runs until Serve.
func New(o Options) (*Access, error) {
	if o.Store == nil || o.Hasher == nil || o.Now == nil {
		return nil, errors.New("access.New: an option is missing")
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return &Access{
		Options: o, ready: make(chan struct{}), changed: make(chan struct{}),
		tokens: map[string]*token{}, accounts: map[string]*Account{}, used: map[string]time.Time{},
		visits:  visits{sessions: map[string]visit{}, links: map[string]time.Time{}},
		guesses: newGuesses(),
	}, nil
}

// Ready is closed when the store has been read.
func (a *Access) Ready() <-chan struct{} { return a.ready }

// Serve reads the store and follows its commits until ctx ends.
func (a *Access) Serve(ctx context.Context) error {
	rev, err := a.load(ctx)
	if err != nil {
		return err
	}
	close(a.ready)
	for {
		for c, err := range a.Store.Watch(ctx, rev) {
			switch {
			case err == nil:
				err = a.take(c)
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, hotdesk.ErrCompacted):
				rev, err = a.load(ctx)
			}
			if err != nil {
				return fmt.Errorf("follow the store: %w", err)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// load replaces what is in memory by what is stored.
func (a *Access) load(ctx context.Context) (hotdesk.Rev, error) {
	all := hotdesk.Commit{}
	err := a.Store.View(ctx, func(r hotdesk.Reader) error {
		all.Rev = r.Rev()
		for _, prefix := range []string{tokenPrefix, accountPrefix} {
			for kv, err := range r.Scan(prefix) {
				if err != nil {
					return err
				}
				all.Changes = append(all.Changes, hotdesk.Change{Key: kv.Key, Value: kv.Value})
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read the store: %w", err)
	}
	a.mu.Lock()
	clear(a.tokens)
	clear(a.accounts)
	a.mu.Unlock()
	return all.Rev, a.take(all)
}

// take brings one commit into memory.
func (a *Access) take(c hotdesk.Commit) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, change := range c.Changes {
		var err error
		if id, ok := strings.CutPrefix(change.Key, tokenPrefix); ok {
			err = keep(a.tokens, id, change.Value)
		} else if name, ok := strings.CutPrefix(change.Key, accountPrefix); ok {
			err = keep(a.accounts, name, change.Value)
		}
		if err != nil {
			return fmt.Errorf("stored record %s cannot be read: %w", change.Key, err)
		}
	}
	a.rev = c.Rev
	close(a.changed)
	a.changed = make(chan struct{})
	return nil
}

func keep[T any](in map[string]*T, id string, value []byte) error {
	if value == nil {
		delete(in, id)
		return nil
	}
	var rec T
	err := json.Unmarshal(value, &rec)
	in[id] = &rec
	return err
}

// write runs one transaction and waits, at most 2 s, until memory shows it.
func (a *Access) write(ctx context.Context, fn func(hotdesk.Txn) error) error {
	rev, err := a.Store.Update(ctx, fn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for {
		a.mu.RLock()
		reached, changed := a.rev >= rev, a.changed
		a.mu.RUnlock()
		if reached {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil // late, but done
		}
	}
}

func (a *Access) row(action, by, name string) hotdesk.AuditRow {
	return hotdesk.AuditRow{Op: hotdesk.NewOperation(), Time: a.Now().UTC(), Action: action, By: by, Detail: map[string]string{"name": name}}
}

func put(tx hotdesk.Txn, key string, rec any) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	tx.Put(key, b)
	return nil
}

// Create makes a token; its text is returned this once. Its name is what the audit
// log says, so it must be nobody else's: the server's own actors, a person's or a
// good token's name is refused (hotdesk.ErrInvalid, hotdesk.ErrConflict).
func (a *Access) Create(ctx context.Context, spec hotdesk.TokenSpec, by string) (hotdesk.APIToken, hotdesk.Secret, error) {
	if err := checkName("token", spec.Name); err != nil {
		return hotdesk.APIToken{}, "", err
	}
	if err := checkRole(spec.Role); err != nil {
		return hotdesk.APIToken{}, "", err
	}
	if spec.TTL < 0 {
		return hotdesk.APIToken{}, "", fmt.Errorf("%w: ttl: it must be positive, like 90d or 12h", hotdesk.ErrInvalid)
	}
	now := a.Now().UTC()
	a.making.Lock()
	defer a.making.Unlock()
	if err := a.nameFree(spec.Name, now); err != nil {
		return hotdesk.APIToken{}, "", err
	}
	t := token{APIToken: hotdesk.APIToken{ID: random(5), Name: spec.Name, Role: spec.Role, Site: spec.Site, Created: now, By: by}}
	if spec.TTL > 0 {
		until := now.Add(spec.TTL)
		t.Expires = &until
	}
	text := "hd_" + t.ID + "_" + random(20)
	t.Hash = hash(text)
	row := a.row("token.created", by, spec.Name)
	row.Detail["role"], row.Detail["id"] = string(spec.Role), t.ID
	err := a.write(ctx, func(tx hotdesk.Txn) error {
		return errors.Join(put(tx, tokenPrefix+t.ID, t), hotdesk.PutAudit(tx, row))
	})
	if err != nil {
		return hotdesk.APIToken{}, "", err
	}
	return t.APIToken, hotdesk.Secret(text), nil
}

// reserved are the names by which the audit log calls the server's own actors: the
// command line on the server is admin, the phones are phone.
func reserved() []string {
	own := []string{"phone", "server", "system", "hotdeskd", "cli"}
	for _, by := range []hotdesk.Actor{hotdesk.ByIVR, hotdesk.ByAdmin, hotdesk.ByAPI, hotdesk.ByStaff, hotdesk.ByTimer} {
		own = append(own, string(by))
	}
	return own
}

// nameFree refuses a new token's name that the audit log has for somebody else.
func (a *Access) nameFree(name string, now time.Time) error {
	for _, own := range reserved() {
		if strings.EqualFold(name, own) {
			return fmt.Errorf("%w: token: the name %q is what the audit log calls the server's own %s; choose one that says what the token is for", hotdesk.ErrInvalid, name, own)
		}
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, acc := range a.accounts {
		if strings.EqualFold(name, acc.Name) {
			return fmt.Errorf("%w: token: %q is somebody who signs in to the console; choose another name", hotdesk.ErrConflict, name)
		}
	}
	for id, t := range a.tokens {
		if t.good(now) && strings.EqualFold(name, t.Name) {
			return fmt.Errorf("%w: there is a token %s already (id %s); choose another name, or revoke that one first: hotdeskd token revoke %s", hotdesk.ErrConflict, t.Name, id, id)
		}
	}
	return nil
}

// Tokens lists the tokens, oldest first.
func (a *Access) Tokens() []hotdesk.APIToken {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := make([]hotdesk.APIToken, 0, len(a.tokens))
	for id, t := range a.tokens {
		shown := t.APIToken
		if at, ok := a.used[id]; ok {
			shown.LastUsed = &at
		}
		all = append(all, shown)
	}
	slices.SortFunc(all, func(x, y hotdesk.APIToken) int {
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.ID, y.ID))
	})
	return all
}

// Revoke ends a token, given by its id or, where only one has it, by its name.
func (a *Access) Revoke(ctx context.Context, idOrName, by string) error {
	var found []hotdesk.APIToken
	for _, t := range a.Tokens() {
		if t.ID == idOrName || t.Name == idOrName {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0:
		return fmt.Errorf("%w: token %s", hotdesk.ErrNotFound, idOrName)
	case 1:
	default:
		return fmt.Errorf("%w: %d tokens are named %s; give the id", hotdesk.ErrConflict, len(found), idOrName)
	}
	row := a.row("token.revoked", by, found[0].Name)
	row.Detail["id"] = found[0].ID
	err := a.write(ctx, func(tx hotdesk.Txn) error {
		tx.Delete(tokenPrefix + found[0].ID)
		return hotdesk.PutAudit(tx, row)
	})
	if err == nil {
		a.mu.Lock()
		delete(a.used, found[0].ID)
		a.mu.Unlock()
	}
	return err
}

// ByToken says who holds a token. Unknown, wrong and expired ones get the same
// hotdesk.ErrUnauthorized.
func (a *Access) ByToken(text string) (hotdesk.Principal, error) {
	id, sum, now := tokenID(text), hash(text), a.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tokens[id]
	if !t.good(now) || subtle.ConstantTimeCompare([]byte(t.Hash), []byte(sum)) != 1 {
		return hotdesk.Principal{}, fmt.Errorf("%w: the token is unknown, revoked or expired", hotdesk.ErrUnauthorized)
	}
	a.used[id] = now.UTC()
	return t.principal(hotdesk.ByAPI), nil
}

// tokenID is the part of a token's text that names it.
func tokenID(text string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(text, "hd_"), "_")
	return id
}

// good tells whether the token is there and has not expired.
func (t *token) good(now time.Time) bool {
	return t != nil && (t.Expires == nil || now.Before(*t.Expires))
}

func (t *token) principal(by hotdesk.Actor) hotdesk.Principal {
	return hotdesk.Principal{Name: t.Name, Role: t.Role, Site: t.Site, By: by}
}

// Accounts lists the people who can sign in, by name, without their hashes.
func (a *Access) Accounts() []Account {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := make([]Account, 0, len(a.accounts))
	for _, name := range slices.Sorted(maps.Keys(a.accounts)) {
		shown := *a.accounts[name]
		shown.Hash = ""
		all = append(all, shown)
	}
	return all
}

// checkName takes what can stand in a key, a log line and a page.
func checkName(kind, name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@"
	if name == "" || len(name) > maxName || strings.Trim(name, allowed) != "" {
		return fmt.Errorf("%w: %s: the name %q must have 1 to 64 letters, digits, '-', '_', '.' or '@'", hotdesk.ErrInvalid, kind, name)
	}
	return nil
}

func checkRole(r hotdesk.Role) error {
	if !r.Valid() {
		return fmt.Errorf("%w: role: %q must be viewer, desk-manager, admin or owner", hotdesk.ErrInvalid, r)
	}
	return nil
}

// random is n random bytes as lower-case letters and digits.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
