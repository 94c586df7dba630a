package sip

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/certs"
	"hotdeskd/internal/memnet"
	"hotdeskd/store/bolt"
)

// office is the edge on a network in memory, with the rules on a real store
// behind it, in a bubble of fake time.
type office struct {
	*hotdesk.Service
	t     *testing.T
	net   *memnet.Net
	live  *hotdesk.Live
	edge  *Edge
	dir   string
	certs *certs.Certificates
	pings bool // the trunk lets the test see that it is asked whether it is there
	names *names
	log   *slog.Logger

	mu    sync.Mutex
	calls []hotdesk.Call // that have ended
	// recordings are all that the edge recorded, calls that are up included.
	recordings []hotdesk.Call
	audit      []hotdesk.AuditRow
	onAudit    func() error
	attend     func(context.Context, Visit) (Conversation, error)
	closeEdge  func()
}

var server = netip.MustParseAddrPort("192.0.2.1:5060")

// pbxAddr is where the trunk "main" is.
const pbxAddr = "192.0.2.100:5060"

// spareAddr is a second PBX.
const spareAddr = "192.0.2.60:5060"

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
	return hotdesk.Secret(sealed[min(len(sealed), len(label)+1):]), nil
}

func sum(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func ptr[T any](v T) *T { return &v }

// inOffice runs a test in a bubble. When it is over the edge stops; a goroutine
// that is left then and waits for nothing that comes fails the test.
func inOffice(t *testing.T, do func(*office)) {
	t.Helper()
	dir := t.TempDir()
	c, err := testCertificates()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		o := &office{t: t, net: memnet.New(1, memnet.Conditions{Delay: time.Millisecond}), dir: dir, certs: c, names: &names{}}
		o.live = hotdesk.NewLive(time.Now)
		stop := o.openDesk()
		defer stop()
		o.furnish()
		o.openEdge()
		defer func() { o.closeEdge() }()
		do(o)
	})
}

// openDesk starts the rules.
func (o *office) openDesk() (stop func()) {
	store, err := bolt.Open(filepath.Join(o.dir, "test.db"), bolt.Options{})
	if err != nil {
		o.t.Fatal(err)
	}
	o.Service, err = hotdesk.New(hotdesk.Options{
		Store: store, Vault: quickVault{}, Live: o.live, Models: []hotdesk.Model{{ID: "yealink-t46u", Vendor: "yealink", LineKeys: 27}},
		Realm: "hotdeskd", Now: time.Now,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Service.Serve(ctx) }()
	<-o.Ready()
	return func() {
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			o.t.Error(err)
		}
	}
}

// furnish makes a site, a trunk, users 100 to 104 and devices HD0001 to HD0004.
func (o *office) furnish() {
	file := hotdesk.Desired{
		PBX: []hotdesk.PBXSpec{{Name: "main", Mode: ptr("trunk"), Proxy: ptr(pbxAddr), Account: &hotdesk.AccountSpec{AuthUser: ptr("trunk"), Secret: ptr("trunksecret")}}},
		Sites: []hotdesk.SiteSpec{{
			Name: "roma", SecondPhone: ptr("allow"),
			Emergency: &hotdesk.EmergencySpec{
				Numbers: []string{"112"}, CallerID: ptr("+390612345600"), Address: map[string]string{"city": "Roma"},
				Routes: []hotdesk.EmergencyRoute{{PBX: "main"}},
			},
		}},
	}
	for n := range 5 {
		u := hotdesk.UserSpec{Extension: fmt.Sprint(100 + n), Name: ptr("User"), PIN: ptr("4071")}
		if n == 4 {
			u.Name, u.PBX = ptr(`Rossi "Bob"`), &hotdesk.UserPBXSpec{Name: "main"}
		}
		file.Users = append(file.Users, u)
	}
	for n := range 4 {
		file.Devices = append(file.Devices, hotdesk.DeviceSpec{MAC: mac(n).String(), Model: ptr("yealink-t46u"), Site: ptr("roma"), Desk: ptr(fmt.Sprint("2-", n))})
	}
	if _, err := o.Apply(context.Background(), file, hotdesk.ApplyOptions{}); err != nil {
		o.t.Fatal(err)
	}
	for n := range 4 {
		if _, err := o.Claim(context.Background(), mac(n), "roma", "test"); err != nil {
			o.t.Fatal(err)
		}
	}
}

func mac(n int) hotdesk.MAC { return hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, byte(n + 1)} }

// Attend lets the test's own function answer; by default the attendant talks
// until the caller hangs up.
func (o *office) Attend(ctx context.Context, v Visit) (Conversation, error) {
	if o.attend != nil {
		return o.attend(ctx, v)
	}
	return &talk{}, nil
}

