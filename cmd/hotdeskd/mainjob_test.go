package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
	"hotdeskd/internal/simphone"
)

// phone runs a simulated phone until the test ends.
func (s *server) phone(n int, change func(*simphone.Config)) *simphone.Phone {
	s.t.Helper()
	c := simphone.Config{
		Provision: s.enrolment(), MAC: phoneMAC(n), Model: "yealink-t46u",
		KeyTime: 60 * time.Millisecond, KeyGap: 40 * time.Millisecond, HoldPoll: 50 * time.Millisecond, Retry: 200 * time.Millisecond,
	}
	if change != nil {
		change(&c)
	}
	p, err := simphone.New(c)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("phone %d: %v", n, err)
		}
	})
	return p
}

// must fails the test when a step of the story does not happen.
func (s *server) must(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

// dial is a call that must be answered.
func (s *server) dial(p *simphone.Phone, number string) *simphone.Call {
	s.t.Helper()
	c, err := p.Dial(s.context(), number)
	s.must("dial "+number, err)
	return c
}

// ended waits for the end of a call.
func (s *server) ended(c *simphone.Call) simphone.Ended {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	end, err := c.Wait(ctx)
	s.must("end of the call", err)
	return end
}

// login dials the code and types the PIN, and hangs up once it is committed.
func (s *server) login(p *simphone.Phone, id, user, pin string) {
	s.t.Helper()
	c := s.dial(p, "*77*"+user+"*")
	s.must("press", c.Press(s.context(), pin+"#"))
	s.awaitDevice(id, "in use by "+user, inUseBy(user))
	s.must("hang up", c.HangUp(s.context()))
}

// brands are the vendors of the main job, a model and two phones of each.
var brands = []struct{ model, mac, other string }{
	{"yealink-t46u", "805ec0000001", "805ec0000002"},
	{"snom-d785", "000413000001", "000413000002"},
	{"grandstream-grp2614", "c074ad000001", "c074ad000002"},
}

// The main job, with the phones of every vendor over every transport: a phone that
// nobody knows boots by option 66 and is approved, somebody sits down, calls are
// theirs, somebody else takes over, they leave. With TLS the site also requires
// HTTPS, and option 66 names no more than the server.
func TestMainJob(t *testing.T) {
	t.Parallel()
	for _, b := range brands {
		for _, transport := range []string{"udp", "tcp", "tls"} {
			t.Run(b.model+" "+transport, func(t *testing.T) {
				t.Parallel()
				mainJob(t, b.model, b.mac, b.other, transport)
			})
		}
	}
}

func mainJob(t *testing.T, model, mac, otherMAC, transport string) {
	peer := startTrunk(t)
	s := startServer(t)
	s.apply(floor(peer.addr))
	s.apply(fmt.Sprintf("sites:\n  - {name: roma, phones: {transport: %s}, require_https: %t}\n", transport, transport == "tls"))
	s.apply(fmt.Sprintf("devices:\n  - {mac: %q, model: %s, site: roma}\n", otherMAC, model))

	// A Yealink phone takes no certificate that it does not know before a file has
	// told it to, so that HTTPS begins with HTTP.
	phone := func(n int, mac string, change func(*simphone.Config)) *simphone.Phone {
		return s.phone(n, func(c *simphone.Config) {
			c.MAC, c.Model, c.CheckCertificates = mac, model, true
			if transport != "tcp" {
				c.Provision = s.app.ready.Provisioning.HTTP
			}
			if change != nil {
				change(c)
			}
		})
	}

	// Boot: nobody knows the phone, and it has no account.
	p := phone(0, mac, nil)
	s.must("holding screen", p.WaitLabel(s.context(), "Waiting for approval"))
	if d := s.device(mac); d.State != "pending" || d.ID != nil || d.Model != model || p.State().User != "" {
		t.Fatalf("before it is approved: %+v, the phone shows %+v", d, p.State())
	}

	// Approved: it shows its HD number and is registered.
	s.must("approve", s.api.Post(s.context(), "/devices/"+mac+"/approve", map[string]string{"desk": "2-14"}, nil))
	s.must("idle screen", p.WaitLabel(s.context(), "HD0002"))
	s.must("registration", p.Registered(s.context()))
	d := s.awaitDevice("HD0002", "current", current)
	if !d.Registered || d.Generation.Proven != 1 || !strings.HasPrefix(d.Source, transport+":") {
		t.Errorf("after the boot: %+v", d)
	}
	if got, https := d.ProvisioningURL, transport == "tls"; strings.HasPrefix(got, "https:") != https {
		t.Errorf("its own URL is %s", got)
	}
	s.firstKey(p, "Login", "*77*")

	// An outside call is refused in words.
	c := s.dial(p, "0039061234567")
	s.must("spoken refusal", c.WaitHeard(s.context(), 20))
	if transport != "udp" { // to hear it to its end takes 8 seconds
		s.must("hang up", c.HangUp(s.context()))
	} else if end := s.ended(c); end.By != "them" {
		t.Error("the refusal was ended by the phone, not by the server")
	}

	// 112 goes out with the desk's number.
	c = s.dial(p, "112")
	if from := peer.last("INVITE").From().Address.User; from != "+390612345600" {
		t.Errorf("the emergency call shows %q", from)
	}
	s.must("hang up", c.HangUp(s.context()))

	// Login: from the commit on, the device is the user's.
	s.seated(p, "HD0002", "100")
	d = s.device("HD0002")
	if d.Generation != (admin.Generation{Proven: 2, Current: 2}) || d.Config.Fetched != d.Config.Wanted {
		t.Errorf("after the login: %+v %+v", d.Generation, d.Config)
	}

	// A call 100 -> 101, answered, that shows 100.
	other := phone(1, otherMAC, func(c *simphone.Config) { c.AutoAnswer, c.Speak = true, true })
	s.must("registration", other.Registered(s.context()))
	s.awaitDevice("HD0001", "current", current)
	s.must("login by API", s.api.Post(s.context(), "/devices/HD0001/login", map[string]string{"user": "101"}, nil))
	s.must("screen", other.WaitLabel(s.context(), "101 User 101"))
	s.awaitDevice("HD0001", "current", current)
	c = s.dial(p, "101")
	s.must("hear the other side", c.WaitHeard(s.context(), 10))
	if got := (<-other.Incoming()).Caller(); got.Number != "100" || got.Name != "User 100" {
		t.Errorf("the called phone shows %+v", got)
	}
	s.must("hang up", c.HangUp(s.context()))

	// Takeover: somebody else logs in where 100 sits. Logout by code.
	s.seated(p, "HD0002", "102")
	c = s.dial(p, "*77*5*")
	s.leaves(p, "HD0002", c)

	// Logout by the first line key, where the model has one.
	s.seated(p, "HD0002", "100")
	c, err := p.DialKey(s.context(), 1)
	s.must("line key", err)
	s.leaves(p, "HD0002", c)

	s.storyIsTold()
}

// firstKey checks what the first key beside the display does.
func (s *server) firstKey(p *simphone.Phone, label, value string) {
	s.t.Helper()
	if keys := p.State().Keys; len(keys) == 0 || keys[0] != (simphone.LineKey{Position: 1, Type: "speed", Label: label, Value: value}) {
		s.t.Errorf("first line key: %+v, want %s %s", keys, label, value)
	}
}

// seated logs a user in at a phone, which shows and proves it.
func (s *server) seated(p *simphone.Phone, id, user string) {
	s.t.Helper()
	s.login(p, id, user, "4071")
	s.must("new screen", p.WaitLabel(s.context(), user+" User "+user))
	s.must("registration with the new secret", p.Registered(s.context()))
	s.awaitDevice(id, "current", current)
	if st := p.State(); st.User != user || st.AuthUser != id {
		s.t.Errorf("the phone's account after the login: %+v", st)
	}
	s.firstKey(p, "Logout", "*77*5*")
}

// leaves waits until a logout by a call has come through.
func (s *server) leaves(p *simphone.Phone, id string, c *simphone.Call) {
	s.t.Helper()
	s.awaitDevice(id, "idle", idle)
	s.must("hang up", c.HangUp(s.context()))
	s.must("idle screen", p.WaitLabel(s.context(), id))
	s.must("registration", p.Registered(s.context()))
	s.awaitDevice(id, "current", current)
	s.firstKey(p, "Login", "*77*")
}

// storyIsTold checks that calls, sessions and audit say exactly what happened.
func (s *server) storyIsTold() {
	s.t.Helper()
	want := []string{
		"external 0039061234567 refused idle", "emergency 112 answered ", "hot-desk *77*100* answered ", "internal 101 answered ",
		"hot-desk *77*102* answered ", "hot-desk *77*5* answered ", "hot-desk *77*100* answered ", "hot-desk *77*5* answered ",
	}
	var got []string
	for _, c := range s.awaitCalls(len(want)) {
		got = append(got, fmt.Sprintf("%s %s %s %s", c.Kind, c.To, c.Result, c.Reason))
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("calls %q, want %q", got, want)
	}
	sessions, err := admin.List[hotdesk.Session](s.context(), s.api, "/sessions")
	s.must("sessions", err)
	got = nil
	for _, x := range sessions {
		got = append(got, fmt.Sprintf("%s %s %s ended %t", x.Device, x.User, x.By, x.Until != nil))
	}
	if want := []string{"HD0002 100 ivr ended true", "HD0002 102 ivr ended true", "HD0001 101 admin ended false", "HD0002 100 ivr ended true"}; !slices.Equal(got, want) {
		s.t.Errorf("sessions %q, want %q", got, want)
	}
	rows, err := admin.List[hotdesk.AuditRow](s.context(), s.api, "/audit")
	s.must("audit", err)
	counted := map[string]int{}
	for _, row := range rows {
		counted[row.Action]++
	}
	for action, n := range map[string]int{"session.started": 4, "session.ended": 3, "device.claimed": 2, "emergency.called": 1} {
		if counted[action] != n {
			s.t.Errorf("audit has %d rows of %s, want %d", counted[action], action, n)
		}
	}
	if v, err := admin.Get[admin.Verified](s.context(), s.api, "/audit/verify"); err != nil || v.Rows != len(rows) {
		s.t.Errorf("audit verify: %+v, %v; the log has %d rows", v, err, len(rows))
	}
}

// A phone that nobody knows waits until it is approved, then boots by itself.
func TestPendingPhoneIsApproved(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	p := s.phone(9, nil)
	s.must("holding screen", p.WaitLabel(s.context(), "Waiting for approval"))
	d := s.awaitDevice(phoneMAC(9), "pending", func(d admin.Device) bool { return d.State == "pending" })
	if d.ID != nil || d.Model != "yealink-t46u" || d.Site != "roma" {
		t.Errorf("pending phone: %+v", d)
	}
	s.must("approve", s.api.Post(s.context(), "/devices/"+phoneMAC(9)+"/approve", map[string]string{"desk": "3-1"}, &d))
	if d.ID == nil || *d.ID != "HD0005" {
		t.Fatalf("approved as %+v", d)
	}
	s.must("idle screen", p.WaitLabel(s.context(), "HD0005"))
	s.awaitDevice("HD0005", "current", current)
}

// After a restart of the server a phone that registered over UDP before gets its
// check-sync: a login by the API is fetched without a new registration in between.
func TestRestartReachesOldRegistration(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	p := s.phone(0, nil)
	s.must("registration", p.Registered(s.context()))
	s.awaitDevice("HD0001", "current", current)
	// The provisioning port must stay as well: the phone knows its URL.
	s.config.Provisioning.HTTP = s.app.ready.Provisioning.HTTP[len("http://"):]
	s = s.restart()
	d := s.awaitDevice("HD0001", "registered", registered)
	if d.State != "idle" {
		t.Fatalf("after the restart: %+v", d)
	}
	s.must("login by API", s.api.Post(s.context(), "/devices/HD0001/login", map[string]string{"user": "100"}, nil))
	s.must("new screen", p.WaitLabel(s.context(), "100 User 100"))
	s.awaitDevice("HD0001", "current", current)
}

// What a phone hears for a wrong PIN, an unknown extension and a disabled user is
// the same, and the third wrong PIN ends the call within 6 seconds.
func TestWrongPIN(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9") + "settings: {refusal: speak}\n")
	s.apply("users:\n  - {extension: \"103\", enabled: false}\n")
	p := s.phone(0, nil)
	s.must("registration", p.Registered(s.context()))
	c := s.dial(p, "*77*100*")
	for n, patient := range []time.Duration{3 * time.Second, 3 * time.Second, 15 * time.Second} {
		s.must("press", c.Press(s.context(), "9999#"))
		ctx, cancel := context.WithTimeout(context.Background(), patient) // a person hears the answer before trying again
		_, err := c.Wait(ctx)
		cancel()
		if ended := err == nil; ended != (n == 2) {
			t.Fatalf("after wrong PIN %d the call has ended: %v (%v)", n+1, ended, err)
		}
	}
	if d := s.device("HD0001"); d.State != "idle" {
		t.Errorf("after three wrong PINs: %+v", d)
	}
	var refused *simphone.Refused
	if _, err := p.Dial(s.context(), "*77*"); errors.As(err, &refused) {
		t.Errorf("the next login call: %v", err)
	}
}

// What the PBX answers is told to the phone in our own words: busy as busy, its
// failures as ours, and never its challenge.
func TestTrunkRefuses(t *testing.T) {
	t.Parallel()
	peer := startTrunk(t)
	s := startServer(t)
	s.apply(office(peer.addr))
	p := s.phone(0, nil)
	s.must("registration", p.Registered(s.context()))
	for n, c := range []struct {
		trunk, phone int
		result       string
	}{{486, 486, "busy"}, {503, 503, "failed"}, {407, 503, "failed"}, {404, 404, "refused"}} {
		peer.answer(c.trunk)
		var refused *simphone.Refused
		if _, err := p.Dial(s.context(), "112"); !errors.As(err, &refused) || refused.Status != c.phone {
			t.Errorf("the PBX said %d, the phone heard %v; want %d", c.trunk, err, c.phone)
		}
		if got := s.awaitCalls(n + 1)[n]; got.Result != c.result {
			t.Errorf("the PBX said %d, the record says %q; want %q", c.trunk, got.Result, c.result)
		}
	}
}

// One site's enrolment URL does not claim another site's phone: it gets a file
// without a secret, and waits.
func TestAnotherSitesURL(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	s.apply("sites:\n  - {name: milano, networks: [\"127.0.0.0/8\"]}\n")
	f := s.mustFetch(s.app.files.EnrolmentURL("milano") + phoneMAC(0) + ".cfg")
	if f.Value("account.1.password") != "" || f.Value("account.1.label") != "Another site" {
		t.Errorf("the phone got %q %q", f.Value("account.1.label"), f.Value("account.1.password"))
	}
	if f := s.mustFetch(s.app.files.EnrolmentURL("roma") + phoneMAC(0) + ".cfg"); f.Value("account.1.user_name") != "HD0001" {
		t.Errorf("by its own site's URL it is %q", f.Value("account.1.user_name"))
	}
}
