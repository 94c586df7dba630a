package hotdesk

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ApplyOptions of Apply.
type ApplyOptions struct {
	DryRun bool   // say what would change, write nothing
	Prune  bool   // delete what the file does not name
	By     string // who asked, for the audit log
}

// Applied says what an apply changed (or, dry, would change).
type Applied struct {
	Changes  []string `json:"changes"`    // "user 100: added"
	Ends     []string `json:"ends"`       // sessions ended by disabling or blocking: "HD0001 user 100"
	Notes    []string `json:"notes"`      // keys that this version stores but does not act on
	InTheWay []string `json:"in_the_way"` // dry: why this would be refused now: "HD0001: device is in a call"
	DryRun   bool     `json:"dry_run"`
}

// Apply brings the stored state to what the file says. The whole file is checked
// first; then it is written in chunks that are each valid alone, in the order of
// dependency. Running it again finishes what a crash left, and finds nothing to do.
func (s *Service) Apply(ctx context.Context, d Desired, o ApplyOptions) (Applied, error) {
	before := s.current()
	after := before.clone()
	if o.Prune {
		after.prune(d)
	}
	if err := s.merge(ctx, after, d); err != nil {
		return Applied{}, err
	}
	if err := after.check(); err != nil {
		return Applied{}, err
	}
	p := s.plan(before, after, d, cmp.Or(o.By, string(ByAPI)))
	res := Applied{Changes: p.changes, Ends: p.ends, Notes: notes(after), DryRun: o.DryRun}
	if o.DryRun && p.err != nil {
		res.InTheWay = strings.Split(p.err.Error(), "\n")
		return res, nil
	}
	if p.err != nil || o.DryRun {
		return res, p.err
	}
	return res, s.write(ctx, p, d)
}

// write carries a plan out, chunk by chunk. Phones that wait for approval and are
// in the file wait no longer.
func (s *Service) write(ctx context.Context, p *plan, file Desired) error {
	for _, chunk := range p.chunks() {
		if err := s.carryOut(ctx, chunk); err != nil {
			return err
		}
	}
	for _, spec := range file.Devices {
		if mac, err := ParseMAC(spec.MAC); err == nil {
			s.live.forgetPending(mac)
		}
	}
	return nil
}

