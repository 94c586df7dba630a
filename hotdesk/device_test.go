package hotdesk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// Another phone in a device's place: number and desk stay, whoever sat there is
// logged out, the old phone's URL and secrets are void, and the new phone claims and
// has the parameters that stood for the old one's MAC.
func TestReplace(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	ctx := context.Background()
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	old, _ := d.Phone("HD0001")
	url := d.URLToken(old.Device)
	if err := d.Replace(ctx, "HD0001", mac(1), "", "test"); !errors.Is(err, hotdesk.ErrConflict) {
		t.Errorf("by the phone of HD0002: %v", err)
	}
	if err := d.Replace(ctx, "HD0001", mac(9), "nokia-3310", "test"); !errors.Is(err, hotdesk.ErrUnknownModel) {
		t.Errorf("by an unknown model: %v", err)
	}
	d.apply(hotdesk.Desired{Parameters: []hotdesk.Parameter{{Layer: "device", ID: mac(0).String(), Values: map[string]string{"a.b": "1"}}}})
	if err := d.Replace(ctx, "HD0001", mac(9), "", "test"); err != nil {
		t.Fatal(err)
	}
	if tok, ok := d.ReadToken(url); !ok || tok.Current {
		t.Errorf("the old phone's token: known %v, current %v; want known and not current", ok, tok.Current)
	}
	if creds, _, _ := d.Credentials("HD0001"); len(creds) != 0 {
		t.Errorf("%d secrets hold before the new phone came", len(creds))
	}
	if _, err := d.PhoneByMAC(mac(0)); !errors.Is(err, hotdesk.ErrNotFound) {
		t.Errorf("the old MAC: %v", err)
	}
	p, err := d.Claim(ctx, mac(9), "roma", "test")
	if err != nil {
		t.Fatal(err)
	}
	if layers := d.Layers(p); len(layers) != 1 || layers[0].ID != mac(9).String() {
		t.Errorf("parameters that were the old phone's: %+v", layers)
	}
	if p.Device.ID != "HD0001" || p.Device.Desk != old.Device.Desk || p.User != nil || p.Device.Generation <= old.Device.Generation {
		t.Errorf("the new phone is %+v, user %v", p.Device, p.User)
	}
	creds, _, _ := d.Credentials("HD0001")
	if len(creds) == 0 || creds[len(creds)-1].Generation <= old.Device.Generation {
		t.Errorf("secrets that hold afterwards: %+v; the old phone had %d", creds, old.Device.Generation)
	}
}

// Twenty wrong PINs from many phones lock a user everywhere but at the phone of
// the last good login; an administrator's unlock forgives them, and the pair's.
func TestUserThrottleAndUnlock(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	if _, err := d.login("HD0004", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	wrong := func(id hotdesk.DeviceID) {
		t.Helper()
		if _, err := d.login(id, "100", "9999"); !errors.Is(err, hotdesk.ErrNoMatch) {
			t.Fatal(err)
		}
	}
	for n := range 20 {
		wrong(hotdesk.DeviceID(fmt.Sprintf("HD%04d", 1+n%3)))
		d.clock.add(5 * time.Minute)
	}
	if u, _ := d.User("100"); u.LockedUntil.IsZero() {
		t.Fatal("twenty wrong PINs lock nobody")
	}
	if _, err := d.login("HD0002", "100", "4071"); !errors.Is(err, hotdesk.ErrNoMatch) {
		t.Errorf("a right PIN at another phone while the user is locked: %v", err)
	}
	if res, err := d.login("HD0004", "100", "4071"); err != nil || !res.Already {
		t.Errorf("at the phone of the last good login: %+v, %v", res, err)
	}
	if err := d.Unlock(context.Background(), "100", "test"); err != nil {
		t.Fatal(err)
	}
	if u, _ := d.User("100"); !u.LockedUntil.IsZero() {
		t.Error("still locked after the unlock")
	}
	for range 5 {
		wrong("HD0003")
	}
	if err := d.Unlock(context.Background(), "100", "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.login("HD0003", "100", "4071"); err != nil {
		t.Errorf("the locked pair after the unlock: %v", err)
	}
}

// A blocked phone rings for nobody.
func TestBlockedPhoneDoesNotRing(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	d.apply(hotdesk.Desired{Devices: []hotdesk.DeviceSpec{{MAC: mac(2).String(), Type: ptr("fixed"), DefaultUser: ptr("104")}}})
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	if r := d.Route("HD0001", "104"); !slices.Equal(r.Devices, []hotdesk.DeviceID{"HD0003"}) {
		t.Fatalf("before: %+v", r)
	}
	if err := d.Block(context.Background(), "HD0003", "test"); err != nil {
		t.Fatal(err)
	}
	if r := d.Route("HD0001", "104"); r.Kind != hotdesk.RouteRefuse || r.Reason != hotdesk.ReasonOffDesk {
		t.Errorf("blocked: %+v", r)
	}
}

// A thousand unknown phones wait at the most; the one that was longest there goes.
func TestPendingIsBounded(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	live := hotdesk.NewLive(func() time.Time { return now })
	for n := range 1100 {
		now = now.Add(time.Second)
		if !live.SeePending(hotdesk.Pending{MAC: hotdesk.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)}, Source: "192.0.2.1:1", Seen: now}) {
			t.Fatalf("phone %d, one a second, is not taken", n)
		}
	}
	waiting := live.Pending()
	if len(waiting) != 1000 || waiting[0].MAC != (hotdesk.MAC{2, 0, 0, 0, 0, 100}) {
		t.Errorf("%d wait, the first is %s", len(waiting), waiting[0].MAC)
	}
}

