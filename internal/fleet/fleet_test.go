package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// api is a server that has what a test says, and refuses what it says.
type api struct {
	mu      sync.Mutex
	sites   []site
	users   []user
	devices []device
	status  string
	refuse  map[string]error // by "DELETE /devices/…", for ever
	busy    map[string]int   // refused so often
	events  []Event
	written []string
	slow    time.Duration // that a refused write takes
}

func (a *api) Read(_ context.Context, path string, out any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.refuse["GET "+path]; err != nil {
		return err
	}
	answers := map[string]any{
		"/sites": list[site]{a.sites}, "/users": list[user]{a.users}, "/devices": list[device]{a.devices},
		"/status": json.RawMessage(a.status), "/settings": json.RawMessage(`{"codes":{"login":"*77*"}}`),
	}
	b, err := json.Marshal(answers[path])
	if err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

func (a *api) write(ctx context.Context, what string) error {
	a.mu.Lock()
	a.written = append(a.written, what)
	refused := a.refuse[what]
	a.mu.Unlock()
	if refused != nil {
		wait, cancel := context.WithTimeout(ctx, a.slow)
		defer cancel()
		<-wait.Done()
		return cmp.Or(ctx.Err(), refused)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy[what] > 0 {
		a.busy[what]--
		return errors.New("device in call")
	}
	switch kind, id, _ := strings.Cut(strings.TrimPrefix(what, "DELETE /"), "/"); kind {
	case "sites":
		a.sites = without(a.sites, func(s site) bool { return s.Name == id })
	case "users":
		a.users = without(a.users, func(u user) bool { return u.Extension == id })
	case "devices":
		a.devices = without(a.devices, func(d device) bool { return d.MAC == id })
	}
	return nil
}

func without[T any](all []T, is func(T) bool) (rest []T) {
	for _, x := range all {
		if !is(x) {
			rest = append(rest, x)
		}
	}
	return rest
}

func (a *api) Post(ctx context.Context, path string, _, _ any) error {
	return a.write(ctx, "POST "+path)
}
func (a *api) Delete(ctx context.Context, path string) error { return a.write(ctx, "DELETE "+path) }
func (a *api) Apply(ctx context.Context, _ []byte) error     { return a.write(ctx, "APPLY") }
func (a *api) Events(context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for _, ev := range a.events {
			if !yield(ev, nil) {
				return
			}
		}
	}
}

// leftover is a server with an office and a fleet of two, one of them logged in.
func leftover() *api {
	id := func(n int) *string { s := fmt.Sprintf("HD%04d", n); return &s }
	ext := "90001"
	return &api{
		sites: []site{{Name: "fleet-x"}, {Name: "roma", Country: "IT"}},
		users: []user{{Extension: "100", Name: "fleet-xavier"}, {Extension: "90001", Name: "fleet-x 1", Devices: []string{"HD0002"}}, {Extension: "90002", Name: "fleet-x 2"}},
		devices: []device{
			{ID: id(1), MAC: "805ec0000001", Site: "roma"},
			{ID: id(2), MAC: mac(1), Site: "fleet-x", User: &ext},
			{ID: id(3), MAC: mac(2), Site: "fleet-x"},
		},
		refuse: map[string]error{}, busy: map[string]int{},
		status: `{"pin_hash":"argon2id","ivr_lines":200}`,
	}
}

// mac is that of the n-th phone of fleet-x.
func mac(n int) string { return fmt.Sprintf("%s%04x", macPrefix("fleet-x"), n) }

// Removing takes what is the fleet's, logs out who is logged in, waits for calls
// that are still ending, and touches nothing else: not even who is called so
// without a number of the fleet, or has the number without the name.
func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := leftover()
		others := []user{
			{Extension: "555", Name: "fleet-x 3"}, {Extension: "90003", Name: "fleet-x 03"}, {Extension: "90004", Name: "fleet-x the chief"},
			{Extension: "90005", Name: "Anna"}, {Extension: "90005", Name: "fleet-x-2 5"}, {Extension: "090006", Name: "fleet-x 6"},
			{Extension: "90001", Name: "fleet-x 8"}, {Extension: "90007", Name: "fleet-x 7", PBX: json.RawMessage(`{"name":"main"}`)},
		}
		a.users = append(a.users, others...)
		a.busy["DELETE /devices/"+mac(1)] = 40
		was, left, err := Remove(t.Context(), a, "fleet-x")
		if err != nil || left != "" || was != "2 devices ("+mac(1)+", …), 2 users (90001, …), the site" {
			t.Fatalf("was %q, left %q: %v", was, left, err)
		}
		if len(a.users) != 1+len(others)-1 || len(a.devices) != 1 || len(a.sites) != 1 {
			t.Errorf("there are %v %v %v", a.users, a.devices, a.sites)
		}
		if a.written[0] != "POST /users/90001/logout" {
			t.Errorf("the first write is %s, want the logout", a.written[0])
		}
	})
}

