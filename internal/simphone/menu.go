package simphone

import (
	"fmt"
	"maps"
)

// Change is what somebody does in the phone's own menu or on its web page. It acts
// from the next fetch or boot on, and holds until a file changes the setting, or for
// good where the file says so. ErrLocked where it lets nobody.
func (p *Phone) Change(setting, value string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded.perms[setting] == "R" {
		return fmt.Errorf("%w: %s", ErrLocked, setting)
	}
	changed := maps.Clone(p.loaded.settings)
	changed[setting] = value
	p.loaded.settings = changed
	if p.touched == nil {
		p.touched = map[string]bool{}
	}
	p.touched[setting] = true
	return nil
}

// keepTouched puts what was changed at the phone back where the files that were
// just loaded let it stand, and forgets what they have changed.
func (p *Phone) keepTouched(old, got loaded) loaded {
	p.mu.Lock()
	defer p.mu.Unlock()
	for setting := range p.touched {
		switch _, named := got.perms[setting]; {
		case got.perms[setting] == "!":
			got.settings[setting] = old.settings[setting]
		case named:
			delete(p.touched, setting)
		}
	}
	perms := maps.Clone(old.perms)
	if perms == nil {
		perms = map[string]string{}
	}
	maps.Copy(perms, got.perms)
	got.perms = perms
	return got
}
