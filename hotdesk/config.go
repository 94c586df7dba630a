package hotdesk

import (
	"slices"

	"hotdeskd/hotdesk/dial"
)

// AdminPassword is the password of the phone's own web page.
func (s *Service) AdminPassword(d Device) Secret {
	s.snap.mu.RLock()
	site := s.snap.sites[d.Site]
	s.snap.mu.RUnlock()
	if site != nil && site.Phones.AdminPassword != "auto" && site.Phones.AdminPassword != "" {
		if plain, err := s.vault.Unseal("site/"+site.Name, site.Phones.AdminPassword); err == nil {
			return plain
		}
		s.log.Error("the site's admin_password cannot be opened; phones get the automatic one", "site", site.Name)
	}
	return s.vault.Derive("phone-admin", string(d.ID), 1)
}

// Layers returns the administrators' parameters that reach a phone, weakest
// first: default, vendor, model, site, device, user.
func (s *Service) Layers(p Phone) []Parameter {
	keys := []string{
		paramKey("default", ""), paramKey("vendor", p.Model.Vendor), paramKey("model", p.Device.Model),
		paramKey("site", p.Device.Site), paramKey("device", string(p.Device.ID)), paramKey("device", p.Device.MAC.String()),
	}
	if p.User != nil {
		keys = append(keys, paramKey("user", string(p.User.Extension)))
	}
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	var layers []Parameter
	for _, key := range keys {
		if param := s.snap.params[key]; param != nil {
			layers = append(layers, *param)
		}
	}
	return layers
}

// DialPlan is the neutral dial plan of a phone.
type DialPlan struct {
	Emergency     []string
	Login, Logout string   // what the first line key dials
	Codes         []string // complete codes, dialled at once
	Prefixes      []string // login codes after which an extension follows
}

// DialPlan returns what a phone may dial without a pause. It does not depend on
// who is logged in.
func (s *Service) DialPlan(p Phone) DialPlan {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	codes := s.snap.numbering.Settings.Codes
	plan := DialPlan{
		Emergency: slices.Clone(p.Site.Emergency.Numbers),
		Login:     codes.Login, Logout: codes.Logout, Prefixes: s.snap.codes.Prefixes(),
	}
	for _, c := range s.snap.codes.All() {
		if c.Action != dial.Login {
			plan.Codes = append(plan.Codes, spelled(codes, c))
		}
	}
	return plan
}

// spelled gives a code back the last '*' it is dialled with.
func spelled(codes Codes, c dial.Code) string {
	for _, text := range []string{codes.Logout, codes.LogoutAll, codes.Login + "8*", codes.Login + "9*"} {
		if text == c.Number || text == c.Number+"*" {
			return text
		}
	}
	return c.Number
}
