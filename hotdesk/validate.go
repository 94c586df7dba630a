package hotdesk

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"hotdeskd/hotdesk/dial"
)

// target is a whole configuration that is checked before it is written: the
// stored one, or the stored one with a file's wishes merged in.
type target struct {
	settings Settings
	sites    map[string]*Site
	pbxs     map[string]*PBX
	users    map[Extension]*User
	devices  map[MAC]*Device
	params   map[string]*Parameter
	uses     map[string]string // see refer.go
	// numbering is what is stored of the numbers, for the plan of a change.
	numbering Numbering
}

// current copies the stored configuration.
func (s *Service) current() *target {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	t := &target{
		settings:  s.snap.numbering.Settings,
		sites:     maps.Clone(s.snap.sites),
		pbxs:      maps.Clone(s.snap.pbxs),
		users:     maps.Clone(s.snap.users),
		devices:   make(map[MAC]*Device, len(s.snap.devices)),
		params:    maps.Clone(s.snap.params),
		uses:      maps.Clone(s.snap.uses),
		numbering: s.snap.numbering,
	}
	for _, d := range s.snap.devices {
		t.devices[d.MAC] = d
	}
	return t
}

// clone is a copy whose maps may be changed; the records themselves are shared.
func (t *target) clone() *target {
	return &target{
		settings: t.settings, sites: maps.Clone(t.sites), pbxs: maps.Clone(t.pbxs), users: maps.Clone(t.users),
		devices: maps.Clone(t.devices), params: maps.Clone(t.params), uses: t.uses, numbering: t.numbering,
	}
}

func defaultSettings() Settings {
	return Settings{
		Codes: Codes{
			Login: "*77*", Logout: "*77*5*", LogoutAll: "*77*6*",
			Aliases: map[string][]string{"login": {"*11"}, "logout": {"*12"}},
		},
		Refusal: "speak",
	}
}

func defaultSite(name string) Site {
	return Site{
		Name: name, TimeZone: "UTC", Language: "en", Enrolment: "approve", SecondPhone: "move",
		Phones:    Phones{Transport: "udp", SRTP: "off", AdminPassword: "auto"},
		Dialing:   Dialing{Extensions: "[1-9]XX"},
		Emergency: Emergency{Numbers: []string{"112"}},
	}
}

func defaultPBX(name string) PBX {
	return PBX{Name: name, Mode: "register", Transport: "udp", Internal: "pbx", Features: "pbx", SRTP: "off"}
}

func defaultUser(e Extension) User { return User{Extension: e, Enabled: true, HotDesk: true} }

// table makes the codes ready to match.
func (c Codes) table() (dial.Codes, error) {
	t, err := dial.NewCodes(c.Login, c.Logout, c.LogoutAll, c.Aliases)
	if err != nil {
		return t, fmt.Errorf("%w: settings.codes: %w", ErrCodeConflict, err)
	}
	return t, nil
}

