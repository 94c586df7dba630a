package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"syscall"
	"time"
)

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
	there, err := read(ctx, f.API)
	if err != nil {
		return err
	}
	if taken := there.taken(f.Name, f.seats); taken != "" {
		return fmt.Errorf("%w, and nothing was changed: the server already has of %s: %s; if a fleet left it behind: hotdeskd sim fleet --remove %s (which deletes nothing that a fleet did not make); otherwise give another --name", ErrTaken, f.Name, taken, f.Name)
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
		users = append(users, m{"extension": s.ext, "name": userName(f.Name, s.n+1), "pin": s.pin})
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
	_, left, err := Remove(context.WithoutCancel(ctx), f.API, f.Name)
	if err != nil {
		r.Left = left
		return err
	}
	f.say("removed in %s", since(began))
	return nil
}