// When real phones, people or rules would be harmed, nothing at all is deleted and
// nobody logged out, and the refusal names what is in the way.
func TestRemoveHarmsNobody(t *testing.T) {
	person, one := "100", "90001"
	for says, change := range map[string]func(*api){
		"HD0001 (805ec0000001) in the site":                      func(a *api) { a.devices[0].Site = "fleet-x" },
		"(" + mac(0) + ") in the site":                           func(a *api) { a.devices[2].MAC = mac(0) },
		"(" + mac(MaxPhones+1) + ") in the site":                 func(a *api) { a.devices[2].MAC = mac(MaxPhones + 1) },
		"user 100 (fleet-xavier), who is logged in at " + mac(2): func(a *api) { a.devices[2].User = &person },
		"HD0001 (805ec0000001), where user 90001 is logged in":   func(a *api) { a.devices[0].User = &one },
		"HD0001 (805ec0000001), whose default user is 90002":     func(a *api) { a.devices[0].DefaultUser = "90002" },
		"the site fleet-x has a country, networks":               func(a *api) { a.sites[0].Networks = []string{"10.0.0.0/8"} },
		"user 90001 (fleet-x 1), and there is no site fleet-x":   func(a *api) { a.sites = a.sites[1:]; a.devices = a.devices[:1] },
	} {
		a := leftover()
		change(a)
		_, left, err := Remove(t.Context(), a, "fleet-x")
		if !errors.Is(err, ErrNotOurs) || !errors.Is(err, ErrLeft) || !strings.Contains(err.Error(), says) || left == "" {
			t.Errorf("%v, want %q (left %q)", err, says, left)
		}
		if len(a.written) > 0 {
			t.Errorf("%s: written: %v", says, a.written)
		}
	}
}

// What cannot be removed is told with the server's last refusal and the way to do it
// later, within two minutes; a server that does not answer is given up earlier.
func TestRemoveGivesUp(t *testing.T) {
	for _, x := range []struct {
		refused, says string
		within        time.Duration
	}{
		{"DELETE /devices/" + mac(2), "1 devices (" + mac(2) + ", …), the site of fleet-x (no)", removing + time.Second},
		{"DELETE /sites/fleet-x", "the site of fleet-x (no)", removing + time.Second},
		{"GET /users", "what there is of fleet-x (no)", mostSilent*time.Second + time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := leftover()
			a.refuse[x.refused] = errors.New("no")
			a.slow = removing / 20
			began := time.Now()
			_, _, err := Remove(t.Context(), a, "fleet-x")
			if !errors.Is(err, ErrLeft) || !strings.Contains(err.Error(), x.says) || !strings.Contains(err.Error(), "--remove fleet-x") {
				t.Errorf("%s refused: %v", x.refused, err)
			}
			if took := time.Since(began); took > x.within {
				t.Errorf("%s refused: given up after %s", x.refused, took)
			}
		})
	}
}

