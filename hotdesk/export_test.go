package hotdesk

import "slices"

// Seats shows the stored seats, which only the transactions themselves use.
func (s *Service) Seats() map[Extension][]DeviceID {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	all := map[Extension][]DeviceID{}
	for ext, seats := range s.snap.seats {
		all[ext] = slices.Clone(seats.Bound)
	}
	return all
}
