package trunk

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

// trouble says in an administrator's words why a PBX gave no answer, and what to
// look at. The error itself goes to the log.
func trouble(p hotdesk.PBX, err error) string {
	at := destination(p) + " over " + transport(p)
	var lookup *net.DNSError
	var record tls.RecordHeaderError
	var unverified *tls.CertificateVerificationError
	var unknownCA x509.UnknownAuthorityError
	var otherName x509.HostnameError
	switch {
	case errors.Is(err, ErrLoop):
		key := "proxy"
		if p.Proxy == "" {
			key = "domain"
		}
		return fmt.Sprintf("%s %s is this server itself: give the PBX's own address", key, destination(p))
	case errors.Is(err, errNoAddress):
		return destination(p) + " is being looked up"
	case errors.As(err, &lookup):
		return destination(p) + " cannot be looked up: check proxy and domain and this server's DNS, or write the address itself"
	case errors.As(err, &unverified), errors.As(err, &unknownCA), errors.As(err, &otherName):
		return "the certificate of " + at + " is not trusted: it must be good for the name in proxy, from an authority this machine knows"
	case errors.As(err, &record):
		return at + " does not speak TLS: check port and transport"
	case errors.Is(err, syscall.ECONNREFUSED):
		return at + " refuses the connection: check port and transport, and whether the PBX runs"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("there is no way to %s: check the address and this server's network", at)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, sip.ErrTransactionTimeout):
		return "nobody answers at " + at + ": check address, port and transport, and a firewall between"
	}
	return "no connection to " + at + ": check address, port and transport, and a firewall between"
}

// transport is the PBX's, in lower case.
func transport(p hotdesk.PBX) string {
	if p.Transport == "" {
		return "udp"
	}
	return strings.ToLower(p.Transport)
}
