package provisioning

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// secure is ask over HTTPS.
func (d *desk) secure(url string) (int, string) {
	d.t.Helper()
	req := httptest.NewRequest(http.MethodGet, url, nil)
	req.RemoteAddr, req.TLS = inner, &tls.ConnectionState{}
	req.Header.Set("User-Agent", agent)
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// verdict is what was noted of the last request of a MAC.
func (d *desk) verdict(mac string) string {
	d.t.Helper()
	all := d.live.Requests("", mac)
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprint(all[0].Verdict, " ", all[0].Status)
}

// Without a token a phone gets, from the site's networks, one constant file that
// leads to the enrolment URL and says nothing else; from elsewhere 404. Nobody
// becomes pending by it and nothing is stored.
func TestNoToken(t *testing.T) {
	d := newDesk(t)
	d.claimed(1)
	d.store.down.Store(true)
	var bodies []string
	for _, url := range []string{"http://h/" + mac(1) + ".cfg", "http://h/" + mac(9) + ".cfg", "http://h/y000000000108.cfg", "http://h/p/" + mac(9) + ".cfg"} {
		status, body := d.get(url)
		if status != 200 || !strings.Contains(body, d.EnrolmentURL("roma")) || d.leaks(body, "HD0001", "HD0002") != "" || strings.Contains(body, "HD0001") {
			t.Errorf("%s: %d\n%s", url, status, body)
		}
		bodies = append(bodies, body)
		if res := d.ask(http.MethodGet, url, outer, ""); res.StatusCode != 404 {
			t.Errorf("%s from outside: %d", url, res.StatusCode)
		}
	}
	if len(slices.Compact(bodies)) != 1 {
		t.Errorf("the file is not the same for all: %q", bodies)
	}
	if all := d.live.Pending(); len(all) != 0 {
		t.Errorf("pending: %+v", all)
	}
	if got := d.verdict(mac(9)); got != "not-found 404" { // the last one, from outside
		t.Errorf("noted %q", got)
	}
}

// A site of listed phones only: an unlisted one waits with the reason, cannot be
// approved, and is claimed once it is listed.
func TestKnownOnly(t *testing.T) {
	d := newDesk(t)
	d.apply(hotdesk.Desired{Sites: []hotdesk.SiteSpec{{Name: "roma", Enrolment: ptr("known")}}})
	if status, body := d.get(d.enrolment("roma", mac(9))); status != 200 || d.leaks(body, "HD0001") != "" {
		t.Errorf("%d\n%s", status, body)
	}
	p, ok := d.live.PendingPhone(parse(t, mac(9)))
	if !ok || p.Problem != hotdesk.ProblemNotListed {
		t.Fatalf("pending %+v", p)
	}
	if _, err := d.Approve(context.Background(), parse(t, mac(9)), hotdesk.DeviceSpec{}, "test"); err == nil || !strings.Contains(err.Error(), "hotdeskd device add "+mac(9)) {
		t.Errorf("approve: %v, want what to do", err)
	}
	d.apply(hotdesk.Desired{Devices: []hotdesk.DeviceSpec{{MAC: mac(9), Model: ptr(model), Site: ptr("roma")}}})
	if status, _ := d.get(d.enrolment("roma", mac(9))); status != 200 || !d.phone("HD0003").Device.Claimed {
		t.Error("a listed phone is not claimed")
	}
}

// A DECT base waits with the reason and cannot be approved.
func TestDECTBase(t *testing.T) {
	d := newDesk(t)
	for _, site := range []string{"roma", "open"} {
		d.ask(http.MethodGet, d.enrolment(site, mac(8)), inner, "", "User-Agent", "Yealink W90DM 130.87.0.10 80:5e:c0:00:00:08")
		if p, ok := d.live.PendingPhone(parse(t, mac(8))); !ok || p.Problem != "dect-base" {
			t.Errorf("%s: %+v %v", site, p, ok)
		}
	}
	if _, err := d.Approve(context.Background(), parse(t, mac(8)), hotdesk.DeviceSpec{Model: ptr(model)}, "test"); err == nil || !strings.Contains(err.Error(), "DECT") {
		t.Errorf("approve: %v", err)
	}
}

func parse(t *testing.T, text string) hotdesk.MAC {
	t.Helper()
	m, err := hotdesk.ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// After a rotation the phone is served by its old URL and password until it has
// proven the new secret, which is in the same file as the new ones; then the old
// URL, stolen or not, lets go inside and is unknown outside.
func TestRotatedURL(t *testing.T) {
	d := newDesk(t)
	p, old := d.claimed(1)
	oldPassword := "HD0001:" + d.HTTPPassword(p.Device).Reveal()
	if err := d.Prove(context.Background(), "HD0001", p.Device.Generation); err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice in a row: the phone may have missed one
		if err := d.Rotate(context.Background(), "HD0001", false, "test"); err != nil {
			t.Fatal(err)
		}
	}
	p = d.phone("HD0001")
	fresh := d.DeviceURL(p.Device) + mac(1) + ".cfg"
	if fresh == old {
		t.Fatal("the URL is the old one")
	}
	for _, url := range []string{old, fresh} {
		if status, body := d.get(url); status != 200 || !strings.Contains(body, d.DeviceURL(p.Device)) {
			t.Errorf("before the proof, %s: %d", url, status)
		}
	}
	if res := d.ask(http.MethodGet, d.enrolment("roma", mac(1)), inner, oldPassword); res.StatusCode != 200 {
		t.Errorf("the old password: %d", res.StatusCode)
	}
	if err := d.Prove(context.Background(), "HD0001", p.Device.Generation); err != nil {
		t.Fatal(err)
	}
	if status, _ := d.get(fresh); status != 200 {
		t.Errorf("the new URL: %d", status)
	}
	if status, body := d.get(old); status != 200 || d.leaks(body, "HD0001") != "" || !strings.Contains(body, d.EnrolmentURL("roma")) || d.verdict(mac(1)) != "release 200" {
		t.Errorf("the old URL inside: %d %s\n%s", status, d.verdict(mac(1)), body)
	}
	if res := d.ask(http.MethodGet, old, outer, ""); res.StatusCode != 404 {
		t.Errorf("the old URL outside: %d", res.StatusCode)
	}
	if res := d.ask(http.MethodGet, d.enrolment("roma", mac(1)), inner, oldPassword); res.StatusCode != 401 {
		t.Errorf("the old password: %d", res.StatusCode)
	}
}

// A stolen URL is worth nothing once the device was released, replaced, claimed
// anew or removed, neither inside nor outside.
func TestStolenURL(t *testing.T) {
	for name, end := range map[string]func(*desk) error{
		"release": func(d *desk) error { return d.Release(context.Background(), "HD0001", "test") },
		"replace": func(d *desk) error {
			return d.Replace(context.Background(), "HD0001", hotdesk.MAC{0x80, 0x5e, 0xc0, 0, 0, 0x77}, "", "test")
		},
		"remove": func(d *desk) error { return d.RemoveDevice(context.Background(), "HD0001", "test") },
		"claimed anew": func(d *desk) error {
			if err := d.Release(context.Background(), "HD0001", "test"); err != nil {
				return err
			}
			d.claimed(1)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			p, stolen := d.claimed(1)
			var secrets []string
			for n := range uint64(6) {
				p.Device.URLNumber = n
				secrets = append(secrets, d.Secret("HD0001", n).Reveal(), d.HTTPPassword(p.Device).Reveal())
			}
			if err := end(d); err != nil {
				t.Fatal(err)
			}
			status, body := d.get(stolen)
			if status != 200 || slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(body, s) }) {
				t.Errorf("inside: %d\n%s", status, body)
			}
			if res := d.ask(http.MethodGet, stolen, outer, ""); res.StatusCode != 404 {
				t.Errorf("outside: %d", res.StatusCode)
			}
		})
	}
}

