package hotdesk

import (
	"context"
	"time"
)

// throttleRule says when wrong PINs lock and for how long. A lock lasts first,
// then longer each time up to most. Failures older than window count no
// more, and after a quiet day the next lock is a first one again.
type throttleRule struct {
	failures    int
	window      time.Duration
	first, most time.Duration
	grow        int // each lock is 2^grow times the one before
}

// The three rules guard one another: the pair stops a guesser at one phone, the
// device one who tries many users, the user one who tries from many phones.
var (
	pairRule   = throttleRule{5, 24 * time.Hour, time.Minute, 15 * time.Minute, 1}
	deviceRule = throttleRule{10, 10 * time.Minute, 5 * time.Minute, 30 * time.Minute, 1}
	// 15 minutes, then 1, 4, 16 and 24 hours: at most 100 guesses a day are compared, from
	// all phones together.
	userRule = throttleRule{20, 24 * time.Hour, 15 * time.Minute, 24 * time.Hour, 2}
)

const quietDay = 24 * time.Hour

func (t Throttle) locked(now time.Time) bool { return now.Before(t.Until) }

// charge counts one attempt; it returns the new record and whether it locked.
func (r throttleRule) charge(t Throttle, now time.Time) (Throttle, bool) {
	if t.Failures == 0 || now.Sub(t.Since) > r.window {
		t.Failures, t.Since = 0, now
	}
	if !t.Until.IsZero() && now.Sub(t.Until) > quietDay {
		t.Locks = 0
	}
	t.Failures++
	if t.Failures < r.failures {
		return t, false
	}
	lock := r.most
	if t.Locks*r.grow < 16 { // beyond that it is the longest, and the shift too far
		lock = min(r.first<<(t.Locks*r.grow), r.most)
	}
	t.Failures, t.Since, t.Until = 0, now, now.Add(lock)
	t.Locks++
	return t, true
}

// refund takes back a charge whose PIN turned out right, with the lock it caused.
func (r throttleRule) refund(t Throttle, caused bool, until time.Time) Throttle {
	switch {
	case caused && t.Until.Equal(until):
		t.Until, t.Failures = time.Time{}, r.failures-1
		t.Locks--
	case t.Failures > 0:
		t.Failures--
	}
	return t
}

// attempt is one charged try, kept to refund it or to tell of its locks.
type attempt struct {
	locked bool // some lock held: nothing was charged and the PIN must not count
	pair   string
	guards []guard
}

type guard struct {
	key    string
	rule   throttleRule
	caused bool
	until  time.Time
}

// charge stores the attempt before the PIN is compared, so that pulling the
// plug cannot buy free guesses. Unknown extensions share one key per device.
func (s *Service) charge(ctx context.Context, id DeviceID, ext Extension, now time.Time) (attempt, error) {
	who, lastGood := ext, false
	s.snap.mu.RLock()
	if s.snap.users[ext] == nil {
		who = nobody
	} else if seats := s.snap.seats[ext]; seats != nil {
		lastGood = seats.Last == id
	}
	s.snap.mu.RUnlock()

	var a attempt
	err := s.update(ctx, func(tx Txn) error {
		a = attempt{pair: pairThrottleKey(who, id), guards: []guard{
			{key: pairThrottleKey(who, id), rule: pairRule},
			{key: deviceThrottleKey(id), rule: deviceRule},
			{key: userThrottleKey(who), rule: userRule},
		}}
		records := make([]Throttle, len(a.guards))
		for i, g := range a.guards {
			t, _, err := get[Throttle](tx, g.key)
			if err != nil {
				return err
			}
			records[i] = t
			if t.locked(now) && !(g.key == userThrottleKey(who) && lastGood) {
				a.locked = true
			}
		}
		if a.locked {
			return nil
		}
		for i := range a.guards {
			g := &a.guards[i]
			t, caused := g.rule.charge(records[i], now)
			g.caused, g.until = caused, t.Until
			if err := put(tx, g.key, t); err != nil {
				return err
			}
		}
		return nil
	})
	return a, err
}

// settle undoes the charges of a right PIN inside the login's transaction: the
// pair is cleared, device and user get this one attempt back.
func (a attempt) settle(tx Txn) error {
	if a.pair != "" {
		tx.Delete(a.pair)
	}
	return a.refund(tx)
}

// refund gives back an attempt that was right, or was never compared. What
// somebody has cleared meanwhile stays cleared.
func (a attempt) refund(tx Txn) error {
	for _, g := range a.guards {
		t, ok, err := get[Throttle](tx, g.key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := put(tx, g.key, g.rule.refund(t, g.caused, g.until)); err != nil {
			return err
		}
	}
	return nil
}

// Locked tells whether too many wrong PINs came from this device.
func (s *Service) Locked(id DeviceID) bool {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	return s.now().Before(s.snap.locks[id])
}
