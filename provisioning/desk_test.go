package provisioning

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"hotdeskd/hotdesk"
	"hotdeskd/phonetemplates"
	"hotdeskd/store/bolt"
)

// desk is the server with the rules on a real store behind it.
type desk struct {
	*hotdesk.Service
	t     testing.TB
	live  *hotdesk.Live
	store *flakyStore
	*Server

	later atomic.Int64 // what a test adds to the time
	alive atomic.Bool  // the registered phone still answers
}

// now is the clock of every decision.
func (d *desk) now() time.Time { return time.Now().Add(time.Duration(d.later.Load())) }

func (d *desk) wait(t time.Duration) { d.later.Add(int64(t)) }

// flakyStore is a store that a test can switch off, and whose feed it can hold back.
type flakyStore struct {
	hotdesk.Store
	down atomic.Bool
	late atomic.Pointer[chan struct{}] // while set, commits reach nobody's memory until it is closed
}

// holdBack keeps commits from the memory of the rules until the returned function
// is called.
func (s *flakyStore) holdBack() (goOn func()) {
	gate := make(chan struct{})
	s.late.Store(&gate)
	return sync.OnceFunc(func() { s.late.Store(nil); close(gate) })
}

func (s *flakyStore) Watch(ctx context.Context, after hotdesk.Rev) iter.Seq2[hotdesk.Commit, error] {
	return func(yield func(hotdesk.Commit, error) bool) {
		for c, err := range s.Store.Watch(ctx, after) {
			if gate := s.late.Load(); gate != nil {
				select {
				case <-*gate:
				case <-ctx.Done():
				}
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

func (s *flakyStore) Update(ctx context.Context, fn func(hotdesk.Txn) error) (hotdesk.Rev, error) {
	if s.down.Load() {
		return 0, hotdesk.ErrUnavailable
	}
	return s.Store.Update(ctx, fn)
}

// quickVault is a vault whose hashes cost nothing.
type quickVault struct{}

func (quickVault) HashPIN(_ context.Context, pin hotdesk.Secret) (string, error) {
	return sum("pin", pin.Reveal()), nil
}

func (quickVault) VerifyPIN(_ context.Context, pin hotdesk.Secret, hash string) (bool, error) {
	return sum("pin", pin.Reveal()) == hash, nil
}

func (quickVault) Fingerprint() string { return "quick" }

func (quickVault) Derive(purpose, id string, n uint64) hotdesk.Secret {
	return hotdesk.Secret(sum(purpose, id, fmt.Sprint(n))[:26])
}

func (quickVault) Seal(label string, plain hotdesk.Secret) (string, error) {
	return label + ":" + plain.Reveal(), nil
}

func (quickVault) Unseal(label, sealed string) (hotdesk.Secret, error) {
	return hotdesk.Secret(strings.TrimPrefix(sealed, label+":")), nil
}

func sum(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// The library tells every route otherwise.
func init() { gin.SetMode(gin.TestMode) }

func ptr[T any](v T) *T { return &v }

const (
	model = "yealink-t46u"
	agent = "Yealink SIP-T46U 108.86.0.20 80:5e:c0:00:00:01"
	inner = "192.0.2.77:40000" // a phone in the site's networks
	outer = "203.0.113.9:40000"
)

// newDesk is a site "roma" with user 100, and the device HD0001 approved.
func newDesk(tb testing.TB) *desk {
	tb.Helper()
	db, err := bolt.Open(filepath.Join(tb.TempDir(), "test.db"), bolt.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	d := &desk{t: tb, store: &flakyStore{Store: db}}
	d.live = hotdesk.NewLive(d.now)
	templates, err := phonetemplates.Load()
	if err != nil {
		tb.Fatal(err)
	}
	var known []hotdesk.Model
	for _, m := range templates.Models() {
		known = append(known, hotdesk.Model{ID: m.ID, Vendor: m.Vendor, LineKeys: m.LineKeys, AuthNameAOR: m.AuthNameAOR})
	}
	d.Service, err = hotdesk.New(hotdesk.Options{
		Store: d.store, Vault: quickVault{}, Live: d.live, Realm: "hotdeskd", Now: d.now,
		Models: known,
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Service.Serve(ctx) }()
	<-d.Ready()
	tb.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, db.Close()); err != nil {
			tb.Error(err)
		}
	})
	d.Server, err = New(Options{Desk: d.Service, Live: d.live, Templates: templates, URL: "http://192.0.2.1:8080/", SecureURL: "https://192.0.2.1:8443",
		Alive: func(context.Context, hotdesk.DeviceID) bool { return d.alive.Load() }, SIPHost: "192.0.2.1", SIPPorts: map[string]int{"udp": 5060, "tcp": 5060, "tls": 5061}})
	if err != nil {
		tb.Fatal(err)
	}
	d.apply(hotdesk.Desired{
		Sites: []hotdesk.SiteSpec{{Name: "roma", Networks: []string{"192.0.2.0/24"}}, {Name: "open", Enrolment: ptr("automatic")}},
		Users: []hotdesk.UserSpec{{Extension: "100", Name: ptr("Mario"), PIN: ptr("4071")}},
		Devices: []hotdesk.DeviceSpec{
			{MAC: mac(1), Model: ptr(model), Site: ptr("roma")}, {MAC: mac(2), Model: ptr(model), Site: ptr("roma")},
		},
	})
	return d
}

func mac(n int) string { return fmt.Sprintf("805ec00000%02x", n) }

func (d *desk) apply(file hotdesk.Desired) {
	d.t.Helper()
	if _, err := d.Apply(context.Background(), file, hotdesk.ApplyOptions{}); err != nil {
		d.t.Fatal(err)
	}
}

// ask sends one request through the handler. auth is "user:password" or empty.
func (d *desk) ask(method, url, from, auth string, headers ...string) *http.Response {
	d.t.Helper()
	req := httptest.NewRequest(method, url, nil)
	req.RemoteAddr = from
	req.Header.Set("User-Agent", agent)
	if user, password, ok := strings.Cut(auth, ":"); ok {
		req.SetBasicAuth(user, password)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, req)
	return w.Result()
}

func (d *desk) get(url string) (int, string) {
	d.t.Helper()
	res := d.ask(http.MethodGet, url, inner, "")
	return res.StatusCode, text(d.t, res)
}

func text(tb testing.TB, res *http.Response) string {
	tb.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// enrolment is the URL of a MAC's file for phones that are not claimed.
func (d *desk) enrolment(site, mac string) string { return d.EnrolmentURL(site) + mac + ".cfg" }

// claimed claims a device and returns it with the URL of its file.
func (d *desk) claimed(n int) (hotdesk.Phone, string) {
	d.t.Helper()
	if status, body := d.get(d.enrolment("roma", mac(n))); status != 200 {
		d.t.Fatalf("claim: %d %s", status, body)
	}
	p, err := d.FindDevice(mac(n))
	if err != nil {
		d.t.Fatal(err)
	}
	return p, d.DeviceURL(p.Device) + mac(n) + ".cfg"
}

func (d *desk) phone(id hotdesk.DeviceID) hotdesk.Phone {
	d.t.Helper()
	p, err := d.Phone(id)
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// secrets lists everything about a device that only its own phone may get, of
// all generations and URL numbers that a test could reach.
func (d *desk) secrets(id hotdesk.DeviceID) []string {
	p := d.phone(id)
	var all []string
	for n := range uint64(6) {
		p.Device.URLNumber = n
		all = append(all, d.Secret(id, n).Reveal(), d.HTTPPassword(p.Device).Reveal(), d.URLToken(p.Device))
	}
	return append(all, d.AdminPassword(p.Device).Reveal())
}

// leaks tells which of the devices' secrets a text holds.
func (d *desk) leaks(text string, ids ...hotdesk.DeviceID) string {
	for _, id := range ids {
		for _, s := range d.secrets(id) {
			if strings.Contains(text, s) {
				return s
			}
		}
	}
	return ""
}
