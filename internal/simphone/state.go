package simphone

import (
	"context"
	"slices"
	"sync"
	"time"
)

// State is what a person in front of the phone could see, and a little of what
// is behind it.
type State struct {
	Label      string    // what the display shows for the account
	User       string    // user part of the address of record; empty without an account
	AuthUser   string    // digest user name
	Keys       []LineKey // the programmed keys that do something
	Registered bool
	Calls      int    // calls that ring, are being set up or are up
	Config     string // SHA-256 of the files in force, hex
	Note       string // the first comment of the last file, where servers write a version
}

// State returns what the phone shows now.
func (p *Phone) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state()
}

// state reads under the lock.
func (p *Phone) state() State {
	s := State{
		Label: p.profile.label, Keys: slices.Clone(p.profile.keys), Registered: p.registered,
		Calls: len(p.calls), Config: p.loaded.digest, Note: p.loaded.note,
	}
	if p.line != nil {
		s.User, s.AuthUser = p.line.user, p.line.authUser
	}
	return s
}

// Setting returns what the phone holds for one of its vendor's parameters, which
// it keeps until a file changes it.
func (p *Phone) Setting(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loaded.settings[name]
}

// Registered waits until the account of the file in force is registered.
func (p *Phone) Registered(ctx context.Context) error {
	return p.Until(ctx, func(s State) bool { return s.Registered })
}

// WaitLabel waits until the display shows a label.
func (p *Phone) WaitLabel(ctx context.Context, label string) error {
	return p.Until(ctx, func(s State) bool { return s.Label == label })
}

// Until waits until the phone shows what is wanted. It returns ErrStopped when
// the phone is switched off before.
func (p *Phone) Until(ctx context.Context, wanted func(State) bool) error {
	for {
		p.mu.Lock()
		state, changed := p.state(), p.changed
		p.mu.Unlock()
		if wanted(state) {
			return nil
		}
		select {
		case <-changed:
		case <-p.done:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// change lets f change the phone and tells those who wait.
func (p *Phone) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// teller passes steps on, one at a time.
type teller struct {
	mu   sync.Mutex
	born time.Time
	out  func(Step)
}

func (t *teller) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.born = time.Now()
}

func (t *teller) tell(name string, detail map[string]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.out(Step{Time: now, Since: now.Sub(t.born), Name: name, Detail: detail})
}

// step tells one step; detail comes as names and values in turn.
func (p *Phone) step(name string, detail ...string) {
	m := make(map[string]string, len(detail)/2)
	for i := 0; i+1 < len(detail); i += 2 {
		m[detail[i]] = detail[i+1]
	}
	p.teller.tell(name, m)
}
