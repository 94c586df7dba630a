package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// kinds are the pairs of files, <kind>.crt and <kind>.key, in the order in which
// they are offered.
var kinds = []string{"ecdsa", "rsa"}

// validity of what we make ourselves. Phones cannot follow a renewal, so it is as
// long as a phone lives.
const validity = 10 * 365 * 24 * time.Hour

// Certificates are the certificates in use. Methods may be called from any
// goroutine.
type Certificates struct {
	dir string
	now func() time.Time
	set atomic.Pointer[[]tls.Certificate]
}

// Open reads the certificates in dir. When there is not one file of them, it makes
// both kinds for the given hosts (names and addresses; loopback is added). A
// directory with one kind only is taken as it is: its administrator wants it so.
func Open(dir string, hosts []string, now func() time.Time) (*Certificates, error) {
	c := &Certificates{dir: dir, now: now}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("TLS certificates: %w", err)
	}
	empty := true
	for _, kind := range kinds {
		for _, file := range []string{c.path(kind, "crt"), c.path(kind, "key")} {
			if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
				empty = false
			}
		}
	}
	if empty {
		for _, kind := range kinds {
			if err := c.create(kind, hosts); err != nil {
				return nil, fmt.Errorf("TLS certificates: make %s: %w", c.path(kind, "crt"), err)
			}
		}
	}
	return c, c.Reload()
}

func (c *Certificates) path(kind, ending string) string {
	return filepath.Join(c.dir, kind+"."+ending)
}

// Reload reads the files again. When anything is wrong with one of them the error
// says what and where, and the certificates stay what they were.
func (c *Certificates) Reload() error {
	var set []tls.Certificate
	for _, kind := range kinds {
		crt, key := c.path(kind, "crt"), c.path(kind, "key")
		_, noCrt := os.Stat(crt)
		_, noKey := os.Stat(key)
		if errors.Is(noCrt, fs.ErrNotExist) && errors.Is(noKey, fs.ErrNotExist) {
			continue
		}
		pair, err := tls.LoadX509KeyPair(crt, key)
		if err != nil {
			return fmt.Errorf("TLS certificate %s with %s: %w; put a PEM certificate (chain) and its key there, or delete all files of %s and restart to get new ones", crt, key, err, c.dir)
		}
		if c.now().After(pair.Leaf.NotAfter) {
			return fmt.Errorf("TLS certificate %s has expired on %s; replace it and its key", crt, pair.Leaf.NotAfter.Format(time.DateOnly))
		}
		set = append(set, pair)
	}
	if len(set) == 0 {
		return fmt.Errorf("TLS certificates: %s has none any more; put rsa.crt and rsa.key there", c.dir)
	}
	c.set.Store(&set)
	return nil
}

// Config is for a listener: TLS 1.2 and 1.3, always with the certificates of the
// last good Reload.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.choose}
}

// choose takes the first certificate that the client can check. The name that it
// asks for does not count: phones ask for addresses, old names, or nothing.
func (c *Certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	any := *hello
	any.ServerName = ""
	set := *c.set.Load()
	for i := range set {
		if any.SupportsCertificate(&set[i]) == nil {
			return &set[i], nil
		}
	}
	return &set[len(set)-1], nil
}

// create makes one self-signed certificate and its key. The key comes first: a
// crash between the two leaves a pair that cannot be loaded, which is told.
func (c *Certificates) create(kind string, hosts []string) error {
	key, err := newKey(kind)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "hotdeskd"},
		NotBefore: c.now().Add(-24 * time.Hour), NotAfter: c.now().Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if kind == "rsa" {
		t.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	for _, h := range append(slices.Clone(hosts), "localhost", "127.0.0.1", "::1") {
		if ip := net.ParseIP(h); ip != nil {
			if !slices.ContainsFunc(t.IPAddresses, ip.Equal) {
				t.IPAddresses = append(t.IPAddresses, ip)
			}
		} else if h != "" && !slices.Contains(t.DNSNames, h) {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	if len(hosts) > 0 && hosts[0] != "" && len(hosts[0]) <= 64 {
		t.Subject.CommonName = hosts[0]
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path(kind, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.path(kind, "crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func newKey(kind string) (crypto.Signer, error) {
	if kind == "rsa" {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// Until is when the first of the certificates in use expires.
func (c *Certificates) Until() (first time.Time) {
	for _, cert := range *c.set.Load() {
		if first.IsZero() || cert.Leaf.NotAfter.Before(first) {
			first = cert.Leaf.NotAfter
		}
	}
	return first
}