// A phone that was reset has no password: it is challenged, becomes a re-claim
// when it comes a second time more than ten seconds later, is taken anew when an
// administrator says so, and everything from before is worth nothing then.
func TestReclaimByAdmin(t *testing.T) {
	d := newDesk(t)
	ctx := context.Background()
	p, old := d.claimed(1)
	if err := d.Prove(ctx, "HD0001", p.Device.Generation); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Login(ctx, hotdesk.LoginRequest{Device: "HD0001", User: "100", By: hotdesk.ByAdmin}); err != nil {
		t.Fatal(err)
	}
	before := d.secrets("HD0001")[:3*(d.phone("HD0001").Device.Generation+1)]
	come := func() int {
		res := d.ask(http.MethodGet, d.enrolment("roma", mac(1)), inner, "")
		if body := text(t, res); d.leaks(body, "HD0001") != "" && res.StatusCode != 200 {
			t.Errorf("a refusal with secrets: %s", body)
		}
		return res.StatusCode
	}
	if err := d.ApproveReclaim(ctx, "HD0001", d.Alive, "test"); err == nil {
		t.Error("approved a re-claim that nobody asked for")
	}
	come()
	d.wait(5 * time.Second)
	come() // as a phone does that tries without at first
	if _, ok := d.Reclaimable("HD0001"); ok {
		t.Error("a re-claim after five seconds")
	}
	d.wait(6 * time.Second)
	if got := come(); got != 401 {
		t.Errorf("without a password: %d", got)
	}
	if away, ok := d.Reclaimable("HD0001"); !ok || away.Source != inner || away.Site != "roma" {
		t.Errorf("re-claim %+v %v", away, ok)
	}
	if d.phone("HD0001").User == nil {
		t.Error("the session ended by a mere request")
	}
	d.live.Registered("HD0001", hotdesk.Registration{Source: "udp:192.0.2.50:5060"})
	d.alive.Store(true)
	if err := d.ApproveReclaim(ctx, "HD0001", d.Alive, "test"); err == nil || !strings.Contains(err.Error(), "udp:192.0.2.50:5060") {
		t.Errorf("while the old phone answers: %v", err)
	}
	d.alive.Store(false)
	d.live.LegUp("HD0001", "call")
	if err := d.ApproveReclaim(ctx, "HD0001", d.Alive, "test"); err == nil {
		t.Error("in a call")
	}
	d.live.LegDown("HD0001", "call")
	if err := d.ApproveReclaim(ctx, "HD0001", d.Alive, "test"); err != nil {
		t.Fatal(err)
	}
	if got := come(); got != 200 {
		t.Fatalf("after approval: %d", got)
	}
	p = d.phone("HD0001")
	if p.User != nil || !p.Device.Claimed {
		t.Errorf("after the re-claim: %+v", p)
	}
	creds, _, _ := d.Credentials("HD0001")
	for _, c := range creds {
		if c.Generation <= 2 {
			t.Errorf("generation %d is still good", c.Generation)
		}
	}
	if status, body := d.get(old); status != 200 || slices.ContainsFunc(before, func(s string) bool { return strings.Contains(body, s) }) {
		t.Errorf("the old URL: %d", status)
	}
	if _, ok := d.Reclaimable("HD0001"); ok {
		t.Error("still a re-claim")
	}
}

