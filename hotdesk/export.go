package hotdesk

import (
	"fmt"
	"maps"
	"slices"
)

// notes names the keys of the target that are stored but do not act yet.
func notes(t *target) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(t.sites)) {
		site := t.sites[name]
		if a := site.AutoLogout; a != (AutoLogout{}) {
			all = append(all, "site "+name+": auto_logout does not act yet")
		}
		if len(site.Emergency.Notify) > 0 {
			all = append(all, "site "+name+": emergency.notify does not act yet")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.pbxs)) {
		if p := t.pbxs[name]; p.Features == "hotdeskd" {
			all = append(all, "pbx "+name+": features: hotdeskd does not act yet")
		}
	}
	for _, ext := range slices.Sorted(maps.Keys(t.users)) {
		if t.users[ext].OffDesk != "" {
			all = append(all, fmt.Sprintf("user %s: off_desk does not act yet", ext))
		}
	}
	return all
}

// Notes names the stored keys that this version does not act on.
func (s *Service) Notes() []string { return notes(s.current()) }

// Export writes the stored state as a file that apply takes without changing
// anything: PINs as pin_set, secrets as sealed.
func (s *Service) Export() Desired {
	t := s.current()
	d := Desired{Settings: &SettingsSpec{
		Codes: &CodesSpec{
			Login: &t.settings.Codes.Login, Logout: &t.settings.Codes.Logout,
			LogoutAll: &t.settings.Codes.LogoutAll, Aliases: t.settings.Codes.Aliases,
		},
		Refusal: &t.settings.Refusal,
	}}
	for _, name := range slices.Sorted(maps.Keys(t.sites)) {
		d.Sites = append(d.Sites, t.sites[name].Spec())
	}
	for _, name := range slices.Sorted(maps.Keys(t.pbxs)) {
		d.PBX = append(d.PBX, t.pbxs[name].Spec())
	}
	for _, ext := range slices.Sorted(maps.Keys(t.users)) {
		d.Users = append(d.Users, t.users[ext].Spec())
	}
	devices := slices.SortedFunc(maps.Values(t.devices), func(a, b *Device) int { return slices.Compare([]byte(a.ID), []byte(b.ID)) })
	for _, dev := range devices {
		d.Devices = append(d.Devices, dev.Spec())
	}
	for _, key := range slices.Sorted(maps.Keys(t.params)) {
		d.Parameters = append(d.Parameters, *t.params[key])
	}
	return d
}

// Spec writes the site as its file entry.
func (site Site) Spec() SiteSpec {
	longest, inactive := Duration(site.AutoLogout.Max), Duration(site.AutoLogout.Inactive)
	return SiteSpec{
		Name: site.Name, Country: &site.Country, TimeZone: &site.TimeZone, Language: &site.Language,
		Networks: site.Networks, Enrolment: &site.Enrolment, RequireHTTPS: &site.RequireHTTPS,
		Phones: &PhonesSpec{
			Transport: &site.Phones.Transport, SRTP: &site.Phones.SRTP, NTP: &site.Phones.NTP,
			AdminPassword: &site.Phones.AdminPassword,
		},
		Dialing: &DialingSpec{
			OutsidePrefix: &site.Dialing.OutsidePrefix, Extensions: &site.Dialing.Extensions, IdleNumbers: site.Dialing.IdleNumbers,
		},
		Emergency: &EmergencySpec{
			Numbers: site.Emergency.Numbers, CallerID: &site.Emergency.CallerID, Address: site.Emergency.Address,
			Routes: site.Emergency.Routes, Notify: site.Emergency.Notify,
		},
		SecondPhone: &site.SecondPhone,
		AutoLogout:  &AutoLogoutSpec{At: &site.AutoLogout.At, Max: &longest, Inactive: &inactive},
	}
}

// Spec writes the PBX as its file entry.
func (p PBX) Spec() PBXSpec {
	spec := PBXSpec{
		Name: p.Name, Mode: &p.Mode, Domain: &p.Domain, Proxy: &p.Proxy, Transport: &p.Transport,
		Internal: &p.Internal, Features: &p.Features, SRTP: &p.SRTP,
		Identity: p.Identity, Sources: p.Sources,
	}
	if p.Account != (Account{}) {
		spec.Account = &AccountSpec{AuthUser: &p.Account.AuthUser, Sealed: some(p.Account.Sealed)}
	}
	return spec
}

// Spec writes the user as its file entry.
func (u User) Spec() UserSpec {
	pinSet := u.PINHash != ""
	spec := UserSpec{
		Extension: string(u.Extension), Name: &u.Name, PINSet: &pinSet, Enabled: &u.Enabled, HotDesk: &u.HotDesk,
		Language: &u.Language, CallerID: &u.CallerID, OffDesk: &u.OffDesk, Keys: u.Keys,
	}
	if p := u.PBX; p != nil {
		spec.PBX = &UserPBXSpec{Name: p.Name, Extension: &p.Extension, AuthUser: &p.AuthUser, Sealed: some(p.Sealed)}
	}
	return spec
}

// Spec writes the device as its file entry.
func (d Device) Spec() DeviceSpec {
	kind, user := string(d.Type), string(d.DefaultUser)
	return DeviceSpec{MAC: d.MAC.String(), Model: &d.Model, Site: &d.Site, Desk: &d.Desk, Type: &kind, DefaultUser: some(user), Language: some(d.Language), Blocked: &d.Blocked, Transport: some(d.Transport)}
}

// some is nil for an empty text, so that export leaves it out.
func some(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
