package provisioning

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"hotdeskd/hotdesk"
)

// Whatever is unknown gets one answer, byte for byte: token, file, MAC, method,
// path, a foreign device's file, a revoked token from outside.
func TestOneNotFound(t *testing.T) {
	d := newDesk(t)
	_, own := d.claimed(1)
	base := strings.TrimSuffix(own, mac(1)+".cfg")
	enrol := d.EnrolmentURL("roma")
	dump := func(method, url, from string) string {
		res := d.ask(method, url, from, "")
		return fmt.Sprint(res.StatusCode, res.Header, text(t, res))
	}
	want := dump(http.MethodGet, "/nothing", outer)
	if !strings.HasPrefix(want, "404 ") {
		t.Fatalf("got %s", want)
	}
	for name, url := range map[string]string{
		"root": "/", "no file": base, "no token": "/p/", "unknown token": "http://h/p/x/" + mac(1) + ".cfg", "token alone": strings.TrimSuffix(base, "/"),
		"guessed device token": "http://h/p/hd0001-1-aaaaaaaaaaaaaaaaaaaaaaaaaa/" + mac(1) + ".cfg",
		"unknown file":         enrol + "passwd", "traversal": enrol + "..%2f..%2fetc%2fpasswd", "no MAC": enrol + "zzzzzzzzzzzz.cfg", "short MAC": enrol + "805ec0.cfg",
		"another phone's file": base + mac(2) + ".cfg", "deeper": base + "x/" + mac(1) + ".cfg", "other device, revoked number": strings.Replace(own, "hd0001-1-", "hd0001-2-", 1),
	} {
		if got := dump(http.MethodGet, url, inner); got != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if got := dump(method, own, inner); got != want {
			t.Errorf("%s: %s", method, got)
		}
	}
	if err := d.RemoveDevice(context.Background(), "HD0001", "test"); err != nil {
		t.Fatal(err)
	}
	if got := dump(http.MethodGet, own, outer); got != want {
		t.Errorf("revoked token from outside: %s", got)
	}
}

// An unknown phone gets a file without any secret and becomes pending, once,
// with what is known of it; the store does not learn of it.
func TestPending(t *testing.T) {
	d := newDesk(t)
	d.claimed(1)
	d.store.down.Store(true) // nothing may be written for a stranger
	for range 3 {
		res := d.ask(http.MethodGet, d.enrolment("roma", mac(9)), inner, "", "User-Agent", strings.Replace(agent, "00:01", "00:09", 1))
		body := text(t, res)
		if res.StatusCode != 200 || d.leaks(body, "HD0001", "HD0002") != "" || strings.Contains(body, "HD0001") {
			t.Errorf("%d\n%s", res.StatusCode, body)
		}
		if !strings.Contains(body, d.EnrolmentURL("roma")) {
			t.Errorf("the holding file does not lead back here:\n%s", body)
		}
	}
	all := d.live.Pending()
	if len(all) != 1 || all[0].MAC.String() != mac(9) || all[0].Model != model || all[0].Site != "roma" || all[0].Source != inner {
		t.Errorf("pending: %+v", all)
	}
}

