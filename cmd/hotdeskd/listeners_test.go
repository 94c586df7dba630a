package main

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotdeskd/admin"
)

// With port 0, UDP and TCP share one number; the ready file names what is on, and
// nothing else; both certificate kinds are served on HTTPS and on SIP over TLS.
func TestListeners(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ready := s.app.ready
	if ready.SIP.UDP == "" || ready.SIP.UDP != ready.SIP.TCP || ready.SIP.TLS == "" || ready.SIP.TLS == ready.SIP.TCP {
		t.Errorf("SIP listens on %+v", ready.SIP)
	}
	for _, addr := range []string{ready.SIP.TLS, strings.TrimPrefix(ready.Provisioning.HTTPS, "https://")} {
		for _, suite := range []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256} {
			conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
			if err != nil {
				t.Errorf("%s with %s: %v", addr, tls.CipherSuiteName(suite), err)
				continue
			}
			_, isRSA := conn.ConnectionState().PeerCertificates[0].PublicKey.(*rsa.PublicKey)
			_, isECDSA := conn.ConnectionState().PeerCertificates[0].PublicKey.(*ecdsa.PublicKey)
			if want := suite == tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; isRSA != want || isECDSA == want {
				t.Errorf("%s: wrong key for %s", addr, tls.CipherSuiteName(suite))
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	res, err := client.Get(ready.Provisioning.HTTPS + "/p/x/y")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNotFound || res.ProtoMajor != 1 {
		t.Errorf("HTTPS: %s %s", res.Proto, res.Status)
	}
}

// A listener that is off is in no file, and a site cannot be told to use it: the
// error says what to do. What was saved before stays and is told as missing.
func TestListenerOff(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9") + "settings: {refusal: speak}\n")
	s.apply("sites:\n  - {name: roma, phones: {transport: tls}}\n")
	s.mustFetch(s.enrolment() + phoneMAC(0) + ".cfg")
	if got := s.sipAccount(0); got != "2 "+portOf(s.app.ready.SIP.TLS) {
		t.Errorf("a phone of a TLS site is told transport and port %q", got)
	}
	if err := s.api.Patch(s.context(), "/devices/HD0001", map[string]string{"transport": "tcp"}); err != nil {
		t.Fatal(err)
	}
	if got := s.sipAccount(0); got != "1 "+portOf(s.app.ready.SIP.TCP) {
		t.Errorf("a device with its own transport is told %q", got)
	}

	s.config.Provisioning.HTTPS, s.config.SIP.TLS = "", ""
	s.stop()
	s = startWith(t, s.config, s.clock, s.log)
	path := filepath.Join(t.TempDir(), "ready.json")
	if err := s.app.writeReady(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Provisioning, SIP map[string]string }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Provisioning) != 1 || len(file.SIP) != 2 {
		t.Errorf("ready file:\n%s", text)
	}
	site, err := admin.Get[admin.Site](s.context(), s.api, "/sites/roma")
	if err != nil || !slices.ContainsFunc(site.Missing, func(m string) bool { return strings.Contains(m, "sip.tls") }) {
		t.Errorf("the site misses %q, %v", site.Missing, err)
	}
	if _, err := s.api.Apply(s.context(), []byte("sites:\n  - {name: roma, phones: {transport: tls}}\n"), false, false); err == nil || !strings.Contains(err.Error(), "sip.tls") {
		t.Errorf("a transport without a listener: %v", err)
	}
	if _, err := s.api.Apply(s.context(), []byte("users:\n  - {extension: \"100\", name: Mario}\n"), false, false); err != nil {
		t.Errorf("nothing else can be changed any more: %v", err)
	}
}

// sipAccount is the transport and port that a claimed phone's file names.
func (s *server) sipAccount(n int) string {
	s.t.Helper()
	d := s.device([]string{"HD0001", "HD0002", "HD0003", "HD0004"}[n])
	f := s.mustFetch(d.ProvisioningURL + phoneMAC(n) + ".cfg")
	return f.Value("account.1.sip_server.1.transport_type") + " " + f.Value("account.1.sip_server.1.port")
}

// A port that UDP and TCP cannot share is an error that says so.
func TestSamePort(t *testing.T) {
	t.Parallel()
	var udp net.PacketConn
	var a *app
	for try := 0; a == nil; try++ { // another test may have the TCP port of that number
		var err error
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		c := loopback(t)
		c.SIP.TCP, c.SIP.UDP = udp.LocalAddr().String(), "127.0.0.1:0"
		if a, err = newApp(c, realWorld(), slog.New(slog.DiscardHandler)); err != nil && (try == 20 || !strings.Contains(err.Error(), "sip.tcp: tcp port "+udp.LocalAddr().String()+" is taken")) {
			t.Fatal(err)
		}
	}
	if a.ready.SIP.TCP != udp.LocalAddr().String() || a.ready.SIP.UDP == a.ready.SIP.TCP {
		t.Errorf("listens on %+v", a.ready.SIP)
	}
	if err := a.close(); err != nil {
		t.Error(err)
	}
}

// What strangers do to an HTTPS listener is for debugging and does not reach
// standard error by itself; a handler that panicked is an error.
func TestWebLog(t *testing.T) {
	out := &logBuffer{}
	log := httpServer(nil, slog.New(slog.NewTextHandler(out, nil))).ErrorLog
	log.Printf("http: TLS handshake error from %s: EOF", "192.0.2.1:1")
	if out.String() != "" {
		t.Errorf("a failed handshake is told: %s", out.String())
	}
	log.Printf("http: panic serving %s: oh", "192.0.2.1:1")
	if got := out.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "panic serving 192.0.2.1:1: oh") {
		t.Errorf("a panic is told as %q", got)
	}
}
