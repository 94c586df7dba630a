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
	Current bool // a device token: the device exists and this is its present one, or one that its phone has not been told to change yet
	Late    bool // it is not current by a snapshot that is late: it may be all the same
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

// HTTPPassword is the password that a claimed phone is told to send; its user name
// is the device id.
func (s *Service) HTTPPassword(d Device) Secret {
	return s.vault.Derive("http", string(d.ID), d.URLNumber)
}

// KnowsPassword tells whether a phone sent the device's HTTP password, or one that
// it has not been told to change yet.
func (s *Service) KnowsPassword(p Phone, user, password string) bool {
	if user != string(p.Device.ID) || !p.Device.Claimed {
		return false
	}
	for n := p.Device.oldestURL(p.Fetched); n <= p.Device.URLNumber; n++ {
		if same(password, s.vault.Derive("http", string(p.Device.ID), n).Reveal()) {
			return true
		}
	}
	return false
}

// oldestURL is the lowest number whose URL and HTTP password are still good.
func (d Device) oldestURL(f Fetched) uint64 {
	if f.Proven >= d.URLProof {
		return d.URLNumber
	}
	return max(d.URLFloor, 1)
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
		t.Current = d != nil && n <= d.URLNumber && n >= d.oldestURL(s.snap.fetched[t.Device])
		t.Late = !t.Current && s.late()
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
