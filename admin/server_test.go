package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// Every error of the rules has its status and code, also when it is wrapped, and
// nothing of an unknown one is told.
func TestProblemTable(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{hotdesk.ErrWeakPIN, 422, "weak_pin"},
		{hotdesk.ErrUnknownModel, 422, "unknown_model"},
		{hotdesk.ErrNotHotDesk, 422, "not_hot_desk"},
		{hotdesk.ErrFixedDevice, 422, "not_hot_desk"},
		{hotdesk.ErrCodeConflict, 422, "code_conflict"},
		{hotdesk.ErrShadowsEmergency, 422, "shadows_emergency"},
		{hotdesk.ErrInvalid, 422, "invalid"},
		{hotdesk.ErrNotFound, 404, "not_found"},
		{hotdesk.ErrInUse, 409, "in_use"},
		{hotdesk.ErrDeviceInCall, 409, "device_in_call"},
		{hotdesk.ErrSecondPhoneRefused, 409, "second_phone_refused"},
		{hotdesk.ErrEmergencyHold, 409, "emergency_hold"},
		{hotdesk.ErrBlocked, 409, "conflict"},
		{hotdesk.ErrNobody, 409, "conflict"},
		{hotdesk.ErrNoMatch, 409, "conflict"},
		{hotdesk.ErrConflict, 409, "conflict"},
		{hotdesk.ErrLocked, 429, "throttled"},
		{hotdesk.ErrBusy, 429, "throttled"},
		{hotdesk.ErrUnavailable, 503, "store_unavailable"},
		{hotdesk.ErrUnknownOutcome, 503, "store_unavailable"},
		{errors.New("the secret is 4071"), 500, "internal"},
	} {
		var p *Problem
		if !errors.As(d.api.problem(fmt.Errorf("device HD0001: %w", c.err)), &p) {
			t.Fatal("no problem")
		}
		if p.Status != c.status || p.Code != c.code || p.Title == "" || p.Status == 500 && strings.Contains(p.Detail, "4071") {
			t.Errorf("%v: got %+v, want %d %s", c.err, p, c.status, c.code)
		}
	}
}