// talk is a scripted conversation.
type talk struct {
	run      func(context.Context) error
	describe func(offer []byte) ([]byte, error)
	mu       sync.Mutex
	pressed  []byte
	accepted string
	closed   int
}

func (c *talk) Describe(offer []byte) ([]byte, error) {
	if c.describe != nil {
		return c.describe(offer)
	}
	return []byte("v=0 attendant"), nil
}

func (c *talk) Accept(answer []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted = string(answer)
	return nil
}

func (c *talk) Press(digit byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pressed = append(c.pressed, digit)
}

func (c *talk) Run(ctx context.Context) error {
	if c.run != nil {
		return c.run(ctx)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (c *talk) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

// buildEdge makes an edge that does not run yet.
func (o *office) buildEdge() {
	var err error
	o.edge, err = New(Options{
		Desk: o.Service, Live: o.live, Attendant: o, Realm: "hotdeskd", NonceKey: []byte("key of these tests, 32 bytes long"),
		Record: func(c hotdesk.Call) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.recordings = append(o.recordings, c)
			if c.Ended != nil {
				o.calls = append(o.calls, c)
			}
		},
		Audit: func(row hotdesk.AuditRow) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.audit = append(o.audit, row)
			if o.onAudit != nil {
				return o.onAudit()
			}
			return nil
		},
		LocationFile: filepath.Join(o.dir, "locations.json"), Dial: o.net.Dial, Now: time.Now,
		Resolver: o.names, Log: o.log,
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// Where the edge takes connections.
var (
	serverTCP = netip.MustParseAddrPort("192.0.2.1:5062")
	serverTLS = netip.MustParseAddrPort("192.0.2.1:5061")
)

// testCertificates are made once, outside of any bubble.
var testCertificates = sync.OnceValues(func() (*certs.Certificates, error) {
	dir, err := os.MkdirTemp("", "hotdeskd-test-tls-")
	if err != nil {
		return nil, err
	}
	c, err := certs.Open(dir, []string{"192.0.2.1"}, time.Now)
	return c, errors.Join(err, os.RemoveAll(dir))
})

// listen opens the edge's sockets on the network in memory.
func (o *office) listen() (l Listeners, err error) {
	if l.UDP, err = o.net.ListenPacket(server); err != nil {
		return l, err
	}
	if l.TCP, err = o.net.Listen(serverTCP); err != nil {
		return l, err
	}
	if l.TLS, err = o.net.Listen(serverTLS); err != nil {
		return l, err
	}
	l.Security = o.certs.Config()
	return l, nil
}

// openEdge starts a new edge.
func (o *office) openEdge() {
	o.buildEdge()
	l, err := o.listen()
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.edge.Serve(ctx, l) }()
	<-o.edge.Ready()
	var once sync.Once
	o.closeEdge = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				o.t.Error(err)
			}
		})
	}
}

// login puts a user on a device and returns nothing: the phone keeps its secret.
func (o *office) login(id hotdesk.DeviceID, user hotdesk.Extension) {
	o.t.Helper()
	if _, err := o.Login(context.Background(), hotdesk.LoginRequest{Device: id, User: user, By: hotdesk.ByAdmin}); err != nil {
		o.t.Fatal(err)
	}
}

// records waits until the edge has nothing to do and returns the call records.
func (o *office) records() []hotdesk.Call {
	sleep(10 * time.Millisecond)
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.calls)
}

// recorded fails unless the last call has this result.
func (o *office) recorded(result, reason string) {
	o.t.Helper()
	all := o.records()
	if len(all) == 0 {
		o.t.Error("no call was recorded")
		return
	}
	if last := all[len(all)-1]; last.Result != result || last.Reason != reason {
		o.t.Errorf("recorded as %q (%q), want %q (%q)", last.Result, last.Reason, result, reason)
	}
}

// idle fails when a device still has a leg or the edge still has a dialog.
func (o *office) idle() {
	o.t.Helper()
	sleep(10 * time.Millisecond) // the last answers are on their way
	for _, p := range o.Phones() {
		if busy, _ := o.live.InCall(p.Device.ID, ""); busy {
			o.t.Errorf("%s still has a leg", p.Device.ID)
		}
	}
	if n := o.edge.table.Len(); n != 0 {
		o.t.Errorf("%d dialogs are left", n)
	}
}

// sleep lets the bubble's time pass.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// running counts the goroutines that are inside a function of this name.
func running(function string) int {
	buf := make([]byte, 4<<20)
	n := 0
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, function) {
			n++
		}
	}
	return n
}
