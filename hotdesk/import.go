package hotdesk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// ImportRow is one line of a table of devices or of users: what it wishes, or
// why it could not be read.
type ImportRow struct {
	Line   int
	Device *DeviceSpec
	User   *UserSpec
	Err    error
}

// Verdict says what became of one line of an import, or would become.
type Verdict struct {
	Line    int    `json:"line"`
	ID      string `json:"id"` // MAC or extension; as it is written when it cannot be read
	Verdict string `json:"verdict" enum:"added,changed,unchanged,wrong"`
	Reason  string `json:"reason,omitempty"` // of a wrong one: what, and how to mend it
}

// The verdicts.
const (
	Added     = "added"
	Changed   = "changed"
	Unchanged = "unchanged"
	Wrong     = "wrong"
)

// Import brings many devices or users to what a table says, as Apply does, and
// gives each row its verdict. With any row wrong nothing is written. It is written
// in chunks that are each valid alone; after a crash or an error the same table
// finishes what is left, for rows that are done are unchanged.
func (s *Service) Import(ctx context.Context, rows []ImportRow, o ApplyOptions) ([]Verdict, error) {
	before := s.current()
	i := &importer{s: s, before: before, after: before.clone(), seen: map[string]int{}, dry: o.DryRun}
	codes, err := i.before.settings.Codes.table()
	if err != nil {
		return nil, err
	}
	i.reserved = codes.Reserved()
	verdicts := make([]Verdict, 0, len(rows))
	wrong := false
	for _, row := range rows {
		v, err := i.row(ctx, row)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, ErrBusy) { // not the row's fault
			return nil, err
		}
		if err != nil {
			wrong, v.Verdict, v.Reason = true, Wrong, err.Error()
		}
		verdicts = append(verdicts, v)
	}
	if wrong || o.DryRun {
		return verdicts, nil
	}
	if err := i.after.check(); err != nil {
		return verdicts, err
	}
	p := s.plan(i.before, i.after, i.file, cmp.Or(o.By, string(ByAPI)))
	if p.err != nil {
		return verdicts, p.err
	}
	return verdicts, s.write(ctx, p, i.file)
}

// importer takes the rows of one import, one after the other.
type importer struct {
	s             *Service
	before, after *target
	file          Desired        // the good rows
	seen          map[string]int // id -> line
	reserved      []string
	dry           bool
}

// row merges one row into the target and says what it changes.
func (i *importer) row(ctx context.Context, row ImportRow) (Verdict, error) {
	v := Verdict{Line: row.Line}
	switch {
	case row.Device != nil:
		v.ID = row.Device.MAC
	case row.User != nil:
		v.ID = row.User.Extension
	}
	switch {
	case row.Err != nil:
		return v, row.Err
	case row.Device != nil:
		return i.device(v, *row.Device)
	case row.User != nil:
		return i.user(ctx, v, *row.User)
	}
	return v, fmt.Errorf("%w: the row is empty", ErrInvalid)
}

func (i *importer) device(v Verdict, spec DeviceSpec) (Verdict, error) {
	mac, err := ParseMAC(spec.MAC)
	if err != nil {
		return v, err
	}
	v.ID = mac.String()
	if err := i.once(v); err != nil {
		return v, err
	}
	old := i.before.devices[mac]
	dev := Device{MAC: mac}
	if old != nil {
		dev = *old
	}
	if dev, err = i.s.mergeDevice(dev, spec, i.before); err != nil {
		return v, err
	}
	if old != nil {
		if err := i.s.changeable(*old, dev); err != nil {
			return v, err
		}
	}
	v.Verdict = verdict(old, &dev)
	i.after.devices[mac] = &dev
	i.file.Devices = append(i.file.Devices, spec)
	return v, nil
}

// changeable refuses changes of a device in an emergency hold, and those that would
// throw out somebody who must not be.
func (s *Service) changeable(before, after Device) error {
	if equal(before, after) {
		return nil
	}
	if after.Blocked != before.Blocked { // a session ends, or the secret changes
		return s.MayDisturb(before.ID)
	}
	if err := s.holdError(before.ID); err != nil {
		return err
	}
	if after.Type == Fixed && before.Type != Fixed {
		if p, err := s.Phone(before.ID); err == nil && p.Session != nil {
			return seated(before.ID)
		}
	}
	return nil
}

func (i *importer) user(ctx context.Context, v Verdict, spec UserSpec) (Verdict, error) {
	ext, err := ParseExtension(spec.Extension)
	if err != nil {
		return v, err
	}
	if err := i.once(v); err != nil {
		return v, err
	}
	old := i.before.users[ext]
	user := defaultUser(ext)
	if old != nil {
		user = *old
	}
	if i.dry && old == nil && spec.PIN != nil { // a hash that nobody keeps costs as much as any other
		if err := spec.strongPIN(); err != nil {
			return v, err
		}
		spec.PIN, user.PINHash = nil, "dry run"
	}
	if err := i.s.mergeUser(ctx, &user, spec); err != nil {
		return v, err
	}
	if err := i.after.checkUser(&user, i.reserved); err != nil {
		return v, err
	}
	i.after.users[ext] = &user
	for _, site := range i.after.sites {
		if err := i.after.hides(site, ext); err != nil {
			return v, err
		}
	}
	if old != nil && old.Enabled && !user.Enabled {
		for _, id := range i.s.bound(ext) {
			if err := i.s.MayDisturb(id); err != nil {
				return v, fmt.Errorf("user %s on %s: %w", ext, id, err)
			}
		}
	}
	v.Verdict = verdict(old, &user)
	i.file.Users = append(i.file.Users, spec)
	return v, nil
}

// once refuses a second row about the same device or user: one of the two would
// be lost without a word.
func (i *importer) once(v Verdict) error {
	if line, twice := i.seen[v.ID]; twice {
		return fmt.Errorf("%w: %s stands in line %d already; keep one of the two", ErrInvalid, v.ID, line)
	}
	i.seen[v.ID] = v.Line
	return nil
}

func verdict[T any](old, now *T) string {
	switch {
	case old == nil:
		return Added
	case equal(*old, *now):
		return Unchanged
	}
	return Changed
}

// Count counts the verdicts of one kind.
func Count(all []Verdict, kind string) int {
	n := 0
	for v := range slices.Values(all) {
		if v.Verdict == kind {
			n++
		}
	}
	return n
}
