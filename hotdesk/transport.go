package hotdesk

import (
	"fmt"
	"slices"
	"strings"
)

// Transport is the SIP transport that a phone is told to use: its own, else its
// site's. When the server does not listen on that any more, it is one on which it
// does: a phone that registers somehow can still call 112.
func (s *Service) Transport(p Phone) string {
	for _, t := range []string{p.Device.Transport, p.Site.Phones.Transport} {
		if slices.Contains(s.transports, t) {
			return t
		}
	}
	return s.transports[0]
}

// checkTransport refuses a transport that is none, or has no listener.
func (s *Service) checkTransport(where, transport string) error {
	switch known := []string{"udp", "tcp", "tls"}; {
	case !slices.Contains(known, transport):
		return fmt.Errorf("%w: %s: %q must be one of %s", ErrInvalid, where, transport, strings.Join(known, ", "))
	case !slices.Contains(s.transports, transport):
		return fmt.Errorf("%w: %s: the server does not listen on %s; give it an address in sip.%s of its configuration, or use %s",
			ErrInvalid, where, transport, transport, strings.Join(s.transports, " or "))
	}
	return nil
}
