package admin

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"hotdeskd/hotdesk"
)

// A viewer does not see how a user's or a PBX's account is called, and nobody its
// sealed secret but in the export; a token of one site is told nothing of devices
// and sites elsewhere by an event of its own.
func TestHidden(t *testing.T) {
	d := newDesk(t)
	d.office()
	d.want("POST", "/apply", `
sites: [{name: riga, second_phone: move, emergency: {numbers: ["112"]}}]
pbx: [{name: main, account: {auth_user: "emerg-account", secret: "s"}}]
users: [{extension: "100", pbx: {name: main, extension: "100", auth_user: "mario-account", secret: "s3cret"}}]
devices: [{mac: "805ec0000004", model: yealink-t46u, site: riga}]
`, 200)
	for role, sees := range map[hotdesk.Role]bool{hotdesk.RoleViewer: false, hotdesk.RoleAdmin: true, hotdesk.RoleOwner: true} {
		token := d.token(role, "")
		for path, name := range map[string]string{"/users": "mario-account", "/users/100": "mario-account", "/pbx": "emerg-account", "/pbx/main": "emerg-account"} {
			text := d.remote(token, "GET", "/api/v1"+path, "").Body.String()
			if strings.Contains(text, "sealed") || strings.Contains(text, name) != sees || !strings.Contains(text, `"main"`) {
				t.Errorf("%s as %s: %s", path, role, text)
			}
		}
	}
	if text := d.ask("GET", "/export", "").Body.String(); strings.Count(text, "sealed: ") != 2 {
		t.Errorf("the export has no sealed secrets: %s", text)
	}
	at := with(t.Context(), hotdesk.Principal{Name: "x", Role: hotdesk.RoleViewer, Site: "roma"})
	all := with(t.Context(), hotdesk.Principal{Name: "y", Role: hotdesk.RoleViewer})
	after := d.live.LastEvent()
	d.want("POST", "/devices/HD0004/login", `{"user":"100"}`, 200)
	d.want("POST", "/devices/HD0001/login", `{"user":"100"}`, 200)
	var told, toldAll strings.Builder
	for ev := range d.live.Events(t.Context(), after) {
		told.WriteString(d.api.eventText(at, ev))
		toldAll.WriteString(d.api.eventText(all, ev))
		if ev.Name == "session.started" && ev.Device == "HD0001" { // told after the answer to the login
			d.live.Publish("call.started", "HD0001", "100", map[string]any{"call": "c", "to": "HD0004", "to_device": "HD0004", "note": "HD0002 HD0004 HD0099", "site": "riga"})
			d.live.Publish("end", "HD0001", "", nil)
		}
		if ev.Name == "end" {
			break
		}
	}
	for _, hidden := range []string{"HD0004", "riga", "HD0099"} {
		if strings.Contains(told.String(), hidden) || !strings.Contains(toldAll.String(), hidden) {
			t.Errorf("%s: one site is told %s\nwho sees all %s", hidden, told.String(), toldAll.String())
		}
	}
	for _, shown := range []string{"session.started", `"device":"HD0001"`, `"note":"HD0002"`, `"call":"c"`} {
		if !strings.Contains(told.String(), shown) {
			t.Errorf("%s is missing in %s", shown, told.String())
		}
	}
}

// A new password ends the browser's session, whether its link came from the API, by
// which the command line asks for it, or from the server's start.
func TestNewPasswordSignsOut(t *testing.T) {
	d := newDesk(t)
	d.office()
	for n, link := range []func() string{
		func() string { l, _ := d.api.NewConsoleLink(); return l.URL },
		func() string { return fmt.Sprint(d.want("POST", "/console/link", "", 200)["url"]) },
	} {
		choose := func(b *browser, password string) {
			if code, text := b.post(strings.TrimPrefix(link(), "http://console"), url.Values{"name": {"anna"}, "password": {password}, "again": {password}}); code != 200 || !strings.Contains(text, "anna (owner)") {
				t.Fatalf("link %d: %d %s", n, code, text)
			}
		}
		old, now := d.browser(t), d.browser(t)
		choose(old, "correct horse")
		choose(now, "another horse")
		if _, text := old.get("/"); !strings.Contains(text, "Forgot the password?") {
			t.Errorf("link %d: the old session still sees %s", n, text)
		}
		if code, text := now.get("/"); code != 200 || !strings.Contains(text, "anna (owner)") {
			t.Errorf("link %d: the new session sees %d %s", n, code, text)
		}
	}
}

// Who may not change a site does not see where its emergency calls are told, for the
// address is all that one needs to write there, and nobody its sealed password; a token
// of one site is not told which phone elsewhere took part in a call; and a device that
// waits for another phone does not show the one before it as registered.
func TestHiddenOfPlaces(t *testing.T) {
	d := newDesk(t)
	d.office()
	d.want("POST", "/apply", `
sites:
  - {name: riga, emergency: {numbers: ["112"]}}
  - {name: roma, phones: {admin_password: "pass-of-the-phones"}, emergency: {notify: [{webhook: "https://chat.example/secret-hook"}]}}
devices: [{mac: "805ec0000004", model: yealink-t46u, site: riga}]
`, 200)
	for role, sees := range map[hotdesk.Role]bool{hotdesk.RoleViewer: false, hotdesk.RoleDeskManager: false, hotdesk.RoleAdmin: true} {
		text := d.remote(d.token(role, ""), "GET", "/api/v1/sites/roma", "").Body.String()
		if strings.Contains(text, "secret-hook") != sees || strings.Contains(text, "admin_password") {
			t.Errorf("%s: %s", role, text)
		}
	}
	d.calls = []hotdesk.Call{{ID: "c1", FromDevice: "HD0001", ToDevice: "HD0004"}}
	if text := d.remote(d.token(hotdesk.RoleViewer, "roma"), "GET", "/api/v1/calls", "").Body.String(); !strings.Contains(text, "HD0001") || strings.Contains(text, "HD0004") {
		t.Errorf("a call between sites: %s", text)
	}
	if _, err := d.Claim(t.Context(), hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, 1}, "roma", "test"); err != nil {
		t.Fatal(err)
	}
	d.live.Registered("HD0001", hotdesk.Registration{Contact: "sip:HD0001@192.0.2.5:5060", Source: "udp:192.0.2.5:5060"})
	if got := d.want("GET", "/devices/HD0001", "", 200); got["registered"] != true {
		t.Errorf("the first phone: %v", got)
	}
	d.want("POST", "/devices/HD0001/replace", `{"mac":"805ec00000aa"}`, 204)
	if got := d.want("GET", "/devices/HD0001", "", 200); got["registered"] != false || got["contact"] != "" {
		t.Errorf("the second phone has not come yet: %v", got)
	}
}
