package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
	"hotdeskd/internal/certs"
	"hotdeskd/internal/phonefile"
	"hotdeskd/store/bolt"
)

// asMain is set in the environment of a test binary that is to be the product.
const asMain = "TEST_AS_HOTDESKD"

// TestMain lets the test binary be the product, and the child that checks a
// database, as the server itself is.
func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		if err := os.Unsetenv(asMain); err != nil {
			panic(err)
		}
		os.Exit(run(os.Args[1:]))
	}
	if len(os.Args) == 3 && os.Args[1] == "check-store" {
		os.Exit(bolt.RunCheck(os.Args[2], os.Stderr))
	}
	gin.SetMode(gin.ReleaseMode)
	code := m.Run()
	if dir, err := testCertificates(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// patience is how long a step of a story may take on a slow machine.
const patience = 10 * time.Second

// server is the whole product in this process, on ports of its own.
type server struct {
	t      *testing.T
	app    *app
	store  *storeSwitch
	config config
	api    *admin.Client
	log    *logBuffer
	clock  *testClock
	stop   func()
}

// testClock is the injected Now: real time plus what a test added.
type testClock struct {
	mu  sync.Mutex
	add time.Duration
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.add)
}

func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add += d
}

// storeSwitch is the database with a switch: when it is down, nothing can be
// written.
type storeSwitch struct {
	hotdesk.Store
	down atomic.Bool
}

func (s *storeSwitch) Update(ctx context.Context, fn func(hotdesk.Txn) error) (hotdesk.Rev, error) {
	if s.down.Load() {
		return 0, hotdesk.ErrUnavailable
	}
	return s.Store.Update(ctx, fn)
}

// logBuffer keeps the log at debug level, for tests that read it.
type logBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	muted bool
}

// mute keeps nothing more, and forgets what there is.
func (l *logBuffer) mute() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b, l.muted = bytes.Buffer{}, true
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.muted {
		return len(p), nil
	}
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startServer runs a server on an empty data directory.
func startServer(t *testing.T) *server {
	t.Helper()
	return startWith(t, loopback(t), &testClock{}, &logBuffer{})
}

// loopback is the configuration of a server on an empty data directory with all
// its listeners on ports that are free.
func loopback(t *testing.T) config {
	t.Helper()
	c := defaultConfig()
	c.DataDir = t.TempDir()
	const free = "127.0.0.1:0"
	c.Provisioning.HTTP, c.Provisioning.HTTPS = free, free
	c.SIP.UDP, c.SIP.TCP, c.SIP.TLS = free, free, free
	c.Drain = drainConfig{Calls: "1s", Emergency: "1s"} // tests stop servers with calls up
	c.Console.Listen = free
	giveCertificates(t, c.DataDir)
	return c
}

// testCertificates are made once for all tests: making them is slow.
var testCertificates = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hotdeskd-test-tls-")
	if err == nil {
		_, err = certs.Open(dir, []string{"127.0.0.1"}, time.Now)
	}
	return dir, err
})

// giveCertificates puts certificates into a data directory.
func giveCertificates(t *testing.T, dataDir string) {
	t.Helper()
	from, err := testCertificates()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dataDir, tlsDir), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func startWith(t *testing.T, c config, clock *testClock, log *logBuffer) *server {
	t.Helper()
	sw := &storeSwitch{}
	w := world{now: clock.Now, store: func(s hotdesk.Store) hotdesk.Store { sw.Store = s; return sw }}
	a, err := newApp(c, w, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, app: a, store: sw, config: c, log: log, clock: clock, api: admin.Local(a.ready.Socket)}
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Serve(ctx, func(*app) error { close(up); return nil }) }()
	select {
	case <-up:
	case err := <-done:
		t.Fatalf("the server did not start: %v", err)
	}
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("the server stopped with: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() && testing.Verbose() {
			t.Logf("server log:\n%s", log.String())
		}
	})
	return s
}

// restart stops the server and starts it on the same data and SIP port.
func (s *server) restart() *server {
	s.t.Helper()
	c := s.config
	c.SIP.UDP, c.SIP.TCP, c.SIP.TLS = s.app.ready.SIP.UDP, s.app.ready.SIP.TCP, s.app.ready.SIP.TLS
	s.stop()
	return startWith(s.t, c, s.clock, s.log)
}

func (s *server) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.t.Cleanup(cancel)
	return ctx
}

