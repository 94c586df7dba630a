package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What is read of the API's answers.
type (
	device struct {
		ID         *string `json:"id"`
		MAC        string  `json:"mac"`
		Site       string  `json:"site"`
		User       *string `json:"user"`
		Registered bool    `json:"registered"`
		Config     struct {
			Wanted  uint64 `json:"wanted"`
			Fetched uint64 `json:"fetched"`
			State   string `json:"state"`
		} `json:"config"`
	}
	user struct {
		Extension string   `json:"extension"`
		Name      string   `json:"name"`
		Devices   []string `json:"devices"`
	}
	site struct {
		Name         string `json:"name"`
		EnrolmentURL string `json:"enrolment_url"`
	}
	list[T any] struct {
		Items []T `json:"items"`
	}
)

// holdings is what of a fleet is on the server.
type holdings struct {
	site    bool
	users   []user
	devices []device
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
	if h.site {
		parts = append(parts, "the site")
	}
	return strings.Join(parts, ", ")
}

// find looks what of a fleet is on the server: what has its name, and what has
// its numbers.
func find(ctx context.Context, api API, name string, mine func(mac, ext string) bool) (h holdings, err error) {
	var sites list[site]
	var users list[user]
	var devices list[device]
	for _, ask := range []struct {
		path string
		out  any
	}{{"/sites", &sites}, {"/users", &users}, {"/devices", &devices}} {
		if err := api.Read(ctx, ask.path, ask.out); err != nil {
			return h, err
		}
	}
	h.site = slices.ContainsFunc(sites.Items, func(s site) bool { return s.Name == name })
	for _, u := range users.Items {
		if strings.HasPrefix(u.Name, name+" ") || mine("", u.Extension) {
			h.users = append(h.users, u)
		}
	}
	for _, d := range devices.Items {
		if d.ID != nil && d.Site == name || mine(d.MAC, "") {
			h.devices = append(h.devices, d)
		}
	}
	return h, nil
}

// look finds out, before anything is written, whether the server and this machine
// can bear the fleet.
func (f *Fleet) look(ctx context.Context, r *Report) error {
	var status struct {
		PINHash  string `json:"pin_hash"`
		IVRLines int    `json:"ivr_lines"`
	}
	if err := f.API.Read(ctx, "/status", &status); err != nil {
		return err
	}
	r.PINHash = status.PINHash
	if lines := linesFor(f.AtOnce); f.Storm == Login && status.IVRLines < lines {
		return fmt.Errorf("%w: %d logins at once need %d lines of the server's menu, as each rests for 10 s after a call, and it has %d: widen rtp.ports (two ports a line) or lower --at-once", ErrTaken, f.AtOnce, lines, status.IVRLines)
	}
	if err := enoughFiles(2*f.Phones + 2*f.AtOnce + 64); err != nil {
		return err
	}
	var settings struct {
		Codes struct {
			Login string `json:"login"`
		} `json:"codes"`
	}
	if err := f.API.Read(ctx, "/settings", &settings); err != nil {
		return err
	}
	f.login = settings.Codes.Login
	macs, exts := map[string]bool{}, map[string]bool{}
	for _, s := range f.seats {
		macs[s.mac], exts[s.ext] = true, true
	}
	there, err := find(ctx, f.API, f.Name, func(mac, ext string) bool { return macs[mac] || exts[ext] })
	if err != nil {
		return err
	}
	if there.String() != "" {
		return fmt.Errorf("%w, and nothing was changed: the server already has of %s: %s; if a fleet left it behind: hotdeskd sim fleet --remove %s; otherwise give another --name", ErrTaken, f.Name, there, f.Name)
	}
	return nil
}

// linesFor is how many lines of the menu so many logins at once take: a login
// takes about eight seconds and its ports rest for ten after it.
func linesFor(atOnce int) int { return atOnce * 2 }

// enoughFiles checks that the process may open what its phones need.
func enoughFiles(need int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Cur < uint64(need) {
		return fmt.Errorf("%w: this process may open %d files and its phones need %d: raise the limit (ulimit -n %d) or take fewer phones", ErrTaken, limit.Cur, need, need)
	}
	return nil
}

