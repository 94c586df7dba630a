package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
)

// pipes is a listener of connections without any buffer: what one side writes waits
// until the other reads it.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- server
	return client, nil
}

// served is the console behind a server with the timeouts that cmd gives it, and a
// client of it, in a synctest bubble.
func served(t *testing.T) (*desk, *pipes, *http.Client) {
	d := newDesk(t)
	d.office()
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	srv := &http.Server{Handler: d.api.Console(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 30 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(p) }()
	transport := &http.Transport{DialContext: p.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = srv.Close()
		<-served
	})
	return d, p, &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// raw sends the head of a request by hand and returns the connection.
func (p *pipes) raw(t *testing.T, lines ...string) net.Conn {
	t.Helper()
	c, _ := p.dial(t.Context(), "", "")
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, strings.Join(append(lines, "Host: x", "", ""), "\r\n")); err != nil {
		t.Fatal(err)
	}
	return c
}

// reader opens a stream and reads it; lines has what came, and ended is closed at
// its end.
func (d *desk) reader(client *http.Client, path string, header ...string) (lines chan string, ended chan struct{}) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.(*testing.T).Context(), http.MethodGet, "http://x"+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set(header[0], header[1])
	res, err := client.Do(req)
	if err != nil || res.StatusCode != 200 {
		d.t.Fatal(res, err)
	}
	lines, ended = make(chan string, 10000), make(chan struct{})
	go func() {
		defer close(ended)
		defer res.Body.Close()
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return lines, ended
}

func over(ended chan struct{}) bool {
	synctest.Wait()
	select {
	case <-ended:
		return true
	default:
		return false
	}
}

// A stream outlives every timeout of the server as long as its reader may read, and
// not two seconds longer: a token that is revoked ends it, a session that is signed
// out, and a new password.
func TestStreamLivesAsLongAsItsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, client := served(t)
		token := d.token(hotdesk.RoleViewer, "")
		session := func(name string, password hotdesk.Secret) string {
			text, err := d.access.SignIn(t.Context(), name, password, "x")
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		account := func(password hotdesk.Secret) {
			if _, err := d.access.UseLink(t.Context(), d.access.NewLink(), "anna", password, "x"); err != nil {
				t.Fatal(err)
			}
		}
		account("correct horse")
		leaving := session("anna", "correct horse")
		for _, c := range []struct {
			name, path, header, value string
			end                       func() error
		}{
			{"revoked", "/api/v1/events", "Authorization", "Bearer " + token, func() error { return d.access.Revoke(t.Context(), "t1-viewer", "x") }},
			{"signed out", "/live", "Cookie", sessionCookie + "=" + leaving, func() error { d.access.SignOut(leaving); return nil }},
			{"new password", "/live", "Cookie", sessionCookie + "=" + session("anna", "correct horse"), func() error { account("another horse"); return nil }},
		} {
			lines, ended := d.reader(client, c.path, c.header, c.value)
			time.Sleep(10 * time.Minute)
			d.live.Publish("late", "HD0001", "", nil)
			time.Sleep(time.Second)
			if over(ended) {
				t.Fatalf("%s: the stream ended by itself", c.name)
			}
			text := ""
			for len(lines) > 0 {
				text += <-lines + "\n"
			}
			if !strings.Contains(text, "event: late") && !strings.Contains(text, "data: changed") || !strings.Contains(text, ": alive") {
				t.Errorf("%s: after ten minutes the stream says %q", c.name, text)
			}
			if err := c.end(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			if !over(ended) {
				t.Errorf("%s: the stream goes on", c.name)
			}
		}
	})
}

