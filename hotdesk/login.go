package hotdesk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Login puts a user on a device: the one entry and one transaction for every
// way of logging in. The device's former user is logged out by the same step,
// and so are the user's other phones where the site says "move". On any error
// the old state stands.
//
// Errors: ErrNotFound, ErrFixedDevice, ErrBlocked, ErrDeviceInCall,
// ErrEmergencyHold and ErrForbidden (both only for whoever is not at the desk), ErrNoMatch,
// ErrBusy, ErrNotHotDesk, ErrSecondPhoneRefused, ErrUnavailable.
func (s *Service) Login(ctx context.Context, r LoginRequest) (LoginResult, error) {
	p, err := s.Phone(r.Device)
	switch {
	case err != nil:
		return LoginResult{}, err
	case p.Device.Type == Fixed:
		return LoginResult{}, ErrFixedDevice
	case p.Device.Blocked:
		return LoginResult{}, ErrBlocked
	}
	if busy, _ := s.live.InCall(r.Device, r.Call); busy {
		return LoginResult{}, ErrDeviceInCall
	}
	row := s.row("session.started", string(r.By))
	row.Device, row.User = r.Device, r.User
	named(&row, r.Name)
	if r.By != ByIVR {
		if err := s.fromAfar(r, p.Site); err != nil {
			return LoginResult{}, err
		}
	}
	if r.By == ByAdmin || r.By == ByAPI {
		return s.bind(ctx, r, row, attempt{}, nil)
	}
	hash, a, err := s.checkPIN(ctx, r.Device, r.User, r.PIN)
	if err != nil {
		return LoginResult{}, err
	}
	res, err := s.bind(ctx, r, row, a, &hash)
	if err != nil && !errors.Is(err, ErrNoMatch) && !errors.Is(err, ErrUnavailable) {
		// The PIN was right and something else was not: that is no failed try.
		err = errors.Join(err, s.update(ctx, a.settle))
	}
	return res, err
}

// fromAfar refuses a login by somebody who is not at the desk when it would end a
// session that a logout by the same could not end: of a device that may not be
// disturbed, or, where the user's other session moves, of one that may not or is of
// another site.
func (s *Service) fromAfar(r LoginRequest, site Site) error {
	if err := s.MayDisturb(r.Device); err != nil || site.SecondPhone != "move" {
		return err
	}
	for _, id := range s.bound(r.User) {
		p, err := s.Phone(id)
		if err != nil || id == r.Device { // removed meanwhile, or stays
			continue
		}
		if r.Site != "" && p.Device.Site != r.Site {
			return fmt.Errorf("%w: user %s is logged in at another site, and logging in here would end that; the person can do it at the desk, with the PIN", ErrForbidden, r.User)
		}
		if err := s.MayDisturb(id); err != nil {
			return fmt.Errorf("user %s on %s: %w", r.User, id, err)
		}
	}
	return nil
}

// checkPIN charges the attempt, hashes outside any transaction, and returns the
// hash that matched. Unknown user, wrong PIN, disabled user and locked pair all
// take the same steps and end as ErrNoMatch.
func (s *Service) checkPIN(ctx context.Context, id DeviceID, ext Extension, pin Secret) (hash string, a attempt, err error) {
	now := s.now()
	a, err = s.charge(ctx, id, ext, now)
	if err != nil {
		return "", a, err
	}
	s.snap.mu.RLock()
	user := s.snap.users[ext]
	s.snap.mu.RUnlock()
	reason := "unknown_user"
	if user != nil {
		hash, reason = user.PINHash, "wrong_pin"
	}
	ok, err := s.vault.VerifyPIN(ctx, pin, hash)
	if err != nil { // busy: nothing was compared
		return "", a, errors.Join(err, s.update(ctx, a.refund))
	}
	switch {
	case a.locked:
		reason = "locked"
	case ok && user.Enabled:
		return hash, a, nil
	case ok:
		reason = "disabled"
	}
	return "", a, errors.Join(ErrNoMatch, s.noteFailure(ctx, id, user, reason, a))
}

// noteFailure writes why an attempt failed, for administrators only. What was
// typed is never written: people type PINs where extensions are asked.
func (s *Service) noteFailure(ctx context.Context, id DeviceID, user *User, reason string, a attempt) error {
	row := s.row("login.failed", string(ByIVR))
	row.Device, row.Detail = id, map[string]string{"reason": reason}
	if user != nil {
		row.User = user.Extension
	}
	return s.update(ctx, func(tx Txn) error {
		for i, g := range a.guards {
			if !g.caused {
				continue
			}
			lock := row
			lock.Op, lock.Action = subOp(row.Op, i), "user.locked"
			lock.Detail = map[string]string{"until": g.until.UTC().Format(time.RFC3339), "scope": strings.Split(g.key, "/")[2]}
			if err := audit(tx, lock); err != nil {
				return err
			}
		}
		return audit(tx, row)
	})
}

