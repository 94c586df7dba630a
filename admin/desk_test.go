package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"hotdeskd/access"
	"hotdeskd/hotdesk"
	"hotdeskd/store/bolt"
)

// desk is the API with the rules on a real store behind it; phones, files and
// journal do what a test says.
type desk struct {
	*hotdesk.Service
	t     testing.TB
	live  *hotdesk.Live
	store *flakyStore
	api   *Server

	mu      sync.Mutex
	synced  []string // check-syncs, "HD0001 event"
	phones  error    // of CheckSync
	alive   bool     // the registered phone still answers
	later   atomic.Int64
	chain   error // of Verify
	retried int   // by RetryPBX
	// pbxWorks: TestPBX finds nothing wrong.
	pbxWorks bool
	ready    error
	access   *access.Access
	calls    []hotdesk.Call
	rows     []hotdesk.AuditRow
	waiting  int // audit rows, for diskFull
	diskFull error
}

// flakyStore is a store that a test can switch off.
type flakyStore struct {
	hotdesk.Store
	down atomic.Bool
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
	return "sealed:" + sum(label, plain.Reveal()), nil
}

func (quickVault) Unseal(_, sealed string) (hotdesk.Secret, error) {
	return hotdesk.Secret(sealed), nil
}

func sum(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (d *desk) Calls(hotdesk.Extension, hotdesk.DeviceID, int) ([]hotdesk.Call, error) {
	return d.calls, nil
}
func (d *desk) Audit(limit int, before string) ([]hotdesk.AuditRow, error) {
	rows := d.rows
	if before != "" {
		rows = rows[slices.IndexFunc(rows, func(r hotdesk.AuditRow) bool { return r.Op == before })+1:]
	}
	return rows[:min(limit, len(rows))], nil
}
func (d *desk) Verify() (int, error)  { return 7, d.chain }
func (d *desk) Waiting() (int, error) { return d.waiting, d.diskFull }

func (d *desk) TestPBX(_ context.Context, name string) (hotdesk.PBXTest, error) {
	if name != "main" {
		return hotdesk.PBXTest{}, fmt.Errorf("%w: pbx %s", hotdesk.ErrNotFound, name)
	}
	if d.pbxWorks {
		return hotdesk.PBXTest{OK: true, Verdict: "the PBX works"}, nil
	}
	return hotdesk.PBXTest{Steps: []hotdesk.PBXTestStep{{Name: "address", Text: "x"}}, Verdict: "nobody answers"}, nil
}

func (d *desk) RetryPBX(_ context.Context, name string) error {
	if name != "main" {
		return fmt.Errorf("%w: pbx %s", hotdesk.ErrNotFound, name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retried++
	return nil
}

func (d *desk) CheckSync(_ context.Context, id hotdesk.DeviceID, cs hotdesk.CheckSync) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced = append(d.synced, fmt.Sprint(id, " ", cs.Event))
	return d.phones
}

func (d *desk) Alive(context.Context, hotdesk.DeviceID) bool { return d.alive }

func (d *desk) Prepare(context.Context, hotdesk.DeviceID) (string, []hotdesk.CheckSync, error) {
	return "", []hotdesk.CheckSync{{Event: "gentle"}, {Event: "restart", Reboot: true}}, nil
}

// files shows a file that holds every secret of the device.
type files struct{ d *desk }

func (f files) Secrets(id hotdesk.DeviceID) ([]hotdesk.Secret, error) {
	p, err := f.d.Phone(id)
	if err != nil {
		return nil, err
	}
	return []hotdesk.Secret{f.d.Secret(id, p.Device.Generation), f.d.HTTPPassword(p.Device), ""}, nil
}

func (f files) Config(id hotdesk.DeviceID, _ hotdesk.Extension) (uint64, []hotdesk.File, error) {
	secrets, err := f.Secrets(id)
	if err != nil {
		return 0, nil, err
	}
	text := "name = x\n"
	for _, s := range secrets {
		text += "secret = " + s.Reveal() + "\n"
	}
	return 3, []hotdesk.File{{Name: "x.cfg", ContentType: "text/plain", Content: text}}, nil
}

func (files) Explain(hotdesk.DeviceID) ([]hotdesk.Provenance, error) { return nil, nil }
func (files) DeviceURL(d hotdesk.Device) string                      { return "http://h/p/" + string(d.ID) + "/" }

func (files) EnrolmentURL(site string) string { return "http://h/p/" + site + "/" }

// The library tells every route otherwise.
func init() { gin.SetMode(gin.TestMode) }

func newDesk(tb testing.TB) *desk {
	tb.Helper()
	db, err := bolt.Open(filepath.Join(tb.TempDir(), "test.db"), bolt.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	d := &desk{t: tb, store: &flakyStore{Store: db}}
	now := func() time.Time { return time.Now().Add(time.Duration(d.later.Load())) }
	d.live = hotdesk.NewLive(now)
	models := []hotdesk.Model{{ID: "yealink-t46u", Vendor: "yealink", LineKeys: 27}}
	d.Service, err = hotdesk.New(hotdesk.Options{Store: d.store, Vault: quickVault{}, Live: d.live, Realm: "hotdeskd", Now: now, Models: models})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx) }()
	<-d.Ready()
	if d.access, err = access.New(access.Options{Store: d.store, Hasher: quickVault{}, Now: now}); err != nil {
		tb.Fatal(err)
	}
	doneAccess := make(chan error, 1)
	go func() { doneAccess <- d.access.Serve(ctx) }()
	<-d.access.Ready()
	tb.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, <-doneAccess, db.Close()); err != nil {
			tb.Error(err)
		}
	})
	d.api, err = New(Options{
		Desk: d.Service, Live: d.live, Files: files{d}, Journal: d, Phones: d, Ladder: d, Models: models, Version: "test",
		Access: d.access, ConsoleURL: "http://console",
		Listeners: map[string]string{"sip": "x"}, Ready: func() error { return d.ready },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// office is a site, users 100 to 102 and devices HD0001 and HD0002; HD0003 is
// fixed and belongs to 102.
func (d *desk) office() {
	d.t.Helper()
	d.want("POST", "/apply", `
sites: [{name: roma, networks: ["192.0.2.0/24"], emergency: {numbers: ["112"]}}]
pbx: [{name: main, mode: trunk, proxy: "127.0.0.1:5080"}]
users:
  - {extension: "100", name: Mario, pin: "4071"}
  - {extension: "101", name: Anna, pin: "4072"}
  - {extension: "102", name: Bob, pin: "4073"}
devices:
  - {mac: "80:5e:c0:00:00:01", model: yealink-t46u, site: roma, desk: "2-14"}
  - {mac: "80-5E-C0-00-00-02", model: yealink-t46u, site: roma}
  - {mac: "805ec0000003", model: yealink-t46u, site: roma, type: fixed, default_user: "102"}
`, 200)
}

// ask sends one request and returns status and body.
func (d *desk) ask(method, path, body string) *httptest.ResponseRecorder {
	d.t.Helper()
	req := httptest.NewRequest(method, "/api/v1"+path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
		if path == "/apply" || strings.HasPrefix(path, "/apply?") {
			req.Header.Set("Content-Type", "application/yaml")
		}
	}
	w := httptest.NewRecorder()
	d.api.Handler().ServeHTTP(w, req)
	return w
}

// want asks and decodes a JSON answer of this status.
func (d *desk) want(method, path, body string, status int) map[string]any {
	d.t.Helper()
	w := d.ask(method, path, body)
	if w.Code != status {
		d.t.Fatalf("%s %s: %d, want %d: %s", method, path, w.Code, status, w.Body)
	}
	var out map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			d.t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
		}
	}
	if status == http.StatusNoContent && w.Body.Len() > 0 {
		d.t.Errorf("%s %s: 204 with %s", method, path, w.Body)
	}
	return out
}
