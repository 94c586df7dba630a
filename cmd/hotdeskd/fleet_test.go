package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"hotdeskd/admin"
	"hotdeskd/internal/fleet"
	"hotdeskd/internal/simphone"
)

// fleetTime is how long a small storm may take on a slow machine: a login call
// alone lasts ten seconds.
const fleetTime = 90 * time.Second

// storm runs a fleet against the server.
func (s *server) storm(ctx context.Context, c fleet.Config) (fleet.Report, error) {
	s.t.Helper()
	c.API, c.Say = fleetServer{s.api}, func(line string) { s.t.Log(line) }
	f, err := fleet.New(c)
	s.must("fleet", err)
	ctx, cancel := context.WithTimeout(ctx, fleetTime)
	defer cancel()
	return f.Run(ctx)
}

// untouched fails unless the server has exactly what office made.
func (s *server) untouched() {
	s.t.Helper()
	sites, err := admin.List[admin.Site](s.context(), s.api, "/sites")
	s.must("sites", err)
	users, err := admin.List[admin.User](s.context(), s.api, "/users")
	s.must("users", err)
	devices, err := admin.List[admin.Device](s.context(), s.api, "/devices")
	s.must("devices", err)
	if len(sites) != 1 || len(users) != 4 || len(devices) != 4 {
		s.t.Errorf("%d sites, %d users, %d devices are there; only the office's 1, 4, 4 should be", len(sites), len(users), len(devices))
	}
}

// Six phones boot at once, and get there; everything is removed again.
func TestFleetBoots(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	r, err := s.storm(t.Context(), fleet.Config{Phones: 6, Storm: fleet.Boot})
	s.must("boot storm", err)
	if r.Done != 6 || len(r.Behind) != 0 || r.ConfigGETs.Count < 6 || r.Registrations.Count != 6 || r.Left != "" {
		t.Errorf("report: %+v", r)
	}
	if b := r.BootToRegistered; b == nil || b.Count != 6 || b.P50 <= 0 || b.P50 > b.P99 || b.P99 > b.Max || r.BootToCurrent.Count != 6 {
		t.Errorf("times: %+v %+v", r.BootToRegistered, r.BootToCurrent)
	}
	s.untouched()
}

// Six people log in, three at a time: the report's times are in order, each phone
// is its user's at the end, and everything is removed again.
func TestFleetLogsIn(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	r, err := s.storm(t.Context(), fleet.Config{Phones: 6, Storm: fleet.Login, AtOnce: 3})
	s.must("login storm", err)
	if r.Done != 6 || r.Logins.Count != 6 || r.ConfigGETs.Count < 6 || r.Registrations.Count < 6 {
		t.Errorf("report: %+v", r)
	}
	if r.PINHash != "argon2id m=19456 t=2 p=1" {
		t.Errorf("the server hashes PINs with %q", r.PINHash)
	}
	// One hash alone takes more than a millisecond, and a check-sync waits for half
	// a second of silence after the call.
	if c, e := r.DigitToCommit, r.EndToCurrent; c.Count != 6 || c.P50 < 1 || e.Count != 6 || e.P50 < 400 {
		t.Errorf("times: %+v %+v", c, e)
	}
	s.untouched()
	started := 0
	for _, c := range s.calls() {
		if c.Kind == "hot-desk" && c.Result == "answered" {
			started++
		}
	}
	if started != 6 {
		t.Errorf("%d login calls are recorded, want 6", started)
	}
}

// A phone that takes no check-sync keeps the storm from succeeding, and the
// report names it and the step in which it stands.
func TestFleetNamesWhoIsBehind(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	mac := ""
	r, err := s.storm(t.Context(), fleet.Config{
		Phones: 3, Storm: fleet.Login, Patience: 15 * time.Second, // more than the words after a login take
		Phone: func(n int, c *simphone.Config) {
			if n == 1 {
				c.NeverRefetch, mac = true, c.MAC
			}
		},
	})
	if !errors.Is(err, fleet.ErrBehind) || !strings.Contains(err.Error(), mac) {
		t.Errorf("error %v does not name %s", err, mac)
	}
	if r.Done != 2 || len(r.Behind) != 1 || r.Behind[0].MAC != mac || !strings.Contains(r.Behind[0].Step, "logged in, does not fetch") {
		t.Errorf("behind: %+v", r.Behind)
	}
	if text := r.String(); !strings.Contains(text, mac) {
		t.Errorf("the text does not name %s:\n%s", mac, text)
	}
	s.untouched()
}

