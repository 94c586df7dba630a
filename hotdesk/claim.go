package hotdesk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Claim hands the phone with this MAC its identity: an approved, never claimed
// (or released) device becomes claimed. site is the one whose enrolment URL the
// phone came by. Of any number of claims at one time exactly one wins; the others
// get ErrConflict. The phone is returned as the claim's own transaction leaves it, so
// that its file has the new secret whether memory shows the claim already or not.
//
// Errors: ErrPending (no approved device has the MAC), ErrAnotherSite, ErrBlocked,
// ErrConflict (already claimed), ErrUnavailable.
func (s *Service) Claim(ctx context.Context, mac MAC, site, source string) (Phone, error) {
	row := s.row("device.claimed", "phone")
	row.Detail = map[string]string{"mac": mac.String(), "source": source}
	var p Phone
	late, err := s.commit(ctx, func(tx Txn) error {
		id, ok, err := get[DeviceID](tx, macKey(mac))
		if err != nil {
			return err
		}
		if !ok {
			return ErrPending
		}
		dev, ok, err := get[Device](tx, deviceKey(id))
		switch {
		case err != nil:
			return err
		case !ok:
			return ErrPending
		case dev.Blocked:
			return ErrBlocked
		case dev.Claimed && dev.ClaimOp == row.Op:
			p, err = s.phoneIn(tx, dev)
			return err
		case dev.Claimed:
			return ErrConflict
		case dev.Site != site:
			return ErrAnotherSite
		}
		dev.renew(row.Op)
		row := row
		row.Device = id
		p, err = s.phoneIn(tx, dev)
		return errors.Join(err, put(tx, deviceKey(id), dev), audit(tx, row))
	})
	if errors.Is(err, ErrConflict) {
		s.awaitClaimed(ctx, mac)
	}
	if err != nil {
		return Phone{}, err
	}
	return s.fill(p, late), nil
}

// ProblemNotListed is why a phone cannot be approved at a site that takes listed
// phones only (enrolment: known).
const ProblemNotListed = "not-listed"

// Enrol decides about a phone whose MAC no device has: where the site takes every
// phone it becomes a device at once, elsewhere it waits for an administrator, or
// to be listed (ErrPending), and nothing is written. One address brings at most
// 60 new phones a minute; what is more is ErrBusy.
func (s *Service) Enrol(ctx context.Context, p Pending) (Phone, error) {
	s.snap.mu.RLock()
	enrolment := ""
	if site := s.snap.sites[p.Site]; site != nil {
		enrolment = site.Enrolment
	}
	s.snap.mu.RUnlock()
	if enrolment == "known" && p.Problem == "" {
		p.Problem = ProblemNotListed
	}
	if enrolment == "automatic" && p.Model != "" && p.Problem == "" {
		if !s.live.mayBring(p.Source) {
			return Phone{}, ErrBusy
		}
		phone, err := s.AddDevice(ctx, DeviceSpec{MAC: p.MAC.String(), Model: &p.Model, Site: &p.Site}, "phone")
		if errors.Is(err, ErrConflict) { // its other request was faster
			return s.PhoneByMAC(p.MAC)
		}
		if err == nil {
			return phone, nil
		}
		s.log.Warn("phone could not be added; it waits for approval", "mac", p.MAC.String(), "err", err)
	}
	if !s.live.SeePending(p) {
		return Phone{}, ErrBusy
	}
	return Phone{}, ErrPending
}

// DeviceSpec is what an administrator says of a device; nil leaves what is
// stored, or the default of a new device.
type DeviceSpec struct {
	MAC         string  `json:"mac" yaml:"mac"`
	Model       *string `json:"model,omitempty" yaml:"model,omitempty"`
	Site        *string `json:"site,omitempty" yaml:"site,omitempty"`
	Desk        *string `json:"desk,omitempty" yaml:"desk,omitempty"`
	Type        *string `json:"type,omitempty" yaml:"type,omitempty"`
	DefaultUser *string `json:"default_user,omitempty" yaml:"default_user,omitempty"`
	Language    *string `json:"language,omitempty" yaml:"language,omitempty"`
	Blocked     *bool   `json:"blocked,omitempty" yaml:"blocked,omitempty"`
	// Transport overrides the site's phones.transport; empty: as the site says.
	Transport *string `json:"transport,omitempty" yaml:"transport,omitempty"`
}

