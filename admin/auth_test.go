package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// token makes an API token with a name of its own: "t1-owner".
func (d *desk) token(role hotdesk.Role, site string) string {
	d.t.Helper()
	name := fmt.Sprintf("t%d-%s%s", len(d.access.Tokens())+1, role, site)
	_, text, err := d.access.Create(context.Background(), hotdesk.TokenSpec{Name: name, Role: role, Site: site}, "test")
	if err != nil {
		d.t.Fatal(err)
	}
	return text.Reveal()
}

// remote asks over the network's listener, with a token.
func (d *desk) remote(token, method, path, body string) *httptest.ResponseRecorder {
	d.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
		if strings.HasPrefix(path, "/api/v1/apply") {
			req.Header.Set("Content-Type", "application/yaml")
		}
	}
	w := httptest.NewRecorder()
	d.api.Console().ServeHTTP(w, req)
	return w
}

// Without a token nothing of the API answers but 401, whatever the path; health
// is told, without a reason.
func TestNoToken(t *testing.T) {
	d := newDesk(t)
	d.office()
	d.ready = hotdesk.ErrUnavailable
	for _, path := range []string{"/api/v1/devices", "/api/v1/nothing", "/api/v1/openapi.json", "/api/v1/events", "/metrics", "/api/v1/export"} {
		for _, token := range []string{"", "hd_aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "x"} {
			w := d.remote(token, "GET", path, "")
			if w.Code != 401 || !strings.Contains(w.Body.String(), `"code":"unauthorized"`) || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q: %d %s", path, token, w.Code, w.Body)
			}
		}
	}
	if w := d.remote("", "GET", "/healthz", ""); w.Code != 200 {
		t.Errorf("healthz: %d", w.Code)
	}
	if w := d.remote("", "GET", "/readyz", ""); w.Code != 503 || w.Body.String() != "not ready\n" {
		t.Errorf("readyz: %d %q", w.Code, w.Body)
	}
	if w := d.remote(d.token(hotdesk.RoleViewer, ""), "GET", "/readyz", ""); !strings.Contains(w.Body.String(), "store") {
		t.Errorf("readyz with a token: %q, want the reason", w.Body)
	}
}

// Each role may do what it should and no more.
func TestRoles(t *testing.T) {
	d := newDesk(t)
	d.office()
	tokens := map[hotdesk.Role]string{}
	order := []hotdesk.Role{hotdesk.RoleViewer, hotdesk.RoleDeskManager, hotdesk.RoleAdmin, hotdesk.RoleOwner}
	for _, r := range order {
		tokens[r] = d.token(r, "")
	}
	for _, c := range []struct {
		least              hotdesk.Role
		method, path, body string
		status             int // for those who may
	}{
		{hotdesk.RoleViewer, "GET", "/devices", "", 200},
		{hotdesk.RoleViewer, "GET", "/devices/HD0001/config", "", 200},
		{hotdesk.RoleViewer, "GET", "/audit", "", 200},
		{hotdesk.RoleDeskManager, "POST", "/devices/HD0001/login", `{"user":"100"}`, 200},
		{hotdesk.RoleDeskManager, "POST", "/users/100/pin", `{"pin":"7283"}`, 204},
		{hotdesk.RoleDeskManager, "POST", "/users/100/unlock", "", 204},
		{hotdesk.RoleAdmin, "PATCH", "/devices/HD0001", `{"desk":"1"}`, 200},
		{hotdesk.RoleAdmin, "POST", "/devices/HD0002/rotate", "", 204},
		{hotdesk.RoleAdmin, "PATCH", "/users/101", `{"name":"Anna B"}`, 200},
		{hotdesk.RoleAdmin, "PUT", "/settings", `{"refusal":"speak"}`, 200},
		{hotdesk.RoleAdmin, "GET", "/export", "", 200},
		{hotdesk.RoleAdmin, "POST", "/apply?dry_run=true", "users: []", 200},
		{hotdesk.RoleAdmin, "GET", "/tokens", "", 200},
		{hotdesk.RoleOwner, "GET", "/devices/HD0001/config?secrets=true", "", 200},
		{hotdesk.RoleOwner, "POST", "/tokens", `{"name":"x","role":"owner"}`, 201},
		{hotdesk.RoleOwner, "POST", "/console/link", "", 200},
	} {
		for _, r := range order {
			want := 403
			if r.May(c.least) {
				want = c.status
			}
			if w := d.remote(tokens[r], c.method, "/api/v1"+c.path, c.body); w.Code != want {
				t.Errorf("%s: %s %s: %d %s, want %d", r, c.method, c.path, w.Code, w.Body, want)
			}
		}
	}
	for r, see := range map[hotdesk.Role]bool{hotdesk.RoleViewer: false, hotdesk.RoleDeskManager: false, hotdesk.RoleAdmin: true} {
		w := d.remote(tokens[r], "GET", "/api/v1/devices/HD0001", "")
		if got := strings.Contains(w.Body.String(), "provisioning_url"); got != see {
			t.Errorf("%s sees the provisioning URL: %v, want %v", r, got, see)
		}
		w = d.remote(tokens[r], "GET", "/api/v1/sites/roma", "")
		if got := strings.Contains(w.Body.String(), "http://h/p/roma/"); got != see {
			t.Errorf("%s sees the enrolment URL: %v, want %v", r, got, see)
		}
	}
	// Who asked is in the session and the audit row.
	d.remote(tokens[hotdesk.RoleDeskManager], "POST", "/api/v1/devices/HD0002/login", `{"user":"101"}`)
	for _, s := range d.Sessions() {
		if s.Device == "HD0002" && s.By != hotdesk.ByAPI {
			t.Errorf("session by %s, want api", s.By)
		}
	}
}

