package hotdesk

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// plan is what must be written to come from one target to the other.
type plan struct {
	s       *Service
	by      string
	uses    map[string]string // who referred last to what, as the plan found it
	changes []string
	ends    []string
	steps   []step
	err     error
}

// step is one object's change. keys bounds what it reads and writes; done, if any,
// is what follows in memory when it is written.
type step struct {
	keys int
	do   func(Txn) error
	done func()
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
	p := &plan{s: s, by: by, uses: before.uses}
	sites := map[string][]string{}
	for name, site := range after.sites {
		sites[name] = append(slices.Clone(site.Emergency.Numbers), site.Dialing.IdleNumbers...)
	}
	old := before.numbering
	if now := (Numbering{after.settings, sites}); !equal(old, now) {
		if !equal(old.Settings, now.Settings) {
			p.changes = append(p.changes, "settings: "+whatChanges(&old.Settings, &now.Settings))
		}
		p.write(numberingKey, old, now, s.row("settings.saved", by))
	}
	save(p, "pbx", before.pbxs, after.pbxs, pbxKey)
	save(p, "site", before.sites, after.sites, siteKey)
	p.users(before, after, Numbering{after.settings, sites})
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
	named := gained(refs(old), refs(rec))
	p.steps = append(p.steps, step{keys: 2 + len(named), do: func(tx Txn) error {
		return errors.Join(unchanged(tx, key, old, rec), refer(tx, row.Op, named), put(tx, key, rec), audit(tx, row))
	}})
}

// guard makes the last step hold only while the record at key is as wanted: a new
// extension must not hide a number that a site got meanwhile.
func (p *plan) guard(key string, wanted any) {
	last := p.steps[len(p.steps)-1]
	p.steps[len(p.steps)-1] = step{done: last.done, keys: last.keys + 1, do: func(tx Txn) error {
		return errors.Join(unchanged(tx, key, wanted, wanted), last.do(tx))
	}}
}

// unchanged compares what is stored with what is expected, or already wanted.
func unchanged(tx Txn, key string, old, wanted any) error {
	kv, ok, err := tx.Get(key)
	if err != nil {
		return err
	}
	if !ok && (old == nil || wanted == nil) || ok && (old != nil && equal(json.RawMessage(kv.Value), old) || equal(json.RawMessage(kv.Value), wanted)) {
		return nil
	}
	what := strings.TrimPrefix(key, "/")
	if key == numberingKey {
		what = "a site, or a hot-desk code,"
	}
	return fmt.Errorf("%w: %s was changed by somebody else meanwhile; run it again", ErrConflict, what)
}

func (p *plan) note(kind, id, what string) {
	p.changes = append(p.changes, kind+" "+id+": "+what)
}

// save plans the new and changed records of one kind, in order of their names.
func save[K ~string, T any](p *plan, kind string, before, after map[K]*T, key func(K) string) {
	for _, id := range slices.Sorted(maps.Keys(after)) {
		old, now := before[id], after[id]
		if old != nil && (old == now || equal(*old, *now)) {
			continue
		}
		p.note(kind, string(id), whatChanges(old, now))
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
		p.steps = append(p.steps, step{keys: 3, do: func(tx Txn) error {
			if err := errors.Join(unchanged(tx, key(id), before[id], nil), unreferred(tx, key(id), p.uses)); err != nil {
				return err
			}
			tx.Delete(key(id))
			tx.Delete(usesKey(key(id)))
			return audit(tx, row)
		}})
	}
}

// whatChanges says "added", or "changed" with the keys, but not the values: some are
// secrets.
func whatChanges[T any](old, now *T) string {
	if old == nil {
		return "added"
	}
	return "changed (" + strings.Join(changedKeys(fields(*old), fields(*now), ""), ", ") + ")"
}

// fields are a record's keys and values as they are stored.
func fields(rec any) (all map[string]any) {
	if b, err := json.Marshal(rec); err == nil {
		_ = json.Unmarshal(b, &all) // of what was just encoded
	}
	return all
}

// changedKeys lists the keys that differ, inner ones with those around them:
// "emergency.caller_id".
func changedKeys(old, now map[string]any, within string) (all []string) {
	keys := maps.Clone(old)
	maps.Copy(keys, now)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		before, hadInner := old[key].(map[string]any)
		after, hasInner := now[key].(map[string]any)
		switch {
		case hadInner && hasInner:
			all = append(all, changedKeys(before, after, within+key+".")...)
		case !equal(old[key], now[key]):
			all = append(all, within+asGiven(key))
		}
	}
	return all
}

// asGiven is the key by which a file gives what is stored under another one.
func asGiven(key string) string {
	switch key {
	case "pin_hash":
		return "pin"
	case "sealed":
		return "secret"
	}
	return key
}