// Phones of every vendor wait with a file of their own kind; a DECT base waits
// with the reason why it cannot be used.
func TestPendingVendors(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct{ file, agent, mac, model, problem, kind string }{
		{"snomD785-000413000009.htm", "", "000413000009", "snom-d785", "", "text/xml"},
		{"cfgc074ad000009.xml", "Grandstream Model HW GRP2614 SW 1.0.5.15 DevId c074ad000009", "c074ad000009", "grandstream-grp2614", "", "text/xml"},
		{"snomM900-000413b60680.htm", "", "000413b60680", "snom-m900", "dect-base", "text/xml"},
		{"805ec0d9c744.cfg", "Yealink W90DM 130.87.0.10 80:5e:c0:d9:c7:44", "805ec0d9c744", "yealink-w90dm", "dect-base", "text/plain"},
	} {
		url := strings.Replace(d.enrolment("roma", c.mac), c.mac+".cfg", c.file, 1)
		res := d.ask(http.MethodGet, url, inner, "", "User-Agent", c.agent)
		body := text(t, res)
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != c.kind || !strings.Contains(body, strings.TrimPrefix(d.EnrolmentURL("roma"), "http://")) {
			t.Errorf("%s: %d %v\n%s", c.file, res.StatusCode, res.Header, body)
		}
		found := false
		for _, p := range d.live.Pending() {
			found = found || p.MAC.String() == c.mac && p.Model == c.model && p.Problem == c.problem
		}
		if !found {
			t.Errorf("%s: pending are %+v", c.file, d.live.Pending())
		}
	}
}

// An approved phone is claimed by its first GET, gets its account, URL and
// password, and is then at home at its own URL.
func TestClaim(t *testing.T) {
	d := newDesk(t)
	status, body := d.get(d.enrolment("roma", mac(1)))
	p := d.phone("HD0001")
	if status != 200 || !p.Device.Claimed {
		t.Fatalf("%d, claimed %v", status, p.Device.Claimed)
	}
	for _, part := range []string{"HD0001", d.Secret("HD0001", p.Device.Generation).Reveal(), d.HTTPPassword(p.Device).Reveal(), d.DeviceURL(p.Device)} {
		if !strings.Contains(body, part) {
			t.Errorf("the file lacks %s:\n%s", part, body)
		}
	}
	if p.Fetched.Version != p.Device.Wanted {
		t.Errorf("fetched %d of %d", p.Fetched.Version, p.Device.Wanted)
	}
	if again, own := d.get(d.DeviceURL(p.Device) + strings.ToUpper(mac(1)) + ".CFG"); again != 200 || own != body {
		t.Errorf("its own URL, in upper case, gives %d and another file: %v", again, own != body)
	}
}

// Of any number of phones that claim one MAC at once exactly one gets a file with
// secrets; the others are asked for a password.
func TestClaimRace(t *testing.T) {
	for _, site := range []string{"roma", "open"} {
		t.Run(site, func(t *testing.T) {
			d := newDesk(t)
			n := 1
			if site == "open" {
				n = 7 // nobody knows it yet
			}
			var wg sync.WaitGroup
			var mu sync.Mutex
			got := map[int]int{}
			var bodies []string
			for range 100 {
				wg.Go(func() {
					status, body := d.get(d.enrolment(site, mac(n)))
					mu.Lock()
					defer mu.Unlock()
					got[status]++
					bodies = append(bodies, body)
				})
			}
			wg.Wait()
			p, err := d.FindDevice(mac(n))
			if err != nil {
				t.Fatal(err)
			}
			leaks := 0
			for _, body := range bodies {
				if d.leaks(body, p.Device.ID) != "" {
					leaks++
				}
			}
			if leaks != 1 || got[200] != 1 || got[401]+got[503] != 99 || site == "roma" && got[503] != 0 {
				t.Errorf("answers %v, %d with secrets; want one 200 with secrets and 99 times 401, or 503 while the device is made", got, leaks)
			}
			if left := d.live.Pending(); len(left) != 0 {
				t.Errorf("still pending: %+v", left)
			}
		})
	}
}