// A token of one site sees and touches nothing of another, and cannot reach
// beyond its site.
func TestOneSite(t *testing.T) {
	d := newDesk(t)
	d.office()
	d.want("POST", "/apply", `
sites: [{name: milano, emergency: {numbers: ["112"]}}]
devices: [{mac: "805ec0000009", model: yealink-t46u, site: milano}]
`, 200)
	d.live.SeePending(hotdesk.Pending{MAC: hotdesk.MAC{1, 2, 3, 4, 5, 6}, Model: "yealink-t46u", Site: "milano"})
	token := d.token(hotdesk.RoleAdmin, "roma")
	for _, path := range []string{"/devices", "/sites"} {
		w := d.remote(token, "GET", "/api/v1"+path, "")
		if w.Code != 200 || strings.Contains(w.Body.String(), "milano") || !strings.Contains(w.Body.String(), "roma") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/devices/HD0004", "", 404},
		{"GET", "/devices/010203040506", "", 404},
		{"POST", "/devices/010203040506/approve", "", 404},
		{"POST", "/devices/HD0004/login", `{"user":"100"}`, 404},
		{"POST", "/devices/HD0004/block", "", 404},
		{"PATCH", "/devices/HD0001", `{"site":"milano"}`, 403},
		{"POST", "/devices", `{"mac":"805ec000000a","model":"yealink-t46u","site":"milano"}`, 403},
		{"POST", "/devices", `{"mac":"805ec000000a","model":"yealink-t46u","site":"roma"}`, 201},
		{"POST", "/devices", `{"mac":"01:02:03:04:05:06","model":"yealink-t46u","site":"roma"}`, 403}, // waits elsewhere
		{"POST", "/devices", `{"mac":"805ec0000009","model":"yealink-t46u","site":"roma"}`, 403},      // is a device elsewhere
		{"POST", "/devices/HD0001/replace", `{"mac":"010203040506"}`, 403},
		{"PATCH", "/devices/HD0001", `{"default_user":"101"}`, 403},
		{"POST", "/users/100/unlock", "", 403},
		{"GET", "/sites/milano", "", 404},
		{"PUT", "/sites/roma", `{}`, 403},
		{"GET", "/export", "", 403},
		{"GET", "/audit", "", 403},
		{"POST", "/users/100/pin", `{"pin":"7283"}`, 403},
		{"POST", "/tokens", `{"name":"x","role":"viewer"}`, 403},
		{"POST", "/devices/HD0001/login", `{"user":"100"}`, 200},
	} {
		if w := d.remote(token, c.method, "/api/v1"+c.path, c.body); w.Code != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, w.Code, w.Body, c.status)
		}
	}
	if err := login(d, "HD0004", "101"); err != nil {
		t.Fatal(err)
	}
	if w := d.remote(token, "GET", "/api/v1/sessions", ""); strings.Contains(w.Body.String(), "HD0004") {
		t.Errorf("sees another site's session: %s", w.Body)
	}
}

func login(d *desk, id hotdesk.DeviceID, user hotdesk.Extension) error {
	_, err := d.Login(context.Background(), hotdesk.LoginRequest{Device: id, User: user, By: hotdesk.ByAdmin})
	return err
}