// check finds what is wrong with the target as a whole; it names the object and
// the key.
func (t *target) check() error {
	if !slices.Contains([]string{"speak", "403"}, t.settings.Refusal) {
		return fmt.Errorf("%w: settings.refusal: %q must be speak or 403", ErrInvalid, t.settings.Refusal)
	}
	codes, err := t.settings.Codes.table()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t.sites)) {
		if err := t.checkSite(t.sites[name], codes); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.pbxs)) {
		if err := t.pbxs[name].check(); err != nil {
			return err
		}
	}
	reserved := codes.Reserved()
	for _, ext := range slices.Sorted(maps.Keys(t.users)) {
		if err := t.checkUser(t.users[ext], reserved); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) checkSite(site *Site, codes dial.Codes) error {
	where := "site " + site.Name
	if site.Name == "" || strings.Trim(site.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
		return fmt.Errorf("%w: %s: a site's name has letters, digits, '-', '_' and '.' only", ErrInvalid, where)
	}
	for _, field := range []struct {
		key, value string
		allowed    []string
	}{
		{"enrolment", site.Enrolment, []string{"approve", "known", "automatic"}},
		{"second_phone", site.SecondPhone, []string{"move", "allow", "refuse"}},
		{"phones.transport", site.Phones.Transport, []string{"udp", "tcp", "tls"}},
		{"phones.srtp", site.Phones.SRTP, []string{"off", "optional", "required"}},
	} {
		if !slices.Contains(field.allowed, field.value) {
			return fmt.Errorf("%w: %s: %s: %q must be one of %s", ErrInvalid, where, field.key, field.value, strings.Join(field.allowed, ", "))
		}
	}
	// What would be unsafe to accept without the feature behind it.
	if site.Phones.SRTP != "off" {
		return fmt.Errorf("%w: %s: phones.srtp: this version has no SRTP yet; set it to off", ErrInvalid, where)
	}
	if err := checkLanguage(where, site.Language); err != nil {
		return err
	}
	if _, err := time.LoadLocation(site.TimeZone); err != nil {
		return fmt.Errorf("%w: %s: time_zone: %q is no time zone; write it like Europe/Rome", ErrInvalid, where, site.TimeZone)
	}
	for _, n := range site.Networks {
		if _, err := netip.ParsePrefix(n); err != nil {
			return fmt.Errorf("%w: %s: networks: %q must be written like 192.168.1.0/24", ErrInvalid, where, n)
		}
	}
	if at := site.AutoLogout.At; at != "" {
		if _, err := time.Parse("15:04", at); err != nil {
			return fmt.Errorf("%w: %s: auto_logout.at: %q must be written like 20:00", ErrInvalid, where, at)
		}
	}
	for _, n := range append(slices.Clone(site.Emergency.Numbers), site.Dialing.IdleNumbers...) {
		if strings.Trim(n, "0123456789") != "" || n == "" {
			return fmt.Errorf("%w: %s: %q must have digits only", ErrInvalid, where, n)
		}
		if codes.Hides(n) {
			return fmt.Errorf("%w: %s: a hot-desk code is the same as %s", ErrShadowsEmergency, where, n)
		}
	}
	for _, n := range site.Emergency.Numbers {
		for _, number := range []string{n, site.Dialing.OutsidePrefix + n} {
			if err := t.hides(site, Extension(number)); err != nil {
				return err
			}
		}
	}
	for _, r := range site.Emergency.Routes {
		if t.pbxs[r.PBX] == nil {
			return fmt.Errorf("%w: %s: emergency.routes: there is no pbx %q", ErrInvalid, where, r.PBX)
		}
	}
	return nil
}

// hides refuses a user whose extension is one of the site's emergency numbers,
// with the prefix for outside calls or without.
func (t *target) hides(site *Site, ext Extension) error {
	if t.users[ext] == nil {
		return nil
	}
	for _, n := range site.Emergency.Numbers {
		if string(ext) == n || string(ext) == site.Dialing.OutsidePrefix+n {
			return fmt.Errorf("%w: user %s would hide the emergency number %s of site %s; give the user another extension", ErrShadowsEmergency, ext, n, site.Name)
		}
	}
	return nil
}