// The errors that an administrator can cause arrive as problem+json with the
// code of the contract.
func TestErrorCodes(t *testing.T) {
	d := newDesk(t)
	d.office()
	if got := d.want("POST", "/devices/HD0001/logout", "", 409); got["code"] != "conflict" {
		t.Errorf("logout of nobody: %v", got)
	}
	d.live.LegUp("HD0002", "call")
	if err := d.HoldEmergency(context.Background(), "HD0001"); err != nil {
		t.Fatal(err)
	}
	d.want("POST", "/devices/HD0002/login", `{"user":"101"}`, 409)
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/users/100/pin", `{"pin":"1234"}`, 422, "weak_pin"},
		{"POST", "/users", `{"extension":"200","pin":"1"}`, 422, "weak_pin"},
		{"POST", "/devices", `{"mac":"805ec0000009","model":"nokia","site":"roma"}`, 422, "unknown_model"},
		{"POST", "/devices/HD0003/login", `{"user":"100"}`, 422, "not_hot_desk"},
		{"PUT", "/settings", `{"codes":{"logout":"*77*"}}`, 422, "code_conflict"},
		{"POST", "/users", `{"extension":"112","pin":"4074"}`, 422, "shadows_emergency"},
		{"POST", "/devices", `{"mac":"nonsense","model":"yealink-t46u","site":"roma"}`, 422, "invalid"},
		{"POST", "/devices", `{"mac":"805ec0000009","model":"yealink-t46u","site":"milano"}`, 422, "invalid"},
		{"POST", "/devices", `{"mac":"805ec0000001","model":"yealink-t46u","site":"roma"}`, 409, "conflict"},
		{"GET", "/devices/HD0099", "", 404, "not_found"},
		{"GET", "/devices/805ec0000099", "", 404, "not_found"},
		{"GET", "/devices/nonsense", "", 404, "not_found"},
		{"GET", "/users/999", "", 404, "not_found"},
		{"GET", "/sites/milano", "", 404, "not_found"},
		{"POST", "/devices/805ec0000099/approve", "", 404, "not_found"},
		{"POST", "/devices/nonsense/approve", "", 404, "not_found"},
		{"POST", "/devices/HD0001/login", `{"user":"999"}`, 404, "not_found"},
		{"POST", "/devices/HD0002/block", "", 409, "device_in_call"},
		{"POST", "/devices/HD0002/resync", "", 409, "device_in_call"},
		{"POST", "/devices/HD0001/block", "", 409, "emergency_hold"},
		{"POST", "/devices/HD0001/reboot", "", 409, "emergency_hold"},
		{"POST", "/devices/HD0001/resync", "", 409, "emergency_hold"},
		{"POST", "/devices/HD0001/login", `{"user":"100"}`, 409, "emergency_hold"},
		{"DELETE", "/devices/HD0001", "", 409, "emergency_hold"},
		{"GET", "/nothing", "", 404, "not_found"},
		{"PUT", "/devices/HD0001", "{}", 405, "method_not_allowed"},
		{"POST", "/users", `{"extension":"200"`, 400, "invalid"},
		{"POST", "/users", `{"extension":200}`, 422, "invalid"},
		{"POST", "/users", `{"extension":"200","nickname":"x"}`, 422, "invalid"},
		{"GET", "/calls?limit=-1", "", 422, "invalid"},
		{"PATCH", "/devices/HD0001", `{"type":"sofa"}`, 422, "invalid"},
	} {
		w := d.ask(c.method, c.path, c.body)
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Errorf("%s %s: %v in %s", c.method, c.path, err, w.Body)
		}
		if w.Code != c.status || p.Status != c.status || p.Code != c.code || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s %s %s: %d %s %s, want %d %s", c.method, c.path, c.body, w.Code, w.Header().Get("Content-Type"), w.Body, c.status, c.code)
		}
	}
	both := `devices: [{mac: "805ec0000001", blocked: true}, {mac: "805ec0000002", blocked: true}]`
	if got := d.want("POST", "/apply", both, 409); !strings.Contains(got["detail"].(string), "; HD0002: device is in a call") {
		t.Errorf("two reasons: %v", got)
	}
	d.want("PUT", "/sites/roma", `{"second_phone":"refuse"}`, 200)
	d.later.Add(int64(61 * time.Minute)) // the hold is over
	d.want("POST", "/devices/HD0001/login", `{"user":"100"}`, 200)
	d.live.LegDown("HD0002", "call")
	if got := d.want("POST", "/devices/HD0002/login", `{"user":"100"}`, 409); got["code"] != "second_phone_refused" {
		t.Errorf("got %v", got)
	}
	d.want("POST", "/devices/HD0002/login", `{"user":"101"}`, 200)
	if got := d.want("DELETE", "/devices/HD0002", "", 409); got["code"] != "in_use" {
		t.Errorf("got %v", got)
	}
	d.store.down.Store(true)
	if got := d.want("POST", "/devices/HD0002/logout", `{"reason":"x"}`, 503); got["code"] != "store_unavailable" {
		t.Errorf("got %v", got)
	}
}