// An admin cannot make or end the token of an owner.
func TestNobodyRaisesHimself(t *testing.T) {
	d := newDesk(t)
	owner, admin := d.token(hotdesk.RoleOwner, ""), d.token(hotdesk.RoleAdmin, "")
	if w := d.remote(admin, "POST", "/api/v1/tokens", `{"name":"x","role":"owner"}`); w.Code != 403 {
		t.Errorf("an admin makes an owner: %d", w.Code)
	}
	if w := d.remote(admin, "DELETE", "/api/v1/tokens/t1-owner", ""); w.Code != 403 {
		t.Errorf("an admin ends an owner: %d", w.Code)
	}
	if w := d.remote(admin, "POST", "/api/v1/tokens", `{"name":"x","role":"admin","ttl":"soon"}`); w.Code != 422 {
		t.Errorf("a bad ttl: %d", w.Code)
	}
	if w := d.remote(owner, "DELETE", "/api/v1/tokens/t2-admin", ""); w.Code != 204 {
		t.Errorf("an owner ends an admin: %d", w.Code)
	}
	if w := d.remote(admin, "GET", "/api/v1/devices", ""); w.Code != 401 {
		t.Errorf("a revoked token: %d", w.Code)
	}
}

// browser is a person at the console: it keeps cookies and follows redirects.
type browser struct {
	t      *testing.T
	client *http.Client
	base   string
}

func (d *desk) browser(t *testing.T) *browser {
	srv := httptest.NewServer(d.api.Console())
	t.Cleanup(srv.Close)
	jar := &jar{}
	return &browser{t, &http.Client{Jar: jar}, srv.URL}
}

// jar keeps the one cookie there is.
type jar struct{ cookies []*http.Cookie }

func (j *jar) SetCookies(_ *url.URL, c []*http.Cookie) { j.cookies = c }
func (j *jar) Cookies(*url.URL) []*http.Cookie         { return j.cookies }

func (b *browser) get(path string) (int, string) {
	b.t.Helper()
	res, err := b.client.Get(b.base + path)
	return b.read(res, err)
}

func (b *browser) post(path string, form url.Values) (int, string) {
	b.t.Helper()
	res, err := b.client.PostForm(b.base+path, form)
	return b.read(res, err)
}

