package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Spread tells how a time is spread over the phones, in milliseconds.
type Spread struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// Count is how often something happened, and how often a second from the
// beginning of the storm to the last time.
type Count struct {
	Count     int     `json:"count"`
	PerSecond float64 `json:"per_second"`
}

// Behind is a phone that did not get there.
type Behind struct {
	MAC    string `json:"mac"`
	Device string `json:"device"`
	User   string `json:"user"`
	Step   string `json:"step"` // where it stands
}

// Report is what a storm was and what was seen of it.
type Report struct {
	Storm     string         `json:"storm"`
	Site      string         `json:"site"`
	Phones    int            `json:"phones"`
	Models    map[string]int `json:"models"`
	Transport string         `json:"transport,omitempty"`
	AtOnce    int            `json:"at_once,omitempty"`
	PINHash   string         `json:"pin_hash"` // the server's, in its words

	Done    int     `json:"done"` // phones that got there
	Seconds float64 `json:"seconds"`

	ConfigGETs    Count  `json:"config_gets"`   // answered with a file
	Registrations Count  `json:"registrations"` // each is a REGISTER, mostly with a challenge before it
	Logins        *Count `json:"logins,omitempty"`

	BootToRegistered *Spread `json:"boot_to_registered,omitempty"`
	BootToCurrent    *Spread `json:"boot_to_current,omitempty"`
	DigitToCommit    *Spread `json:"last_digit_to_commit,omitempty"`
	EndToCurrent     *Spread `json:"end_of_call_to_current,omitempty"`

	Behind []Behind `json:"behind"`
	Left   string   `json:"left,omitempty"` // what could not be removed
}

func (f *Fleet) newReport() Report {
	r := Report{Storm: f.Storm, Site: f.Name, Phones: f.Phones, Models: map[string]int{}, Transport: f.Transport, Behind: []Behind{}}
	for _, s := range f.seats {
		r.Models[s.model]++
	}
	if f.Storm == Login {
		r.AtOnce = f.AtOnce
	}
	return r
}

// boot takes the figures of a boot storm.
func (r *Report) boot(began time.Time, seats []*seat) {
	var registered, current []time.Duration
	for _, s := range seats {
		r.seat(s, s.booted())
		s.mu.Lock()
		registered = between(registered, s.on, s.registered)
		current = between(current, s.on, s.current)
		s.mu.Unlock()
	}
	r.BootToRegistered, r.BootToCurrent = spread(registered), spread(current)
	r.common(began, seats)
}

// login takes the figures of a login storm.
func (r *Report) login(began time.Time, seats []*seat) {
	var commit, current []time.Duration
	logins, last := 0, began
	for _, s := range seats {
		r.seat(s, s.seated())
		s.mu.Lock()
		commit = between(commit, s.pressed, s.committed)
		current = between(current, s.ended, s.refreshed)
		if !s.committed.IsZero() {
			logins, last = logins+1, later(last, s.committed)
		}
		s.mu.Unlock()
	}
	c := count(logins, last.Sub(began))
	r.Logins, r.DigitToCommit, r.EndToCurrent = &c, spread(commit), spread(current)
	r.common(began, seats)
}

// seat notes whether one got there.
func (r *Report) seat(s *seat, there bool) {
	if there {
		r.Done++
		return
	}
	r.Behind = append(r.Behind, Behind{MAC: s.mac, Device: s.id, User: s.ext, Step: s.stands(r.Storm)})
}

func (r *Report) common(began time.Time, seats []*seat) {
	gets, regs, lastGet, lastReg := 0, 0, began, began
	for _, s := range seats {
		s.mu.Lock()
		gets, regs = gets+s.fetches, regs+s.registrations
		lastGet, lastReg = later(lastGet, s.lastFetch), later(lastReg, s.lastReg)
		s.mu.Unlock()
	}
	r.ConfigGETs, r.Registrations = count(gets, lastGet.Sub(began)), count(regs, lastReg.Sub(began))
	r.Seconds = round(time.Since(began).Seconds(), 100)
}

func between(all []time.Duration, from, to time.Time) []time.Duration {
	if from.IsZero() || to.IsZero() {
		return all
	}
	return append(all, to.Sub(from))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func count(n int, over time.Duration) Count {
	c := Count{Count: n}
	if over > 0 {
		c.PerSecond = round(float64(n)/over.Seconds(), 10)
	}
	return c
}

func round(x, parts float64) float64 { return float64(int64(x*parts+0.5)) / parts }

// spread sorts the times; nil when there are none. A percentile is the smallest
// time that so many of a hundred do not exceed.
func spread(times []time.Duration) *Spread {
	if len(times) == 0 {
		return nil
	}
	slices.Sort(times)
	at := func(percent int) float64 {
		return ms(times[max((len(times)*percent+99)/100, 1)-1])
	}
	return &Spread{Count: len(times), P50: at(50), P99: at(99), Max: ms(times[len(times)-1])}
}

func ms(d time.Duration) float64 { return round(float64(d)/float64(time.Millisecond), 10) }

// named is how many phones that are behind a text names.
const named = 10

// String is the report for a person.
func (r Report) String() string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-26s "+format+"\n", append([]any{what}, args...)...)
	}
	line("storm", "%s, %d phones, %s", r.Storm, r.Phones, r.mixed())
	if r.AtOnce > 0 {
		line("PIN hash of the server", "%s", r.PINHash)
		line("logins at once", "%d", r.AtOnce)
	}
	line("there", "%d of %d, after %.1f s", r.Done, r.Phones, r.Seconds)
	line("config GETs", "%d, %.1f a second", r.ConfigGETs.Count, r.ConfigGETs.PerSecond)
	line("registrations", "%d, %.1f a second", r.Registrations.Count, r.Registrations.PerSecond)
	if r.Logins != nil {
		line("logins", "%d, %.1f a second", r.Logins.Count, r.Logins.PerSecond)
	}
	for _, s := range []struct {
		what string
		*Spread
	}{
		{"boot to registered", r.BootToRegistered},
		{"boot to current", r.BootToCurrent},
		{"last digit to commit", r.DigitToCommit},
		{"end of call to current", r.EndToCurrent},
	} {
		if s.Spread != nil {
			line(s.what, "p50 %.0f ms, p99 %.0f ms, max %.0f ms (of %d)", s.P50, s.P99, s.Max, s.Count)
		}
	}
	for i, x := range r.Behind {
		if i == named {
			line("behind", "and %d more", len(r.Behind)-named)
			break
		}
		line("behind", "%s %s user %s: %s", x.MAC, x.Device, x.User, x.Step)
	}
	return b.String()
}

func (r Report) mixed() string {
	byVendor := map[string]int{}
	for model, n := range r.Models {
		byVendor[vendorOf(model)] += n
	}
	var parts []string
	for vendor, n := range byVendor {
		parts = append(parts, fmt.Sprintf("%d %s", n, vendor))
	}
	slices.Sort(parts)
	if r.Transport != "" {
		parts = append(parts, "SIP over "+r.Transport)
	}
	return strings.Join(parts, ", ")
}
