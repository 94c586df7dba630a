package hotdesk

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// emergencyHold is how long after an emergency call nothing that nobody at the
// desk asked for may touch the device (rule 8).
const emergencyHold = time.Hour

// holdAgain is how often a hold that could not be stored is tried again.
const holdAgain = 5 * time.Second

// MayDisturb is the one rule about what nobody at the desk has asked for: logout and
// login from afar, release, removal, replacement, block, new secrets, reboots and
// check-syncs of administrators, timers and bulk changes. It says why the device must
// be left in peace now: ErrDeviceInCall, ErrEmergencyHold. It reads memory only.
func (s *Service) MayDisturb(id DeviceID) error {
	if busy, _ := s.live.InCall(id, ""); busy {
		return ErrDeviceInCall
	}
	return s.holdError(id)
}

// holdError says why nobody but the person at the desk may change the device now.
func (s *Service) holdError(id DeviceID) error {
	until := s.HeldUntil(id)
	if until.IsZero() {
		return nil
	}
	return fmt.Errorf("%w: an emergency call was made from %s; until %s only the person at the desk can log in or out, by code",
		ErrEmergencyHold, id, until.UTC().Format(time.RFC3339))
}

// Held tells whether the device is in its emergency hold.
func (s *Service) Held(id DeviceID) bool { return !s.HeldUntil(id).IsZero() }

// HeldUntil is when the device's emergency hold ends; zero when there is none.
func (s *Service) HeldUntil(id DeviceID) time.Time {
	until := s.holds.until(id)
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	if stored := s.snap.holds[id]; stored.After(until) {
		until = stored
	}
	if s.now().Before(until) {
		return until
	}
	return time.Time{}
}

// HoldEmergency begins the emergency hold of a device: for an hour from now. It is
// called when the call is placed and again when it ends. The device is held from the
// first moment on, whatever the store does; an error (ErrUnavailable) says that the
// hold is not stored yet, which Serve goes on trying.
func (s *Service) HoldEmergency(ctx context.Context, id DeviceID) error {
	s.holds.begin(id, s.now().Add(emergencyHold).UTC())
	return s.storeHold(ctx, id)
}

// storeHold writes the hold of a device that is owed to the store, if one is.
func (s *Service) storeHold(ctx context.Context, id DeviceID) error {
	until, owed := s.holds.debt(id)
	if !owed {
		return nil
	}
	err := s.update(ctx, func(tx Txn) error {
		stored, _, err := get[time.Time](tx, holdKey(id))
		if err != nil || !until.After(stored) {
			return err
		}
		return put(tx, holdKey(id), until)
	})
	if err != nil {
		s.holds.stir()
		return err
	}
	s.holds.paid(id, until)
	return nil
}

// storeHolds writes the holds that are owed, until ctx ends, and once more then.
func (s *Service) storeHolds(ctx context.Context) {
	again := time.NewTimer(holdAgain)
	defer again.Stop()
	failing := false
	for {
		select {
		case <-s.holds.owes:
			if failing {
				continue // the timer runs
			}
		case <-again.C:
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), snapshotWait)
			defer cancel()
			s.payHolds(ctx)
			return
		}
		err := s.payHolds(ctx)
		switch {
		case err != nil && !failing:
			s.log.Warn("emergency holds are in memory only; they are written when the store can", "err", err)
		case err == nil && failing:
			s.log.Info("emergency holds are stored again")
		}
		failing = err != nil
		again.Reset(holdAgain)
	}
}

// payHolds tries to store every hold that is owed; it returns what stands in the way.
func (s *Service) payHolds(ctx context.Context) (err error) {
	for _, id := range s.holds.debtors(s.now()) {
		if e := s.storeHold(ctx, id); e != nil {
			err = e
		}
	}
	return err
}

// holds is the emergency holds in memory: what is asked there is true at once. Those
// that are owed are not in the store yet.
type holds struct {
	mu   sync.Mutex
	ends map[DeviceID]time.Time
	owed map[DeviceID]bool
	owes chan struct{}
}

func newHolds() *holds {
	return &holds{ends: map[DeviceID]time.Time{}, owed: map[DeviceID]bool{}, owes: make(chan struct{}, 1)}
}

func (h *holds) begin(id DeviceID, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until.After(h.ends[id]) {
		h.ends[id], h.owed[id] = until, true
	}
}

func (h *holds) until(id DeviceID) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ends[id]
}

func (h *holds) debt(id DeviceID) (until time.Time, owed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ends[id], h.owed[id]
}

// paid notes that a hold is stored, unless a longer one has begun meanwhile.
func (h *holds) paid(id DeviceID, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ends[id].Equal(until) {
		delete(h.owed, id)
	}
}

// debtors lists whose hold is owed, and drops the holds that are over.
func (h *holds) debtors(now time.Time) (ids []DeviceID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, until := range h.ends {
		switch {
		case !now.Before(until):
			delete(h.ends, id)
			delete(h.owed, id)
		case h.owed[id]:
			ids = append(ids, id)
		}
	}
	return ids
}

// stir wakes the one who pays.
func (h *holds) stir() {
	select {
	case h.owes <- struct{}{}:
	default:
	}
}
