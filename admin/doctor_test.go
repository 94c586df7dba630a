package admin

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// The doctor names each thing that is wrong, with what to do, problems first; and
// says so when nothing is.
func TestDoctor(t *testing.T) {
	d := newDesk(t)
	told := func() (ok bool, all string) {
		got := d.want("GET", "/doctor", "", 200)
		last := FindingProblem
		order := FindingProblem + FindingWarning + FindingOK
		for _, item := range got["items"].([]any) {
			f := item.(map[string]any)
			if strings.Index(order, f["state"].(string)) < strings.Index(order, last) {
				t.Errorf("%v after %s", f, last)
			}
			last = f["state"].(string)
			all += fmt.Sprintf("%s %s %s: %s -> %v\n", f["state"], f["check"], f["subject"], f["text"], f["fix"])
		}
		return got["ok"].(bool), all
	}
	want := func(ok bool, says ...string) {
		t.Helper()
		got, all := told()
		if got != ok {
			t.Errorf("ok is %v, want %v", got, ok)
		}
		for _, s := range says {
			if !strings.Contains(all, s) {
				t.Errorf("nothing says %q in\n%s", s, all)
			}
		}
	}
	want(false, "problem site : there is no site", "warning user : nobody can log in", "ok store", "ok audit : 7 rows")
	d.office()
	d.ready, d.chain = errors.New("the disk is full"), errors.New("line 5 was changed")
	d.live.SeePending(hotdesk.Pending{MAC: hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, 0x77}, Site: "roma", Model: "yealink-t46u"})
	if _, err := d.Claim(context.Background(), hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, 1}, "roma", "test"); err != nil {
		t.Fatal(err)
	}
	want(false, "problem store : the disk is full", "problem audit : line 5 was changed", "problem site roma: emergency.routes is missing",
		"problem pbx main: nobody answers -> its steps: hotdeskd pbx test main", "problem device HD0001: not registered -> see that",
		"warning device HD0002: its phone 805ec0000002 has not come yet", "warning device 805ec0000077: waits for approval at site roma -> hotdeskd device approve 805ec0000077")
	d.ready, d.chain = nil, nil
	d.live.Registered("HD0001", hotdesk.Registration{Contact: "sip:HD0001@192.168.1.5:5060", Source: "udp:203.0.113.9:40001"})
	want(false, "warning device HD0001: the phone is behind a NAT")
	for n := 0; ; n++ {
		id := hotdesk.DeviceID(fmt.Sprint("HD000", 1+n%2))
		if _, err := d.Login(context.Background(), hotdesk.LoginRequest{Device: id, User: "100", PIN: "9999", By: hotdesk.ByIVR}); err == nil || n > 60 {
			t.Fatalf("wrong PIN %d: %v", n, err)
		}
		if v, err := d.User("100"); err != nil || !v.LockedUntil.IsZero() {
			break
		}
		d.later.Add(int64(8 * time.Minute))
	}
	want(false, "warning user 100: locked until", "hotdeskd user unlock 100")
	d.pbxWorks = true
	want(false, "ok pbx main: the PBX works")
	d.live.SetPBX("main", hotdesk.PBXStatus{State: hotdesk.PBXUp, Troubles: []hotdesk.PBXTrouble{{Who: "user 101", State: "problem", Words: "refused (403)", Fix: "check pbx.secret of user 101"}}})
	want(false, "problem pbx main: user 101: refused (403) -> check pbx.secret of user 101")
	d.want("POST", "/apply", `{pbx: [{name: off, mode: none}], sites: [{name: roma, emergency: {routes: [{pbx: off}, {pbx: main}]}}]}`, 200)
	want(false, "problem pbx main: user 101: refused (403)")
	if _, all := told(); strings.Contains(all, noWayOut) {
		t.Errorf("a PBX that is up is no way out:\n%s", all)
	}
	d.live.SetPBX("main", hotdesk.PBXStatus{State: hotdesk.PBXDown, Problem: "silent"})
	want(false, "problem site roma: "+noWayOut+" -> see to the PBX")
	if got := fmt.Sprint(d.want("GET", "/status", "", 200)["problems"]); !strings.Contains(got, "site roma: "+noWayOut) {
		t.Errorf("status: %s", got)
	}
	d.want("POST", "/apply", `{pbx: [{name: main, mode: register}], users: [{extension: "101", pbx: {name: main}}]}`, 200)
	want(false, "warning user 101: has no secret for the PBX main, so 101 will not be registered there")
	if _, err := d.store.Update(context.Background(), func(tx hotdesk.Txn) error {
		tx.Delete("/site/roma")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, err := d.Site("roma"); err == nil; _, err = d.Site("roma") {
		runtime.Gosched()
	}
	want(false, "problem device HD0001: its site roma does not exist; emergency calls take the ways out of the other sites -> put it into a site: hotdeskd device move HD0001 --site SITE")
}

// Who may not change the server does not see its diagnosis, and a backup is for
// owners.
func TestDoctorRight(t *testing.T) {
	d := newDesk(t)
	d.office()
	if got := d.remote(d.token(hotdesk.RoleDeskManager, ""), "GET", "/api/v1/doctor", "").Code; got != 403 {
		t.Errorf("a desk manager: %d", got)
	}
	admin := d.token(hotdesk.RoleAdmin, "")
	if got := d.remote(admin, "GET", "/api/v1/doctor", "").Code; got != 200 {
		t.Errorf("an admin: %d", got)
	}
	if got := d.remote(admin, "GET", "/api/v1/backup?keys=true", "").Code; got != 403 {
		t.Errorf("an admin takes a backup: %d", got)
	}
}

// Lists are told in pages that join to the whole; a cursor that is gone is refused.
func TestPages(t *testing.T) {
	d := newDesk(t)
	d.office()
	d.live.SeePending(hotdesk.Pending{MAC: hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, 0x77}, Site: "roma"})
	for n := range 7 {
		d.calls = append(d.calls, hotdesk.Call{ID: fmt.Sprint("call-", n)})
		d.rows = append(d.rows, hotdesk.AuditRow{Op: fmt.Sprint("op-", n), Action: "session.ended", Detail: map[string]string{
			"session": fmt.Sprint("session-", n), "since": d.Now().Add(-time.Duration(n) * time.Minute).Format(time.RFC3339Nano),
		}})
	}
	for _, path := range []string{"/devices", "/users", "/calls", "/audit", "/sessions"} {
		whole := d.want("GET", path, "", 200)
		if whole["next"] != nil {
			t.Errorf("%s: next is %v without a limit", path, whole["next"])
		}
		for _, limit := range []int{1, 2, 3, 100} {
			var joined []any
			after := ""
			for pages := 0; ; pages++ {
				if pages > 10 {
					t.Fatalf("%s: no end", path)
				}
				got := d.want("GET", fmt.Sprintf("%s?limit=%d&after=%s", path, limit, after), "", 200)
				items := got["items"].([]any)
				if len(items) > limit {
					t.Fatalf("%s: %d items, limit %d", path, len(items), limit)
				}
				joined = append(joined, items...)
				if got["next"] == nil {
					if all := len(whole["items"].([]any)); pages+1 != (all+limit-1)/limit {
						t.Errorf("%s: %d items by %d on %d pages", path, all, limit, pages+1)
					}
					break
				}
				after = got["next"].(string)
			}
			if fmt.Sprint(joined) != fmt.Sprint(whole["items"]) {
				t.Errorf("%s by %d: %v\nwant %v", path, limit, joined, whole["items"])
			}
		}
		if path != "/audit" { // the journal's own test has that
			d.want("GET", path+"?after=gone", "", 422)
		}
	}
	d.want("GET", "/devices?limit=-1", "", 422)
}

