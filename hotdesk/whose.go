package hotdesk

import (
	"net/netip"

	"hotdeskd/hotdesk/dial"
)

// MayBeEmergency tells whether what was dialled is an emergency number of any site,
// or an emergency service URN: such a call is not refused before it is known whose it
// is. It reads memory only.
func (s *Service) MayBeEmergency(dialed string) bool {
	number, sos := dial.Normalise(dialed)
	if sos {
		return true
	}
	if number == "" {
		return false
	}
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	for _, site := range s.snap.sites {
		if _, ok := dial.Emergency(number, site.Dialing.OutsidePrefix, site.Emergency.Numbers); ok {
			return true
		}
	}
	return false
}

// InNetworks tells whether an address is in the networks of any site: whoever calls
// from there is in one of our houses.
func (s *Service) InNetworks(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	for _, site := range s.snap.sites {
		for _, text := range site.Networks {
			if n, err := netip.ParsePrefix(text); err == nil && n.Contains(a) {
				return true
			}
		}
	}
	return false
}