// bind is the transaction of a login. hash is the PIN hash that matched; nil for
// those who need no PIN.
func (s *Service) bind(ctx context.Context, r LoginRequest, row AuditRow, a attempt, hash *string) (LoginResult, error) {
	var res LoginResult
	err := s.update(ctx, func(tx Txn) error {
		res = LoginResult{}
		dev, err := s.loginDevice(tx, r.Device)
		if err != nil {
			return err
		}
		user, ok, err := get[User](tx, userKey(r.User))
		switch {
		case err != nil:
			return err
		case !ok && hash == nil:
			return ErrNotFound
		case !ok, hash != nil && user.PINHash != *hash, !user.Enabled:
			return ErrNoMatch
		case !user.HotDesk:
			return ErrNotHotDesk
		}
		current, bound, err := get[Session](tx, bindingKey(r.Device))
		if err != nil {
			return err
		}
		if bound && (current.ID == row.Op || current.User == r.User) {
			res.Session, res.Already = current, current.ID != row.Op
			return a.settle(tx)
		}
		b := &unbinder{tx: tx, op: row.Op, by: r.By, now: row.Time, actor: row.By}
		seats, others, err := s.otherSeats(tx, r.User, dev)
		if err != nil {
			return err
		}
		for _, id := range others {
			if err := b.device(id, r.User, "moved"); err != nil {
				return err
			}
			seats.Bound = without(seats.Bound, id)
			res.Moved = append(res.Moved, id)
		}
		if bound {
			if err := b.seat(current, "taken over"); err != nil {
				return err
			}
			res.Previous = current.User
		}
		res.Session = Session{ID: row.Op, Device: r.Device, User: r.User, Since: row.Time, By: r.By}
		seats.Bound, seats.Last = append(seats.Bound, r.Device), r.Device
		dev.raise()
		row := row
		row.Detail = loginDetail(row.Detail, res)
		return errors.Join(put(tx, bindingKey(r.Device), res.Session), put(tx, deviceKey(dev.ID), dev),
			put(tx, seatsKey(r.User), seats), a.settle(tx), audit(tx, row))
	})
	if err != nil {
		return LoginResult{}, err
	}
	return res, nil
}

// loginDevice reads the device again inside the transaction.
func (s *Service) loginDevice(tx Txn, id DeviceID) (Device, error) {
	dev, ok, err := get[Device](tx, deviceKey(id))
	switch {
	case err != nil:
		return dev, err
	case !ok:
		return dev, ErrNotFound
	case dev.Blocked:
		return dev, ErrBlocked
	case dev.Type == Fixed:
		return dev, ErrFixedDevice
	}
	return dev, nil
}

// otherSeats applies the site's rule for a second phone: the returned devices
// must be left.
func (s *Service) otherSeats(tx Txn, ext Extension, dev Device) (Seats, []DeviceID, error) {
	seats, _, err := get[Seats](tx, seatsKey(ext))
	if err != nil {
		return seats, nil, err
	}
	site, _, err := get[Site](tx, siteKey(dev.Site))
	if err != nil {
		return seats, nil, err
	}
	others := without(seats.Bound, dev.ID)
	switch {
	case len(others) == 0:
		return seats, nil, nil
	case site.SecondPhone == "refuse":
		return seats, nil, ErrSecondPhoneRefused
	case site.SecondPhone == "allow":
		if len(others) >= MaxSeats {
			return seats, nil, ErrSecondPhoneRefused
		}
		return seats, nil, nil
	}
	return seats, others, nil
}

// raise makes everything the phone holds old: a new secret and a new version.
func (d *Device) raise() {
	d.Generation++
	d.Wanted++
	d.Digest = ""
}

func without(list []DeviceID, id DeviceID) []DeviceID {
	return slices.DeleteFunc(slices.Clone(list), func(d DeviceID) bool { return d == id })
}

func loginDetail(base map[string]string, res LoginResult) map[string]string {
	detail := map[string]string{"session": res.Session.ID}
	for k, v := range base {
		detail[k] = v
	}
	if res.Previous != "" {
		detail["previous"] = string(res.Previous)
	}
	for _, id := range res.Moved {
		detail["moved"] = strings.TrimSpace(detail["moved"] + " " + string(id))
	}
	return detail
}

// named adds who asked to an audit row.
func named(row *AuditRow, name string) {
	if name != "" {
		row.Detail = map[string]string{"name": name}
	}
}

// subOp names a further row of the same operation.
func subOp(op string, n int) string { return op + "." + string(rune('a'+n)) }

// ChangePIN replaces a user's PIN after the old one was proven. Errors as Login,
// and ErrWeakPIN.
func (s *Service) ChangePIN(ctx context.Context, r ChangePINRequest) error {
	if err := checkPINStrength(r.New, r.User); err != nil {
		return err
	}
	old, a, err := s.checkPIN(ctx, r.Device, r.User, r.Old)
	if err != nil {
		return err
	}
	hash, err := s.vault.HashPIN(ctx, r.New)
	if err != nil {
		return errors.Join(err, s.update(ctx, a.settle))
	}
	row := s.row("user.pin_changed", string(ByIVR))
	row.Device, row.User = r.Device, r.User
	return s.update(ctx, func(tx Txn) error {
		user, ok, err := get[User](tx, userKey(r.User))
		switch {
		case err != nil:
			return err
		case !ok || user.PINHash != old && user.PINHash != hash:
			return ErrNoMatch
		}
		user.PINHash = hash
		return errors.Join(put(tx, userKey(r.User), user), a.settle(tx), audit(tx, row))
	})
}
