package hotdesk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// UserView is a user with what a console shows.
type UserView struct {
	User        User
	Devices     []DeviceID // where calls to the user ring
	LockedUntil time.Time  // zero: not locked now
}

// Users lists all users by extension.
func (s *Service) Users() []UserView {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	all := make([]UserView, 0, len(s.snap.users))
	for _, ext := range slices.Sorted(maps.Keys(s.snap.users)) {
		all = append(all, s.snap.user(ext, s.now()))
	}
	return all
}

// User returns one user, or ErrNotFound.
func (s *Service) User(ext Extension) (UserView, error) {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	if s.snap.users[ext] == nil {
		return UserView{}, fmt.Errorf("%w: user %s", ErrNotFound, ext)
	}
	return s.snap.user(ext, s.now()), nil
}

func (s *snapshot) user(ext Extension, now time.Time) UserView { return s.view(*s.users[ext], now) }

// view adds to a user what else is known of the extension. The caller holds the lock.
func (s *snapshot) view(u User, now time.Time) UserView {
	v := UserView{User: u, Devices: slices.Clone(s.rings[u.Extension])}
	if until := s.userLocks[u.Extension]; now.Before(until) {
		v.LockedUntil = until
	}
	return v
}

// Sites lists all sites by name.
func (s *Service) Sites() []Site {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	all := make([]Site, 0, len(s.snap.sites))
	for _, name := range slices.Sorted(maps.Keys(s.snap.sites)) {
		all = append(all, *s.snap.sites[name])
	}
	return all
}

// Site returns one site, or ErrNotFound.
func (s *Service) Site(name string) (Site, error) {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	if site := s.snap.sites[name]; site != nil {
		return *site, nil
	}
	return Site{}, fmt.Errorf("%w: site %s", ErrNotFound, name)
}

// RemoveSite deletes a site without devices, and its parameters.
func (s *Service) RemoveSite(ctx context.Context, name, by string) error {
	if _, err := s.Site(name); err != nil {
		return err
	}
	before := s.current()
	after := before.clone()
	for _, d := range before.devices {
		if d.Site == name {
			return fmt.Errorf("%w: device %s is in site %s; move or remove it first", ErrInUse, d.ID, name)
		}
	}
	delete(after.sites, name)
	delete(after.params, paramKey("site", name))
	p := s.plan(before, after, Desired{}, by)
	if p.err != nil {
		return p.err
	}
	return s.carryOut(ctx, p.steps)
}

// PBXs lists all PBXs by name.
func (s *Service) PBXs() []PBX {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	all := make([]PBX, 0, len(s.snap.pbxs))
	for _, name := range slices.Sorted(maps.Keys(s.snap.pbxs)) {
		all = append(all, *s.snap.pbxs[name])
	}
	return all
}

// Settings returns the server-wide choices.
func (s *Service) Settings() Settings {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	return s.snap.numbering.Settings
}

// Missing says what keeps a site from being ready: without it an emergency call
// from its desks has no way out.
func (s *Service) Missing(site Site) []string {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	var missing []string
	if len(site.Emergency.Numbers) == 0 {
		missing = append(missing, "emergency.numbers")
	}
	routes := 0
	for _, r := range site.Emergency.Routes {
		switch pbx := s.snap.pbxs[r.PBX]; {
		case pbx == nil || pbx.Mode == "none":
		case pbx.Mode == "register" && pbx.Account.AuthUser == "":
			missing = append(missing, "pbx "+r.PBX+": account") // emergency calls have no user's
		case pbx.Mode == "register" && !s.live.PBX(r.PBX).accountWorks():
			missing = append(missing, "a working account at pbx "+r.PBX)
			routes++
		default:
			routes++
		}
	}
	if routes == 0 {
		missing = append(missing, "emergency.routes")
	}
	if site.Emergency.CallerID == "" {
		missing = append(missing, "emergency.caller_id")
	}
	if site.RequireHTTPS && s.noHTTPS {
		missing = append(missing, "provisioning.https")
	}
	if len(site.Emergency.Address) == 0 {
		missing = append(missing, "emergency.address")
	}
	if !slices.Contains(s.transports, site.Phones.Transport) {
		missing = append(missing, "a sip."+site.Phones.Transport+" listener")
	}
	return missing
}

// NoWayOut tells whether every PBX that a site's emergency calls could take is down
// now, so that a call would fail. A site without a route is not ready (Missing).
func (s *Service) NoWayOut(site Site) bool {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	routes := 0
	for _, r := range site.Emergency.Routes {
		if pbx := s.snap.pbxs[r.PBX]; pbx == nil || pbx.Mode == "none" {
			continue
		}
		if routes++; !s.pbxDown(r.PBX) {
			return false
		}
	}
	return routes > 0
}