func equal(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// users plans changed people. Disabling one ends the sessions, each of which
// must not be in a call or an emergency hold.
func (p *plan) users(before, after *target, numbering Numbering) {
	for _, ext := range slices.Sorted(maps.Keys(after.users)) {
		old, now := before.users[ext], after.users[ext]
		if old != nil && (old == now || equal(*old, *now)) {
			continue
		}
		p.note("user", string(ext), whatChanges(old, now))
		row := p.s.row("user.saved", p.by)
		row.User = ext
		p.write(userKey(ext), stored(old), now, row)
		if old == nil {
			p.guard(numberingKey, numbering)
		}
		if old != nil && old.Enabled && !now.Enabled {
			p.endUser(ext, "disabled")
		}
	}
	for _, ext := range slices.Sorted(maps.Keys(before.users)) {
		if after.users[ext] != nil {
			continue
		}
		p.removeUser(ext, *before.users[ext])
	}
}

// removeUser plans the deletion of a user who is logged in nowhere.
func (p *plan) removeUser(ext Extension, old User) {
	if seated := p.s.bound(ext); len(seated) > 0 {
		p.err = errors.Join(p.err, fmt.Errorf("%w: user %s is logged in on %s; log out first", ErrInUse, ext, seated[0]))
		return
	}
	p.note("user", string(ext), "removed")
	row := p.s.row("user.removed", p.by)
	row.User = ext
	p.steps = append(p.steps, step{keys: 5, do: func(tx Txn) error {
		if err := errors.Join(unchanged(tx, userKey(ext), old, nil), unreferred(tx, userKey(ext), p.uses)); err != nil {
			return err
		}
		if seats, _, err := get[Seats](tx, seatsKey(ext)); err != nil || len(seats.Bound) > 0 {
			return errors.Join(err, fmt.Errorf("%w: user %s is logged in", ErrInUse, ext))
		}
		tx.Delete(userKey(ext))
		tx.Delete(seatsKey(ext))
		tx.Delete(userThrottleKey(ext))
		tx.Delete(usesKey(userKey(ext)))
		return audit(tx, row)
	}})
}

// endUser plans the end of all sessions of a user who is disabled by the step
// before: who logged in until then is found in the same transaction.
func (p *plan) endUser(ext Extension, why string) {
	for _, id := range p.s.bound(ext) {
		p.ends = append(p.ends, string(id)+" user "+string(ext))
		if err := p.s.MayDisturb(id); err != nil {
			p.err = errors.Join(p.err, fmt.Errorf("user %s on %s: %w", ext, id, err))
		}
	}
	row := p.s.row("session.ended", p.by)
	disable := p.steps[len(p.steps)-1]
	p.steps[len(p.steps)-1] = step{done: disable.done, keys: MaxTxnKeys, do: func(tx Txn) error {
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
			p.refuse(old.ID, p.s.MayDisturb(old.ID))
			p.remove(*old)
		}
	}
	for _, mac := range slices.SortedFunc(maps.Keys(after.devices), byMAC) {
		old, now := before.devices[mac], *after.devices[mac]
		switch {
		case old == nil || old == after.devices[mac]: // below; untouched
		case !equal(*old, now):
			p.note("device", string(old.ID), whatChanges(old, &now))
			p.refuse(old.ID, p.s.changeable(*old, now))
			row := p.s.row("device.saved", p.by)
			row.Device = old.ID
			if now.Blocked && !old.Blocked {
				p.endDevice(old.ID)
			}
			p.steps = append(p.steps, step{keys: 5, do: func(tx Txn) error { return saveDevice(tx, *old, now, row) }})
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
		// MAC, device, audit row and what it refers to; they share the counter, which chunks leaves room for.
		p.steps = append(p.steps, step{keys: 3 + len(refs(&now)), do: func(tx Txn) error {
			_, err := createIn(tx, now, row)
			return err
		}})
	}
}

// refuse notes why the device may not be changed now, if so.
func (p *plan) refuse(id DeviceID, why error) {
	if why != nil {
		p.err = errors.Join(p.err, fmt.Errorf("%s: %w", id, why))
	}
}

func (p *plan) endDevice(id DeviceID) {
	if phone, err := p.s.Phone(id); err == nil && phone.Session != nil {
		p.ends = append(p.ends, string(id)+" user "+string(phone.Session.User))
	}
	row := p.s.row("session.ended", p.by)
	p.steps = append(p.steps, step{keys: 8, do: func(tx Txn) error { return endBinding(tx, id, row, "blocked") }})
}

// remove plans the removal of a device at which nobody sits.
func (p *plan) remove(old Device) {
	if phone, err := p.s.Phone(old.ID); err == nil && phone.Session != nil {
		p.err = errors.Join(p.err, inUse(old.ID))
	}
	st := p.s.removal(old.ID, p.by)
	do := st.do
	st.do = func(tx Txn) error {
		if err := do(tx); !errors.Is(err, ErrNotFound) { // somebody else has removed it meanwhile
			return err
		}
		return nil
	}
	p.steps = append(p.steps, st)
}

// createIn makes a device, with the next HD number, inside a transaction that may
// make others too.
func createIn(tx Txn, d Device, row AuditRow) (Device, error) {
	if id, ok, err := get[DeviceID](tx, macKey(d.MAC)); err != nil || ok {
		if err := errors.Join(err, conflictUnless(id, tx, row.Op)); err != nil {
			return d, err
		}
		d, _, err = get[Device](tx, deviceKey(id))
		return d, err
	}
	if err := refer(tx, row.Op, refs(&d)); err != nil {
		return d, err
	}
	n, _, err := get[uint64](tx, deviceSeqKey)
	if err != nil {
		return d, err
	}
	d.ID, d.Created = deviceID(n+1), row.Time
	row.Device, row.Detail = d.ID, map[string]string{"mac": d.MAC.String(), "model": d.Model}
	return d, errors.Join(put(tx, deviceSeqKey, n+1), put(tx, macKey(d.MAC), d.ID), put(tx, deviceKey(d.ID), d), audit(tx, row))
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
	stored := d
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
	return errors.Join(refer(tx, row.Op, gained(refs(&stored), refs(&d))), put(tx, deviceKey(d.ID), d), audit(tx, row))
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
