package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// watched counts the passwords that are compared, and does what a test wants
// before it answers.
type watched struct {
	quick
	compared int
	first    func()
}

func (w *watched) VerifyPIN(ctx context.Context, s hotdesk.Secret, hash string) (bool, error) {
	w.compared++
	ok, err := w.quick.VerifyPIN(ctx, s, hash)
	if w.first != nil {
		w.first()
	}
	return ok, err
}

// withAnna is a house with an owner who has signed in from "office".
func withAnna(t *testing.T) (*house, *watched) {
	t.Helper()
	h, w := newHouse(t, nil), &watched{}
	h.Hasher = w
	if err := h.SetAccount(t.Context(), Account{Name: "anna", Role: hotdesk.RoleOwner}, "correct horse", "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.SignIn(t.Context(), "anna", "correct horse", "office"); err != nil {
		t.Fatal(err)
	}
	return h, w
}

// However many names and addresses somebody makes up, the right name and password
// pass, at home though the garbage comes from there too and from an address that
// was never seen; the tables stay within their bound, and guessing is still slow.
func TestGarbage(t *testing.T) {
	h, w := withAnna(t)
	ctx := t.Context()
	for n := range 2 * maxCounts {
		_, _ = h.SignIn(ctx, fmt.Sprint("made-up-", n), "wrong", fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255))
	}
	for n := range 2 * maxCounts {
		_, _ = h.SignIn(ctx, fmt.Sprint("made-up-", n), "wrong", "office")
	}
	if most := max(len(h.guesses.sources), len(h.guesses.strangers)); most > maxCounts || len(h.guesses.known) > 1 {
		t.Errorf("%d entries in a table, want at most %d; %d known names, want 1", most, maxCounts, len(h.guesses.known))
	}
	for _, from := range []string{"hotel", "office", "hotel"} {
		if _, err := h.SignIn(ctx, "anna", "correct horse", from); err != nil {
			t.Errorf("anna from %s: %v", from, err)
		}
	}
	before := w.compared
	for n := range 300 { // of one name, from a hundred addresses
		_, _ = h.SignIn(ctx, "anna", "wrong", fmt.Sprint("eve-", n%100))
	}
	if got := w.compared - before; got > nameTries {
		t.Errorf("%d guesses at anna's password at once, want at most %d", got, nameTries)
	}
	if _, err := h.SignIn(ctx, "anna", "correct horse", "hotel"); err != nil {
		t.Errorf("anna at home while her name is guessed at: %v", err)
	}
}

// Whether a name exists cannot be seen: an unknown one is compared and locked like
// one that is there; all addresses of an IPv6 /64 are one.
func TestUnknownLikeKnown(t *testing.T) {
	for name, c := range map[string]struct {
		source func(n int) string
		passes int
	}{
		"one address":    {func(int) string { return "eve" }, sourceTries},
		"many addresses": {func(n int) string { return fmt.Sprint("eve-", n) }, nameTries},
		"an IPv6 /64":    {func(n int) string { return fmt.Sprintf("2001:db8::%x", n) }, sourceTries},
	} {
		h, w := withAnna(t)
		var seen [2][]string
		for i, who := range []string{"anna", "nobody"} {
			w.compared = 0
			for n := range 2 * nameTries {
				_, err := h.SignIn(t.Context(), who, "wrong", c.source(n))
				seen[i] = append(seen[i], fmt.Sprint(err, w.compared))
			}
			h.add(25 * time.Hour)
			for j, text := range seen[i] { // the clock goes on between the two
				seen[i][j], _, _ = strings.Cut(text, "wait until")
			}
			if w.compared != c.passes {
				t.Errorf("%s: %d guesses at %s pass, want %d", name, w.compared, who, c.passes)
			}
		}
		for n := range seen[0] {
			if seen[0][n] != seen[1][n] {
				t.Errorf("%s, try %d: a known name hears %q, an unknown one %q", name, n, seen[0][n], seen[1][n])
			}
		}
	}
}

// A name or password that nobody can have is neither hashed nor kept.
func TestTooLong(t *testing.T) {
	h, w := withAnna(t)
	w.compared = 0
	for _, c := range []struct{ name, password string }{
		{strings.Repeat("n", maxName+1), "wrong"}, {strings.Repeat("n", 5<<20), "wrong"}, {"anna", strings.Repeat("p", 5<<20)},
	} {
		if _, err := h.SignIn(t.Context(), c.name, hotdesk.Secret(c.password), "eve"); !errors.Is(err, hotdesk.ErrUnauthorized) {
			t.Errorf("%d bytes of name: %v, want ErrUnauthorized", len(c.name), err)
		}
	}
	if n := len(h.guesses.sources) + len(h.guesses.strangers); w.compared != 0 || n != 1 { // anna's own first visit
		t.Errorf("%d were compared and %d entries kept, want 0 and 1", w.compared, n)
	}
}

// Signing in with an account of one's own between guesses wipes nothing off.
func TestOwnAccountDoesNotHelpGuessing(t *testing.T) {
	h, w := withAnna(t)
	if err := h.SetAccount(t.Context(), Account{Name: "eve", Role: hotdesk.RoleViewer}, "my own password", "x"); err != nil {
		t.Fatal(err)
	}
	w.compared = 0
	for range 40 {
		_, _ = h.SignIn(t.Context(), "anna", "wrong", "den")
		_, _ = h.SignIn(t.Context(), "eve", "my own password", "den")
	}
	if guesses := w.compared - 40; guesses > sourceTries {
		t.Errorf("%d guesses passed, want at most %d", guesses, sourceTries)
	}
}