// At a site that takes every phone one of a hundred requests at once is the
// re-claim; the others are asked for the password. A phone that comes with its
// password in between is no re-claim.
func TestReclaimAutomatic(t *testing.T) {
	d := newDesk(t)
	if status, _ := d.get(d.enrolment("open", mac(7))); status != 200 {
		t.Fatal(status)
	}
	p, err := d.FindDevice(mac(7))
	if err != nil {
		t.Fatal(err)
	}
	come := func(auth string) int {
		return d.ask(http.MethodGet, d.enrolment("open", mac(7)), inner, auth).StatusCode
	}
	come("")
	d.wait(time.Minute)
	if got := come(string(p.Device.ID) + ":" + d.HTTPPassword(p.Device).Reveal()); got != 200 {
		t.Fatalf("with its password: %d", got)
	}
	if got := come(""); got != 401 {
		t.Fatalf("the first without: %d", got)
	}
	d.live.Registered(p.Device.ID, hotdesk.Registration{Source: "udp:192.0.2.50:5060"})
	d.alive.Store(true)
	d.wait(time.Minute)
	if got := come(""); got != 401 || !strings.Contains(d.live.Requests(p.Device.ID, "")[0].Reason, "still answers") {
		t.Errorf("while the old phone answers: %d %+v", got, d.live.Requests(p.Device.ID, "")[0])
	}
	d.alive.Store(false)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[int]int{}
	for range 100 {
		wg.Go(func() {
			status := come("")
			mu.Lock()
			defer mu.Unlock()
			got[status]++
		})
	}
	wg.Wait()
	if got[200] != 1 || got[401] != 99 {
		t.Errorf("answers %v, want one 200 and 99 times 401", got)
	}
	if now := d.phone(p.Device.ID).Device; now.URLNumber != p.Device.URLNumber+1 || now.Floor != now.Generation {
		t.Errorf("the device is now %+v", now)
	}
	// A request that was turned away for want of the former password counts no more.
	d.live.TurnAway(p.Device, "open", inner)
	d.wait(time.Minute)
	if _, ok := d.Reclaimable(p.Device.ID); ok {
		t.Error("a request from before the re-claim makes another one")
	}
}