// One token may have 16 streams open and all together 256; the next is told so, and
// a place that is left is free again.
func TestStreamLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, client := served(t)
		one, other := "Bearer "+d.token(hotdesk.RoleViewer, ""), "Bearer "+d.token(hotdesk.RoleViewer, "")
		open := func(token string) (int, string, func()) {
			req, _ := http.NewRequest(http.MethodGet, "http://x/api/v1/events", nil)
			req.Header.Set("Authorization", token)
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode == 200 {
				return 200, "", func() { _ = res.Body.Close() }
			}
			text, _ := io.ReadAll(res.Body)
			return res.StatusCode, string(text), func() { _ = res.Body.Close() }
		}
		var first func()
		for n := range maxStreamsOfOne {
			code, _, leave := open(one)
			if code != 200 {
				t.Fatalf("stream %d: %d", n, code)
			}
			first = leave
			defer leave()
		}
		if code, text, _ := open(one); code != 429 || !strings.Contains(text, "16 event streams open") || !strings.Contains(text, `"throttled"`) {
			t.Errorf("one too many: %d %s", code, text)
		}
		if code, _, leave := open(other); code != 200 {
			t.Errorf("somebody else: %d", code)
		} else {
			leave()
		}
		first()
		synctest.Wait()
		if code, _, leave := open(one); code != 200 {
			t.Errorf("after one was closed: %d", code)
		} else {
			leave()
		}
		synctest.Wait()
		if d.api.streams.all != maxStreamsOfOne-1 || len(d.api.streams.of) != 1 {
			t.Errorf("%d streams of %d are counted", d.api.streams.all, len(d.api.streams.of))
		}
		d.api.streams.all = maxStreams
		if code, text, _ := open(other); code != 429 || !strings.Contains(text, "256 event streams are open") {
			t.Errorf("the server is full: %d %s", code, text)
		}
		d.api.streams.all = maxStreamsOfOne - 1
	})
}

// A reader who stops reading is dropped: of a stream, and of a backup, which is
// made before that and so keeps nothing of the store.
func TestStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, p, _ := served(t)
		log := &logs{}
		d.api.Log = slog.New(slog.NewTextHandler(log, nil))
		auth := "Authorization: Bearer " + d.token(hotdesk.RoleOwner, "")
		made := 0
		d.api.Backup = func(w io.Writer, _ bool) error {
			_, err := w.Write(bytes.Repeat([]byte("0123456789abcdef"), 1<<18)) // 4 MB
			made++
			return err
		}
		for path, taken := range map[string]int{"/api/v1/events": 20, "/api/v1/backup": 100000} {
			c := p.raw(t, "GET "+path+" HTTP/1.1", auth)
			if _, err := io.ReadFull(c, make([]byte, taken)); err != nil {
				t.Fatal(err)
			}
			d.live.Publish("one", "HD0001", "", nil)
			synctest.Wait()
			start := time.Now()
			time.Sleep(2 * patience)
			synctest.Wait()
			if len(d.api.backups) != 0 || d.api.streams.all != 0 {
				t.Errorf("%s is kept open for a reader who does not read, after %s", path, time.Since(start))
			}
		}
		if made != 1 {
			t.Errorf("%d backups were made, want 1", made)
		}
		// One who reads slowly, a chunk in 20 s, gets it all.
		c := p.raw(t, "GET /api/v1/backup HTTP/1.1", auth)
		got, buf := 0, make([]byte, 64<<10)
		for got < 4<<20 {
			time.Sleep(5 * time.Second)
			n, err := io.ReadFull(c, buf)
			if got += n; err != nil {
				t.Fatalf("a slow reader after %d bytes: %v", got, err)
			}
			if got == len(buf) {
				if w := d.ask("GET", "/backup", ""); w.Code != 429 || !strings.Contains(w.Body.String(), "another backup is being made") {
					t.Errorf("a second one meanwhile: %d %s", w.Code, w.Body)
				}
			}
		}
		if text := log.String(); strings.Contains(text, "level=ERROR") {
			t.Errorf("a reader's silence is our error: %s", text)
		}
	})
}

// Who sends slowly is cut off, whatever the request; who waits for slow work is not.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, p, client := served(t)
		token := d.token(hotdesk.RoleOwner, "")
		auth := "Authorization: Bearer " + token
		for _, line := range []string{"POST /signin", "POST /api/v1/users", "POST /api/v1/apply", "GET /api/v1/devices", "GET /api/v1/events", "POST /api/v1/nothing", "GET /"} {
			start := time.Now()
			c := p.raw(t, line+" HTTP/1.1", auth, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 1000")
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				_, _ = io.Copy(io.Discard, c)
			}()
			<-gone
			if took := time.Since(start); took > bulkTime+bodyTime+5*time.Second {
				t.Errorf("%s: cut off after %s", line, took)
			}
		}
		route(d.api, look(), http.MethodPost, "/slow", "", 200, func(ctx context.Context, _ *struct{ Body map[string]string }) (*body[string], error) {
			time.Sleep(10 * time.Minute)
			return &body[string]{"done"}, ctx.Err()
		})
		req, _ := http.NewRequest(http.MethodPost, "http://x/api/v1/slow", strings.NewReader(`{"a":"b"}`))
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if text, _ := io.ReadAll(res.Body); res.StatusCode != 200 || !strings.Contains(string(text), "done") {
			t.Errorf("ten minutes of work: %d %s", res.StatusCode, text)
		}
	})
}