// carryOut does steps in one transaction.
func (s *Service) carryOut(ctx context.Context, steps []step) error {
	return s.update(ctx, func(tx Txn) error {
		for _, st := range steps {
			if err := st.do(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// prune takes out of the target what the file does not name.
func (t *target) prune(d Desired) {
	keepSites, keepPBX, keepUsers, keepMACs := map[string]bool{}, map[string]bool{}, map[Extension]bool{}, map[MAC]bool{}
	for _, x := range d.Sites {
		keepSites[x.Name] = true
	}
	for _, x := range d.PBX {
		keepPBX[x.Name] = true
	}
	for _, x := range d.Users {
		keepUsers[Extension(x.Extension)] = true
	}
	for _, x := range d.Devices {
		if mac, err := ParseMAC(x.MAC); err == nil {
			keepMACs[mac] = true
		}
	}
	maps.DeleteFunc(t.sites, func(k string, _ *Site) bool { return !keepSites[k] })
	maps.DeleteFunc(t.pbxs, func(k string, _ *PBX) bool { return !keepPBX[k] })
	maps.DeleteFunc(t.users, func(k Extension, _ *User) bool { return !keepUsers[k] })
	maps.DeleteFunc(t.devices, func(k MAC, _ *Device) bool { return !keepMACs[k] })
	clear(t.params)
}

// plan is what must be written to come from one target to the other.
type plan struct {
	s       *Service
	by      string
	changes []string
	ends    []string
	steps   []step
	err     error
}

// step is one object's change. keys bounds what it reads and writes.
type step struct {
	keys int
	do   func(Txn) error
}

// chunks groups steps so that each transaction stays within the store's limits,
// with one key to spare for the counter of devices.
func (p *plan) chunks() [][]step {
	var all [][]step
	keys := MaxTxnKeys
	for _, st := range p.steps {
		if keys+st.keys > MaxTxnKeys-1 {
			all, keys = append(all, nil), 0
		}
		keys += st.keys
		all[len(all)-1] = append(all[len(all)-1], st)
	}
	return all
}

func (s *Service) plan(before, after *target, file Desired, by string) *plan {
	p := &plan{s: s, by: by}
	sites := map[string][]string{}
	for name, site := range after.sites {
		sites[name] = append(slices.Clone(site.Emergency.Numbers), site.Dialing.IdleNumbers...)
	}
	s.snap.mu.RLock()
	old := s.snap.numbering
	s.snap.mu.RUnlock()
	if now := (Numbering{after.settings, sites}); !equal(old, now) {
		if !equal(old.Settings, now.Settings) {
			p.changes = append(p.changes, "settings: changed")
		}
		p.write(numberingKey, old, now, s.row("settings.saved", by))
	}
	save(p, "pbx", before.pbxs, after.pbxs, pbxKey)
	save(p, "site", before.sites, after.sites, siteKey)
	p.users(before, after)
	p.devices(before, after, file)
	save(p, "parameter", before.params, after.params, func(key string) string { return key })
	drop(p, "parameter", before.params, after.params, func(key string) string { return key })
	drop(p, "site", before.sites, after.sites, siteKey)
	drop(p, "pbx", before.pbxs, after.pbxs, pbxKey)
	return p
}

// write adds a step that stores one record with its audit row.
// The record must still be as it was when the plan was made (old; nil: absent), so
// that a long apply undoes nothing that somebody else has saved meanwhile.
func (p *plan) write(key string, old, rec any, row AuditRow) {
	p.steps = append(p.steps, step{2, func(tx Txn) error {
		return errors.Join(unchanged(tx, key, old, rec), put(tx, key, rec), audit(tx, row))
	}})
}

// unchanged compares what is stored with what is expected, or already wanted.
func unchanged(tx Txn, key string, old, wanted any) error {
	kv, ok, err := tx.Get(key)
	if err != nil {
		return err
	}
	if !ok && old == nil || ok && (old != nil && equal(json.RawMessage(kv.Value), old) || equal(json.RawMessage(kv.Value), wanted)) {
		return nil
	}
	return fmt.Errorf("%w: %s was changed by somebody else meanwhile; run it again", ErrConflict, strings.TrimPrefix(key, "/"))
}

func (p *plan) note(kind, id, what string) {
	p.changes = append(p.changes, kind+" "+id+": "+what)
}

// save plans the new and changed records of one kind, in order of their names.
func save[K ~string, T any](p *plan, kind string, before, after map[K]*T, key func(K) string) {
	for _, id := range slices.Sorted(maps.Keys(after)) {
		old, now := before[id], after[id]
		if old != nil && equal(*old, *now) {
			continue
		}
		p.note(kind, string(id), added(old == nil))
		row := p.s.row(kind+".saved", p.by)
		row.Detail = map[string]string{"name": string(id)}
		p.write(key(id), stored(old), now, row)
	}
}

// stored is nil for no record, as an untyped nil.
func stored[T any](rec *T) any {
	if rec == nil {
		return nil
	}
	return rec
}

// drop plans the deletions of one kind.
func drop[K ~string, T any](p *plan, kind string, before, after map[K]*T, key func(K) string) {
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if after[id] != nil {
			continue
		}
		p.note(kind, string(id), "removed")
		row := p.s.row(kind+".removed", p.by)
		row.Detail = map[string]string{"name": string(id)}
		p.steps = append(p.steps, step{2, func(tx Txn) error {
			tx.Delete(key(id))
			return audit(tx, row)
		}})
	}
}

func added(isNew bool) string {
	if isNew {
		return "added"
	}
	return "changed"
}

func equal(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// users plans changed people. Disabling one ends the sessions, each of which
// must not be in a call or an emergency hold.
func (p *plan) users(before, after *target) {
	for _, ext := range slices.Sorted(maps.Keys(after.users)) {
		old, now := before.users[ext], after.users[ext]
		if old != nil && equal(*old, *now) {
			continue
		}
		p.note("user", string(ext), added(old == nil))
		row := p.s.row("user.saved", p.by)
		row.User = ext
		p.write(userKey(ext), stored(old), now, row)
		if old != nil && old.Enabled && !now.Enabled {
			p.endUser(ext, "disabled")
		}
	}
	for _, ext := range slices.Sorted(maps.Keys(before.users)) {
		if after.users[ext] != nil {
			continue
		}
		p.removeUser(ext)
	}
}

// removeUser plans the deletion of a user who is logged in nowhere.
func (p *plan) removeUser(ext Extension) {
	if seated := p.s.bound(ext); len(seated) > 0 {
		p.err = errors.Join(p.err, fmt.Errorf("%w: user %s is logged in on %s; log out first", ErrInUse, ext, seated[0]))
		return
	}
	p.note("user", string(ext), "removed")
	row := p.s.row("user.removed", p.by)
	row.User = ext
	p.steps = append(p.steps, step{5, func(tx Txn) error {
		if seats, _, err := get[Seats](tx, seatsKey(ext)); err != nil || len(seats.Bound) > 0 {
			return errors.Join(err, fmt.Errorf("%w: user %s is logged in", ErrInUse, ext))
		}
		tx.Delete(userKey(ext))
		tx.Delete(seatsKey(ext))
		tx.Delete(userThrottleKey(ext))
		return audit(tx, row)
	}})
}

// endUser plans the end of all sessions of a user who is disabled by the step
// before: who logged in until then is found in the same transaction.
func (p *plan) endUser(ext Extension, why string) {
	for _, id := range p.s.bound(ext) {
		p.ends = append(p.ends, string(id)+" user "+string(ext))
		if err := p.s.disturbable(id); err != nil {
			p.err = errors.Join(p.err, fmt.Errorf("user %s on %s: %w", ext, id, err))
		}
	}
	row := p.s.row("session.ended", p.by)
	disable := p.steps[len(p.steps)-1]
	p.steps[len(p.steps)-1] = step{MaxTxnKeys, func(tx Txn) error {
		if err := disable.do(tx); err != nil {
			return err
		}
		seats, ok, err := get[Seats](tx, seatsKey(ext))
		if err != nil || !ok {
			return err
		}
		b := &unbinder{tx: tx, op: row.Op, now: row.Time, actor: row.By}
		for _, id := range seats.Bound {
			if err := b.device(id, ext, why); err != nil {
				return err
			}
		}
		seats.Bound = nil
		return put(tx, seatsKey(ext), seats)
	}}
}

// endBinding ends whatever session a device has.
func endBinding(tx Txn, id DeviceID, row AuditRow, why string) error {
	current, ok, err := get[Session](tx, bindingKey(id))
	if err != nil || !ok {
		return err
	}
	b := &unbinder{tx: tx, op: row.Op, now: row.Time, actor: row.By}
	if err := b.device(id, current.User, why); err != nil {
		return err
	}
	seats, _, err := get[Seats](tx, seatsKey(current.User))
	seats.Bound = without(seats.Bound, id)
	return errors.Join(err, put(tx, seatsKey(current.User), seats))
}

// disturbable says why nobody but the person at the desk may end the session now.
func (s *Service) disturbable(id DeviceID) error {
	if busy, _ := s.live.InCall(id, ""); busy {
		return ErrDeviceInCall
	}
	if err := s.holdError(id); err != nil {
		return err
	}
	return nil
}

// bound lists where a user is logged in.
func (s *Service) bound(ext Extension) []DeviceID {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	if seats := s.snap.seats[ext]; seats != nil {
		return slices.Clone(seats.Bound)
	}
	return nil
}

// devices plans new and changed phones; a new one gets its HD number in the
// transaction that writes it, in the order of the file.
func (p *plan) devices(before, after *target, file Desired) {
	byMAC := func(a, b MAC) int { return slices.Compare(a[:], b[:]) }
	for _, mac := range slices.SortedFunc(maps.Keys(before.devices), byMAC) {
		if old := before.devices[mac]; after.devices[mac] == nil {
			p.note("device", string(old.ID), "removed")
			p.refuse(old.ID)
			p.remove(*old)
		}
	}
	for _, mac := range slices.SortedFunc(maps.Keys(after.devices), byMAC) {
		old, now := before.devices[mac], *after.devices[mac]
		switch {
		case old == nil: // below
		case !equal(*old, now):
			p.note("device", string(old.ID), "changed")
			row := p.s.row("device.saved", p.by)
			row.Device = old.ID
			if now.Blocked && !old.Blocked {
				p.refuse(old.ID)
				p.endDevice(old.ID)
			}
			p.steps = append(p.steps, step{3, func(tx Txn) error { return saveDevice(tx, *old, now, row) }})
		}
	}
	for _, spec := range file.Devices {
		mac, err := ParseMAC(spec.MAC)
		if err != nil || before.devices[mac] != nil || after.devices[mac] == nil {
			continue
		}
		now := *after.devices[mac]
		p.note("device", mac.String(), "added")
		row := p.s.row("device.added", p.by)
		// MAC, device and audit row; they share the counter, which chunks leaves room for.
		p.steps = append(p.steps, step{3, func(tx Txn) error {
			_, err := createIn(tx, now, row)
			return err
		}})
	}
}

// refuse notes why the device may not be disturbed now, if so.
func (p *plan) refuse(id DeviceID) {
	if err := p.s.disturbable(id); err != nil {
		p.err = errors.Join(p.err, fmt.Errorf("%s: %w", id, err))
	}
}

func (p *plan) endDevice(id DeviceID) {
	if phone, err := p.s.Phone(id); err == nil && phone.Session != nil {
		p.ends = append(p.ends, string(id)+" user "+string(phone.Session.User))
	}
	row := p.s.row("session.ended", p.by)
	p.steps = append(p.steps, step{8, func(tx Txn) error { return endBinding(tx, id, row, "blocked") }})
}

func (p *plan) remove(old Device) {
	if phone, err := p.s.Phone(old.ID); err == nil && phone.Session != nil {
		p.err = errors.Join(p.err, fmt.Errorf("%w: somebody is logged in on %s; log out first", ErrInUse, old.ID))
	}
	row := p.s.row("device.removed", p.by)
	row.Device = old.ID
	p.steps = append(p.steps, step{7, func(tx Txn) error {
		if _, bound, err := get[Session](tx, bindingKey(old.ID)); err != nil || bound {
			return errors.Join(err, fmt.Errorf("%w: somebody is logged in on %s; log out first", ErrInUse, old.ID))
		}
		for _, key := range []string{deviceKey(old.ID), macKey(old.MAC), fetchedKey(old.ID), holdKey(old.ID), deviceThrottleKey(old.ID)} {
			tx.Delete(key)
		}
		return audit(tx, row)
	}})
}

// createIn makes a device, with the next HD number, inside a transaction that may
// make others too.
func createIn(tx Txn, d Device, row AuditRow) (DeviceID, error) {
	if id, ok, err := get[DeviceID](tx, macKey(d.MAC)); err != nil || ok {
		return id, errors.Join(err, conflictUnless(id, tx, row.Op))
	}
	if _, ok, err := tx.Get(siteKey(d.Site)); err != nil || !ok {
		return "", errors.Join(err, fmt.Errorf("%w: site %s was removed meanwhile", ErrConflict, d.Site))
	}
	n, _, err := get[uint64](tx, deviceSeqKey)
	if err != nil {
		return "", err
	}
	d.ID, d.Created = deviceID(n+1), row.Time
	row.Device, row.Detail = d.ID, map[string]string{"mac": d.MAC.String(), "model": d.Model}
	return d.ID, errors.Join(put(tx, deviceSeqKey, n+1), put(tx, macKey(d.MAC), d.ID), put(tx, deviceKey(d.ID), d), audit(tx, row))
}

// saveDevice writes what the file changes and leaves the rest (versions,
// generations, what somebody else has saved meanwhile) as the transaction finds it.
func saveDevice(tx Txn, before, now Device, row AuditRow) error {
	d, ok, err := get[Device](tx, deviceKey(now.ID))
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: device %s", ErrNotFound, now.ID)
	}
	if err := freeForFixed(tx, d, now); err != nil {
		return err
	}
	change(&d.Model, before.Model, now.Model)
	change(&d.Site, before.Site, now.Site)
	change(&d.Desk, before.Desk, now.Desk)
	change(&d.Type, before.Type, now.Type)
	change(&d.DefaultUser, before.DefaultUser, now.DefaultUser)
	change(&d.Language, before.Language, now.Language)
	change(&d.Transport, before.Transport, now.Transport)
	if d.Blocked && before.Blocked && !now.Blocked {
		d.raise()
	}
	change(&d.Blocked, before.Blocked, now.Blocked)
	return errors.Join(put(tx, deviceKey(d.ID), d), audit(tx, row))
}

// change brings a field to what is wanted, if that is another value than before.
func change[T comparable](field *T, before, now T) {
	if before != now {
		*field = now
	}
}

// freeForFixed refuses to make a fixed device of one that somebody sits at: at a
// fixed device nobody can log out.
func freeForFixed(tx Txn, before, after Device) error {
	if before.Type == Fixed || after.Type != Fixed {
		return nil
	}
	_, bound, err := get[Session](tx, bindingKey(before.ID))
	if err == nil && bound {
		err = seated(before.ID)
	}
	return err
}

func seated(id DeviceID) error {
	return fmt.Errorf("%w: somebody is logged in on %s; log out first, then make it fixed", ErrInUse, id)
}
