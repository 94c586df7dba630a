package simphone

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// trust says which certificates of a server a phone takes, over HTTPS and SIP alike.
type trust int

const (
	trustAny   trust = iota // every one
	trustKnown              // those of an authority that it knows, whatever their name
	trustNamed              // those that also bear the server's name
)

// config is how the phone opens a secure connection; without roots it knows the
// authorities that this machine knows. An empty name is that of the URL.
func (t trust) config(roots *x509.CertPool, name string) *tls.Config {
	c := &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12}
	if t == trustNamed {
		return c
	}
	c.InsecureSkipVerify = true // what is checked is below, as on the phone
	if t == trustKnown {
		c.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, roots) }
	}
	return c
}

// verifyChain checks who signed a certificate, and no name.
func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server has no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}