// A storm is refused, and nothing written, when something of the fleet is there,
// also when only a number is taken, and when the server has too few lines.
func TestRefused(t *testing.T) {
	taken := func(change func(a *api, s *seat)) error {
		a := leftover()
		f, err := New(Config{API: a, Phones: 50, Storm: Login, Name: "fleet-y"})
		if err != nil {
			t.Fatal(err)
		}
		change(a, f.seats[49])
		_, err = f.Run(t.Context())
		if len(a.written) > 0 {
			t.Errorf("written: %v", a.written)
		}
		return err
	}
	for what, change := range map[string]func(*api, *seat){
		"the site":    func(a *api, _ *seat) { a.sites = append(a.sites, site{Name: "fleet-y"}) },
		"1 users":     func(a *api, s *seat) { a.users = append(a.users, user{Extension: s.ext, Name: "A person"}) },
		"1 devices":   func(a *api, s *seat) { a.devices = append(a.devices, device{MAC: s.mac, Site: "roma"}) },
		"rtp.ports":   func(a *api, _ *seat) { a.status = `{"ivr_lines":99}` },
		"not allowed": func(a *api, _ *seat) { a.refuse["GET /status"] = errors.New("not allowed") },
	} {
		if err := taken(change); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A storm whose events were lost has no figures: it fails, and is still removed.
func TestLostEvents(t *testing.T) {
	f, err := New(Config{API: leftover(), Phones: 1, Storm: Boot})
	if err != nil {
		t.Fatal(err)
	}
	f.API.(*api).events = []Event{{Name: "reset"}}
	f.watch(t.Context()) // the stream ends too
	if err := f.until(t.Context(), "there", func(*seat) bool { return false }); err == nil || !strings.Contains(err.Error(), "events are missing") {
		t.Errorf("events were lost: %v", err)
	}
}

// Numbers of the largest fleet differ, stay in their range and begin with their
// marks; a PIN has six digits and never the extension, which would be too easy.
func TestNumbers(t *testing.T) {
	for _, name := range []string{"fleet-000000", "fleet-ffffff", "fleet-x"} {
		f, err := New(Config{API: leftover(), Phones: MaxPhones, Storm: Boot, Name: name})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, s := range f.seats {
			if seen[s.mac] || seen[s.ext] || len(s.mac) != 12 || s.mac[:2] != "02" || len(s.ext) != 5 || s.ext[0] != '9' || len(s.pin) != 6 || strings.Contains(s.pin, s.ext) || strings.Contains(s.pin[:2], "9") {
				t.Fatalf("%s: seat %d is %s %s", name, s.n, s.mac, s.ext)
			}
			seen[s.mac], seen[s.ext] = true, true
		}
	}
}

// Small fleets have a phone of every vendor; a vendor alone has all its models.
func TestMix(t *testing.T) {
	all, err := mix(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := []string{vendorOf(all[0]), vendorOf(all[1]), vendorOf(all[2])}; fmt.Sprint(got) != "[grandstream snom yealink]" {
		t.Errorf("the first three are of %v", got)
	}
	snom, err := mix([]string{"snom"})
	if err != nil || len(snom) < 8 {
		t.Errorf("models of Snom: %v, %v", snom, err)
	}
	for _, m := range snom {
		if vendorOf(m) != "snom" {
			t.Errorf("%s is no Snom", m)
		}
	}
}

// A percentile is the smallest time that so many of a hundred do not exceed.
func TestSpread(t *testing.T) {
	times := func(n int) (all []time.Duration) {
		for i := n; i > 0; i-- {
			all = append(all, time.Duration(i)*time.Millisecond)
		}
		return all
	}
	for _, x := range []struct {
		n    int
		want Spread
	}{{1, Spread{1, 1, 1, 1}}, {2, Spread{2, 1, 2, 2}}, {100, Spread{100, 50, 99, 100}}, {500, Spread{500, 250, 495, 500}}} {
		if got := spread(times(x.n)); got == nil || *got != x.want {
			t.Errorf("of %d: %+v, want %+v", x.n, got, x.want)
		}
	}
	if spread(nil) != nil {
		t.Error("nothing has no spread")
	}
}
