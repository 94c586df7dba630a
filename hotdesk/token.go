package hotdesk

import (
	"crypto/subtle"
	"strconv"
	"strings"
)

// Token is what the first path segment of a provisioning URL says.
type Token struct {
	Site    string   // enrolment token of this site; empty for a device token
	Device  DeviceID // device token
	Number  uint64
	Current bool // a device token: the device exists and this is its present one
}

// URLToken is the token in a device's own provisioning URL: id, number and 128
// bits of HMAC, so that every token ever given out is recognised without being
// stored, also after a restore.
func (s *Service) URLToken(d Device) string { return s.urlToken(d.ID, d.URLNumber) }

func (s *Service) urlToken(id DeviceID, n uint64) string {
	return strings.ToLower(string(id)) + "-" + strconv.FormatUint(n, 10) + "-" + s.vault.Derive("url", string(id), n).Reveal()
}

// EnrolmentToken is the token of the URL that goes into DHCP option 66.
func (s *Service) EnrolmentToken(site string) string {
	return s.vault.Derive("enrol", site, 1).Reveal()
}

// HTTPPassword is the password that a claimed phone sends; its user name is the
// device id.
func (s *Service) HTTPPassword(d Device) Secret {
	return s.vault.Derive("http", string(d.ID), d.URLNumber)
}

// ReadToken recognises a token that was issued; ok is false for all others.
func (s *Service) ReadToken(text string) (t Token, ok bool) {
	if id, rest, found := strings.Cut(text, "-"); found {
		number, _, _ := strings.Cut(rest, "-")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return Token{}, false
		}
		t = Token{Device: DeviceID(strings.ToUpper(id)), Number: n}
		if !same(text, s.urlToken(t.Device, n)) {
			return Token{}, false
		}
		s.snap.mu.RLock()
		defer s.snap.mu.RUnlock()
		d := s.snap.devices[t.Device]
		t.Current = d != nil && d.URLNumber == n
		return t, true
	}
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	for name := range s.snap.sites {
		if same(text, s.EnrolmentToken(name)) {
			return Token{Site: name}, true
		}
	}
	return Token{}, false
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