// A body larger than what it is for is refused, and nothing of it goes to a file.
func TestLargeBody(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	d := newDesk(t)
	d.office()
	owner := d.token(hotdesk.RoleOwner, "")
	boundary := "--b\r\nContent-Disposition: form-data; name=\"name\"; filename=\"x\"\r\n\r\n" + strings.Repeat("x", 1<<20) + "\r\n--b--\r\n"
	for _, c := range []struct {
		path, kind, body string
		large            bool
	}{
		{"/signin", "application/x-www-form-urlencoded", "name=" + strings.Repeat("n", 5<<20), true},
		{"/signin", "application/x-www-form-urlencoded", "name=anna&password=wrong", false},
		{"/signin", "multipart/form-data; boundary=b", boundary, true},
		{"/setup/x", "multipart/form-data; boundary=b", boundary, true},
		{"/devices/HD0001/logout", "multipart/form-data; boundary=b", boundary, true},
		{"/api/v1/users", "application/json", `{"extension":"` + strings.Repeat("1", maxBody) + `"}`, true},
		{"/api/v1/tokens", "application/json", `{"name":"` + strings.Repeat("1", maxBody) + `"}`, true},
		{"/api/v1/apply", "application/yaml", "# " + strings.Repeat("1", 2*maxBody) + "\nusers: []\n", false},
		{"/api/v1/devices/import", "text/csv", "mac\n" + strings.Repeat("\n", 2*maxBody), false},
		{"/api/v1/apply", "application/yaml", "# " + strings.Repeat("1", maxImport), true},
	} {
		req := httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.body))
		req.Header.Set("Content-Type", c.kind)
		req.Header.Set("Authorization", "Bearer "+owner)
		w := httptest.NewRecorder()
		d.api.Console().ServeHTTP(w, req)
		if (w.Code == http.StatusRequestEntityTooLarge) != c.large {
			t.Errorf("%s, %d bytes of %s: %d %.200s", c.path, len(c.body), c.kind, w.Code, w.Body)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("files were written: %v %v", left, err)
	}
}

// Who may not do a thing is told that, and not what is wrong with the request.
func TestRolesBeforeBodies(t *testing.T) {
	d := newDesk(t)
	d.office()
	viewer := d.token(hotdesk.RoleViewer, "")
	var doc struct {
		Paths map[string]map[string]struct{ Description string }
	}
	if err := json.Unmarshal(d.remote(viewer, "GET", "/api/v1/openapi.json", "").Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for path, ops := range doc.Paths {
		for method, op := range ops {
			if strings.Contains(op.Description, "role viewer") {
				continue
			}
			asked++
			for _, query := range []string{"", "?nonsense=1", "?dry_run=maybe&now=maybe&keys=maybe"} {
				if w := d.remote(viewer, strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(path)+query, `{"broken`); w.Code != 403 || !strings.Contains(w.Body.String(), `"forbidden"`) {
					t.Errorf("%s %s%s: %d %s, want 403", method, path, query, w.Code, w.Body)
				}
			}
		}
	}
	if asked < 20 {
		t.Errorf("only %d operations were asked", asked)
	}
}

// logs is a log that a test reads while others write it.
type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A request that its client gave up is no error of ours.
func TestGivenUp(t *testing.T) {
	d := newDesk(t)
	d.office()
	log := &logs{}
	d.api.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d.api.Backup = func(w io.Writer, _ bool) error { _, err := w.Write([]byte("x")); return err }
	token := d.token(hotdesk.RoleOwner, "")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct{ method, path, body, kind string }{
		{"POST", "/api/v1/users/100/pin", `{"pin":"7283"}`, "application/json"},
		{"POST", "/api/v1/devices/HD0001/login", `{"user":"100"}`, "application/json"},
		{"GET", "/api/v1/backup", "", ""},
	} {
		req := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)).WithContext(gone)
		req.Header.Set("Content-Type", c.kind)
		req.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		d.api.Console().ServeHTTP(w, req)
		if w.Code != statusGone {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, w.Code, w.Body, statusGone)
		}
	}
	if text := log.String(); strings.Contains(text, "level=ERROR") || !strings.Contains(text, "given up by its client") {
		t.Errorf("the log says %s", text)
	}
}