// A PIN or secret that is refused is not repeated in the answer, whichever way it
// came in.
func TestErrorsRepeatNoSecrets(t *testing.T) {
	d := newDesk(t)
	d.office()
	const canary = "8675309"
	for _, c := range []struct{ path, body string }{
		{"/users/100/pin", `{"pin":8675309}`},
		{"/users/100/pin", `{"pin":"8675309x"}`},
		{"/users/100/pin", `{"pin":"8675309"`},
		{"/users/100/pin", `{"pin":"8675309",}`},
		{"/users/100/pin", `{"pin":"8675309","why":"8675309"}`},
		{"/users/999/pin", `{"pin":"8675309"}`},
		{"/users", `{"extension":"200","pin":["8675309"]}`},
		{"/users", `{"extension":"200","enabled":"8675309"}`},
		{"/users", `{"extension":"112","pin":"8675309"}`},
		{"/users", `{"extension":"200","pbx":{"name":"none","secret":"8675309"}}`},
		{"/apply", "users:\n  - extension: \"200\"\n    pin: [\"8675309\"]\n"},
		{"/apply", "users:\n  - extension: \"200\"\n    pin: \"8675309\"\n    enabled: maybe\n"},
		{"/apply", "users:\n  - extension: \"200\"\n    pin: \"8675309\n    enabled: true\n"},
		{"/apply", "users:\n  - pin: 8675309x: 3\n"},
		{"/apply", "users:\n  - {extension: \"200\", pin: \"8675309\", nickname: x}\n"},
		{"/apply", "users:\n  - {extension: \"200\", enabled: \"8675309\"}\n"},
		{"/apply", "users: \"8675309\"\n"},
		{"/apply", "users:\n  - {extension: \"200\", pin: \"8675309x\"}\n"},
	} {
		w := d.ask("POST", c.path, c.body)
		if w.Code < 400 || strings.Contains(w.Body.String(), canary) {
			t.Errorf("%s %s: %d %s", c.path, c.body, w.Code, w.Body)
		}
	}
}

// A broken file names line and key of what is wrong, and changes nothing.
func TestBrokenApply(t *testing.T) {
	d := newDesk(t)
	d.office()
	for text, want := range map[string][]string{
		"users:\n  - extension: \"200\"\n    nickname: x\n":     {"line 3", "nickname"},
		"users:\n  - extension: \"200\"\n    enabled: maybe\n":  {"line 3", "enabled"},
		"sites:\n  - name: milano\n    networks: {a: b}\n":      {"line 3", "networks"},
		"users:\n  - extension: \"200\"\n  name: x\n":           {"line"},
		"devices:\n  - {mac: \"805ec0000009\", model: nokia}\n": {"805ec0000009", "nokia"},
		"users:\n  - {extension: \"200\", pin: \"1234\"}\n":     {"200"},
	} {
		w := d.ask("POST", "/apply", text)
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 422 {
			t.Errorf("%q: %d %s", text, w.Code, w.Body)
		}
		for _, part := range want {
			if !strings.Contains(p.Detail, part) {
				t.Errorf("%q: %q does not name %s", text, p.Detail, part)
			}
		}
	}
	if n := len(d.Users()); n != 3 {
		t.Errorf("%d users now", n)
	}
}

// apply says what it would do, does it, and finds nothing to do then; export is
// a file that it takes.
func TestApplyAndExport(t *testing.T) {
	d := newDesk(t)
	d.office()
	const change = "users: [{extension: \"100\", name: Maria}]\n"
	dry := d.want("POST", "/apply?dry_run=true", change, 200)
	if dry["dry_run"] != true || len(dry["changes"].([]any)) != 1 || d.want("GET", "/users/100", "", 200)["name"] != "Mario" {
		t.Errorf("dry run: %v", dry)
	}
	if done := d.want("POST", "/apply", change, 200); len(done["changes"].([]any)) != 1 {
		t.Errorf("apply: %v", done)
	}
	again := d.want("POST", "/apply", change, 200)
	for _, list := range []string{"changes", "ends", "notes"} {
		if items, ok := again[list].([]any); !ok || len(items) != 0 {
			t.Errorf("%s: %v, want []", list, again[list])
		}
	}
	w := d.ask("GET", "/export", "")
	text := w.Body.String()
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/yaml" || !strings.Contains(text, "pin_set: true") || strings.Contains(text, "4071") {
		t.Errorf("export: %d\n%s", w.Code, text)
	}
	if back := d.want("POST", "/apply", text, 200); len(back["changes"].([]any)) != 0 {
		t.Errorf("export does not round-trip: %v", back)
	}
}