// Monitoring reads the desks' state and what happened, without names of people,
// phones or numbers; only who may look at everything gets it.
func TestMetrics(t *testing.T) {
	d := newDesk(t)
	d.office()
	d.live.Registered("HD0001", hotdesk.Registration{Contact: "sip:HD0001@192.0.2.5", Source: "udp:192.0.2.5:5060"})
	d.want("POST", "/devices/HD0001/login", `{"user":"100"}`, 200)
	d.live.NoteRequest(hotdesk.ProvisioningRequest{MAC: "805ec0000099", Verdict: "refused"})
	d.live.SetPBX("main", hotdesk.PBXStatus{State: hotdesk.PBXUp, Registered: 2, Failed: []string{"user 101: no"}})
	w := d.remote(d.token(hotdesk.RoleViewer, ""), "GET", "/metrics", "")
	for _, line := range []string{
		`hotdeskd_build_info{version="test"} 1`, `hotdeskd_ready 1`,
		`hotdeskd_devices{site="roma",state="in-use"} 2`, `hotdeskd_devices{site="roma",state="idle"} 1`,
		`hotdeskd_devices_config{site="roma",state="never"} 3`, `hotdeskd_devices_registered{site="roma"} 1`, `hotdeskd_users 3`,
		`hotdeskd_sessions 1`, `hotdeskd_site_ready{site="roma"} 0`, `hotdeskd_pbx_up{pbx="main"} 1`, `hotdeskd_pbx_users_registered{pbx="main"} 2`,
		`hotdeskd_pbx_users_failed{pbx="main"} 1`, `hotdeskd_events_total{event="session.started"} 1`,
		`hotdeskd_provisioning_requests_total{verdict="refused"} 1`, "go_goroutines", "process_open_fds",
	} {
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("no line %q", line)
		}
	}
	if w.Code != 200 || t.Failed() {
		t.Logf("%d %s", w.Code, w.Body)
	}
	for _, secret := range []string{"HD0001", "805ec0", "Mario", "192.0.2.5"} {
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s is told", secret)
		}
	}
	if got := d.remote(d.token(hotdesk.RoleViewer, "roma"), "GET", "/metrics", ""); got.Code != 403 || !strings.HasPrefix(got.Header().Get("Content-Type"), "application/problem+json") {
		t.Errorf("a viewer of one site: %d %s", got.Code, got.Body)
	}
	if got := d.remote("", "GET", "/metrics", "").Code; got != 401 {
		t.Errorf("nobody: %d", got)
	}
}

// A wrong method is 405 and says which ones there are.
func TestWrongMethod(t *testing.T) {
	d := newDesk(t)
	w := d.ask("PUT", "/devices", "{}")
	if w.Code != 405 || !strings.Contains(w.Header().Get("Allow"), "GET") || !strings.Contains(w.Body.String(), `"method_not_allowed"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// Audit rows of emergency calls that wait for the disk are told by status and doctor
// with their number and the reason, and no longer when none does.
func TestField_E11WaitingRowsAreTold(t *testing.T) {
	d := newDesk(t)
	d.office()
	for n, want := range map[int]string{
		0: "", 1: "1 audit row of an emergency call waits for disk: no space left on device",
		3: "3 audit rows of emergency calls wait for disk: no space left on device",
	} {
		d.waiting, d.diskFull = n, errors.New("no space left on device")
		for _, path := range []string{"/status", "/doctor"} {
			got := d.ask("GET", path, "").Body.String()
			if strings.Contains(got, "disk: no space") != (want != "") || !strings.Contains(got, want) {
				t.Errorf("%d rows, %s: %s", n, path, got)
			}
		}
	}
}