// A phone that cannot fetch is told from one that has not been dialled yet.
func TestFleetNamesWhoDoesNotBoot(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	r, err := s.storm(t.Context(), fleet.Config{
		Phones: 2, Storm: fleet.Boot, Patience: time.Second,
		Phone: func(n int, c *simphone.Config) {
			if n == 0 {
				c.Provision = "http://127.0.0.1:9/p/nowhere/"
			}
		},
	})
	if !errors.Is(err, fleet.ErrBehind) || len(r.Behind) != 1 || !strings.Contains(r.Behind[0].Step, "fetched nothing") {
		t.Errorf("%v; behind: %+v", err, r.Behind)
	}
	s.untouched()
}

// A fleet whose name is taken is refused before anything is written. --remove takes
// the old one away when a fleet made all of it, and otherwise nothing: it names
// the phone, and real people and phones whose site is called so stay.
func TestFleetCollides(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	s.apply("sites:\n  - {name: fleet-one}\nusers:\n  - {extension: \"555\", name: fleet-one 1, pin: \"407133\"}\n  - {extension: \"90001\", name: fleet-one 1, pin: \"407133\"}\ndevices:\n  - {mac: 020000000009, model: yealink-t46u, site: fleet-one}\n")
	rows := len(s.audit())
	_, err := s.storm(t.Context(), fleet.Config{Phones: 2, Storm: fleet.Boot, Name: "fleet-one"})
	if !errors.Is(err, fleet.ErrTaken) || !strings.Contains(err.Error(), "--remove fleet-one") || !strings.Contains(err.Error(), "555") {
		t.Errorf("a second fleet of the name: %v", err)
	}
	if _, err := s.command("sim", "fleet", "--remove", "fleet-one"); !errors.Is(err, fleet.ErrNotOurs) || !strings.Contains(err.Error(), "020000000009") {
		t.Errorf("an office that is called like a fleet: %v", err)
	}
	if now := len(s.audit()); now != rows {
		t.Errorf("%d rows were written", now-rows)
	}
	s.must("remove the real phone", s.api.Delete(s.context(), "/devices/020000000009"))
	if out, err := s.command("sim", "fleet", "--remove", "fleet-one"); err != nil || !strings.Contains(out, "removed 1 users (90001, …), the site") {
		t.Errorf("remove: %q, %v", out, err)
	}
	s.must("the person of another number is still there", s.api.Delete(s.context(), "/users/555"))
	s.untouched()
	if out, err := s.command("sim", "fleet", "--remove", "fleet-one"); err != nil || !strings.Contains(out, "nothing of it is on the server") {
		t.Errorf("remove again: %q, %v", out, err)
	}
	if _, err := s.command("sim", "fleet", "--remove", "roma"); !errors.Is(err, fleet.ErrConfig) {
		t.Errorf("an office was taken for a fleet: %v", err)
	}
}

func (s *server) audit() []json.RawMessage {
	s.t.Helper()
	rows, err := admin.List[json.RawMessage](s.context(), s.api, "/audit")
	s.must("audit", err)
	return rows
}

// An interrupted storm, in the middle of its logins, leaves nothing behind.
func TestFleetIsInterrupted(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	ctx, interrupt := context.WithTimeout(t.Context(), fleetTime)
	defer interrupt()
	go func() {
		for ev, err := range s.api.Events(ctx) {
			if err != nil || ev.Name == "session.started" {
				interrupt()
				return
			}
		}
	}()
	var out, progress bytes.Buffer
	err := runFleet(ctx, fleet.Config{API: fleetServer{s.api}, Phones: 3, Storm: fleet.Login}, &out, &progress, true)
	if err == nil || !strings.Contains(err.Error(), "interrupted; everything of the fleet was removed") {
		t.Errorf("interrupted: %v\n%s%s", err, out.String(), progress.String())
	}
	if !strings.Contains(progress.String(), "log in 3 people") {
		t.Errorf("it was interrupted too early:\n%s", progress.String())
	}
	s.untouched()
}

// What makes no sense is wrong usage, told before the server is asked; what the
// server cannot bear is told before anything is written.
func TestFleetUsage(t *testing.T) {
	t.Parallel()
	c := loopback(t)
	c.RTP.Ports = "28000-28009"
	s := startWith(t, c, &testClock{}, &logBuffer{})
	for _, x := range []struct{ args, says string }{
		{"--storm boot", "from 1 to"},
		{"--phones 3", "the storm is"},
		{"--phones 3 --storm boot --vendor nokia", "no phone of vendor \"nokia\""},
		{"--phones 3 --storm boot --transport sctp", "transport \"sctp\""},
		{"--phones 3 --storm boot --name roma", "the name \"roma\""},
	} {
		if _, err := s.command(append([]string{"sim", "fleet"}, strings.Fields(x.args)...)...); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", x.args, err)
		}
	}
	if _, err := s.command("sim", "fleet", "--phones", "9", "--storm", "login"); err == nil || !strings.Contains(err.Error(), "rtp.ports") {
		t.Errorf("five lines for nine logins: %v", err)
	}
}