// Lists are objects with items that are never null, also when there is nothing.
func TestLists(t *testing.T) {
	d := newDesk(t)
	for _, filled := range []bool{false, true} {
		if filled {
			d.office()
			now := time.Now()
			d.calls = []hotdesk.Call{{ID: "c", Started: now, Kind: "internal", To: "101"}}
			d.rows = []hotdesk.AuditRow{{Op: "o", Time: now, Action: "device.added", By: "admin"}}
			d.live.SeePending(hotdesk.Pending{MAC: hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, 9}, Model: "yealink-t46u", Site: "roma", Seen: now})
		}
		for path, n := range map[string]int{"/devices": 4, "/users": 3, "/sites": 1, "/pbx": 1, "/sessions": 0, "/calls": 1, "/audit": 1, "/models": 1} {
			got := d.want("GET", path, "", 200)
			items, ok := got["items"].([]any)
			next, present := got["next"]
			if !filled && path != "/models" {
				n = 0
			}
			if !ok || len(items) != n || !present || next != nil {
				t.Errorf("%s: %v, want %d items", path, got, n)
			}
		}
	}
	for query, n := range map[string]int{"?state=idle": 2, "?state=in-use": 1, "?state=pending": 1, "?state=never": 4, "?site=roma": 4, "?site=milano": 0, "?state=idle&site=roma": 2} {
		if got := len(d.want("GET", "/devices"+query, "", 200)["items"].([]any)); got != n {
			t.Errorf("%s: %d, want %d", query, got, n)
		}
	}
}

// A device is shown with every field of the contract, by id and by MAC in any
// spelling; a pending phone has no id and becomes a device when it is approved.
func TestDeviceShape(t *testing.T) {
	d := newDesk(t)
	d.office()
	for _, id := range []string{"HD0001", "hd0001", "805ec0000001", "80:5E:C0:00:00:01", "80-5e-c0-00-00-01"} {
		got := d.want("GET", "/devices/"+id, "", 200)
		if got["id"] != "HD0001" || got["mac"] != "805ec0000001" || got["vendor"] != "yealink" || got["desk"] != "2-14" || got["state"] != "idle" || got["provisioning_url"] != "http://h/p/HD0001/" {
			t.Errorf("%s: %v", id, got)
		}
		for _, key := range []string{"user", "since", "registered", "contact", "source", "user_agent", "generation", "config", "in_call", "problems", "type", "site", "model"} {
			if _, ok := got[key]; !ok {
				t.Errorf("%s has no %s", id, key)
			}
		}
	}
	session := d.want("POST", "/devices/HD0001/login", `{"user":"100"}`, 200)
	if session["device"] != "HD0001" || session["user"] != "100" || session["by"] != "admin" || session["until"] != nil || session["id"] == "" {
		t.Errorf("session %v", session)
	}
	if got := d.want("GET", "/devices/HD0001", "", 200); got["user"] != "100" || got["state"] != "in-use" || got["since"] == nil {
		t.Errorf("in use: %v", got)
	}
	if got := d.want("GET", "/users/100", "", 200); fmt.Sprint(got["devices"]) != "[HD0001]" || got["pin_set"] != true || got["locked_until"] != nil {
		t.Errorf("user: %v", got)
	}
	d.want("POST", "/devices/HD0001/logout", `{"reason":"end of shift"}`, 204)
	d.want("PATCH", "/devices/HD0001", `{"desk":"3-1"}`, 200)
	if got := d.want("GET", "/devices/HD0001", "", 200); got["desk"] != "3-1" || got["user"] != nil {
		t.Errorf("changed: %v", got)
	}
	d.live.SeePending(hotdesk.Pending{MAC: hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, 9}, Model: "yealink-t46u", Site: "roma", Seen: time.Now()})
	if got := d.want("GET", "/devices/80:5e:c0:00:00:09", "", 200); got["id"] != nil || got["state"] != "pending" || got["vendor"] != "yealink" {
		t.Errorf("pending: %v", got)
	}
	for _, id := range []string{"805ec0000009", "80:5e:c0:00:00:09", "HD0004"} { // again does no harm
		if got := d.want("POST", "/devices/"+id+"/approve", "", 200); got["id"] != "HD0004" {
			t.Errorf("approve %s: %v", id, got)
		}
	}
	d.want("DELETE", "/devices/HD0004", "", 204)
	d.want("GET", "/devices/HD0004", "", 404)
}

