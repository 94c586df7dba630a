package simphone

import (
	"slices"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// checkSync is a request to fetch that was taken, or what somebody does at the
// phone itself.
type checkSync struct{ reboot, reset bool }

// Reboot makes the phone restart, as if it had lost its power for a moment, once it
// is in no call. It keeps its settings.
func (p *Phone) Reboot() { p.ask(checkSync{reboot: true}) }

// FactoryReset makes the phone forget all its settings and restart, once it is in
// no call.
func (p *Phone) FactoryReset() { p.ask(checkSync{reboot: true, reset: true}) }

// ask notes what is to be obeyed, beside what already is.
func (p *Phone) ask(c checkSync) {
	p.mu.Lock()
	if p.asked != nil {
		c.reboot, c.reset = c.reboot || p.asked.reboot, c.reset || p.asked.reset
	}
	p.asked = &c
	p.mu.Unlock()
	p.poke()
}

// obey takes the check-sync that waits, unless the phone is in a call: then the
// end of the call wakes the main loop again.
func (p *Phone) obey() *checkSync {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.calls) > 0 {
		return nil
	}
	asked := p.asked
	p.asked = nil
	return asked
}

// poke wakes the main loop.
func (p *Phone) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// onNotify answers a NOTIFY outside any dialog. Of all events the phone knows
// check-sync and its vendor's own.
func (p *Phone) onNotify(req *sip.Request, tx sip.ServerTransaction) {
	event, reboot := "", false
	if h := req.GetHeader("Event"); h != nil {
		event, reboot = readEvent(h.Value())
	}
	p.mu.Lock()
	a, l, rule, calls := p.agent, p.line, p.profile.notify, len(p.calls)
	challenged := p.profile.challenged || p.cfg.ChallengeNotify
	p.mu.Unlock()
	switch known := append([]string{"check-sync"}, p.dialect.refetch...); {
	case !slices.Contains(known, event):
		a.respond(req, tx, 489, "Bad Event", nil, sip.NewHeader("Allow-Events", strings.Join(known, ", ")))
		return
	case event != "check-sync":
		rule, reboot = rebootNever, false
	}
	if challenged && (l == nil || !p.nonces.proves(req, l.authUser, l.password)) {
		a.respond(req, tx, 401, "Unauthorized", nil, sip.NewHeader("WWW-Authenticate", p.nonces.challenge()))
		p.step("check-sync", "event", event, "challenged", "true")
		return
	}
	a.respond(req, tx, 200, "OK", nil)
	detail := []string{"event", event, "reboot", yes(reboot)}
	if calls > 0 {
		detail = append(detail, "after_call", "true")
	}
	p.step("check-sync", detail...)
	if p.cfg.NeverRefetch {
		return
	}
	p.ask(checkSync{reboot: rule.now(reboot)})
}

// readEvent splits an Event header into the package and its reboot parameter.
func readEvent(value string) (event string, reboot bool) {
	parts := strings.Split(strings.ToLower(value), ";")
	for _, part := range parts[1:] {
		reboot = reboot || strings.ReplaceAll(part, " ", "") == "reboot=true"
	}
	return strings.TrimSpace(parts[0]), reboot
}

func yes(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// notifyRealm is the realm of the phone's own challenges.
const notifyRealm = "phone"

// nonces are the phone's own challenges that may still be answered, each once.
type nonces struct {
	mu   sync.Mutex
	open []string
}

func (n *nonces) challenge() string {
	nonce := sip.GenerateTagN(24)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = append(n.open, nonce)
	if len(n.open) > 8 {
		n.open = n.open[1:]
	}
	return (&digest.Challenge{Realm: notifyRealm, Nonce: nonce, Algorithm: "MD5", QOP: []string{"auth"}}).String()
}

// proves tells whether a request answers one of the challenges with the password.
func (n *nonces) proves(req *sip.Request, user, password string) bool {
	h := req.GetHeader("Authorization")
	if h == nil {
		return false
	}
	cred, err := digest.ParseCredentials(h.Value())
	if err != nil || cred.Username != user || cred.Realm != notifyRealm || cred.QOP != "auth" {
		return false
	}
	n.mu.Lock()
	i := slices.Index(n.open, cred.Nonce)
	if i >= 0 {
		n.open = slices.Delete(n.open, i, i+1)
	}
	n.mu.Unlock()
	want, err := digest.Digest(
		&digest.Challenge{Realm: notifyRealm, Nonce: cred.Nonce, Algorithm: "MD5", QOP: []string{"auth"}},
		digest.Options{Method: string(req.Method), URI: cred.URI, Username: user, Password: password, Count: cred.Nc, Cnonce: cred.Cnonce},
	)
	return err == nil && i >= 0 && want.Response == cred.Response
}