// One address brings sixty new phones a minute, whatever its port, and no more;
// those that are known already and other addresses are not held up by it.
func TestNewcomersFromOneAddress(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	live := hotdesk.NewLive(func() time.Time { return now })
	bring := func(n int, source string) bool {
		return live.SeePending(hotdesk.Pending{MAC: hotdesk.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)}, Source: source, Seen: now})
	}
	taken := 0
	for n := range 500 {
		if bring(n, fmt.Sprintf("192.0.2.1:%d", 1000+n)) {
			taken++
		}
	}
	if taken != 60 {
		t.Errorf("%d phones of one address were taken in a minute, want 60", taken)
	}
	if !bring(0, "192.0.2.1:1") {
		t.Error("a phone that waits already is turned away")
	}
	if !bring(900, "192.0.2.2:1") {
		t.Error("another address is held up")
	}
	now = now.Add(time.Minute)
	if !bring(901, "192.0.2.1:1") {
		t.Error("a minute later it is still held up")
	}
}

// Whether changes are possible is known from the last one that was tried.
func TestHealthy(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	sw := &unavailable{Store: d.store}
	d.restartOn(sw)
	sw.down = true
	if _, err := d.login("HD0001", "100", "4071"); !errors.Is(err, hotdesk.ErrUnavailable) {
		t.Fatal(err)
	}
	if err := d.Healthy(); !errors.Is(err, hotdesk.ErrUnavailable) {
		t.Errorf("with the store down: %v", err)
	}
	sw.down = false
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	if err := d.Healthy(); err != nil {
		t.Errorf("with the store back: %v", err)
	}
}

// unavailable is a store that can be down, and that lets something happen right
// before the next transaction.
type unavailable struct {
	hotdesk.Store
	down   bool
	before func()
}

func (u *unavailable) Update(ctx context.Context, fn func(hotdesk.Txn) error) (hotdesk.Rev, error) {
	if u.down {
		return 0, hotdesk.ErrUnavailable
	}
	if do := u.before; do != nil {
		u.before = nil
		do()
	}
	return u.Store.Update(ctx, fn)
}

