package hotdesk

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Alive tells whether the phone that registered as this device still answers.
type Alive func(context.Context, DeviceID) bool

// A claimed device's phone that comes without its HTTP password has been reset
// to factory settings, or is another phone that uses its MAC. Because many phones
// ask once without and at once with it, only one that was turned away and has not
// come with it for reclaimAfter is taken for such a one.
const reclaimAfter = 10 * time.Second

// Reclaimable tells whether a phone with this device's MAC asks to be the device
// anew, and what is known of it.
func (s *Service) Reclaimable(id DeviceID) (TurnedAway, bool) {
	t, ok := s.live.TurnedAway(id)
	p, err := s.Phone(id)
	return t, ok && err == nil && p.Device.Claimed && t.Number == p.Device.URLNumber &&
		s.now().Sub(t.Since) > reclaimAfter
}

// ApproveReclaim is an administrator's word that the phone that lost its password
// is the device's: the device may be claimed anew by the next request. It is
// refused while the phone that registered still answers (ErrConflict), in a call
// and in an emergency hold; the session ends, and every secret and the URL are
// new afterwards.
func (s *Service) ApproveReclaim(ctx context.Context, id DeviceID, alive Alive, by string) error {
	if err := s.mayReclaim(ctx, id, alive); err != nil {
		return err
	}
	return s.Release(ctx, id, by)
}

// Reclaim is ApproveReclaim and Claim in one transaction, for a site that takes
// every phone (enrolment: automatic); elsewhere it is ErrPending. was is the
// device as the phone's request found it: of any number of requests at one time
// exactly one wins, the others get ErrConflict. The phone is returned as in Claim.
func (s *Service) Reclaim(ctx context.Context, was Device, site, source string, alive Alive) (Phone, error) {
	p, err := s.Phone(was.ID)
	switch {
	case err != nil:
		return p, err
	case p.Site.Enrolment != "automatic":
		return p, ErrPending
	case p.Site.Name != site:
		return p, ErrAnotherSite
	case p.Device.Blocked:
		return p, ErrBlocked
	}
	if err := s.mayReclaim(ctx, was.ID, alive); err != nil {
		return p, err
	}
	row := s.row("device.claimed", "phone")
	row.Detail = map[string]string{"mac": was.MAC.String(), "source": source, "again": "reset"}
	late, err := s.commit(ctx, changing(was.ID, row, func(tx Txn, d *Device) (err error) {
		if d.ClaimOp == row.Op {
			p, err = s.phoneIn(tx, *d)
			return err
		}
		if d.Blocked || !d.Claimed || d.URLNumber != was.URLNumber {
			return ErrConflict
		}
		if err := s.endSession(tx, d, row, "re-claimed"); err != nil {
			return err
		}
		d.renew(row.Op)
		p, err = s.phoneIn(tx, *d)
		return err
	}))
	if err != nil {
		return p, err
	}
	s.live.Admitted(was.ID)
	return s.fill(p, late), nil
}

// renew gives a device to a phone that knows nothing of it yet: all secrets and
// the URL are new, and none of the old ones is good any more.
func (d *Device) renew(op string) {
	d.Claimed, d.ClaimOp = true, op
	d.URLNumber++
	d.URLFloor = d.URLNumber
	d.raise()
	d.Floor = d.Generation
}

func (s *Service) mayReclaim(ctx context.Context, id DeviceID, alive Alive) error {
	if _, ok := s.Reclaimable(id); !ok {
		return fmt.Errorf("%w: nothing to approve: no phone asks to be %s anew; one that was reset does so when it goes on asking without its password for %s: restart it, twice if need be, or: hotdeskd device release %s", ErrConflict, id, reclaimAfter, id)
	}
	if err := s.MayDisturb(id); err != nil {
		return err
	}
	if r, ok := s.live.Registration(id); ok && alive != nil && alive(ctx, id) {
		return errors.Join(ErrConflict, fmt.Errorf("the phone that is %s now still answers at %s: two phones use its MAC; unplug one of them, or let the old one go: hotdeskd device release %s", id, r.Source, id))
	}
	return nil
}
