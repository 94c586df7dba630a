package fleet

import (
	"fmt"
	"sync"
	"time"

	"hotdeskd/internal/simphone"
)

// seat is one phone and the person who logs in at it, with what was seen of them.
// A zero time has not come yet.
type seat struct {
	n          int
	mac, model string
	ext, pin   string
	id         string // of the device
	phone      *simphone.Phone
	commit     chan struct{} // closed at the event of the session

	mu sync.Mutex
	// of the storm that is measured
	fetches, registrations int
	lastFetch, lastReg     time.Time
	// of the boot
	on, registered, current time.Time
	// of the login
	dialled, prompted, pressed, committed, ended, refreshed time.Time
	failed                                                  error
	bootVersion                                             uint64
	// what the API said last
	api     device
	trouble string // what the phone said went wrong last
}

// step hears what the phone does.
func (s *seat) step(st simphone.Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch st.Name {
	case "fetched":
		s.fetches++
		s.lastFetch = st.Time
	case "registered", "refreshed":
		s.registrations++
		s.lastReg, s.trouble = st.Time, ""
		first(&s.registered, st.Time)
	case "error":
		s.trouble = st.Detail["error"]
	}
}

// first sets a time that has not come yet; it tells whether it did.
func first(at *time.Time, now time.Time) bool {
	if !at.IsZero() {
		return false
	}
	*at = now
	return true
}

// heard takes an event of the server about the device.
func (s *seat) heard(name, user string, version uint64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case name == "session.started" && user == s.ext:
		if first(&s.committed, now) {
			close(s.commit)
		}
	case name == "device.config_current" && s.bootVersion == 0:
		first(&s.current, now)
	case name == "device.config_current" && version > s.bootVersion:
		first(&s.refreshed, now)
	}
}

// saw takes what the API says about the device. A state that no event told in
// time counts from when it was seen.
func (s *seat) saw(d device, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.api = d
	switch {
	case d.Config.State != "current":
	case s.bootVersion == 0:
		first(&s.current, now)
	case d.Config.Wanted > s.bootVersion && s.api.by(s.ext):
		first(&s.refreshed, now)
	}
}

func (d device) by(ext string) bool { return d.User != nil && *d.User == ext }

// booted tells whether the phone has fetched, is registered and current, by its
// own account and the API's.
func (s *seat) booted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches > 0 && !s.registered.IsZero() && !s.current.IsZero() && s.api.Registered && s.api.Config.State == "current"
}

// seated tells the same of a phone whose person has logged in.
func (s *seat) seated() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed == nil && s.fetches > 0 && s.registrations > 0 && !s.committed.IsZero() && !s.ended.IsZero() &&
		!s.refreshed.IsZero() && s.api.Registered && s.api.Config.State == "current" && s.api.by(s.ext)
}

// gaveUp tells whether the person's login has failed.
func (s *seat) gaveUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed != nil
}

// progress counts how far the seat is.
func (s *seat) progress() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range []time.Time{s.registered, s.current, s.dialled, s.prompted, s.pressed, s.committed, s.ended, s.refreshed} {
		if !at.IsZero() {
			n++
		}
	}
	if s.fetches > 0 {
		n++
	}
	if s.api.Registered {
		n++
	}
	if s.failed != nil {
		n++
	}
	return n
}

// stands says which step a seat that did not get there stands in.
func (s *seat) stands(storm string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := fmt.Sprintf("it has fetched version %d and %d is wanted (%s)", s.api.Config.Fetched, s.api.Config.Wanted, s.api.Config.State)
	where := ""
	switch {
	case s.fetches == 0 && s.bootVersion == 0:
		where = "switched on, has fetched nothing"
	case s.registered.IsZero():
		where = "fetched, not registered"
	case s.current.IsZero():
		where = "registered, not current: " + versions
	case storm == Boot && !s.api.Registered:
		where = "was registered and is not any more"
	case storm == Boot:
		where = "was current and is not any more: " + versions
	case s.dialled.IsZero():
		where = "booted, nobody has dialled"
	case s.prompted.IsZero():
		where = "dialled, no prompt"
	case s.pressed.IsZero():
		where = "heard the prompt, PIN not typed"
	case s.committed.IsZero():
		where = "PIN typed, no session"
	case s.ended.IsZero():
		where = "logged in, the call does not end"
	case s.fetches == 0:
		where = "logged in, does not fetch: " + versions
	case s.registrations == 0:
		where = "logged in, fetched, not registered as the user"
	case s.refreshed.IsZero():
		where = "logged in, not current: " + versions
	case !s.api.Registered:
		where = "logged in, not registered any more"
	default:
		where = "logged in, and the API says otherwise: " + versions
	}
	if s.failed != nil {
		where += ": " + s.failed.Error()
	} else if s.trouble != "" {
		where += ": " + s.trouble
	}
	return where
}
