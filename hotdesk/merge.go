package hotdesk

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// merge brings a file's wishes into the target. Everything that costs time
// (hashing PINs, sealing secrets) happens here, before any transaction.
func (s *Service) merge(ctx context.Context, t *target, d Desired) error {
	if err := d.onceEach(); err != nil {
		return err
	}
	for _, spec := range d.Users { // before the first one is hashed: 500 take 20 seconds
		if err := spec.strongPIN(); err != nil {
			return err
		}
	}
	if d.Settings != nil {
		t.settings.merge(*d.Settings)
	}
	for _, spec := range d.Sites {
		if err := spec.texts(); err != nil {
			return err
		}
		site := defaultSite(spec.Name)
		if old := t.sites[spec.Name]; old != nil {
			site = *old
		} else if !slices.Contains(s.transports, site.Phones.Transport) {
			site.Phones.Transport = s.transports[0]
		}
		if p := spec.Phones; p != nil && p.Transport != nil {
			if err := s.checkTransport("site "+spec.Name+": phones.transport", *p.Transport); err != nil {
				return err
			}
		}
		if spec.RequireHTTPS != nil && *spec.RequireHTTPS && s.noHTTPS {
			return fmt.Errorf("%w: site %s: require_https: the server has no HTTPS listener for phones; give it an address in provisioning.https of its configuration", ErrInvalid, spec.Name)
		}
		password := site.Phones.AdminPassword
		site.merge(spec)
		if err := s.sealAdminPassword(&site, password); err != nil {
			return err
		}
		t.sites[spec.Name] = &site
	}
	for _, spec := range d.PBX {
		pbx := defaultPBX(spec.Name)
		if old := t.pbxs[spec.Name]; old != nil {
			pbx = *old
		}
		if err := s.mergePBX(&pbx, spec); err != nil {
			return err
		}
		t.pbxs[spec.Name] = &pbx
	}
	for _, spec := range d.Users {
		ext, err := ParseExtension(spec.Extension)
		if err != nil {
			return err
		}
		user := defaultUser(ext)
		if old := t.users[ext]; old != nil {
			user = *old
		}
		if err := s.mergeUser(ctx, &user, spec); err != nil {
			return err
		}
		t.users[ext] = &user
	}
	for _, spec := range d.Devices {
		mac, err := ParseMAC(spec.MAC)
		if err != nil {
			return err
		}
		dev := Device{MAC: mac}
		if old := t.devices[mac]; old != nil {
			dev = *old
		}
		if dev, err = s.mergeDevice(dev, spec, t); err != nil {
			return err
		}
		t.devices[mac] = &dev
	}
	for _, p := range d.Parameters {
		if err := s.checkParameter(p, t); err != nil {
			return err
		}
		t.params[paramKey(p.Layer, p.ID)] = &p
	}
	return nil
}

// onceEach refuses a file that names one object twice: one of the two would be
// lost without a word.
func (d Desired) onceEach() error {
	seen := map[string]bool{}
	once := func(kind, name string) error {
		if seen[kind+" "+name] {
			return fmt.Errorf("%w: %s %s is in the file twice", ErrInvalid, kind, name)
		}
		seen[kind+" "+name] = true
		return nil
	}
	for _, x := range d.Sites {
		if err := once("site", x.Name); err != nil {
			return err
		}
	}
	for _, x := range d.PBX {
		if err := once("pbx", x.Name); err != nil {
			return err
		}
	}
	for _, x := range d.Users {
		if err := once("user", x.Extension); err != nil {
			return err
		}
	}
	for _, x := range d.Devices {
		mac, err := ParseMAC(x.MAC)
		if err != nil {
			return err
		}
		if err := once("device", mac.String()); err != nil {
			return err
		}
	}
	for _, x := range d.Parameters {
		if err := once("parameters:", strings.TrimSpace(x.Layer+" "+x.ID)); err != nil {
			return err
		}
	}
	return nil
}

// checkParameter refuses an override that reaches nobody, or that hotdeskd alone
// may set: it would cut off every phone of its layer.
func (s *Service) checkParameter(p Parameter, t *target) error {
	where := strings.TrimSpace("parameters: " + p.Layer + " " + p.ID)
	known := false
	switch p.Layer {
	case "default":
		known = p.ID == ""
	case "vendor":
		for _, m := range s.models {
			known = known || m.Vendor == p.ID
		}
	case "model":
		_, known = s.models[p.ID]
	case "site":
		known = t.sites[p.ID] != nil
	case "user":
		known = t.users[Extension(p.ID)] != nil
	case "device":
		for _, d := range t.devices {
			known = known || string(d.ID) == p.ID || d.MAC.String() == p.ID
		}
	default:
		return fmt.Errorf("%w: %s: the layer must be one of default, vendor, model, site, device, user", ErrInvalid, where)
	}
	if !known {
		return fmt.Errorf("%w: %s: there is no such %s", ErrInvalid, where, p.Layer)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Values)) {
		if err := cleanText(where+": "+key, key+p.Values[key]); err != nil {
			return err
		}
		if err := s.parameter(key); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrInvalid, where, err)
		}
	}
	return nil
}

func (c *Settings) merge(spec SettingsSpec) {
	set(&c.Refusal, spec.Refusal)
	if codes := spec.Codes; codes != nil {
		set(&c.Codes.Login, codes.Login)
		set(&c.Codes.Logout, codes.Logout)
		set(&c.Codes.LogoutAll, codes.LogoutAll)
		if codes.Aliases != nil {
			c.Codes.Aliases = codes.Aliases
		}
	}
}