// mergeDevice applies the spec to a stored (or new) device and checks the result.
func (s *Service) mergeDevice(d Device, spec DeviceSpec, t *target) (Device, error) {
	set(&d.Model, spec.Model)
	set(&d.Site, spec.Site)
	set(&d.Desk, spec.Desk)
	setAs(&d.Type, spec.Type)
	setAs(&d.DefaultUser, spec.DefaultUser)
	set(&d.Language, spec.Language)
	set(&d.Blocked, spec.Blocked)
	set(&d.Transport, spec.Transport)
	if d.Type == "" {
		d.Type = HotDesk
	}
	where := "device " + d.MAC.String()
	if _, ok := s.models[d.Model]; !ok {
		return d, fmt.Errorf("%w: %s: model %q; use one of %s", ErrUnknownModel, where, d.Model, s.modelIDs())
	}
	if t.sites[d.Site] == nil {
		return d, fmt.Errorf("%w: %s: there is no site %q; %s", ErrInvalid, where, d.Site, t.siteHint(d.Site))
	}
	if d.Type != HotDesk && d.Type != Fixed {
		return d, fmt.Errorf("%w: %s: type %q must be hot-desk or fixed", ErrInvalid, where, d.Type)
	}
	if d.Type == Fixed && d.DefaultUser == "" {
		return d, fmt.Errorf("%w: %s: a fixed device needs default_user", ErrInvalid, where)
	}
	if d.DefaultUser != "" && t.users[d.DefaultUser] == nil {
		return d, fmt.Errorf("%w: %s: default_user %q is no user", ErrInvalid, where, d.DefaultUser)
	}
	if err := checkLanguage(where, d.Language); err != nil {
		return d, err
	}
	if spec.Transport != nil && d.Transport != "" {
		if err := s.checkTransport(where+": transport", d.Transport); err != nil {
			return d, err
		}
	}
	said := texts{where: where}
	said.check("desk", spec.Desk)
	return d, said.err
}

// siteHint says what to do about the name of a site that is not there.
func (t *target) siteHint(name string) string {
	names := slices.Sorted(maps.Keys(t.sites))
	for _, known := range names {
		if strings.EqualFold(known, name) {
			return fmt.Sprintf("it is written %q", known)
		}
	}
	if len(names) == 0 || len(names) > 10 {
		return "add it under sites first"
	}
	return "add it under sites first, or use one of " + strings.Join(names, ", ")
}

// modelIDs lists the known models for an error that must say what would be right.
func (s *Service) modelIDs() string {
	return strings.Join(slices.Sorted(maps.Keys(s.models)), ", ")
}

// AddDevice makes a device: an administrator's word is its approval.
func (s *Service) AddDevice(ctx context.Context, spec DeviceSpec, by string) (Phone, error) {
	mac, err := ParseMAC(spec.MAC)
	if err != nil {
		return Phone{}, err
	}
	if known, err := s.PhoneByMAC(mac); err == nil {
		return Phone{}, fmt.Errorf("%w: MAC %s is %s already", ErrConflict, mac, known.Device.ID)
	}
	d, err := s.mergeDevice(Device{MAC: mac}, spec, s.current())
	if err != nil {
		return Phone{}, err
	}
	row := s.row("device.added", by)
	var p Phone
	late, err := s.commit(ctx, func(tx Txn) error {
		made, err := createIn(tx, d, row)
		if err != nil {
			return err
		}
		p, err = s.phoneIn(tx, made)
		return err
	})
	if err != nil {
		return Phone{}, err
	}
	s.live.forgetPending(mac)
	return s.fill(p, late), nil
}