// settle applies the office and learns the devices' numbers.
func (f *Fleet) settle(ctx context.Context) error {
	type m = map[string]any
	where := m{"name": f.Name}
	if f.Transport != "" {
		where["phones"] = m{"transport": f.Transport}
	}
	var users, devices []m
	for _, s := range f.seats {
		users = append(users, m{"extension": s.ext, "name": fmt.Sprintf("%s %d", f.Name, s.n+1), "pin": s.pin})
		devices = append(devices, m{"mac": s.mac, "model": s.model, "site": f.Name, "desk": fmt.Sprint(s.n + 1)})
	}
	text, err := json.Marshal(m{"sites": []m{where}, "users": users, "devices": devices}) // JSON is YAML
	if err != nil {
		return err
	}
	began := time.Now()
	f.say("apply site %s with %d users and %d devices (every PIN is hashed)", f.Name, f.Phones, f.Phones)
	if err := f.API.Apply(ctx, text); err != nil {
		return err
	}
	f.say("applied in %s", since(began))
	var own site
	if err := f.API.Read(ctx, "/sites/"+url.PathEscape(f.Name), &own); err != nil {
		return err
	}
	if f.url = own.EnrolmentURL; f.url == "" {
		return fmt.Errorf("%w: the server does not tell the site's enrolment URL; the token must be an admin's or an owner's", ErrConfig)
	}
	var all list[device]
	if err := f.API.Read(ctx, "/devices?site="+url.QueryEscape(f.Name), &all); err != nil {
		return err
	}
	byMAC := map[string]*seat{}
	for _, s := range f.seats {
		byMAC[s.mac] = s
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range all.Items {
		if s := byMAC[d.MAC]; s != nil && d.ID != nil {
			s.id, f.byID[*d.ID] = *d.ID, s
		}
	}
	if len(f.byID) != f.Phones {
		return fmt.Errorf("%d of %d devices were applied", len(f.byID), f.Phones)
	}
	return nil
}

// leave switches the phones off and takes the office away. It has its own time:
// who interrupts a fleet still wants it gone.
func (f *Fleet) leave(ctx context.Context, r *Report) error {
	began := time.Now()
	if f.off != nil {
		f.say("switch off and remove")
		f.off()
		f.on.Wait()
	}
	left, err := Remove(context.WithoutCancel(ctx), f.API, f.Name)
	if err != nil {
		r.Left = left
		return err
	}
	f.say("removed in %s", since(began))
	return nil
}

const (
	removing   = 2 * time.Minute // may removing take in all; a call may go on for 90 s
	mostSilent = 10              // questions without an answer
)

// Remove deletes everything of the fleet of a name: people are logged out, then
// devices, users and the site go. left says what is still there.
func Remove(ctx context.Context, api API, name string) (left string, err error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, removing)
	defer cancel()
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	for silent := 0; ; {
		there, err := find(ctx, api, name, func(string, string) bool { return false })
		if err != nil {
			silent++
		} else {
			silent = 0
			if left = there.String(); left == "" {
				return "", nil
			}
			if err = there.remove(ctx, api, name); err == nil {
				continue // look whether all is gone
			}
		}
		select {
		case <-pause.C: // a call may still be ending
		case <-ctx.Done():
		}
		if ctx.Err() != nil || silent == mostSilent {
			return left, fmt.Errorf("%w: %s of %s (%w); later: hotdeskd sim fleet --remove %s", ErrLeft, cmp.Or(left, "what there is"), name, err, name)
		}
	}
}

// remove makes one pass over everything.
func (h holdings) remove(ctx context.Context, api API, name string) error {
	var calls []func() error
	for _, u := range h.users {
		path := "/users/" + url.PathEscape(u.Extension)
		if len(u.Devices) > 0 {
			calls = append(calls, func() error { return api.Post(ctx, path+"/logout", nil, nil) })
		}
	}
	err := together(calls)
	calls = nil
	for _, d := range h.devices {
		calls = append(calls, func() error { return api.Delete(ctx, "/devices/"+d.MAC) })
	}
	for _, u := range h.users {
		calls = append(calls, func() error { return api.Delete(ctx, "/users/"+url.PathEscape(u.Extension)) })
	}
	if err = errors.Join(err, together(calls)); err != nil || !h.site {
		return err
	}
	return api.Delete(ctx, "/sites/"+url.PathEscape(name))
}

// workers is how many requests are sent at once.
const workers = 16

// together makes calls, some at once, and returns the first error.
func together(calls []func() error) (first error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	next := make(chan func() error)
	for range workers {
		all.Go(func() {
			for call := range next {
				if err := call(); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	for _, call := range calls {
		next <- call
	}
	close(next)
	all.Wait()
	return first
}
