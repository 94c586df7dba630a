package hotdesk_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/store/bolt"
	"hotdeskd/store/storetest"
)

// desk is the rules on a real store, with a clock that tests move.
type desk struct {
	*hotdesk.Service
	t     testing.TB
	live  *hotdesk.Live
	clock *clock
	store hotdesk.Store
	stop  func()
	quit  func() // as stop, but the store stays open
}

// clock is the injected Now.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// quickVault is a vault whose hashes cost nothing; argon2id has its own tests.
type quickVault struct{}

// busyPIN makes quickVault say that its queue is full.
const busyPIN = "0000000000000000"

func (quickVault) HashPIN(_ context.Context, pin hotdesk.Secret) (string, error) {
	return sum("pin", pin.Reveal()), nil
}

func (v quickVault) VerifyPIN(_ context.Context, pin hotdesk.Secret, hash string) (bool, error) {
	if pin.Reveal() == busyPIN {
		return false, hotdesk.ErrBusy
	}
	return sum("pin", pin.Reveal()) == hash, nil
}

func (quickVault) Fingerprint() string { return "quick" }

func (quickVault) Derive(purpose, id string, n uint64) hotdesk.Secret {
	return hotdesk.Secret(sum(purpose, id, fmt.Sprint(n))[:26])
}

func (quickVault) Seal(label string, plain hotdesk.Secret) (string, error) {
	return "v1:" + label + ":" + plain.Reveal(), nil
}

func (quickVault) Unseal(label, sealed string) (hotdesk.Secret, error) {
	prefix := "v1:" + label + ":"
	if len(sealed) < len(prefix) || sealed[:len(prefix)] != prefix {
		return "", errors.New("not sealed with this label")
	}
	return hotdesk.Secret(sealed[len(prefix):]), nil
}

func sum(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

var models = []hotdesk.Model{{ID: "yealink-t46u", Vendor: "yealink", LineKeys: 27}}

// newDesk starts the rules on a database file of its own. Every closure runs
// twice, which must not change what comes of it.
func newDesk(tb testing.TB) *desk {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "test.db")
	return openDesk(tb, path, &clock{at: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)})
}

func openDesk(tb testing.TB, path string, c *clock) *desk {
	tb.Helper()
	return openDeskOn(tb, path, c, func(s hotdesk.Store) hotdesk.Store { return s })
}

// newDeskOn is newDesk with something between the rules and the store.
func newDeskOn(tb testing.TB, between func(hotdesk.Store) hotdesk.Store) *desk {
	tb.Helper()
	return openDeskOn(tb, filepath.Join(tb.TempDir(), "test.db"), &clock{at: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}, between)
}

func openDeskOn(tb testing.TB, path string, c *clock, between func(hotdesk.Store) hotdesk.Store) *desk {
	tb.Helper()
	db, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	d := &desk{t: tb, clock: c, store: between(storetest.Twice(tb, db)), live: hotdesk.NewLive(c.Now)}
	d.start(db.Close)
	return d
}

func (d *desk) start(closeStore func() error) {
	d.t.Helper()
	var err error
	d.Service, err = hotdesk.New(hotdesk.Options{
		Store: d.store, Vault: quickVault{}, Live: d.live, Models: models, Transports: []string{"udp", "tcp"}, NoHTTPS: true, Realm: "hotdeskd", Now: d.clock.Now,
		Parameter: func(key string) error {
			if key == "account.1.password" {
				return errors.New(key + " is set by hotdeskd")
			}
			return nil
		},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx) }()
	select {
	case <-d.Ready():
	case err := <-done:
		d.t.Fatal(err)
	}
	d.quit = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	})
	var once sync.Once
	d.stop = func() {
		once.Do(func() {
			d.quit()
			if err := closeStore(); err != nil {
				d.t.Error(err)
			}
		})
	}
	d.t.Cleanup(d.stop)
}

func ptr[T any](v T) *T { return &v }

// office is a site, a trunk, users 100 to 104 with PIN 4071, and four devices.
func (d *desk) office(secondPhone string) {
	d.t.Helper()
	file := hotdesk.Desired{
		PBX: []hotdesk.PBXSpec{{Name: "main", Mode: ptr("trunk"), Proxy: ptr("127.0.0.1:5080")}},
		Sites: []hotdesk.SiteSpec{{
			Name: "roma", SecondPhone: &secondPhone, Dialing: &hotdesk.DialingSpec{OutsidePrefix: ptr("0"), IdleNumbers: []string{"900"}},
			Emergency: &hotdesk.EmergencySpec{
				Numbers: []string{"112", "113"}, CallerID: ptr("+390612345600"), Address: map[string]string{"city": "Roma"},
				Routes: []hotdesk.EmergencyRoute{{PBX: "main"}},
			},
		}},
	}
	for n := range 5 {
		file.Users = append(file.Users, hotdesk.UserSpec{Extension: fmt.Sprint(100 + n), Name: ptr("User"), PIN: ptr("4071")})
	}
	for n := range 4 {
		file.Devices = append(file.Devices, hotdesk.DeviceSpec{MAC: mac(n).String(), Model: ptr("yealink-t46u"), Site: ptr("roma"), Desk: ptr(fmt.Sprint("2-", n))})
	}
	d.apply(file)
	for n := range 4 {
		if _, err := d.Claim(context.Background(), mac(n), "roma", "test"); err != nil {
			d.t.Fatal(err)
		}
	}
}

func mac(n int) hotdesk.MAC { return hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, byte(n + 1)} }

func (d *desk) apply(file hotdesk.Desired) hotdesk.Applied {
	d.t.Helper()
	res, err := d.Apply(context.Background(), file, hotdesk.ApplyOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	return res
}

func (d *desk) login(id hotdesk.DeviceID, ext hotdesk.Extension, pin hotdesk.Secret) (hotdesk.LoginResult, error) {
	return d.Login(context.Background(), hotdesk.LoginRequest{Device: id, User: ext, PIN: pin, By: hotdesk.ByIVR})
}

func (d *desk) logout(id hotdesk.DeviceID) error {
	_, err := d.Logout(context.Background(), hotdesk.LogoutRequest{Device: id, By: hotdesk.ByIVR})
	return err
}

// who is the user at a device, empty when idle.
func (d *desk) who(id hotdesk.DeviceID) hotdesk.Extension {
	d.t.Helper()
	p, err := d.Phone(id)
	if err != nil {
		d.t.Fatal(err)
	}
	if p.User == nil {
		return ""
	}
	return p.User.Extension
}