func (site *Site) merge(spec SiteSpec) {
	set(&site.Country, spec.Country)
	set(&site.TimeZone, spec.TimeZone)
	set(&site.Language, spec.Language)
	setList(&site.Networks, spec.Networks)
	set(&site.Enrolment, spec.Enrolment)
	set(&site.RequireHTTPS, spec.RequireHTTPS)
	set(&site.SecondPhone, spec.SecondPhone)
	if p := spec.Phones; p != nil {
		set(&site.Phones.Transport, p.Transport)
		set(&site.Phones.SRTP, p.SRTP)
		set(&site.Phones.NTP, p.NTP)
		set(&site.Phones.AdminPassword, p.AdminPassword)
	}
	if d := spec.Dialing; d != nil {
		set(&site.Dialing.OutsidePrefix, d.OutsidePrefix)
		set(&site.Dialing.Extensions, d.Extensions)
		setList(&site.Dialing.IdleNumbers, d.IdleNumbers)
	}
	if e := spec.Emergency; e != nil {
		setList(&site.Emergency.Numbers, e.Numbers)
		set(&site.Emergency.CallerID, e.CallerID)
		if e.Address != nil {
			site.Emergency.Address = e.Address
		}
		setList(&site.Emergency.Routes, e.Routes)
		setList(&site.Emergency.Notify, e.Notify)
	}
	if a := spec.AutoLogout; a != nil {
		set(&site.AutoLogout.At, a.At)
		if a.Max != nil {
			site.AutoLogout.Max = time.Duration(*a.Max)
		}
		if a.Inactive != nil {
			site.AutoLogout.Inactive = time.Duration(*a.Inactive)
		}
	}
}

func (s *Service) mergePBX(p *PBX, spec PBXSpec) error {
	if err := spec.texts(); err != nil {
		return err
	}
	set(&p.Mode, spec.Mode)
	set(&p.Domain, spec.Domain)
	set(&p.Proxy, spec.Proxy)
	set(&p.Transport, spec.Transport)
	set(&p.Internal, spec.Internal)
	set(&p.Features, spec.Features)
	set(&p.SRTP, spec.SRTP)
	setList(&p.Identity, spec.Identity)
	setList(&p.Sources, spec.Sources)
	if a := spec.Account; a != nil {
		set(&p.Account.AuthUser, a.AuthUser)
		return s.seal(&p.Account.Sealed, a.Secret, a.Sealed, "pbx/"+p.Name)
	}
	return nil
}

// seal stores a secret that arrived in the clear, unless the same one is stored
// already: sealing is never twice the same, and apply must be idempotent.
func (s *Service) seal(dst *string, plain, sealed *string, label string) error {
	if plain == nil {
		if sealed != nil && *sealed != *dst {
			if _, err := s.vault.Unseal(label, *sealed); err != nil {
				return fmt.Errorf("%w: %s: the sealed secret cannot be opened here; give the secret itself", ErrInvalid, label)
			}
			*dst = *sealed
		}
		return nil
	}
	if *dst != "" {
		if old, err := s.vault.Unseal(label, *dst); err == nil && old.Reveal() == *plain {
			return nil
		}
	}
	text, err := s.vault.Seal(label, Secret(*plain))
	if err != nil {
		return fmt.Errorf("seal %s: %w", label, err)
	}
	*dst = text
	return nil
}

// sealAdminPassword seals a site's own phone password; "auto" stays as it is, and
// so does one that was exported sealed.
func (s *Service) sealAdminPassword(site *Site, stored string) error {
	given := site.Phones.AdminPassword
	if given == "" || given == "auto" || given == stored {
		return nil
	}
	label := "site/" + site.Name
	if _, err := s.vault.Unseal(label, given); err == nil {
		return nil
	}
	site.Phones.AdminPassword = stored
	if stored == "auto" {
		site.Phones.AdminPassword = ""
	}
	return s.seal(&site.Phones.AdminPassword, &given, nil, label)
}

// strongPIN refuses a weak PIN.
func (spec UserSpec) strongPIN() error {
	if spec.PIN == nil {
		return nil
	}
	if err := checkPINStrength(Secret(*spec.PIN), Extension(spec.Extension)); err != nil {
		return fmt.Errorf("user %s: pin: %w", spec.Extension, err)
	}
	return nil
}

func (s *Service) mergeUser(ctx context.Context, u *User, spec UserSpec) error {
	where := "user " + string(u.Extension)
	if err := spec.texts(); err != nil {
		return err
	}
	set(&u.Name, spec.Name)
	set(&u.Enabled, spec.Enabled)
	set(&u.HotDesk, spec.HotDesk)
	set(&u.Language, spec.Language)
	set(&u.CallerID, spec.CallerID)
	set(&u.OffDesk, spec.OffDesk)
	setList(&u.Keys, spec.Keys)
	if p := spec.PBX; p != nil {
		account := UserPBX{Name: p.Name}
		if u.PBX != nil && u.PBX.Name == p.Name {
			account = *u.PBX
		}
		set(&account.Extension, p.Extension)
		set(&account.AuthUser, p.AuthUser)
		if err := s.seal(&account.Sealed, p.Secret, p.Sealed, "user/"+string(u.Extension)); err != nil {
			return err
		}
		u.PBX = &account
	}
	if spec.PIN == nil {
		return nil
	}
	if err := spec.strongPIN(); err != nil {
		return err
	}
	pin := Secret(*spec.PIN)
	if u.PINHash != "" {
		same, err := s.vault.VerifyPIN(ctx, pin, u.PINHash)
		if err != nil || same {
			return err
		}
	}
	hash, err := s.vault.HashPIN(ctx, pin)
	if err != nil {
		return fmt.Errorf("%s: pin: %w", where, err)
	}
	u.PINHash = hash
	return nil
}
