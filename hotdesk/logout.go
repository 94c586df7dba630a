package hotdesk

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Logout ends the session on a device (and, with Everywhere, all sessions of the
// same user). Timers, administrators and bulk changes are held back for an hour
// after an emergency call from the device, and while it is in a call.
//
// Errors: ErrNotFound, ErrFixedDevice, ErrNobody, ErrDeviceInCall,
// ErrEmergencyHold, ErrUnavailable.
func (s *Service) Logout(ctx context.Context, r LogoutRequest) (LogoutResult, error) {
	p, err := s.Phone(r.Device)
	switch {
	case err != nil:
		return LogoutResult{}, err
	case p.Device.Type == Fixed:
		return LogoutResult{}, ErrFixedDevice
	}
	if err := s.mayEnd(r, p); err != nil {
		return LogoutResult{}, err
	}
	row := s.row("session.ended", string(r.By))
	named(&row, r.Name)
	var res LogoutResult
	err = s.update(ctx, func(tx Txn) error {
		res = LogoutResult{}
		current, ok, err := get[Session](tx, bindingKey(r.Device))
		if err != nil {
			return err
		}
		if !ok {
			return ErrNobody
		}
		b := &unbinder{tx: tx, op: row.Op, by: r.By, now: row.Time, actor: row.By, reason: r.Reason, name: r.Name}
		leave := []DeviceID{r.Device}
		if r.Everywhere {
			seats, _, err := get[Seats](tx, seatsKey(current.User))
			if err != nil {
				return err
			}
			leave = append(leave, without(seats.Bound, r.Device)...)
		}
		for _, id := range leave {
			if err := b.device(id, current.User, ""); err != nil {
				return err
			}
		}
		seats, _, err := get[Seats](tx, seatsKey(current.User))
		if err != nil {
			return err
		}
		for _, id := range leave {
			seats.Bound = without(seats.Bound, id)
		}
		res.Ended = b.ended
		return put(tx, seatsKey(current.User), seats)
	})
	if err != nil {
		return LogoutResult{}, err
	}
	return res, nil
}

// mayEnd refuses a logout while the device has another call up than the asking one
// and, by somebody who is not at the desk, when one of the sessions that it would end
// is of a device that may not be disturbed.
func (s *Service) mayEnd(r LogoutRequest, p Phone) error {
	if r.By == ByIVR {
		if busy, _ := s.live.InCall(r.Device, r.Call); busy {
			return ErrDeviceInCall
		}
		return nil
	}
	if err := s.MayDisturb(r.Device); err != nil || !r.Everywhere || p.Session == nil {
		return err
	}
	for _, id := range without(s.bound(p.Session.User), r.Device) {
		if err := s.MayDisturb(id); err != nil {
			return fmt.Errorf("user %s on %s: %w", p.Session.User, id, err)
		}
	}
	return nil
}

// unbinder ends sessions inside a transaction, each with its own audit row.
type unbinder struct {
	tx           Txn
	op           string
	by           Actor
	actor        string
	name, reason string
	now          time.Time
	ended        []Session
}

// device ends the session on a device that is left, if it is still that user's:
// the phone gets a new secret and a new configuration.
func (b *unbinder) device(id DeviceID, user Extension, why string) error {
	current, ok, err := get[Session](b.tx, bindingKey(id))
	if err != nil || !ok || current.User != user {
		return err
	}
	dev, ok, err := get[Device](b.tx, deviceKey(id))
	if err != nil {
		return err
	}
	b.tx.Delete(bindingKey(id))
	if ok {
		dev.raise()
		if err := put(b.tx, deviceKey(id), dev); err != nil {
			return err
		}
	}
	return b.note(current, why)
}

// seat takes the session's user off the list of the user's devices, because
// somebody else takes the device over.
func (b *unbinder) seat(current Session, why string) error {
	seats, _, err := get[Seats](b.tx, seatsKey(current.User))
	if err != nil {
		return err
	}
	seats.Bound = without(seats.Bound, current.Device)
	return errors.Join(put(b.tx, seatsKey(current.User), seats), b.note(current, why))
}

// note writes the audit row of one ended session.
func (b *unbinder) note(current Session, why string) error {
	until := b.now
	current.Until = &until
	b.ended = append(b.ended, current)
	row := AuditRow{
		Op: subOp(b.op, len(b.ended)-1), Time: b.now, Action: "session.ended", By: b.actor,
		Device: current.Device, User: current.User,
		Detail: map[string]string{
			"session": current.ID, "since": current.Since.UTC().Format(time.RFC3339Nano), "began_by": string(current.By),
		},
	}
	for key, value := range map[string]string{"why": why, "reason": b.reason, "name": b.name} {
		if value != "" {
			row.Detail[key] = value
		}
	}
	return audit(b.tx, row)
}