// A session does not outlive the password it was opened with, also when that is
// changed while the sign-in is under way, or by another process on the same store.
func TestPasswordChangeEndsSessions(t *testing.T) {
	h, w := withAnna(t)
	ctx := t.Context()
	change := func(by *house, password hotdesk.Secret) {
		t.Helper()
		if err := by.SetAccount(ctx, Account{Name: "anna", Role: hotdesk.RoleOwner}, password, "x"); err != nil {
			t.Fatal(err)
		}
	}
	w.first = func() { change(h, "another horse") }
	racing, err := h.SignIn(ctx, "anna", "correct horse", "office")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.BySession(racing); !errors.Is(err, hotdesk.ErrUnauthorized) {
		t.Errorf("opened while the password changed: %v", err)
	}
	w.first = nil
	session, err := h.SignIn(ctx, "anna", "another horse", "office")
	if err != nil {
		t.Fatal(err)
	}
	linked, err := h.UseLink(ctx, h.NewLink(), "anna", "a third horse", "office")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.BySession(session); !errors.Is(err, hotdesk.ErrUnauthorized) {
		t.Errorf("after a new password by link: %v", err)
	}
	if _, err := h.BySession(linked); err != nil {
		t.Errorf("the session of the link itself: %v", err)
	}
	change(newHouse(t, h.Store), "a fourth horse")
	if err := h.write(ctx, func(tx hotdesk.Txn) error { return put(tx, "/test", 1) }); err != nil { // what came before is read, too
		t.Fatal(err)
	}
	if _, err := h.BySession(linked); !errors.Is(err, hotdesk.ErrUnauthorized) {
		t.Errorf("after a new password by somebody else: %v", err)
	}
}

// A token's name in the audit log is nobody else's: not the server's own actors',
// not a person's, not that of a token that is still good.
func TestTokenNames(t *testing.T) {
	h, _ := withAnna(t)
	spec := func(name string, ttl time.Duration) hotdesk.TokenSpec {
		return hotdesk.TokenSpec{Name: name, Role: hotdesk.RoleViewer, TTL: ttl}
	}
	made, _, err := h.Create(t.Context(), spec("wallboard", time.Hour), "anna")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		want error
		says string
	}{
		{"admin", hotdesk.ErrInvalid, "the server's own admin"}, {"Admin", hotdesk.ErrInvalid, "the server's own admin"},
		{"phone", hotdesk.ErrInvalid, "the server's own phone"}, {"api", hotdesk.ErrInvalid, "own api"}, {"ivr", hotdesk.ErrInvalid, "own ivr"},
		{"staff", hotdesk.ErrInvalid, "own staff"}, {"timer", hotdesk.ErrInvalid, "own timer"},
		{"anna", hotdesk.ErrConflict, "signs in to the console"},
		{"wallboard", hotdesk.ErrConflict, "hotdeskd token revoke " + made.ID}, {"WALLBOARD", hotdesk.ErrConflict, "already"},
		{"wallboard-2", nil, ""}, {"phone-import", nil, ""},
	} {
		_, _, err := h.Create(t.Context(), spec(c.name, 0), "anna")
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v with %q", c.name, err, c.want, c.says)
		}
	}
	h.add(2 * time.Hour)
	if _, _, err := h.Create(t.Context(), spec("wallboard", 0), "anna"); err != nil {
		t.Errorf("the name of a token that has expired: %v", err)
	}
}

// A server too busy to compare passwords charges nobody for it.
func TestBusyIsNoGuess(t *testing.T) {
	h, _ := withAnna(t)
	busy := &busyHasher{left: 3 * sourceTries}
	h.Hasher = busy
	for range busy.left {
		if _, err := h.SignIn(t.Context(), "anna", "correct horse", "den"); !errors.Is(err, hotdesk.ErrBusy) {
			t.Fatalf("busy: %v", err)
		}
	}
	if _, err := h.SignIn(t.Context(), "anna", "correct horse", "den"); err != nil {
		t.Errorf("when it is busy no more: %v", err)
	}
}

// busyHasher is busy for so many comparisons.
type busyHasher struct {
	quick
	left int
}

func (b *busyHasher) VerifyPIN(ctx context.Context, s hotdesk.Secret, hash string) (bool, error) {
	if b.left > 0 {
		b.left--
		return false, hotdesk.ErrBusy
	}
	return b.quick.VerifyPIN(ctx, s, hash)
}

// However many sessions one token opens, nobody else is signed out.
func TestManySessionsOfOne(t *testing.T) {
	h, _ := withAnna(t)
	owner, err := h.SignIn(t.Context(), "anna", "correct horse", "den")
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := h.Create(t.Context(), hotdesk.TokenSpec{Name: "screen", Role: hotdesk.RoleViewer}, "test")
	if err != nil {
		t.Fatal(err)
	}
	var first, last string
	for n := range maxSessions + 10 {
		h.add(time.Second)
		if last, err = h.SignIn(t.Context(), "", token, "hall"); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			first = last
		}
	}
	for session, good := range map[string]bool{owner: true, last: true, first: false} {
		if _, err := h.BySession(session); (err == nil) != good {
			t.Errorf("a session that should be good %v: %v", good, err)
		}
	}
}
