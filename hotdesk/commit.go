package hotdesk

import (
	"context"
	"errors"
	"time"
)

// snapshotWait is how long a mutation waits to see its own write. A later one is
// a success only for those who want no more than the write (update); whoever goes
// on with what was written takes it from the transaction (commit).
const snapshotWait = 2 * time.Second

// update runs one transaction and waits until the snapshot shows it, so that
// the caller and whoever it calls next see the write. An unknown outcome is
// repeated: fn finds its own operation id and does nothing twice.
func (s *Service) update(ctx context.Context, fn func(Txn) error) error {
	_, err := s.commit(ctx, fn)
	return err
}

// commit is update for those who use what they have written. late tells that it is
// written and the snapshot does not show it yet: what is read there is older.
func (s *Service) commit(ctx context.Context, fn func(Txn) error) (late bool, err error) {
	rev, err := s.store.Update(ctx, fn)
	for tries := 0; errors.Is(err, ErrUnknownOutcome) && tries < 3; tries++ {
		rev, err = s.store.Update(ctx, fn)
	}
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) {
		s.broken.Store(&err)
	}
	if err != nil {
		return false, err
	}
	s.broken.Store(nil)
	for known := s.committed.Load(); known < uint64(rev) && !s.committed.CompareAndSwap(known, uint64(rev)); {
		known = s.committed.Load()
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotWait)
	defer cancel()
	return !s.snap.wait(ctx.Done(), rev), nil
}

// awaitClaimed waits until the snapshot shows the claim that another request has won.
func (s *Service) awaitClaimed(ctx context.Context, mac MAC) {
	ctx, cancel := context.WithTimeout(ctx, snapshotWait)
	defer cancel()
	s.snap.until(ctx.Done(), func() bool {
		d := s.snap.devices[s.snap.macs[mac]]
		return d != nil && d.Claimed
	})
}

// Late tells whether the snapshot lacks something that this process has written: a
// phone that is unknown, or knows more than we do, may then be right.
func (s *Service) Late() bool {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	return s.late()
}

// late is Late. The caller holds the snapshot's lock.
func (s *Service) late() bool { return uint64(s.snap.rev) < s.committed.Load() }

// Healthy returns why logins and changes are not possible now; nil when they are.
func (s *Service) Healthy() error {
	if err := s.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// phoneIn is the device with all that belongs to it as the transaction leaves it:
// four reads. The site is empty when there is none (see fill).
func (s *Service) phoneIn(tx Txn, d Device) (Phone, error) {
	p := Phone{Device: d, Model: s.models[d.Model]}
	var site, sat, known bool
	var session Session
	var user User
	var errs [4]error
	p.Fetched, _, errs[0] = get[Fetched](tx, fetchedKey(d.ID))
	p.Site, site, errs[1] = get[Site](tx, siteKey(d.Site))
	if session, sat, errs[2] = get[Session](tx, bindingKey(d.ID)); sat {
		p.Session = &session
	}
	ext := d.DefaultUser
	if sat {
		ext = session.User
	}
	if ext != "" {
		if user, known, errs[3] = get[User](tx, userKey(ext)); known {
			p.User = &user
		}
	}
	if !site {
		p.Site = Site{}
	}
	return p, errors.Join(errs[:]...)
}

// fill completes what phoneIn has read: without its site a phone may use every
// site's ways out.
func (s *Service) fill(p Phone, late bool) Phone {
	p.Late = late
	if p.Site.Name == "" {
		s.snap.mu.RLock()
		defer s.snap.mu.RUnlock()
		p.Site = s.snap.anyEmergency()
	}
	return p
}