func (p *PBX) check() error {
	where := "pbx " + p.Name
	for _, field := range []struct {
		key, value string
		allowed    []string
	}{
		{"mode", p.Mode, []string{"register", "trunk", "none"}},
		{"transport", p.Transport, []string{"udp", "tcp", "tls"}},
		{"internal", p.Internal, []string{"pbx", "local"}},
		{"features", p.Features, []string{"pbx", "hotdeskd"}},
		{"srtp", p.SRTP, []string{"off"}},
	} {
		if !slices.Contains(field.allowed, field.value) {
			return fmt.Errorf("%w: %s: %s: %q must be one of %s", ErrInvalid, where, field.key, field.value, strings.Join(field.allowed, ", "))
		}
	}
	if err := checkIdentity(where, p.Identity); err != nil {
		return err
	}
	if err := checkSources(where, p.Sources); err != nil {
		return err
	}
	if p.Mode != "none" && p.Proxy == "" && p.Domain == "" {
		return fmt.Errorf("%w: %s: proxy: give the PBX's host:port", ErrInvalid, where)
	}
	if strings.Contains(p.Proxy, ":") {
		host, port, err := net.SplitHostPort(p.Proxy)
		if n, nErr := strconv.ParseUint(port, 10, 16); err != nil || nErr != nil || n == 0 || host == "" {
			return fmt.Errorf("%w: %s: proxy: %q must be written like 192.168.1.10:5060", ErrInvalid, where, p.Proxy)
		}
	}
	for _, text := range []string{p.Domain, p.Proxy, p.Account.AuthUser} {
		if strings.ContainsAny(text, " <>\"") {
			return fmt.Errorf("%w: %s: %q has characters that do not belong there", ErrInvalid, where, text)
		}
	}
	return nil
}

// checkUser checks one person; reserved are the extensions that would make the
// login code mean another code.
func (t *target) checkUser(u *User, reserved []string) error {
	where := "user " + string(u.Extension)
	if slices.Contains(reserved, string(u.Extension)) {
		return fmt.Errorf("%w: %s: dialling the login code with %s means another hot-desk code; give the user another extension", ErrCodeConflict, where, u.Extension)
	}
	if u.HotDesk && u.PINHash == "" {
		return fmt.Errorf("%w: %s: the PIN is missing; a hot-desk user needs one of 4 to 16 digits", ErrInvalid, where)
	}
	if u.PBX != nil && t.pbxs[u.PBX.Name] == nil {
		return fmt.Errorf("%w: %s: pbx.name: there is no pbx %q", ErrInvalid, where, u.PBX.Name)
	}
	if err := checkLanguage(where, u.Language); err != nil {
		return err
	}
	for i, k := range u.Keys {
		if !slices.Contains([]string{"blf", "speed", "line", "dtmf", "park", "voicemail", "none"}, k.Type) {
			return fmt.Errorf("%w: %s: keys[%d].type: %q must be one of blf, speed, line, dtmf, park, voicemail, none", ErrInvalid, where, i, k.Type)
		}
	}
	return nil
}

// checkLanguage takes a code of two letters (ISO 639-1), as "it", with or without
// a country, "it-IT"; empty leaves the choice to the next wider setting.
func checkLanguage(where, code string) error {
	letters := "abcdefghijklmnopqrstuvwxyz"
	short, country, _ := strings.Cut(code, "-")
	if code == "" || len(short) == 2 && strings.Trim(short, letters) == "" && len(country) <= 4 && strings.Trim(country, letters+strings.ToUpper(letters)) == "" {
		return nil
	}
	return fmt.Errorf("%w: %s: language: %q must be written like it, en or ru", ErrInvalid, where, code)
}

// checkPINStrength refuses PINs that are missing, of the wrong length or the
// first that anybody would try.
func checkPINStrength(pin Secret, ext Extension) error {
	p := pin.Reveal()
	if len(p) < 4 || len(p) > 16 || strings.Trim(p, "0123456789") != "" {
		return fmt.Errorf("%w: a PIN has 4 to 16 digits", ErrWeakPIN)
	}
	up, down, equal := true, true, true
	for i := 1; i < len(p); i++ {
		up = up && p[i] == p[i-1]+1
		down = down && p[i] == p[i-1]-1
		equal = equal && p[i] == p[i-1]
	}
	reversed := []byte(ext)
	slices.Reverse(reversed)
	repeats := len(p)%2 == 0 && p[:len(p)/2] == p[len(p)/2:]
	if up || down || equal || repeats || p == string(ext) || p == string(reversed) || len(ext) >= 3 && strings.Contains(p, string(ext)) && len(p) <= len(ext)+1 {
		return fmt.Errorf("%w: equal or counting digits, a repeated pair and the extension are too easy", ErrWeakPIN)
	}
	return nil
}
