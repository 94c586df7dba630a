package hotdesk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Phone returns one device with all that belongs to it, or ErrNotFound.
func (s *Service) Phone(id DeviceID) (Phone, error) {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	if p, ok := s.snap.phone(id, s.models); ok {
		return p, nil
	}
	return Phone{}, fmt.Errorf("%w: device %s", ErrNotFound, id)
}

// PhoneAs returns the device as it would be if this user sat there.
func (s *Service) PhoneAs(id DeviceID, ext Extension) (Phone, error) {
	p, err := s.Phone(id)
	if err != nil {
		return p, err
	}
	v, err := s.User(ext)
	if err != nil {
		return p, err
	}
	p.User = &v.User
	return p, nil
}

// PhoneByMAC returns the device with this MAC, or ErrNotFound.
func (s *Service) PhoneByMAC(mac MAC) (Phone, error) {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	if id, ok := s.snap.macs[mac]; ok {
		if p, ok := s.snap.phone(id, s.models); ok {
			return p, nil
		}
	}
	return Phone{}, fmt.Errorf("%w: no device has MAC %s", ErrNotFound, mac)
}

// Phones lists all devices by id.
func (s *Service) Phones() []Phone {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	all := make([]Phone, 0, len(s.snap.devices))
	for _, id := range slices.Sorted(maps.Keys(s.snap.devices)) {
		p, _ := s.snap.phone(id, s.models)
		all = append(all, p)
	}
	return all
}

// FindDevice accepts a device id or a MAC in any spelling.
func (s *Service) FindDevice(idOrMAC string) (Phone, error) {
	if strings.HasPrefix(strings.ToUpper(idOrMAC), "HD") {
		return s.Phone(DeviceID(strings.ToUpper(idOrMAC)))
	}
	mac, err := ParseMAC(idOrMAC)
	if err != nil {
		return Phone{}, fmt.Errorf("%w: no device %q; give its id (HD0001) or MAC", ErrNotFound, idOrMAC)
	}
	return s.PhoneByMAC(mac)
}

// Current tells whether the phone runs what is wanted: it took that version and
// proved its secret.
func (p Phone) Current() bool {
	return p.Device.Claimed && p.Fetched.Version == p.Device.Wanted && p.Fetched.Proven == p.Device.Generation
}