// Somebody who logs in between the plan of an apply and its writing keeps the
// device: it is not deleted under the session.
func TestPruneDeletesNoDeviceUnderSomebody(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	file, first := d.Export(), d.Service
	sw := &unavailable{Store: d.store}
	d.restartOn(sw)
	file.Devices = file.Devices[:3] // HD0004 goes
	sw.before = func() {
		if _, err := first.Login(context.Background(), hotdesk.LoginRequest{Device: "HD0004", User: "100", PIN: "4071", By: hotdesk.ByIVR}); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.Apply(context.Background(), file, hotdesk.ApplyOptions{Prune: true}); !errors.Is(err, hotdesk.ErrInUse) {
		t.Errorf("prune: %v", err)
	}
	d.Service = first // which has seen its own login
	if got := d.who("HD0004"); got != "100" {
		t.Errorf("at HD0004 sits %q", got)
	}
}

// Data of a later version is refused before anything is written.
func TestLaterSchemaIsRefused(t *testing.T) {
	d := newDesk(t)
	value, err := json.Marshal(99)
	if err != nil {
		t.Fatal(err)
	}
	rev, err := d.store.Update(context.Background(), func(tx hotdesk.Txn) error { tx.Put("/meta/schema", value); return nil })
	if err != nil {
		t.Fatal(err)
	}
	s, err := hotdesk.New(hotdesk.Options{Store: d.store, Vault: quickVault{}, Live: d.live, Models: models, Realm: "hotdeskd", Now: d.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Serve(ctx); !errors.Is(err, hotdesk.ErrInvalid) {
		t.Errorf("served data of version 99: %v", err)
	}
	if err := d.store.View(context.Background(), func(r hotdesk.Reader) error {
		if r.Rev() != rev {
			t.Error("something was written")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// forgetful is a store whose feed holds everything back and then has forgotten it.
type forgetful struct {
	hotdesk.Store
	forget chan struct{}
}

func (f *forgetful) Watch(ctx context.Context, after hotdesk.Rev) iter.Seq2[hotdesk.Commit, error] {
	select {
	case <-f.forget:
		return f.Store.Watch(ctx, after)
	default:
	}
	return func(yield func(hotdesk.Commit, error) bool) {
		select {
		case <-f.forget:
			yield(hotdesk.Commit{}, hotdesk.ErrCompacted)
		case <-ctx.Done():
			yield(hotdesk.Commit{}, ctx.Err())
		}
	}
}

// When the feed has forgotten what came meanwhile, all is read anew, and what is
// gone from the store is gone from memory too.
func TestReadAnewAfterCompaction(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	first := d.Service
	f := &forgetful{Store: d.store, forget: make(chan struct{})}
	d.restartOn(f)
	ctx := context.Background()
	if err := first.RemoveDevice(ctx, "HD0004", "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Login(ctx, hotdesk.LoginRequest{Device: "HD0001", User: "100", PIN: "4071", By: hotdesk.ByIVR}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Phone("HD0004"); err != nil {
		t.Fatalf("the feed did not hold back: %v", err)
	}
	close(f.forget)
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := d.Settle(limit); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Phone("HD0004"); !errors.Is(err, hotdesk.ErrNotFound) {
		t.Errorf("the removed device: %v", err)
	}
	if got := d.who("HD0001"); got != "100" {
		t.Errorf("at HD0001 sits %q", got)
	}
}

// Prompts and screens speak the person's language, else the desk's, else the
// office's; a wrong code is refused and changes nothing.
func TestLanguageOrder(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	ctx := context.Background()
	speaks := func() string {
		p, err := d.Phone("HD0001")
		if err != nil {
			t.Fatal(err)
		}
		return p.Language()
	}
	d.apply(hotdesk.Desired{Sites: []hotdesk.SiteSpec{{Name: "roma", Language: ptr("it")}}})
	if got := speaks(); got != "it" {
		t.Errorf("idle phone speaks %q, want the site's it", got)
	}
	if err := d.UpdateDevice(ctx, "HD0001", hotdesk.DeviceSpec{Language: ptr("ru")}, "admin"); err != nil || speaks() != "ru" {
		t.Errorf("with a language of its own the desk speaks %q (%v), want ru", speaks(), err)
	}
	d.apply(hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "100", Language: ptr("en")}}})
	if _, err := d.login("HD0001", "100", "4071"); err != nil || speaks() != "en" {
		t.Errorf("with user 100 it speaks %q (%v), want en", speaks(), err)
	}
	if err := d.UpdateDevice(ctx, "HD0002", hotdesk.DeviceSpec{Language: ptr("Italian")}, "admin"); !errors.Is(err, hotdesk.ErrInvalid) {
		t.Errorf("a language that is no code: %v, want ErrInvalid", err)
	}
}
