package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What is read of the API's answers.
type (
	device struct {
		ID          *string `json:"id"`
		MAC         string  `json:"mac"`
		Site        string  `json:"site"`
		User        *string `json:"user"`
		DefaultUser string  `json:"default_user"`
		Registered  bool    `json:"registered"`
		Config      struct {
			Wanted  uint64 `json:"wanted"`
			Fetched uint64 `json:"fetched"`
			State   string `json:"state"`
		} `json:"config"`
	}
	user struct {
		Extension string            `json:"extension"`
		Name      string            `json:"name"`
		PBX       json.RawMessage   `json:"pbx,omitempty"`
		Keys      []json.RawMessage `json:"keys,omitempty"`
		Devices   []string          `json:"devices"`
	}
	site struct {
		Name         string   `json:"name"`
		EnrolmentURL string   `json:"enrolment_url"`
		Country      string   `json:"country"`
		Networks     []string `json:"networks"`
		Emergency    struct {
			CallerID string            `json:"caller_id"`
			Address  map[string]string `json:"address"`
			Routes   []json.RawMessage `json:"routes"`
		} `json:"emergency"`
	}
	list[T any] struct {
		Items []T `json:"items"`
	}
)

// holdings are sites, users and devices: all that the server has, or of these what
// is a fleet's.
type holdings struct {
	sites   []site
	users   []user
	devices []device
}

// read asks the server for all it has.
func read(ctx context.Context, api API) (holdings, error) {
	var sites list[site]
	var users list[user]
	var devices list[device]
	for _, ask := range []struct {
		path string
		out  any
	}{{"/sites", &sites}, {"/users", &users}, {"/devices", &devices}} {
		if err := api.Read(ctx, ask.path, ask.out); err != nil {
			return holdings{}, err
		}
	}
	return holdings{sites.Items, users.Items, devices.Items}, nil
}

// String says how much it is; empty for nothing.
func (h holdings) String() string {
	var parts []string
	if n := len(h.devices); n > 0 {
		parts = append(parts, fmt.Sprintf("%d devices (%s, …)", n, h.devices[0].MAC))
	}
	if n := len(h.users); n > 0 {
		parts = append(parts, fmt.Sprintf("%d users (%s, …)", n, h.users[0].Extension))
	}
	if len(h.sites) > 0 {
		parts = append(parts, "the site")
	}
	return strings.Join(parts, ", ")
}

// taken says what keeps a fleet from being brought: whatever stands in its site or
// has a name or a number that it would write; empty for nothing.
func (h holdings) taken(name string, seats []*seat) string {
	macs, exts := map[string]bool{}, map[string]bool{}
	for _, s := range seats {
		macs[s.mac], exts[s.ext] = true, true
	}
	return holdings{
		sites:   keep(h.sites, func(s site) bool { return s.Name == name }),
		users:   keep(h.users, func(u user) bool { return exts[u.Extension] || strings.HasPrefix(u.Name, name+" ") }),
		devices: keep(h.devices, func(d device) bool { return macs[d.MAC] || d.ID != nil && d.Site == name }),
	}.String()
}

// of is what the fleet of a name made, told by the forms that it writes. foreign
// names what it did not make and would be harmed by removing that; empty: nothing.
func (h holdings) of(name string) (mine holdings, foreign string) {
	mine = holdings{
		sites:   keep(h.sites, func(s site) bool { return s.Name == name }),
		users:   keep(h.users, func(u user) bool { return madeUser(name, u) }),
		devices: keep(h.devices, func(d device) bool { return d.ID != nil && d.Site == name && madeMAC(name, d.MAC) }),
	}
	ownUser, ownDevice := map[string]bool{}, map[string]bool{}
	for _, u := range mine.users {
		ownUser[u.Extension] = true
	}
	for _, d := range mine.devices {
		ownDevice[*d.ID] = true
	}
	if len(mine.sites) == 0 && len(mine.users) > 0 { // a fleet's site comes first and goes last
		return mine, fmt.Sprintf("user %s (%s), and there is no site %s", mine.users[0].Extension, mine.users[0].Name, name)
	}
	for _, s := range mine.sites {
		if e := s.Emergency; s.Country != "" || len(s.Networks) > 0 || e.CallerID != "" || len(e.Address) > 0 || len(e.Routes) > 0 {
			return mine, fmt.Sprintf("the site %s has a country, networks or emergency rules", name)
		}
	}
	for _, d := range h.devices {
		switch {
		case d.ID == nil || ownDevice[*d.ID]: // pending phones are in no site
		case d.Site == name:
			return mine, fmt.Sprintf("device %s (%s) in the site %s", *d.ID, d.MAC, name)
		case ownUser[d.DefaultUser]:
			return mine, fmt.Sprintf("device %s (%s), whose default user is %s", *d.ID, d.MAC, d.DefaultUser)
		case d.User != nil && ownUser[*d.User]:
			return mine, fmt.Sprintf("device %s (%s), where user %s is logged in", *d.ID, d.MAC, *d.User)
		}
	}
	for _, u := range h.users {
		if i := slices.IndexFunc(mine.devices, func(d device) bool { return d.by(u.Extension) }); i >= 0 && !ownUser[u.Extension] {
			return mine, fmt.Sprintf("user %s (%s), who is logged in at %s", u.Extension, u.Name, mine.devices[i].MAC)
		}
	}
	return mine, ""
}

// madeMAC tells whether the fleet of a name gives such MACs.
func madeMAC(name, mac string) bool {
	digits, ok := strings.CutPrefix(mac, macPrefix(name))
	n, err := strconv.ParseUint(digits, 16, 16)
	return ok && err == nil && len(digits) == 4 && n >= 1 && n <= MaxPhones
}

// madeUser tells whether the fleet of a name makes such users: called by its name
// and a number, an extension that goes with the number, and nothing else set.
func madeUser(name string, u user) bool {
	digits, ok := strings.CutPrefix(u.Name, name+" ")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 1 || n > MaxPhones || u.Name != userName(name, n) {
		return false
	}
	ext, err := strconv.Atoi(u.Extension)
	return err == nil && len(u.Extension) == 5 && ext-(n-1) >= firstExtension && ext < firstExtension+MaxPhones && len(u.PBX) == 0 && len(u.Keys) == 0
}

// keep is those that are so.
func keep[T any](all []T, so func(T) bool) (kept []T) {
	for _, x := range all {
		if so(x) {
			kept = append(kept, x)
		}
	}
	return kept
}
