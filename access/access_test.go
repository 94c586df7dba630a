package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/store/bolt"
)

// quick hashes without costing anything; argon2id has its own tests.
type quick struct{}

func (quick) HashPIN(_ context.Context, s hotdesk.Secret) (string, error) {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:]), nil
}

func (q quick) VerifyPIN(ctx context.Context, s hotdesk.Secret, hash string) (bool, error) {
	h, err := q.HashPIN(ctx, s)
	return h == hash, err
}

type house struct {
	*Access
	mu sync.Mutex
	at time.Time
}

func (h *house) add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
}

// newHouse runs access on a database of its own, which a second one may open.
func newHouse(t *testing.T, store hotdesk.Store) *house {
	t.Helper()
	h := &house{at: time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)}
	if store == nil {
		db, err := bolt.Open(filepath.Join(t.TempDir(), "test.db"), bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		store = db
	}
	a, err := New(Options{Store: store, Hasher: quick{}, Now: func() time.Time {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.at
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.Access = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx) }()
	select {
	case <-a.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

// A token is good from the moment it was made until it expires or is revoked, is
// known after a restart, and its text is nowhere in the store.
func TestTokens(t *testing.T) {
	h := newHouse(t, nil)
	ctx := t.Context()
	made, text, err := h.Create(ctx, hotdesk.TokenSpec{Name: "wallboard", Role: hotdesk.RoleViewer, Site: "roma", TTL: 90 * 24 * time.Hour}, "anna")
	if err != nil {
		t.Fatal(err)
	}
	want := hotdesk.Principal{Name: "wallboard", Role: hotdesk.RoleViewer, Site: "roma", By: hotdesk.ByAPI}
	if p, err := h.ByToken(text.Reveal()); err != nil || p != want {
		t.Errorf("the new token is %+v, %v", p, err)
	}
	if again, err := newHouse(t, h.Store).ByToken(text.Reveal()); err != nil || again != want {
		t.Errorf("after a restart it is %+v, %v", again, err)
	}
	if all := h.Tokens(); len(all) != 1 || all[0].LastUsed == nil || all[0].ID != made.ID {
		t.Errorf("listed %+v", all)
	}
	_, secret, _ := strings.Cut(strings.TrimPrefix(text.Reveal(), "hd_"), "_")
	err = h.Store.View(ctx, func(r hotdesk.Reader) error {
		for kv, err := range r.Scan("/") {
			if err != nil {
				return err
			}
			if strings.Contains(string(kv.Value), secret) {
				t.Errorf("%s holds the token's text", kv.Key)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"", "hd_", "hd_" + made.ID, text.Reveal() + "x", "hd_" + made.ID + "_" + strings.Repeat("a", len(secret))} {
		if _, err := h.ByToken(wrong); !errors.Is(err, hotdesk.ErrUnauthorized) {
			t.Errorf("%q: %v, want ErrUnauthorized", wrong, err)
		}
	}
	h.add(90*24*time.Hour + time.Second)
	if _, err := h.ByToken(text.Reveal()); !errors.Is(err, hotdesk.ErrUnauthorized) {
		t.Errorf("expired: %v", err)
	}
	_, second, err := h.Create(ctx, hotdesk.TokenSpec{Name: "script", Role: hotdesk.RoleAdmin}, "anna")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Revoke(ctx, "script", "anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ByToken(second.Reveal()); !errors.Is(err, hotdesk.ErrUnauthorized) {
		t.Errorf("revoked: %v", err)
	}
	if err := h.Revoke(ctx, "script", "anna"); !errors.Is(err, hotdesk.ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
}

// What is wrong with a token or account is said before anything is stored.
func TestRefused(t *testing.T) {
	h := newHouse(t, nil)
	for _, spec := range []hotdesk.TokenSpec{
		{Name: "", Role: hotdesk.RoleViewer}, {Name: "a b", Role: hotdesk.RoleViewer}, {Name: "x", Role: "king"}, {Name: "x", Role: hotdesk.RoleViewer, TTL: -1},
	} {
		if _, _, err := h.Create(t.Context(), spec, "anna"); !errors.Is(err, hotdesk.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", spec, err)
		}
	}
	for _, pw := range []hotdesk.Secret{"", "short", "anna.bianchi"} {
		if err := h.SetAccount(t.Context(), Account{Name: "anna.bianchi", Role: hotdesk.RoleOwner}, pw, "x"); !errors.Is(err, hotdesk.ErrInvalid) {
			t.Errorf("password %q: %v, want ErrInvalid", pw.Reveal(), err)
		}
	}
	if len(h.Tokens())+len(h.Accounts()) != 0 {
		t.Error("something was stored")
	}
}

// A one-time link makes one owner once, within its hour; a bad password does not
// use it up; a new link gives somebody who forgot the password a new one and ends
// the old sessions.
func TestLink(t *testing.T) {
	h := newHouse(t, nil)
	ctx := t.Context()
	code := h.NewLink()
	if !h.LinkOpen(code) || h.LinkOpen(code+"x") {
		t.Fatal("the link is not what it should be")
	}
	if _, err := h.UseLink(ctx, code, "anna", "short", "a"); !errors.Is(err, hotdesk.ErrInvalid) || !h.LinkOpen(code) {
		t.Fatalf("a short password: %v", err)
	}
	session, err := h.UseLink(ctx, code, "anna", "correct horse", "a")
	if err != nil {
		t.Fatal(err)
	}
	want := hotdesk.Principal{Name: "anna", Role: hotdesk.RoleOwner, By: hotdesk.ByAdmin}
	if p, err := h.BySession(session); err != nil || p != want {
		t.Errorf("signed in as %+v, %v", p, err)
	}
	if _, err := h.UseLink(ctx, code, "eve", "correct horse", "a"); !errors.Is(err, hotdesk.ErrUnauthorized) {
		t.Errorf("the link a second time: %v", err)
	}
	late := h.NewLink()
	h.add(LinkLife + time.Second)
	if _, err := h.UseLink(ctx, late, "eve", "correct horse", "a"); !errors.Is(err, hotdesk.ErrUnauthorized) || h.LinkOpen(late) {
		t.Errorf("an old link: %v", err)
	}
	if _, err := h.UseLink(ctx, h.NewLink(), "anna", "another password", "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.BySession(session); !errors.Is(err, hotdesk.ErrUnauthorized) {
		t.Errorf("the session from before the new password: %v", err)
	}
	if _, err := h.SignIn(ctx, "anna", "correct horse", "a"); !errors.Is(err, hotdesk.ErrUnauthorized) {
		t.Errorf("the forgotten password: %v", err)
	}
	if _, err := h.SignIn(ctx, "anna", "another password", "a"); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

// A session ends by signing out, after twelve idle hours, and with the token that
// it was opened with.
func TestSessions(t *testing.T) {
	h := newHouse(t, nil)
	ctx := t.Context()
	if err := h.SetAccount(ctx, Account{Name: "anna", Role: hotdesk.RoleAdmin, Site: "roma"}, "correct horse", "x"); err != nil {
		t.Fatal(err)
	}
	session, err := h.SignIn(ctx, "anna", "correct horse", "a")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.add(11 * time.Hour)
		if p, err := h.BySession(session); err != nil || p.Site != "roma" {
			t.Fatalf("a used session: %+v %v", p, err)
		}
	}
	h.add(13 * time.Hour)
	if _, err := h.BySession(session); err == nil {
		t.Error("an idle session lives on")
	}
	session, _ = h.SignIn(ctx, "anna", "correct horse", "a")
	h.SignOut(session)
	if _, err := h.BySession(session); err == nil {
		t.Error("a session that was signed out lives on")
	}
	made, text, err := h.Create(ctx, hotdesk.TokenSpec{Name: "tablet", Role: hotdesk.RoleDeskManager}, "anna")
	if err != nil {
		t.Fatal(err)
	}
	session, err = h.SignIn(ctx, "", text, "a")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := h.BySession(session); err != nil || p.Role != hotdesk.RoleDeskManager {
		t.Errorf("by token: %+v %v", p, err)
	}
	if err := h.Revoke(ctx, made.ID, "anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.BySession(session); err == nil {
		t.Error("a session outlives its token")
	}
}

// Guessing is slowed down: five wrong passwords of a name from one address, and
// even the right one must wait there, but not from elsewhere; the wait doubles.
func TestGuessing(t *testing.T) {
	h := newHouse(t, nil)
	ctx := t.Context()
	if err := h.SetAccount(ctx, Account{Name: "anna", Role: hotdesk.RoleOwner}, "correct horse", "x"); err != nil {
		t.Fatal(err)
	}
	try := func(password hotdesk.Secret, from string) error {
		_, err := h.SignIn(ctx, "anna", password, from)
		return err
	}
	for n := range 5 {
		if err := try("wrong", "eve"); !errors.Is(err, hotdesk.ErrUnauthorized) {
			t.Fatalf("try %d: %v", n, err)
		}
	}
	if err := try("correct horse", "eve"); !errors.Is(err, hotdesk.ErrLocked) {
		t.Errorf("the sixth: %v, want ErrLocked", err)
	}
	if err := try("correct horse", "office"); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	h.add(61 * time.Second)
	for range 5 {
		_ = try("wrong", "eve")
	}
	h.add(61 * time.Second)
	if err := try("correct horse", "eve"); !errors.Is(err, hotdesk.ErrLocked) {
		t.Errorf("a minute after the second lock: %v, want ErrLocked", err)
	}
	h.add(61 * time.Second)
	if err := try("correct horse", "eve"); err != nil {
		t.Errorf("after two minutes: %v", err)
	}
	if _, err := h.SignIn(ctx, "nobody", "wrong password", "b"); !errors.Is(err, hotdesk.ErrUnauthorized) {
		t.Errorf("an unknown name: %v", err)
	}
}