func (b *browser) read(res *http.Response, err error) (int, string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// The first person comes by the one-time link, chooses a password, sees the
// phones, logs somebody out with a reason, approves a phone, and signs out; what
// goes wrong is said in words.
func TestConsole(t *testing.T) {
	d := newDesk(t)
	d.office()
	if err := login(d, "HD0001", "100"); err != nil {
		t.Fatal(err)
	}
	d.live.SeePending(hotdesk.Pending{MAC: hotdesk.MAC{0x80, 0x5e, 0xc0, 9, 9, 9}, Model: "yealink-t46u", Site: "roma", UserAgent: "<script>alert(1)</script>", Seen: d.Now()})
	b := d.browser(t)
	if code, text := b.get("/"); code != 200 || !strings.Contains(text, "Forgot the password?") {
		t.Errorf("a stranger gets %d %s", code, text)
	}
	link, err := d.api.NewConsoleLink()
	if err != nil {
		t.Fatal(err)
	}
	setup := strings.TrimPrefix(link.URL, "http://console")
	if _, text := b.post(setup, url.Values{"name": {"anna"}, "password": {"correct horse"}, "again": {"other horse"}}); !strings.Contains(text, "The two passwords differ.") {
		t.Errorf("different passwords: %s", text)
	}
	if _, text := b.post(setup, url.Values{"name": {"anna"}, "password": {"short"}, "again": {"short"}}); !strings.Contains(text, "at least 10 characters") {
		t.Errorf("a short password: %s", text)
	}
	code, text := b.post(setup, url.Values{"name": {"anna"}, "password": {"correct horse"}, "again": {"correct horse"}})
	for _, want := range []string{"anna (owner)", "HD0001", "100 Mario", "Waiting for approval", "&lt;script&gt;", "emergency.routes"} {
		if code != 200 || !strings.Contains(text, want) {
			t.Errorf("the first page has no %q: %d", want, code)
		}
	}
	if strings.Contains(text, "<script>alert") {
		t.Error("a phone's User-Agent is run as a script")
	}
	if _, text := d.browser(t).get(setup); !strings.Contains(text, "was used already") {
		t.Errorf("the link a second time: %s", text)
	}
	if _, text := b.get("/?q=mario"); !strings.Contains(text, "HD0001") || strings.Contains(text, `id="d-HD0002"`) {
		t.Errorf("find mario: %s", text)
	}
	if _, text := b.get("/?state=idle&q=zzz"); !strings.Contains(text, "No phone matches") {
		t.Errorf("find nothing: %s", text)
	}
	if _, text := b.post("/devices/HD0001/logout", url.Values{"reason": {"gone home"}}); !strings.Contains(text, "HD0001 is logged out") {
		t.Errorf("logout: %s", text)
	}
	if p, _ := d.Phone("HD0001"); p.User != nil {
		t.Error("somebody still sits at HD0001")
	}
	if code, text := b.post("/devices/HD0001/logout", nil); code != 409 || !strings.Contains(text, "Nobody is logged in") {
		t.Errorf("logout of nobody: %d %s", code, text)
	}
	if _, text := b.post("/pending/805ec0090909/approve", url.Values{"desk": {"3-1"}, "model": {"yealink-t46u"}}); !strings.Contains(text, "805ec0090909 is HD0004 now") {
		t.Errorf("approve: %s", text)
	}
	if _, text := b.post("/signout", nil); !strings.Contains(text, "Forgot the password?") {
		t.Errorf("sign out: %s", text)
	}
	if code, _ := b.post("/devices/HD0001/logout", nil); code != 401 {
		t.Errorf("an action after signing out: %d", code)
	}
	if _, text := b.post("/signin", url.Values{"name": {"anna"}, "password": {"wrong horse"}}); !strings.Contains(text, "Name and password do not match.") {
		t.Errorf("a wrong password: %s", text)
	}
	if _, text := b.post("/signin", url.Values{"name": {"anna"}, "password": {"correct horse"}, "next": {"/?state=idle"}}); !strings.Contains(text, "anna (owner)") {
		t.Errorf("the right password: %s", text)
	}
}

// A viewer's page has no buttons, and what has none cannot be done by hand.
func TestConsoleViewer(t *testing.T) {
	d := newDesk(t)
	d.office()
	if err := login(d, "HD0001", "100"); err != nil {
		t.Fatal(err)
	}
	b := d.browser(t)
	if _, text := b.post("/signin", url.Values{"name": {""}, "password": {d.token(hotdesk.RoleViewer, "")}}); !strings.Contains(text, "100 Mario") || strings.Contains(text, "Log out…") {
		t.Errorf("a viewer sees: %s", text)
	}
	if code, text := b.post("/devices/HD0001/logout", nil); code != 409 && code != 403 || !strings.Contains(text, "needs the role desk-manager") {
		t.Errorf("a viewer logs out: %d %s", code, text)
	}
	if p, _ := d.Phone("HD0001"); p.User == nil {
		t.Error("a viewer logged somebody out")
	}
}

// Another site's page cannot make a signed-in browser do anything, and nothing
// leads away after signing in.
func TestCrossSite(t *testing.T) {
	d := newDesk(t)
	d.office()
	b := d.browser(t)
	token := d.token(hotdesk.RoleOwner, "")
	b.post("/signin", url.Values{"name": {""}, "password": {token}})
	req, err := http.NewRequest(http.MethodPost, b.base+"/devices/HD0001/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	if code, _ := b.read(b.client.Do(req)); code != 403 {
		t.Errorf("from another site's page: %d, want 403", code)
	}
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, next := range []string{"//evil.example/", "https://evil.example/", `/\evil.example/`, "javascript:alert(1)"} {
		res, err := b.client.PostForm(b.base+"/signin", url.Values{"name": {""}, "password": {token}, "next": {next}})
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if to := res.Header.Get("Location"); to != "/" {
			t.Errorf("next %q leads to %q", next, to)
		}
	}
}

// An open page hears that something changed; the stream ends when the session does.
func TestLivePage(t *testing.T) {
	d := newDesk(t)
	d.office()
	b := d.browser(t)
	b.post("/signin", url.Values{"name": {""}, "password": {d.token(hotdesk.RoleViewer, "")}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Fatalf("content type %s", ct)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Scan()
	if err := login(d, "HD0001", "100"); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		if lines.Text() == "data: changed" {
			return
		}
	}
	t.Error("the page was not told: ", lines.Err())
}

// The OpenAPI text says of every operation who may use it.
func TestOpenAPISaysWho(t *testing.T) {
	d := newDesk(t)
	w := d.remote(d.token(hotdesk.RoleViewer, ""), "GET", "/api/v1/openapi.json", "")
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct{ Description string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%v %s", err, doc.OpenAPI)
	}
	for path, ops := range doc.Paths {
		for method, op := range ops {
			if !strings.Contains(op.Description, "Needs the role") {
				t.Errorf("%s %s does not say who may use it", method, path)
			}
		}
	}
}

// A phone that was reset shows as a re-claim with what to do, is let in by
// approving its device, and its requests are listed with their reasons.
func TestApproveReclaim(t *testing.T) {
	d := newDesk(t)
	d.office()
	p, err := d.Claim(context.Background(), hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, 1}, "roma", "test")
	if err != nil {
		t.Fatal(err)
	}
	if got := d.want("POST", "/devices/HD0001/approve", "", 409); !strings.Contains(got["detail"].(string), "nothing to approve: no phone asks to be HD0001 anew") {
		t.Errorf("nobody asks: %v", got)
	}
	d.live.TurnAway(p.Device, "roma", "192.0.2.7:4000")
	if got := d.want("POST", "/devices/HD0001/approve", "", 409); !strings.Contains(got["detail"].(string), "for 10s: restart it") {
		t.Errorf("it asked once: %v", got)
	}
	d.later.Store(int64(11 * time.Second))
	d.live.TurnAway(p.Device, "roma", "192.0.2.7:4000")
	d.live.NoteRequest(hotdesk.ProvisioningRequest{MAC: "805ec0000001", Device: "HD0001", Site: "roma", Verdict: "challenged", Reason: "wrong HTTP password", Status: 401})
	d.live.NoteRequest(hotdesk.ProvisioningRequest{MAC: "805ec0000077", Verdict: "not-found", Reason: "no token", Status: 404})
	if got := d.ask("GET", "/devices/HD0001", "").Body.String(); !strings.Contains(got, "re-claim: ") || !strings.Contains(got, "hotdeskd device approve HD0001") {
		t.Errorf("the device shows %s", got)
	}
	for path, want := range map[string]string{"/devices/HD0001/requests": "wrong HTTP password", "/devices/80:5e:c0:00:00:77/requests": "no token", "/requests": "no token"} {
		if got := d.ask("GET", path, ""); got.Code != 200 || !strings.Contains(got.Body.String(), want) {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
	}
	d.want("GET", "/devices/805ec0000078/requests", "", 404)
	d.live.Registered("HD0001", hotdesk.Registration{Source: "udp:192.0.2.1:5060"})
	d.alive = true
	if got := d.want("POST", "/devices/HD0001/approve", "", 409); !strings.Contains(got["detail"].(string), "still answers at udp:192.0.2.1:5060") {
		t.Errorf("while the old phone answers: %v", got)
	}
	d.alive = false
	d.want("POST", "/devices/HD0001/approve", "", 200)
	if p, _ := d.Phone("HD0001"); p.Device.Claimed {
		t.Error("the device cannot be claimed again")
	}
}

// Who may see one site does not see where people sit at another, and ends no
// session there by logging them in here.
func TestUsersOfAnotherSite(t *testing.T) {
	d := newDesk(t)
	d.office()
	d.want("POST", "/apply", `
sites: [{name: riga, emergency: {numbers: ["112"]}}]
devices: [{mac: "805ec0000004", model: yealink-t46u, site: riga}]
`, 200)
	d.want("POST", "/devices/HD0004/login", `{"user":"100"}`, 200)
	token := d.token(hotdesk.RoleDeskManager, "roma")
	if got := d.remote(token, "GET", "/api/v1/users", "").Body.String(); strings.Contains(got, "HD0004") {
		t.Errorf("users show the other site's device: %s", got)
	}
	if got := d.remote(token, "POST", "/api/v1/devices/HD0001/login", `{"user":"100"}`); got.Code != 403 || !strings.Contains(got.Body.String(), "at another site") {
		t.Errorf("login: %d %s", got.Code, got.Body)
	}
	if p, err := d.Claim(context.Background(), hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, 4}, "riga", "test"); err != nil || p.Device.ID != "HD0004" {
		t.Fatal(p.Device.ID, err)
	}
	for _, id := range []string{"HD0004", "805ec0000004"} {
		if got := d.remote(d.token(hotdesk.RoleOwner, "roma"), "POST", "/api/v1/devices/"+id+"/approve", ""); got.Code != 404 || strings.Contains(got.Body.String(), "HD0004") && id != "HD0004" {
			t.Errorf("approve of %s of the other site: %d %s", id, got.Code, got.Body)
		}
	}
	if got := d.remote(token, "POST", "/api/v1/devices/HD0001/login", `{"user":"101"}`); got.Code != 200 {
		t.Errorf("login of somebody who sits nowhere: %d %s", got.Code, got.Body)
	}
}