// AddUser makes a user; ErrConflict when the extension is taken.
func (s *Service) AddUser(ctx context.Context, spec UserSpec, by string) (UserView, error) {
	ext, err := ParseExtension(spec.Extension)
	if err != nil {
		return UserView{}, err
	}
	if _, err := s.User(ext); err == nil {
		return UserView{}, fmt.Errorf("%w: user %s exists already", ErrConflict, ext)
	}
	return s.saveUser(ctx, ext, spec, by)
}

// UpdateUser changes a user. Disabling ends the user's sessions.
func (s *Service) UpdateUser(ctx context.Context, ext Extension, spec UserSpec, by string) (UserView, error) {
	if _, err := s.User(ext); err != nil {
		return UserView{}, err
	}
	return s.saveUser(ctx, ext, spec, by)
}

func (s *Service) saveUser(ctx context.Context, ext Extension, spec UserSpec, by string) (UserView, error) {
	spec.Extension = string(ext)
	_, saved, err := s.apply(ctx, Desired{Users: []UserSpec{spec}}, ApplyOptions{By: by})
	if err != nil {
		return UserView{}, err
	}
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	return s.snap.view(*saved.users[ext], s.now()), nil // as it was written, not as a late snapshot has it
}

// RemoveUser deletes a user who is not logged in anywhere.
func (s *Service) RemoveUser(ctx context.Context, ext Extension, by string) error {
	before := s.current()
	if before.users[ext] == nil {
		return fmt.Errorf("%w: user %s", ErrNotFound, ext)
	}
	for _, d := range before.devices {
		if d.DefaultUser == ext {
			return fmt.Errorf("%w: user %s is the default user of %s", ErrInUse, ext, d.ID)
		}
	}
	after := before.clone()
	delete(after.users, ext)
	delete(after.params, paramKey("user", string(ext)))
	p := s.plan(before, after, Desired{}, by)
	if p.err != nil {
		return p.err
	}
	return s.carryOut(ctx, p.steps)
}

// LogoutUser ends all sessions of a user.
func (s *Service) LogoutUser(ctx context.Context, ext Extension, r LogoutRequest) (LogoutResult, error) {
	if _, err := s.User(ext); err != nil {
		return LogoutResult{}, err
	}
	bound := s.bound(ext)
	if len(bound) == 0 {
		return LogoutResult{}, ErrNobody
	}
	r.Device, r.Everywhere = bound[0], true
	return s.Logout(ctx, r)
}

// Unlock forgives a user's wrong PINs, at all devices.
func (s *Service) Unlock(ctx context.Context, ext Extension, by string) error {
	if _, err := s.User(ext); err != nil {
		return err
	}
	s.snap.mu.RLock()
	keys := []string{userThrottleKey(ext)}
	for _, id := range slices.Sorted(maps.Keys(s.snap.devices)) {
		keys = append(keys, pairThrottleKey(ext, id))
	}
	s.snap.mu.RUnlock()
	row := s.row("user.unlocked", by)
	row.User = ext
	return s.forgive(ctx, keys, row)
}

// UnlockDevice forgives the wrong PINs that were typed at a device, by whomever.
func (s *Service) UnlockDevice(ctx context.Context, id DeviceID, by string) error {
	if _, err := s.Phone(id); err != nil {
		return err
	}
	s.snap.mu.RLock()
	keys := []string{deviceThrottleKey(id), pairThrottleKey(nobody, id)}
	for _, ext := range slices.Sorted(maps.Keys(s.snap.users)) {
		keys = append(keys, pairThrottleKey(ext, id))
	}
	s.snap.mu.RUnlock()
	row := s.row("device.unlocked", by)
	row.Device = id
	return s.forgive(ctx, keys, row)
}

// forgive deletes counts of wrong PINs; the row goes with the first of them.
func (s *Service) forgive(ctx context.Context, keys []string, row AuditRow) error {
	first := true
	for chunk := range slices.Chunk(keys, MaxTxnKeys-1) {
		tell := first
		if err := s.update(ctx, func(tx Txn) error {
			for _, key := range chunk {
				tx.Delete(key)
			}
			if tell {
				return audit(tx, row)
			}
			return nil
		}); err != nil {
			return err
		}
		first = false
	}
	return nil
}

// SetPIN gives a user a new PIN and forgives the wrong ones.
func (s *Service) SetPIN(ctx context.Context, ext Extension, pin Secret, by string) error {
	text := pin.Reveal()
	if _, err := s.UpdateUser(ctx, ext, UserSpec{PIN: &text}, by); err != nil {
		return err
	}
	return errors.Join(s.Unlock(ctx, ext, by))
}