// A site that requires HTTPS gives nothing but the way to it over HTTP: neither
// to a new phone nor to one at home, with or without its password.
func TestRequireHTTPS(t *testing.T) {
	d := newDesk(t)
	p, own := d.claimed(1)
	d.apply(hotdesk.Desired{Sites: []hotdesk.SiteSpec{{Name: "roma", RequireHTTPS: ptr(true)}}})
	if url := d.DeviceURL(p.Device); !strings.HasPrefix(url, "https://192.0.2.1:8443/p/") {
		t.Errorf("the device's URL is %s", url)
	}
	password := "HD0001:" + d.HTTPPassword(p.Device).Reveal()
	plain := func(mac string) string {
		return strings.Replace(d.enrolment("roma", mac), "https://192.0.2.1:8443", "http://192.0.2.1:8080", 1)
	}
	for name, c := range map[string][2]string{
		"its own URL": {own, ""}, "enrolment": {plain(mac(1)), ""}, "enrolment with password": {plain(mac(1)), password}, "new": {plain(mac(2)), ""},
	} {
		res := d.ask(http.MethodGet, c[0], inner, c[1])
		body := text(t, res)
		for _, secret := range []string{d.HTTPPassword(p.Device).Reveal(), d.Secret("HD0001", p.Device.Generation).Reveal(), d.Secret("HD0002", 1).Reveal()} {
			if strings.Contains(body, secret) {
				t.Errorf("%s: a secret over HTTP", name)
			}
		}
		if res.StatusCode != 200 || !strings.Contains(body, "https://192.0.2.1:8443/p/") {
			t.Errorf("%s: %d\n%s", name, res.StatusCode, body)
		}
	}
	if d.phone("HD0002").Device.Claimed {
		t.Error("a phone was claimed over HTTP")
	}
	if status, body := d.secure(own); status != 200 || !strings.Contains(body, d.Secret("HD0001", p.Device.Generation).Reveal()) {
		t.Errorf("over HTTPS: %d", status)
	}
	if status, _ := d.secure(d.enrolment("roma", mac(2))); status != 200 || !d.phone("HD0002").Device.Claimed {
		t.Errorf("a claim over HTTPS: %d", status)
	}
}