// Users, sites and settings are made and changed field by field.
func TestChanges(t *testing.T) {
	d := newDesk(t)
	d.office()
	if got := d.want("POST", "/users", `{"extension":"200","name":"New","pin":"4074","keys":[{"type":"blf","value":"101"}]}`, 201); got["enabled"] != true || got["pin_set"] != true {
		t.Errorf("added: %v", got)
	}
	if got := d.want("PATCH", "/users/200", `{"enabled":false}`, 200); got["enabled"] != false || got["name"] != "New" || len(got["keys"].([]any)) != 1 {
		t.Errorf("changed: %v", got)
	}
	d.want("POST", "/users/200/unlock", "", 204)
	d.want("POST", "/users/200/pin", `{"pin":"4075"}`, 204)
	d.want("DELETE", "/users/200", "", 204)
	site := d.want("PUT", "/sites/milano", `{"country":"IT"}`, 200)
	if missing, ok := site["missing"].([]any); !ok || len(missing) == 0 || site["ready"] != false || site["enrolment_url"] != "http://h/p/milano/" || site["name"] != "milano" {
		t.Errorf("site: %v", site)
	}
	d.want("PUT", "/sites/milano", `{"name":"napoli"}`, 422)
	d.want("PUT", "/sites/gone", `{}`, 200)
	d.want("POST", "/devices", `{"mac":"805ec0000055","model":"yealink-t46u","site":"gone"}`, 201)
	if got := d.want("DELETE", "/sites/gone", "", 409); got["code"] != "in_use" {
		t.Errorf("a site with a device: %v", got)
	}
	d.want("DELETE", "/devices/805ec0000055", "", 204)
	d.want("DELETE", "/sites/gone", "", 204)
	d.want("DELETE", "/sites/gone", "", 404)
	d.want("GET", "/sites/gone", "", 404)
	if got := d.want("POST", "/pbx/main/test", "", 200); got["ok"] != false || got["verdict"] != "nobody answers" {
		t.Errorf("test: %v", got)
	}
	d.want("POST", "/pbx/other/test", "", 404)
	if got := d.want("GET", "/pbx/main", "", 200)["status"].(map[string]any); got["state"] != "unknown" {
		t.Errorf("status: %v", got)
	}
	if got := d.want("PUT", "/pbx/main", `{"proxy":"127.0.0.1:5090"}`, 200); got["proxy"] != "127.0.0.1:5090" || got["mode"] != "trunk" || got["name"] != "main" {
		t.Errorf("pbx: %v", got)
	}
	d.want("PUT", "/settings", `{"refusal":"403"}`, 200)
	if got := d.want("GET", "/settings", "", 200); got["refusal"] != "403" {
		t.Errorf("settings: %v", got)
	}
	for _, action := range []string{"block", "unblock", "rotate", "rotate?now=true", "release"} {
		d.want("POST", "/devices/HD0001/"+action, "", 204)
	}
}

// resync and reboot use the form that they mean, and say when the phone cannot
// be reached.
func TestCheckSync(t *testing.T) {
	d := newDesk(t)
	d.office()
	d.want("POST", "/devices/HD0001/resync", "", 204)
	d.want("POST", "/devices/HD0001/reboot", "", 204)
	if got := strings.Join(d.synced, ", "); got != "HD0001 gentle, HD0001 restart" {
		t.Errorf("sent %s", got)
	}
	d.phones = errors.New("not registered")
	if got := d.want("POST", "/devices/HD0001/resync", "", 409); got["code"] != "conflict" || !strings.Contains(fmt.Sprint(got["detail"]), "not registered") {
		t.Errorf("got %v", got)
	}
}