// Behind lists claimed devices whose phone does not run what is wanted.
func (s *Service) Behind() []DeviceID {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	var ids []DeviceID
	for id, d := range s.snap.devices {
		if f := s.snap.fetched[id]; d.Claimed && (f.Version != d.Wanted || f.Proven != d.Generation || d.Digest == "") {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// changeDevice is one audited change of a device's record.
func (s *Service) changeDevice(ctx context.Context, id DeviceID, row AuditRow, change func(tx Txn, d *Device) error) error {
	return s.update(ctx, changing(id, row, change))
}

// changing is the transaction of changeDevice. It returns ErrNotFound when there is
// no such device, and what change returns.
func changing(id DeviceID, row AuditRow, change func(tx Txn, d *Device) error) func(Txn) error {
	row.Device = id
	return func(tx Txn) error {
		d, ok, err := get[Device](tx, deviceKey(id))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: device %s", ErrNotFound, id)
		}
		if err := change(tx, &d); err != nil {
			return err
		}
		return errors.Join(put(tx, deviceKey(id), d), audit(tx, row))
	}
}

// UpdateDevice changes what an administrator may change of a device, unless it is
// in an emergency hold. It ends no session and its phone is told after the call, so
// that it need not wait for the end of one.
func (s *Service) UpdateDevice(ctx context.Context, id DeviceID, spec DeviceSpec, by string) error {
	if spec.Blocked != nil {
		return fmt.Errorf("%w: use block and unblock", ErrInvalid)
	}
	if err := s.holdError(id); err != nil {
		return err
	}
	now := s.current() // before the transaction, whose function must be pure
	row := s.row("device.saved", by)
	return s.changeDevice(ctx, id, row, func(tx Txn, d *Device) error {
		merged, err := s.mergeDevice(*d, spec, now)
		if err != nil {
			return err
		}
		if err := freeForFixed(tx, *d, merged); err != nil {
			return err
		}
		named := gained(refs(d), refs(&merged))
		*d = merged
		return refer(tx, row.Op, named)
	})
}

// Block shuts a device: its session ends, it cannot register and only its
// emergency calls pass, for which its secret stays good. Errors: as MayDisturb.
func (s *Service) Block(ctx context.Context, id DeviceID, by string) error {
	if err := s.MayDisturb(id); err != nil {
		return err
	}
	row := s.row("device.blocked", by)
	return s.changeDevice(ctx, id, row, func(tx Txn, d *Device) error {
		d.Blocked = true
		return s.endSession(tx, d, row, "blocked")
	})
}

// endSession ends the device's session, if any, inside another change of it.
func (s *Service) endSession(tx Txn, d *Device, row AuditRow, why string) error {
	current, ok, err := get[Session](tx, bindingKey(d.ID))
	if err != nil || !ok {
		return err
	}
	tx.Delete(bindingKey(d.ID))
	d.raise()
	b := &unbinder{tx: tx, op: row.Op, by: ByAdmin, now: row.Time, actor: row.By}
	return b.seat(current, why)
}

// Unblock opens a blocked device again: its secret changes. Errors: as MayDisturb.
func (s *Service) Unblock(ctx context.Context, id DeviceID, by string) error {
	if err := s.MayDisturb(id); err != nil {
		return err
	}
	return s.changeDevice(ctx, id, s.row("device.unblocked", by), func(_ Txn, d *Device) error {
		d.Blocked = false
		d.raise()
		return nil
	})
}

// Rotate gives the device a new SIP secret, provisioning URL and HTTP password.
// The old ones hold until the phone has proven the new secret: then it has read
// the file that tells it all three. With now, the older SIP secrets end at once.
// Errors: as MayDisturb (the phone must ring when the emergency centre calls back).
func (s *Service) Rotate(ctx context.Context, id DeviceID, now bool, by string) error {
	if err := s.MayDisturb(id); err != nil {
		return err
	}
	return s.changeDevice(ctx, id, s.row("device.rotated", by), func(tx Txn, d *Device) error {
		f, _, err := get[Fetched](tx, fetchedKey(id))
		if err != nil {
			return err
		}
		if f.Proven >= d.URLProof {
			d.URLFloor = d.URLNumber // the phone knows the present URL
		}
		d.URLNumber++
		d.raise()
		d.URLProof = d.Generation
		if now {
			d.Floor = d.Generation
		}
		return nil
	})
}

// Release makes a claimed device claimable again, by a phone that was reset. Its
// session ends. Errors: as MayDisturb.
func (s *Service) Release(ctx context.Context, id DeviceID, by string) error {
	if err := s.MayDisturb(id); err != nil {
		return err
	}
	row := s.row("device.released", by)
	err := s.changeDevice(ctx, id, row, func(tx Txn, d *Device) error {
		if err := s.endSession(tx, d, row, "released"); err != nil {
			return err
		}
		d.Claimed = false
		d.raise()
		d.Floor = d.Generation
		return nil
	})
	if err == nil {
		s.live.Admitted(id)
	}
	return err
}

// Replace gives a device another phone: the HD number, desk and keys stay, the
// old phone is let go and the new one is claimed when it comes. Its session ends.
// Errors: as MayDisturb, ErrUnknownModel, ErrConflict.
func (s *Service) Replace(ctx context.Context, id DeviceID, mac MAC, model, by string) error {
	if err := s.MayDisturb(id); err != nil {
		return err
	}
	if model != "" {
		if _, ok := s.models[model]; !ok {
			return fmt.Errorf("%w: %q; use one of %s", ErrUnknownModel, model, s.modelIDs())
		}
	}
	row := s.row("device.replaced", by)
	row.Detail = map[string]string{"mac": mac.String()}
	err := s.changeDevice(ctx, id, row, func(tx Txn, d *Device) error {
		owner, taken, err := get[DeviceID](tx, macKey(mac))
		if err != nil {
			return err
		}
		if taken && owner != id {
			return fmt.Errorf("%w: MAC %s belongs to %s", ErrConflict, mac, owner)
		}
		if err := s.endSession(tx, d, row, "replaced"); err != nil {
			return err
		}
		if err := moveParameter(tx, d.MAC, mac); err != nil {
			return err
		}
		tx.Delete(macKey(d.MAC))
		d.MAC, d.Claimed = mac, false
		if model != "" {
			d.Model = model
		}
		d.URLNumber++ // the old phone's URL now lets it go
		d.URLFloor = d.URLNumber
		d.raise()
		d.Floor = d.Generation
		tx.Delete(fetchedKey(id))
		return put(tx, macKey(mac), id)
	})
	if err == nil {
		s.live.forgetPending(mac)
	}
	return err
}

// RemoveDevice deletes a device that nobody uses. Its HD number is not given out
// again. Errors: as MayDisturb, ErrNotFound, ErrInUse.
func (s *Service) RemoveDevice(ctx context.Context, id DeviceID, by string) error {
	if err := s.MayDisturb(id); err != nil {
		return err
	}
	return s.carryOut(ctx, []step{s.removal(id, by)})
}

// removal is the removal of a device at which nobody sits, by whichever way: with all
// that is stored of it, and what is true of it only now. ErrNotFound, ErrInUse.
func (s *Service) removal(id DeviceID, by string) step {
	row := s.row("device.removed", by)
	row.Device = id
	remove := func(tx Txn) error {
		d, ok, err := get[Device](tx, deviceKey(id))
		if err != nil {
			return err
		}
		if !ok {
			if _, done, err := get[AuditRow](tx, auditKey(row.Op)); err != nil || done { // repeated
				return err
			}
			return fmt.Errorf("%w: device %s", ErrNotFound, id)
		}
		if _, bound, err := get[Session](tx, bindingKey(id)); err != nil || bound {
			return errors.Join(err, inUse(id))
		}
		d.erase(tx)
		return audit(tx, row)
	}
	return step{keys: 12, do: remove, done: func() { s.live.Forget(id) }}
}

// inUse says that somebody sits at a device that is to go.
func inUse(id DeviceID) error {
	return fmt.Errorf("%w: somebody is logged in on %s; log out first", ErrInUse, id)
}

// erase deletes a device with all that is kept of it and for it: 9 keys.
func (d Device) erase(tx Txn) {
	for _, key := range []string{deviceKey(d.ID), macKey(d.MAC)} {
		tx.Delete(key)
		tx.Delete(usesKey(key))
	}
	for _, key := range []string{
		fetchedKey(d.ID), holdKey(d.ID), deviceThrottleKey(d.ID),
		paramKey("device", string(d.ID)), paramKey("device", d.MAC.String()),
	} {
		tx.Delete(key)
	}
}

// moveParameter gives the parameters that an administrator wrote for a phone's MAC
// to the phone that takes its place.
func moveParameter(tx Txn, from, to MAC) error {
	p, ok, err := get[Parameter](tx, paramKey("device", from.String()))
	if err != nil || !ok || from == to {
		return err
	}
	tx.Delete(paramKey("device", from.String()))
	p.ID = to.String()
	return put(tx, paramKey("device", p.ID), p)
}

// Sessions lists who sits where now, newest first.
func (s *Service) Sessions() []Session {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	all := make([]Session, 0, len(s.snap.bindings))
	for _, b := range s.snap.bindings {
		all = append(all, *b)
	}
	slices.SortFunc(all, func(a, b Session) int { return b.Since.Compare(a.Since) })
	return all
}

// NoteBackup writes to the audit log that somebody took a backup, with the keys or
// without.
func (s *Service) NoteBackup(ctx context.Context, keys bool, by string) error {
	row := s.row("backup.created", by)
	row.Detail = map[string]string{"keys": strconv.FormatBool(keys)}
	return s.update(ctx, func(tx Txn) error { return audit(tx, row) })
}

// NoteSecretsShown writes to the audit log that somebody looked at a device's
// secrets.
func (s *Service) NoteSecretsShown(ctx context.Context, id DeviceID, by string) error {
	row := s.row("device.secrets_shown", by)
	row.Device = id
	return s.update(ctx, func(tx Txn) error { return audit(tx, row) })
}
