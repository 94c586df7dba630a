package simphone

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Phone is one simulated desk phone. Its methods may be called from any
// goroutine.
type Phone struct {
	cfg      Config
	dialect  dialect
	model    model
	teller   teller
	started  atomic.Bool
	done     chan struct{} // closed when Run has returned
	wake     chan struct{} // the main loop has something to look at
	incoming chan *Call
	nonces   nonces

	mu         sync.Mutex
	changed    chan struct{} // closed, and made anew, at every change of what follows
	agent      *agent
	loaded     loaded
	profile    profile
	line       *line // nil without an account
	registered bool
	calls      map[callKey]*Call
	asked      *checkSync      // not obeyed yet
	touched    map[string]bool // settings that somebody changed at the phone
	dropped    bool            // the connection is gone, which the main loop has not seen yet
}

// New builds a phone; it does nothing until Run.
func New(cfg Config) (*Phone, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	d, m, ok := findModel(cfg.Model)
	if !ok {
		return nil, fmt.Errorf("%w: model %q is not simulated", ErrConfig, cfg.Model)
	}
	return &Phone{
		cfg: cfg, dialect: d, model: m, teller: teller{out: cfg.Step},
		done: make(chan struct{}), wake: make(chan struct{}, 1), incoming: make(chan *Call, 16),
		changed: make(chan struct{}), loaded: loaded{settings: settings{}}, calls: map[callKey]*Call{},
	}, nil
}

// Run switches the phone on: it boots, registers and stays registered, and obeys
// check-syncs, until ctx ends. It may be called once. Steps tell what goes wrong
// with the server; the error is about the phone itself.
func (p *Phone) Run(ctx context.Context) error {
	if p.started.Swap(true) {
		return errors.New("a simulated phone runs once")
	}
	defer close(p.done)
	p.teller.begin()
	a, err := openAgent(p.cfg, p.model.fill(p.dialect.sipAgent, p.cfg.MAC), p.receive, p.trouble)
	if err != nil {
		return err
	}
	defer a.close()
	p.change(func() { p.agent = a })
	files := newLoader(p.cfg, p.dialect, p.model, p.teller.tell)
	defer files.close()
	for again := p.power(ctx, files); again != nil; again = p.power(ctx, files) {
		p.step("rebooting", "factory_reset", yes(again.reset))
		files.forget()
		a.only(nil)
		p.change(func() {
			p.line, p.registered, p.profile, p.loaded.digest = nil, false, profile{}, ""
			if again.reset {
				p.loaded, p.touched = loaded{settings: settings{}}, nil
			}
		})
	}
	p.leave(ctx)
	return nil
}

// trouble tells what went wrong.
func (p *Phone) trouble(err error) { p.step("error", "error", err.Error()) }

// power is the time from one boot to the next, which it asks for by returning why,
// or to the end of ctx.
func (p *Phone) power(ctx context.Context, files *loader) (again *checkSync) {
	fetch, refresh, ping := time.NewTimer(0), time.NewTimer(0), time.NewTimer(0)
	refresh.Stop()
	ping.Stop()
	defer fetch.Stop()
	defer refresh.Stop()
	defer ping.Stop()
	booting := true
	var old *line // to be un-registered after the new one is registered
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-fetch.C:
			next, err := p.load(ctx, files, booting)
			switch {
			case err != nil && ctx.Err() == nil:
				p.trouble(err)
				if booting {
					fetch.Reset(p.cfg.Retry)
				}
			case err == nil:
				booting = false
				leaving, changed := p.apply(ctx, next)
				if leaving != nil {
					old = leaving
				}
				if changed {
					refresh.Reset(0)
				}
				if next.line == nil {
					refresh.Stop()
					ping.Stop()
					fetch.Reset(p.cfg.HoldPoll)
				} else if changed && next.profile.keepAlive > 0 {
					ping.Reset(next.profile.keepAlive)
				}
			}
		case <-refresh.C:
			pause, ok := p.keepRegistered(ctx)
			refresh.Reset(pause)
			if ok && old != nil {
				p.unregister(ctx, old)
				old = nil
			}
			if ok {
				p.hangUpOthers()
			}
		case <-ping.C:
			ping.Reset(p.keepAlive())
		case <-p.wake:
			if pause, dropped := p.dropping(); dropped {
				refresh.Reset(pause)
			}
			if asked := p.obey(); asked != nil {
				if asked.reboot {
					return asked
				}
				p.step("refetching")
				fetch.Reset(0)
			}
		}
	}
}

// configuration is what one fetch made of the phone.
type configuration struct {
	loaded  loaded
	profile profile
	line    *line // nil without an account
}

// load fetches the files and understands them. A line that did not change is the
// one in use.
func (p *Phone) load(ctx context.Context, files *loader, booting bool) (configuration, error) {
	p.mu.Lock()
	from, old, using, a := p.server(booting), p.loaded, p.line, p.agent
	p.mu.Unlock()
	got, err := files.load(ctx, from, old.settings)
	if err != nil {
		return configuration{}, err
	}
	got = p.keepTouched(old, got)
	c := configuration{loaded: got, profile: p.understand(got.settings)}
	acc := c.profile.account
	if acc == (account{}) {
		return c, nil
	}
	said := acc.transport
	if p.cfg.Transport != "" {
		acc = acc.over(p.cfg.Transport)
	}
	if using != nil && using.account == acc {
		c.line = using
		return c, nil
	}
	if acc.transport != said {
		p.step("transport", "file", said, "used", acc.transport, "port", strconv.Itoa(acc.port))
	}
	c.line, err = a.newLine(ctx, acc, p.lost)
	return c, err
}