// conflictUnless tells a repeated transaction, whose device is there because it
// was done, from a second device with the same MAC.
func conflictUnless(id DeviceID, tx Txn, op string) error {
	row, ok, err := get[AuditRow](tx, auditKey(op))
	if err != nil || ok && row.Device == id {
		return err
	}
	return fmt.Errorf("%w: the MAC belongs to %s", ErrConflict, id)
}

// Words explains why the phone cannot be approved; empty when it can.
func (p Pending) Words() string {
	switch p.Problem {
	case ProblemNotListed:
		return "site " + p.Site + " takes listed phones only; list it: hotdeskd device add " + p.MAC.String() + " --model MODEL --site " + p.Site
	case "dect-base":
		return "it is a DECT base, which has many handsets and no desk"
	}
	return p.Problem
}

// Approve turns a pending phone into a device; spec may add what the phone did
// not tell (its model) and what nobody could (its desk).
func (s *Service) Approve(ctx context.Context, mac MAC, spec DeviceSpec, by string) (Phone, error) {
	p, ok := s.live.PendingPhone(mac)
	if !ok {
		if known, err := s.PhoneByMAC(mac); err == nil {
			return known, nil
		}
		return Phone{}, fmt.Errorf("%w: no phone with MAC %s has asked for its configuration", ErrNotFound, mac)
	}
	if p.Problem != "" {
		return Phone{}, fmt.Errorf("%w: this phone cannot be approved: %s", ErrInvalid, p.Words())
	}
	spec.MAC = mac.String()
	if spec.Model == nil {
		spec.Model = &p.Model
	}
	if spec.Site == nil {
		spec.Site = &p.Site
	}
	return s.AddDevice(ctx, spec, by)
}

// Fetched notes that the phone took its per-MAC file of this version whole.
func (s *Service) Fetched(ctx context.Context, id DeviceID, version uint64) error {
	now := s.now().UTC()
	defer s.live.Publish("device.fetched", id, "", map[string]any{"version": version})
	s.snap.mu.RLock()
	done := s.snap.fetched[id].Version == version
	s.snap.mu.RUnlock()
	if done {
		return nil
	}
	return s.update(ctx, func(tx Txn) error {
		f, _, err := get[Fetched](tx, fetchedKey(id))
		if err != nil {
			return err
		}
		f.Version, f.At = version, now
		return put(tx, fetchedKey(id), f)
	})
}

// Prove notes that the phone passed digest with this secret generation, which
// ends all lower ones. It writes only when the generation is a new one.
func (s *Service) Prove(ctx context.Context, id DeviceID, generation uint64) error {
	s.snap.mu.RLock()
	done := s.snap.fetched[id].Proven >= generation
	s.snap.mu.RUnlock()
	if done {
		return nil
	}
	return s.update(ctx, func(tx Txn) error {
		f, _, err := get[Fetched](tx, fetchedKey(id))
		if err != nil || f.Proven >= generation {
			return err
		}
		f.Proven = generation
		return put(tx, fetchedKey(id), f)
	})
}

// Prepared stores the digest of the configuration that the phone should have. was
// is the device as it was before that was rendered: one that is to run another
// version by now keeps what it has, because the digest may be of the older one. The
// version grows only when a stored digest differs: then a changed site, parameter or
// template has changed this phone's file. The device is returned as it is afterwards
// by the store itself, whether memory shows that already or not.
func (s *Service) Prepared(ctx context.Context, was Device, digest string) (Device, error) {
	if was.Digest == digest {
		return was, nil
	}
	now := was
	err := s.update(ctx, func(tx Txn) error {
		dev, ok, err := get[Device](tx, deviceKey(was.ID))
		if err != nil || !ok {
			return err
		}
		if dev.Wanted == was.Wanted && dev.Digest != digest {
			if dev.Digest != "" {
				dev.Wanted++
			}
			dev.Digest = digest
			err = put(tx, deviceKey(dev.ID), dev)
		}
		now = dev
		return err
	})
	return now, err
}