// A claimed phone that comes by the enrolment URL is served only with its own
// password; with a wrong one the claim is told.
func TestReturningPhone(t *testing.T) {
	d := newDesk(t)
	p, own := d.claimed(1)
	other, _ := d.claimed(2)
	_, want := d.get(own)
	url := d.enrolment("roma", mac(1))
	right := "HD0001:" + d.HTTPPassword(p.Device).Reveal()
	for name, c := range map[string]struct {
		auth   string
		status int
	}{
		"right": {right, 200}, "none": {"", 401}, "wrong": {"HD0001:x", 401}, "no password": {"HD0001:", 401}, "another user": {"HD0002:" + d.HTTPPassword(p.Device).Reveal(), 401},
		"another device": {"HD0002:" + d.HTTPPassword(other.Device).Reveal(), 401},
	} {
		res := d.ask(http.MethodGet, url, inner, c.auth)
		body := text(t, res)
		if res.StatusCode != c.status || (body == want) != (c.status == 200) {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
		if c.status == 401 && (!strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic ") || d.leaks(body, "HD0001", "HD0002") != "") {
			t.Errorf("%s: %v %s", name, res.Header, body)
		}
	}
	if err := d.Release(context.Background(), "HD0001", "test"); err != nil {
		t.Fatal(err)
	}
	if status, body := d.get(url); status != 200 || body == want {
		t.Errorf("released: %d, same file %v", status, body == want)
	}
	if status := d.ask(http.MethodGet, url, inner, right).StatusCode; status != 401 {
		t.Errorf("the password of before the release: %d", status)
	}
	if status, _ := d.get(own); status != 200 {
		t.Errorf("the URL of before the release: %d", status)
	} else if _, body := d.get(own); d.leaks(body, "HD0001") != "" {
		t.Error("the URL of before the release still gives secrets")
	}
}

// A phone whose device is gone is let go with a file that leads to enrolment.
func TestRevokedToken(t *testing.T) {
	d := newDesk(t)
	_, own := d.claimed(1)
	secrets := d.secrets("HD0001")
	if err := d.RemoveDevice(context.Background(), "HD0001", "test"); err != nil {
		t.Fatal(err)
	}
	status, body := d.get(own)
	if status != 200 || !strings.Contains(body, d.EnrolmentURL("roma")) {
		t.Errorf("%d\n%s", status, body)
	}
	for _, s := range secrets {
		if strings.Contains(body, s) {
			t.Errorf("the release file has the secret %s", s)
		}
	}
	if status := d.ask(http.MethodGet, own, outer, "").StatusCode; status != 404 {
		t.Errorf("from outside: %d, want 404", status)
	}
}

// A whole 200 or a 304 is a fetch; a HEAD, another version's ETag alone or an
// aborted body is none.
func TestWhatCountsAsFetched(t *testing.T) {
	d := newDesk(t)
	p, own := d.claimed(1)
	etag := d.ask(http.MethodGet, own, inner, "").Header.Get("ETag")
	if len(etag) != 66 {
		t.Fatalf("ETag %q", etag)
	}
	renew := func() {
		t.Helper()
		if err := d.Rotate(context.Background(), "HD0001", false, "test"); err != nil {
			t.Fatal(err)
		}
		if p = d.phone("HD0001"); p.Fetched.Version == p.Device.Wanted {
			t.Fatal("fetched before it was asked for")
		}
	}
	fetched := func() bool { p := d.phone("HD0001"); return p.Fetched.Version == p.Device.Wanted }
	renew()
	res := d.ask(http.MethodHead, own, inner, "")
	if res.StatusCode != 200 || text(t, res) != "" || res.Header.Get("ETag") == etag || res.Header.Get("Content-Length") == "" || fetched() {
		t.Errorf("HEAD: %d %v, fetched %v", res.StatusCode, res.Header, fetched())
	}
	etag = res.Header.Get("ETag")
	if res := d.ask(http.MethodHead, own, inner, "", "If-None-Match", etag); fetched() {
		t.Errorf("HEAD with If-None-Match: %d counts as fetched", res.StatusCode)
	}
	res = d.ask(http.MethodGet, own, inner, "", "If-None-Match", etag)
	if res.StatusCode != 304 || text(t, res) != "" || !fetched() {
		t.Errorf("304: %d, fetched %v", res.StatusCode, fetched())
	}
	renew()
	if res := d.ask(http.MethodGet, own, inner, "", "If-None-Match", etag); res.StatusCode != 200 || !fetched() {
		t.Errorf("old ETag: %d, fetched %v", res.StatusCode, fetched())
	}
	renew()
	if d.Handler().ServeHTTP(&broken{header: http.Header{}}, request(own)); fetched() {
		t.Error("an aborted body counts as fetched")
	}
}

func request(url string) *http.Request {
	req := httptest.NewRequest(http.MethodGet, url, nil)
	req.RemoteAddr = inner
	return req
}

// broken is a connection that goes away in the middle of the body.
type broken struct{ header http.Header }

func (b *broken) Header() http.Header       { return b.header }
func (b *broken) WriteHeader(int)           {}
func (b *broken) Write([]byte) (int, error) { return 10, errors.New("connection reset") }

// A phone whose first file broke off is not locked out: it may claim again, and
// what it got a part of is worth nothing any more.
func TestAbortedClaim(t *testing.T) {
	d := newDesk(t)
	d.Handler().ServeHTTP(&broken{header: http.Header{}}, request(d.enrolment("roma", mac(1))))
	lost := d.phone("HD0001").Device.Generation
	if status, body := d.get(d.enrolment("roma", mac(1))); status != 200 || d.leaks(body, "HD0001") == "" {
		t.Errorf("second try: %d\n%s", status, body)
	}
	creds, _, _ := d.Credentials("HD0001")
	for _, c := range creds {
		if c.Generation < lost {
			t.Errorf("generation %d is still accepted", c.Generation)
		}
	}
}

// A phone that hangs up as soon as it has read everything has its file: the
// fetch counts, and its claim is not taken back.
func TestPhoneHangsUpAtOnce(t *testing.T) {
	d := newDesk(t)
	ctx, cancel := context.WithCancel(context.Background())
	w := &hangsUp{ResponseRecorder: httptest.NewRecorder(), cancel: cancel}
	d.Handler().ServeHTTP(w, request(d.enrolment("roma", mac(1))).WithContext(ctx))
	if p := d.phone("HD0001"); !p.Device.Claimed || p.Fetched.Version != p.Device.Wanted {
		t.Errorf("claimed %v, fetched %d of %d", p.Device.Claimed, p.Fetched.Version, p.Device.Wanted)
	}
}

// hangsUp is a connection that the phone closes after the last byte.
type hangsUp struct {
	*httptest.ResponseRecorder
	cancel context.CancelFunc
}

func (h *hangsUp) Write(b []byte) (int, error) {
	defer h.cancel()
	return h.ResponseRecorder.Write(b)
}

// On the wire the file is whole, with its length, and never chunked.
func TestOnTheWire(t *testing.T) {
	d := newDesk(t)
	_, own := d.claimed(1)
	srv := httptest.NewServer(d.Handler())
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	path := strings.TrimPrefix(own, "http://192.0.2.1:8080")
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body := text(t, res)
	if res.ContentLength != int64(len(body)) || len(res.TransferEncoding) != 0 || res.Header.Get("Content-Encoding") != "" || res.Header.Get("ETag") == "" {
		t.Errorf("%d bytes, %+v", len(body), res)
	}
}

// The same phone in the same state gets the same bytes; a login changes them, and
// after the logout only version and secrets differ from before.
func TestByteStable(t *testing.T) {
	d := newDesk(t)
	p, own := d.claimed(1)
	idleDigest, ladder, err := d.Prepare(context.Background(), "HD0001")
	if err != nil || len(ladder) == 0 || ladder[0].Reboot || ladder[0].ApplyWithin == 0 {
		t.Fatalf("ladder %+v, %v", ladder, err)
	}
	_, first := d.get(own)
	if _, second := d.get(own); second != first {
		t.Error("two GETs differ")
	}
	if _, err := d.Login(context.Background(), hotdesk.LoginRequest{Device: "HD0001", User: "100", By: hotdesk.ByAdmin}); err != nil {
		t.Fatal(err)
	}
	_, used := d.get(own)
	usedDigest, _, _ := d.Prepare(context.Background(), "HD0001")
	if used == first || usedDigest == idleDigest || !strings.Contains(used, "Mario") {
		t.Error("a login does not change the file")
	}
	if _, err := d.Logout(context.Background(), hotdesk.LogoutRequest{Device: "HD0001", By: hotdesk.ByAdmin}); err != nil {
		t.Fatal(err)
	}
	if again, _, _ := d.Prepare(context.Background(), "HD0001"); again != idleDigest {
		t.Error("idle again, but the digest differs")
	}
	_, last := d.get(own)
	now := d.phone("HD0001")
	back := strings.NewReplacer(d.Secret("HD0001", now.Device.Generation).Reveal(), d.Secret("HD0001", p.Device.Generation).Reveal()).Replace(last)
	if diff := differing(first, back); len(diff) > 1 {
		t.Errorf("idle again, but these lines differ: %q", diff)
	}
}

func differing(a, b string) (diff []string) {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	if len(x) != len(y) {
		return []string{"their number", ""}
	}
	for i := range x {
		if x[i] != y[i] {
			diff = append(diff, x[i]+" | "+y[i])
		}
	}
	return diff
}

// With the store down a phone still gets its file; only a claim has to wait, and
// is told when to come back.
func TestStoreDown(t *testing.T) {
	d := newDesk(t)
	_, own := d.claimed(1)
	if err := d.Rotate(context.Background(), "HD0001", false, "test"); err != nil {
		t.Fatal(err)
	}
	d.store.down.Store(true)
	if status, body := d.get(own); status != 200 || !strings.Contains(body, "HD0001") {
		t.Errorf("own URL: %d", status)
	}
	res := d.ask(http.MethodGet, d.enrolment("roma", mac(2)), inner, "")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || d.leaks(text(t, res), "HD0002") != "" {
		t.Errorf("claim: %d %v", res.StatusCode, res.Header)
	}
	d.store.down.Store(false)
	if status, _ := d.get(d.enrolment("roma", mac(2))); status != 200 {
		t.Errorf("claim afterwards: %d", status)
	}
}

// A blocked phone that was never claimed gets no account; a site that takes every
// phone adds one at its first GET, but not for a HEAD or without a model.
func TestEnrolmentModes(t *testing.T) {
	d := newDesk(t)
	if err := d.Block(context.Background(), "HD0002", "test"); err != nil {
		t.Fatal(err)
	}
	if status, body := d.get(d.enrolment("roma", mac(2))); status != 200 || d.leaks(body, "HD0002") != "" {
		t.Errorf("blocked: %d\n%s", status, body)
	}
	if res := d.ask(http.MethodHead, d.enrolment("roma", mac(1)), inner, ""); res.StatusCode != 404 || d.phone("HD0001").Device.Claimed {
		t.Errorf("HEAD: %d, claimed %v", res.StatusCode, d.phone("HD0001").Device.Claimed)
	}
	d.ask(http.MethodHead, d.enrolment("open", mac(7)), inner, "")
	d.ask(http.MethodGet, d.enrolment("open", mac(7)), inner, "", "User-Agent", "curl/8")
	if _, err := d.FindDevice(mac(7)); !errors.Is(err, hotdesk.ErrNotFound) {
		t.Errorf("added without a reason: %v", err)
	}
	if status, body := d.get(d.enrolment("open", mac(7))); status != 200 || d.leaks(body, "HD0003") == "" {
		t.Errorf("automatic: %d\n%s", status, body)
	}
}

// BenchmarkConfigGET is one phone's GET of its unchanged file.
func BenchmarkConfigGET(b *testing.B) {
	d := newDesk(b)
	_, own := d.claimed(1)
	req := request(own)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		d.Handler().ServeHTTP(w, req)
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}