// understand makes of the settings what this phone makes of them.
func (p *Phone) understand(s settings) profile {
	known := p.dialect.profile(s, p.model)
	if !p.cfg.CheckCertificates {
		known.server.trust = trustAny
		known.account.trust = trustAny
	}
	return known
}

// server is where the next fetch goes: where the last file said, or where the
// network says. The caller holds the lock.
func (p *Phone) server(booting bool) server {
	// At boot the profile is empty; what counts is what was kept.
	known := p.understand(p.loaded.settings)
	if known.server.url == "" || booting && p.cfg.AlwaysOption66 {
		known.server.url = p.cfg.Provision
	}
	return known.server
}

// apply puts a configuration into force. It returns the line that is still to be
// un-registered, and whether there is a new one to register.
func (p *Phone) apply(ctx context.Context, c configuration) (leaving *line, register bool) {
	p.mu.Lock()
	before, digest := p.line, p.loaded.digest
	p.mu.Unlock()
	replaced := before != nil && before != c.line
	moved := replaced && (c.line == nil || c.line.user != before.user)
	if moved && (p.cfg.UnregisterOld == First || c.line == nil) {
		p.unregister(ctx, before)
	}
	if c.line == nil {
		p.agent.only(nil)
	}
	switch news := c.loaded.digest != digest || before != c.line; {
	case news && c.line == nil:
		p.step("holding", "label", c.profile.label)
	case news:
		p.step("config", "label", c.profile.label, "account", c.line.user, "auth_user", c.line.authUser, "note", c.loaded.note)
	}
	p.change(func() {
		p.loaded, p.profile, p.line = c.loaded, c.profile, c.line
		if before != c.line {
			p.registered = false
		}
	})
	if moved && c.line != nil && p.cfg.UnregisterOld == Last {
		leaving = before
	}
	return leaving, c.line != nil && before != c.line
}

// keepRegistered sends one REGISTER and returns when the next is due: at half of
// what was granted, or soon after a failure.
func (p *Phone) keepRegistered(ctx context.Context) (pause time.Duration, ok bool) {
	p.mu.Lock()
	l, again := p.line, p.registered
	p.mu.Unlock()
	granted, err := l.register(ctx, l.expires)
	switch {
	case ctx.Err() != nil:
		return p.cfg.Retry, false
	case err != nil:
		p.step("error", "error", "not registered: "+err.Error(), "account", l.user)
		p.change(func() { p.registered = false })
		if errors.Is(err, errNoConnection) {
			return l.flow.pause(p.cfg.Retry), false
		}
		return p.cfg.Retry, false
	}
	l.flow.registered()
	name := "registered"
	if again {
		name = "refreshed"
	}
	p.step(name, "account", l.user, "auth_user", l.authUser, "expires", strconv.Itoa(granted), "transport", l.transport)
	p.change(func() { p.registered = !p.dropped })
	return max(time.Duration(granted)*time.Second/2, time.Second), true
}

// lost notes that the connection to the server is gone.
func (p *Phone) lost(f *flow) {
	p.mu.Lock()
	mine := p.line != nil && p.line.flow == f
	p.mu.Unlock()
	if !mine {
		return
	}
	p.step("disconnected", "transport", f.transport)
	p.change(func() { p.dropped, p.registered = true, false })
	p.poke()
}

// dropping tells whether the connection is gone since the last time, and when to
// come back: soon, but not at once, as the whole house may have lost it.
func (p *Phone) dropping() (pause time.Duration, dropped bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if dropped = p.dropped && p.line != nil; dropped {
		pause = p.line.flow.pause(p.cfg.Retry) / 10
	}
	p.dropped = false
	return pause, dropped
}

// keepAlive keeps the way to the server open and returns when to do so again.
func (p *Phone) keepAlive() time.Duration {
	p.mu.Lock()
	l, pause := p.line, p.profile.keepAlive
	p.mu.Unlock()
	if pause <= 0 { // the file in force wants none
		return time.Hour
	}
	if l != nil {
		l.flow.ping(l.registrar)
	}
	return max(pause, time.Second)
}

// hangUpOthers closes connections to servers that no account is at any more.
func (p *Phone) hangUpOthers() {
	p.mu.Lock()
	a, l := p.agent, p.line
	p.mu.Unlock()
	if l != nil {
		a.only(l.flow)
	}
}

// unregister takes a line's registration back. It may be too late for its secret:
// then the registration ends by itself.
func (p *Phone) unregister(ctx context.Context, l *line) {
	ctx, cancel := context.WithTimeout(ctx, cancelWait)
	defer cancel()
	if _, err := l.register(ctx, 0); err != nil {
		p.step("error", "error", "not unregistered: "+err.Error(), "account", l.user)
		return
	}
	p.step("unregistered", "account", l.user)
}

// leave is the end: with a farewell, or like a cable that is pulled.
func (p *Phone) leave(ctx context.Context) {
	p.mu.Lock()
	calls, l, registered := make([]*Call, 0, len(p.calls)), p.line, p.registered
	for _, c := range p.calls {
		calls = append(calls, c)
	}
	p.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	for _, c := range calls {
		if p.cfg.UnregisterOnExit {
			_ = c.HangUp(ctx) // the other side may be gone
		}
		c.finish(Ended{By: "us", Reason: "the phone was switched off"})
	}
	if p.cfg.UnregisterOnExit && l != nil && registered {
		p.unregister(ctx, l)
	}
	p.change(func() { p.registered = false })
}
