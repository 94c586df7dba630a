package hotdesk

import (
	"cmp"
	"context"
	"maps"
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
	res, _, err := s.apply(ctx, d, o)
	return res, err
}

// apply is Apply; it returns the configuration that was written, too.
func (s *Service) apply(ctx context.Context, d Desired, o ApplyOptions) (Applied, *target, error) {
	before := s.current()
	after := before.clone()
	if o.Prune {
		after.prune(d)
	}
	if err := s.merge(ctx, after, d); err != nil {
		return Applied{}, after, err
	}
	if err := after.check(); err != nil {
		return Applied{}, after, err
	}
	p := s.plan(before, after, d, cmp.Or(o.By, string(ByAPI)))
	res := Applied{Changes: p.changes, Ends: p.ends, Notes: notes(after), DryRun: o.DryRun}
	if o.DryRun && p.err != nil {
		res.InTheWay = strings.Split(p.err.Error(), "\n")
		return res, after, nil
	}
	if p.err != nil || o.DryRun {
		return res, after, p.err
	}
	return res, after, s.write(ctx, p, d)
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

// carryOut does steps in one transaction, and then what follows of them in memory.
func (s *Service) carryOut(ctx context.Context, steps []step) error {
	err := s.update(ctx, func(tx Txn) error {
		for _, st := range steps {
			if err := st.do(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, st := range steps {
		if st.done != nil {
			st.done()
		}
	}
	return nil
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
