package trunk

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hotdeskd/hotdesk"
)

// Test tries a PBX as an administrator would, and tells in words what happened and
// what to do. It refreshes the registration of the PBX's own account and changes
// nothing else.
func (r *Registrar) Test(ctx context.Context, p hotdesk.PBX) hotdesk.PBXTest {
	t := &test{}
	t.OK = true
	switch {
	case p.Mode == "none":
		t.step("mode", true, "none: calls between users are ours, nothing is sent anywhere")
		t.Verdict = "there is nothing to test; outside calls need mode register or trunk"
		return t.PBXTest
	case !r.find(p, t), !r.greet(ctx, p, t), p.Mode == "register" && !r.enrol(ctx, p, t):
		return t.PBXTest
	}
	t.Verdict = "the PBX works with hotdeskd"
	if p.Mode == "trunk" {
		t.Verdict = "the PBX answers; whether it takes calls from us is decided there: it must trust the address of this server"
	}
	return t.PBXTest
}

type test struct{ hotdesk.PBXTest }

// step notes one thing that was tried; it returns whether it went well.
func (t *test) step(name string, ok bool, format string, args ...any) bool {
	t.Steps = append(t.Steps, hotdesk.PBXTestStep{Name: name, OK: ok, Text: fmt.Sprintf(format, args...)})
	t.OK = t.OK && ok
	return ok
}

// find resolves the PBX's address.
func (r *Registrar) find(p hotdesk.PBX, t *test) bool {
	to := destination(p)
	at := places(p)[0]
	known, err := r.where.find(at, r.Now())
	if len(known) == 0 {
		known, err = r.where.resolve(at)
	}
	if len(known) == 0 {
		t.Verdict = trouble(p, err)
		return t.step("address", false, "%s: %v", to, err)
	}
	all := make([]string, len(known))
	for i, one := range known {
		all[i] = one.String()
	}
	if text := strings.Join(all, ", "); text != to {
		return t.step("address", true, "%s is %s", to, text)
	}
	return t.step("address", true, "%s", to)
}

// greet connects and asks OPTIONS.
func (r *Registrar) greet(ctx context.Context, p hotdesk.PBX, t *test) bool {
	f, ok := r.Flow(p)
	if !ok {
		t.Verdict = "the address was found only now; try again in a second"
		return t.step("transport", false, "not ready")
	}
	line := r.via()
	if line.Net == nil {
		t.Verdict = "the server is starting; try again in a second"
		return t.step("transport", false, "not ready")
	}
	if f.Transport != "UDP" && !line.Net.Alive(f) {
		if err := line.Net.Connect(f); err != nil {
			t.Verdict = trouble(p, err)
			return t.step("transport", false, "%s to %s: %v", f.Transport, f.Remote, err)
		}
	}
	t.step("transport", true, "%s to %s", f.Transport, f.Remote)
	res, err := r.ask(ctx, p, f)
	if err == nil {
		return t.step("OPTIONS", true, "answered %d %s", res.StatusCode, res.Reason)
	}
	if p.Mode == "register" && !errors.Is(err, ErrLoop) { // some answer registered phones only
		t.step("OPTIONS", true, "no answer within %s; some PBXes do not answer it", pingWait)
		return true
	}
	t.Verdict = trouble(p, err)
	if errors.Is(err, ErrLoop) {
		return t.step("OPTIONS", false, "came back to this server")
	}
	t.Verdict += ", and whether the PBX knows the address of this server"
	return t.step("OPTIONS", false, "no answer within %s", pingWait)
}

// enrol registers the PBX's own account.
func (r *Registrar) enrol(ctx context.Context, p hotdesk.PBX, t *test) bool {
	own := hotdesk.PBXAccount{PBX: p.Name, Extension: p.Account.AuthUser, AuthUser: p.Account.AuthUser, Sealed: p.Account.Sealed}
	if own.AuthUser == "" {
		t.Verdict = "give the PBX an account of its own (account: {auth_user, secret}): emergency calls and idle phones use it"
		return t.step("REGISTER", false, "pbx.account is empty")
	}
	id := accountID{p.Name, ""}
	out := r.register(ctx, p, own, newAccount(id, r.token(id)), askedExpiry)
	r.tried(p, own, out)
	t.Trouble = diagnose(p, id, own, out)
	t.Verdict = t.Trouble.String()
	switch name := own.AuthUser; {
	case out.err != nil:
		return t.step("REGISTER", false, "%s: no answer: %v", name, out.err)
	case out.sent && (out.status == 401 || out.status == 403 || out.status == 407):
		return t.step("REGISTER", false, "%s: challenged, answered, refused with %s", name, out.words())
	case out.status != 200:
		return t.step("REGISTER", false, "%s: %s", name, out.words())
	case out.ours == 0:
		return t.step("REGISTER", false, "%s: 200, but our contact is not listed", name)
	case out.foreign:
		return t.step("REGISTER", true, "%s: registered for %d s; another phone is registered as the same account", name, out.ours)
	default:
		return t.step("REGISTER", true, "%s: registered for %d s", name, out.ours)
	}
}

// tried notes what a test has found out about the account of a PBX: that it is refused
// counts like any other refusal, and that it is let in ends the wait of all.
func (r *Registrar) tried(p hotdesk.PBX, own hotdesk.PBXAccount, out outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pe := r.peers[p.Name]
	switch {
	case pe == nil:
	case out.sent && (out.status == 401 || out.status == 403 || out.status == 407):
		pe.failed = append(pe.failed, failure{r.Now(), accountID{pbx: p.Name}, keyOf(own)})
		r.Log.Warn("registration refused by the PBX", "pbx", p.Name, "user", "", "status", out.status, "problem", diagnose(p, accountID{pbx: p.Name}, own, out).String())
	case out.status == 200:
		r.trusted(pe, true)
	}
}