// Every answer is noted with its reason, refusals too, by device and by MAC, and
// the note names no token.
func TestRequestsAreNoted(t *testing.T) {
	d := newDesk(t)
	_, own := d.claimed(1)
	for _, c := range []struct {
		url, auth, want string
	}{
		{own, "", "served 200"},
		{d.enrolment("roma", mac(1)), "", "challenged 401"},
		{d.enrolment("roma", mac(1)), "HD0001:wrong", "challenged 401"},
		{strings.Replace(own, mac(1), mac(2), 1), "", "not-found 404"},
		{"http://h/p/nonsense/" + mac(1) + ".cfg", "", "not-found 404"},
		{strings.TrimSuffix(d.EnrolmentURL("roma"), "/"), "", "not-found 404"},
		{strings.TrimSuffix(d.DeviceURL(d.phone("HD0001").Device), "/"), "", "not-found 404"},
		{d.enrolment("roma", mac(9)), "", "holding 200"},
		{d.enrolment("roma", mac(2)), "", "claimed 200"},
	} {
		d.ask(http.MethodGet, c.url, inner, c.auth)
		all := d.live.Requests("", "")
		if got := fmt.Sprint(all[0].Verdict, " ", all[0].Status); got != c.want || all[0].Reason == "" || all[0].Source != inner {
			t.Errorf("%s: noted %+v, want %s", c.url, all[0], c.want)
		}
	}
	for _, r := range d.live.Requests("", "") {
		if text := fmt.Sprintf("%+v", r); d.leaks(text, "HD0001", "HD0002") != "" || strings.Contains(text, d.EnrolmentToken("roma")) {
			t.Errorf("the note holds a secret: %s", text)
		}
	}
	if own := d.live.Requests("HD0001", ""); len(own) < 4 || own[len(own)-1].Verdict != "claimed" {
		t.Errorf("of HD0001: %+v", own)
	}
	for range 100 {
		d.get(own)
	}
	if n := len(d.live.Requests("HD0001", "")); n != 20 {
		t.Errorf("%d requests of one device are kept, want 20", n)
	}
}

// A phone that asks for another vendor's file than its record says gets none, and
// the note says what to do.
func TestWrongVendor(t *testing.T) {
	d := newDesk(t)
	other := ""
	for _, m := range d.Templates.Models() {
		if m.Vendor != "yealink" {
			other = m.ID
		}
	}
	if other == "" {
		t.Fatal("there is one vendor only")
	}
	d.apply(hotdesk.Desired{Devices: []hotdesk.DeviceSpec{{MAC: mac(1), Model: ptr(other)}}})
	if status, body := d.get(d.enrolment("roma", mac(1))); status != 404 || d.phone("HD0001").Device.Claimed {
		t.Errorf("%d\n%s", status, body)
	}
	if r := d.live.Requests("HD0001", "")[0]; r.Verdict != "refused" || !strings.Contains(r.Reason, "device replace HD0001") {
		t.Errorf("noted %+v", r)
	}
}

// What a phone without credentials can get holds none of the devices' secrets:
// whatever the path, file name, vendor and state of the device.
func TestCanary(t *testing.T) {
	d := newDesk(t)
	ctx := context.Background()
	d.claimed(1)
	revoked := d.DeviceURL(d.phone("HD0001").Device)
	if err := d.Release(ctx, "HD0001", "test"); err != nil {
		t.Fatal(err)
	}
	d.claimed(1)
	if _, err := d.Login(ctx, hotdesk.LoginRequest{Device: "HD0001", User: "100", By: hotdesk.ByAdmin}); err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, m := range []string{mac(1), mac(9)} {
		upper := strings.ToUpper(m)
		for _, name := range []string{
			m + ".cfg", m + ".boot", "y000000000000.boot", "y000000000108.cfg", m + "-local.cfg",
			"snomD785.htm", "snomD785-" + upper + ".htm", "cfg" + m + ".xml", "cfg" + m, "cfg.xml", "cfggrp2614.xml", "dev" + m + ".cfg",
		} {
			for _, base := range []string{"http://h/", "http://h/p/", d.EnrolmentURL("roma"), d.EnrolmentURL("open"), revoked} {
				for _, from := range []string{inner, outer} {
					res := d.ask(http.MethodGet, base+name, from, "")
					body := text(t, res) + fmt.Sprint(res.Header)
					if res.StatusCode == 200 {
						files++
					}
					if leak := d.leaks(body, "HD0001", "HD0002"); leak != "" || strings.Contains(body, "Mario") {
						t.Errorf("%s%s from %s holds %q", base, name, from, leak)
					}
				}
			}
		}
	}
	if files < 20 {
		t.Errorf("only %d files were served: the test looks at nothing", files)
	}
}