// apply brings the server to a YAML file.
func (s *server) apply(yaml string) {
	s.t.Helper()
	if _, err := s.api.Apply(s.context(), []byte(yaml), false, false); err != nil {
		s.t.Fatal(err)
	}
}

// floor is one site with users 100 to 103 (PIN 4071) and no phones.
func floor(trunk string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
pbx:
  - {name: main, mode: trunk, domain: pbx.example, proxy: "%s"}
sites:
  - name: roma
    country: IT
    time_zone: Europe/Rome
    language: en
    networks: ["127.0.0.0/8"]
    emergency:
      numbers: ["112", "113"]
      caller_id: "+390612345600"
      address: {street: "Via Appia 1", city: Roma, floor: "2"}
      routes: [{pbx: main}]
users:
`, trunk)
	for n := range 4 {
		fmt.Fprintf(&b, "  - {extension: \"%d\", name: \"User %d\", pin: \"4071\"}\n", 100+n, 100+n)
	}
	return b.String()
}

// office is a floor with four phones.
func office(trunk string) string {
	var b strings.Builder
	b.WriteString(floor(trunk) + "devices:\n")
	for n := range 4 {
		fmt.Fprintf(&b, "  - {mac: \"%s\", model: yealink-t46u, site: roma, desk: \"2-%d\"}\n", phoneMAC(n), n)
	}
	return b.String()
}

func phoneMAC(n int) string { return fmt.Sprintf("805ec00000%02x", n+1) }

// enrolment is the URL that DHCP gives to phones.
func (s *server) enrolment() string {
	s.t.Helper()
	sites, err := admin.List[admin.Site](s.context(), s.api, "/sites")
	if err != nil || len(sites) == 0 {
		s.t.Fatalf("sites: %v", err)
	}
	return sites[0].EnrolmentURL
}

// device reads one device from the API.
func (s *server) device(id string) admin.Device {
	s.t.Helper()
	d, err := admin.Get[admin.Device](s.context(), s.api, "/devices/"+id)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// await waits for events until the state is as wanted; each event is only a
// hint to look again.
func (s *server) await(what string, holds func() bool) {
	s.t.Helper()
	if holds() {
		return
	}
	ctx := s.context()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if holds() {
				return
			}
		case <-ctx.Done():
			s.t.Fatalf("within %s there was no %s", patience, what)
		}
	}
}

// awaitDevice waits until a device is as wanted.
func (s *server) awaitDevice(id, what string, holds func(admin.Device) bool) admin.Device {
	s.t.Helper()
	var d admin.Device
	s.await(id+" "+what, func() bool { d = s.device(id); return holds(d) })
	return d
}

func inUseBy(user string) func(admin.Device) bool {
	return func(d admin.Device) bool { return d.User != nil && *d.User == user }
}

func idle(d admin.Device) bool       { return d.State == "idle" }
func registered(d admin.Device) bool { return d.Registered }
func current(d admin.Device) bool    { return d.Config.State == "current" }

// calls lists the call records, oldest first.
func (s *server) calls() []hotdesk.Call {
	s.t.Helper()
	calls, err := admin.List[hotdesk.Call](s.context(), s.api, "/calls")
	if err != nil {
		s.t.Fatal(err)
	}
	for i, j := 0, len(calls)-1; i < j; i, j = i+1, j-1 {
		calls[i], calls[j] = calls[j], calls[i]
	}
	return calls
}

// awaitCalls waits until n calls have ended and returns the records of all that have.
func (s *server) awaitCalls(n int) []hotdesk.Call {
	s.t.Helper()
	var calls []hotdesk.Call
	s.await(fmt.Sprintf("%d ended calls", n), func() bool {
		calls = slices.DeleteFunc(s.calls(), func(c hotdesk.Call) bool { return c.Ended == nil })
		return len(calls) >= n
	})
	return calls
}

// fetch gets a phone's file as the phone would.
func (s *server) fetch(url string) (*phonefile.File, int) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.context(), http.MethodGet, url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("User-Agent", "Yealink SIP-T46U 108.86.0.20 80:5e:c0:00:00:01")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, res.StatusCode
	}
	f, err := phonefile.Parse(phonefile.YealinkINI, body)
	if err != nil {
		s.t.Fatalf("%s: %v", url, err)
	}
	return f, res.StatusCode
}

// mustFetch is fetch of a file that must be there.
func (s *server) mustFetch(url string) *phonefile.File {
	s.t.Helper()
	f, status := s.fetch(url)
	if status != http.StatusOK {
		s.t.Fatalf("GET %s: %d", url, status)
	}
	return f
}
