package hotdesk

import (
	"context"
	"slices"
)

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

// Settle waits until the snapshot shows all that is in the store, also what a
// caller was not told of.
func (s *Service) Settle(ctx context.Context) error {
	var rev Rev
	err := s.store.View(ctx, func(r Reader) error {
		rev = r.Rev()
		return nil
	})
	s.snap.wait(ctx.Done(), rev)
	return err
}