// The configuration hides every secret unless it is asked for them, which is
// written to the audit log, and refused when it cannot be.
func TestConfigHidesSecrets(t *testing.T) {
	d := newDesk(t)
	d.office()
	p, err := d.Phone("HD0001")
	if err != nil {
		t.Fatal(err)
	}
	secret := d.Secret("HD0001", p.Device.Generation).Reveal()
	events, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := make(chan hotdesk.Event, 100)
	after := d.live.LastEvent()
	go func() {
		for ev := range d.live.Events(events, after) {
			seen <- ev
		}
	}()
	content := func(query string) string {
		return fmt.Sprint(d.want("GET", "/devices/HD0001/config"+query, "", 200)["files"].([]any)[0].(map[string]any)["content"])
	}
	if got := content(""); got != "name = x\nsecret = ********\nsecret = ********\nsecret = \n" {
		t.Errorf("hidden: %q", got)
	}
	if got := content("?secrets=true"); !strings.Contains(got, secret) {
		t.Errorf("asked for: %q", got)
	}
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	for shown := false; !shown; {
		select {
		case ev := <-seen: // after those of what was done before
			shown = ev.Name == "device.secrets_shown" && ev.Device == "HD0001"
		case <-timer.C:
			t.Fatal("no audit row")
		}
	}
	d.store.down.Store(true)
	if w := d.ask("GET", "/devices/HD0001/config?secrets=true", ""); w.Code != 503 || strings.Contains(w.Body.String(), secret) {
		t.Errorf("not audited: %d %s", w.Code, w.Body)
	}
}

// Sessions show those that last and those that ended, newest first.
func TestSessions(t *testing.T) {
	d := newDesk(t)
	d.office()
	old := time.Date(2020, 1, 1, 9, 0, 0, 0, time.UTC)
	d.rows = []hotdesk.AuditRow{
		{Op: "2", Time: old.Add(time.Hour), Action: "session.ended", Device: "HD0002", User: "101", Detail: map[string]string{"session": "s", "since": old.Format(time.RFC3339Nano), "began_by": "ivr"}},
		{Op: "1", Time: old, Action: "session.ended", Detail: map[string]string{"since": "long ago"}},
		{Op: "0", Time: old, Action: "session.started"},
	}
	d.want("POST", "/devices/HD0001/login", `{"user":"100"}`, 200)
	items := d.want("GET", "/sessions", "", 200)["items"].([]any)
	if len(items) != 2 {
		t.Fatalf("%v", items)
	}
	first, second := items[0].(map[string]any), items[1].(map[string]any)
	if first["user"] != "100" || first["until"] != nil || second["user"] != "101" || second["until"] != "2020-01-01T10:00:00Z" || second["by"] != "ivr" {
		t.Errorf("%v", items)
	}
}

// The OpenAPI document is served and knows the paths; health and readiness are
// outside the API; the audit chain's verdict is told.
func TestAround(t *testing.T) {
	d := newDesk(t)
	doc := d.want("GET", "/openapi.json", "", 200)
	paths, _ := doc["paths"].(map[string]any)
	for _, path := range []string{"/api/v1/devices", "/api/v1/devices/{id}/login", "/api/v1/users/{extension}/pin", "/api/v1/apply"} {
		if paths[path] == nil {
			t.Errorf("the OpenAPI document lacks %s", path)
		}
	}
	if !strings.HasPrefix(fmt.Sprint(doc["openapi"]), "3.1") {
		t.Errorf("version %v", doc["openapi"])
	}
	plain := func(path string) int {
		w := httptest.NewRecorder()
		d.api.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	if plain("/healthz") != 200 || plain("/readyz") != 200 {
		t.Error("not healthy")
	}
	d.ready = errors.New("store is closed")
	if plain("/healthz") != 200 || plain("/readyz") != 503 {
		t.Error("readiness does not follow")
	}
	if got := d.want("GET", "/status", "", 200); !strings.Contains(fmt.Sprint(got["problems"]), "store is closed") || got["notes"] == nil || got["version"] != "test" {
		t.Errorf("status %v", got)
	}
	if got := d.want("GET", "/audit/verify", "", 200); got["rows"] != 7.0 {
		t.Errorf("verify %v", got)
	}
	d.chain = errors.New("row 3 was changed")
	if got := d.want("GET", "/audit/verify", "", 409); !strings.Contains(fmt.Sprint(got["detail"]), "row 3") {
		t.Errorf("verify %v", got)
	}
}
