package certs

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hello shakes hands with c and returns the certificate that the client was given.
func hello(t *testing.T, c *Certificates, client *tls.Config) (*x509.Certificate, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Server(a, c.Config()).Handshake() }()
	conn := tls.Client(b, client)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

// rsaOnly is a phone that cannot check ECDSA signatures.
func rsaOnly() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
}

func open(t *testing.T, dir string) *Certificates {
	t.Helper()
	c, err := Open(dir, []string{"pbx.example", "192.0.2.7"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An empty directory gets both kinds, for the hosts and loopback, with keys that
// only their owner can read; a restart keeps them; whoever cannot take ECDSA, or
// asks for a strange name, gets RSA or ECDSA all the same; TLS 1.1 gets nothing.
func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	c := open(t, dir)
	modern, err := hello(t, c, &tls.Config{InsecureSkipVerify: true, ServerName: "strange.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := modern.PublicKey.(*ecdsa.PublicKey); !ok {
		t.Errorf("a modern client got %T", modern.PublicKey)
	}
	for _, host := range []string{"pbx.example", "192.0.2.7", "127.0.0.1", "localhost"} {
		if err := modern.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	old, err := hello(t, c, rsaOnly())
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := old.PublicKey.(*rsa.PublicKey); !ok || key.N.BitLen() != 2048 {
		t.Errorf("a client without ECDSA got %T", old.PublicKey)
	}
	if _, err := hello(t, c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is taken")
	}
	for _, kind := range kinds {
		if info, err := os.Stat(filepath.Join(dir, kind+".key")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s key: %v %v", kind, info.Mode(), err)
		}
	}
	again, err := hello(t, open(t, dir), &tls.Config{InsecureSkipVerify: true})
	if err != nil || !again.Equal(modern) {
		t.Errorf("a restart changed the certificate: %v", err)
	}
}

// New files are taken over; a bad one changes nothing and is named.
func TestReload(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	c, fresh := open(t, dir), open(t, other)
	want, err := hello(t, fresh, rsaOnly())
	if err != nil {
		t.Fatal(err)
	}
	before, err := hello(t, c, rsaOnly())
	if err != nil {
		t.Fatal(err)
	}
	move := func(name string) {
		b, err := os.ReadFile(filepath.Join(other, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	move("rsa.crt") // its key is still the old one
	if err := c.Reload(); err == nil || !strings.Contains(err.Error(), "rsa.crt") {
		t.Errorf("a certificate with another's key: %v", err)
	}
	if got, err := hello(t, c, rsaOnly()); err != nil || !got.Equal(before) {
		t.Errorf("a bad file changed the certificate: %v", err)
	}
	move("rsa.key")
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if got, err := hello(t, c, rsaOnly()); err != nil || !got.Equal(want) {
		t.Errorf("the new certificate is not in use: %v", err)
	}
	late := &Certificates{dir: dir, now: func() time.Time { return time.Now().Add(2 * validity) }}
	if err := late.Reload(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired certificate: %v", err)
	}
}

// One kind is enough; without any, or with half a pair, the server does not start.
func TestIncomplete(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	for _, name := range []string{"ecdsa.crt", "ecdsa.key"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := open(t, dir)
	if got, err := hello(t, c, &tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Error(err)
	} else if _, ok := got.PublicKey.(*rsa.PublicKey); !ok {
		t.Errorf("got %T", got.PublicKey)
	}
	if err := os.Remove(filepath.Join(dir, "rsa.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, nil, time.Now); err == nil || !strings.Contains(err.Error(), "rsa.key") {
		t.Errorf("half a pair: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "rsa.crt")); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); err == nil {
		t.Error("nothing is left and nobody says so")
	}
}
