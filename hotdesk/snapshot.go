package hotdesk

import (
	"maps"
	"slices"
	"sync"
	"time"

	"hotdeskd/hotdesk/dial"
)

// snapshot is the store's content in memory, ready to answer. Only the Watch
// feed writes it (Service.follow); records in it are never changed, only replaced.
type snapshot struct {
	mu        sync.RWMutex
	rev       Rev
	changed   chan struct{} // closed and replaced at every commit
	devices   map[DeviceID]*Device
	macs      map[MAC]DeviceID
	bindings  map[DeviceID]*Session
	users     map[Extension]*User
	seats     map[Extension]*Seats
	sites     map[string]*Site
	pbxs      map[string]*PBX
	fetched   map[DeviceID]Fetched
	holds     map[DeviceID]time.Time
	locks     map[DeviceID]time.Time // device throttle: locked until
	userLocks map[Extension]time.Time
	params    map[string]*Parameter // by key
	uses      map[string]string     // by key; see refer.go
	numbering Numbering
	numbered  bool // there is a numbering
	codes     dial.Codes
	// derived
	rings map[Extension][]DeviceID // devices that ring for a user, by id
	creds map[DeviceID][]Credential
}

func newSnapshot() *snapshot {
	return &snapshot{
		changed:   make(chan struct{}),
		devices:   map[DeviceID]*Device{},
		macs:      map[MAC]DeviceID{},
		bindings:  map[DeviceID]*Session{},
		users:     map[Extension]*User{},
		seats:     map[Extension]*Seats{},
		sites:     map[string]*Site{},
		pbxs:      map[string]*PBX{},
		fetched:   map[DeviceID]Fetched{},
		holds:     map[DeviceID]time.Time{},
		locks:     map[DeviceID]time.Time{},
		userLocks: map[Extension]time.Time{},
		params:    map[string]*Parameter{},
		uses:      map[string]string{},
		rings:     map[Extension][]DeviceID{},
		creds:     map[DeviceID][]Credential{},
	}
}

// apply makes one commit visible, whole. Decoding was done before the lock;
// secrets of touched devices are derived under it, which costs microseconds.
func (s *snapshot) apply(rev Rev, edits []edit, touched []DeviceID, secrets func(*Device, Fetched) []Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := make([]Extension, len(touched))
	for i, id := range touched {
		before[i] = s.sitter(id)
	}
	for _, e := range edits {
		e(s)
	}
	for i, id := range touched {
		if now := s.sitter(id); now != before[i] {
			s.moveRing(id, before[i], now)
		}
		if d := s.devices[id]; d != nil {
			s.creds[id] = secrets(d, s.fetched[id])
		} else {
			delete(s.creds, id)
			delete(s.fetched, id)
		}
	}
	s.rev = rev
	close(s.changed)
	s.changed = make(chan struct{})
}

// moveRing keeps the reverse table from users to the devices that ring for them.
func (s *snapshot) moveRing(id DeviceID, from, to Extension) {
	if from != "" {
		left := slices.DeleteFunc(slices.Clone(s.rings[from]), func(d DeviceID) bool { return d == id })
		if len(left) == 0 {
			delete(s.rings, from)
		} else {
			s.rings[from] = left
		}
	}
	if to != "" {
		list := append(slices.Clone(s.rings[to]), id)
		slices.Sort(list)
		s.rings[to] = list
	}
}

// sitter is who uses the device: the session's user or else the default user.
func (s *snapshot) sitter(id DeviceID) Extension {
	if b := s.bindings[id]; b != nil {
		return b.User
	}
	if d := s.devices[id]; d != nil {
		return d.DefaultUser
	}
	return ""
}

// phone copies out everything about one device. The caller holds the lock.
func (s *snapshot) phone(id DeviceID, models map[string]Model) (Phone, bool) {
	d := s.devices[id]
	if d == nil {
		return Phone{}, false
	}
	p := Phone{Device: *d, Fetched: s.fetched[id], Model: models[d.Model]}
	if site := s.sites[d.Site]; site != nil {
		p.Site = *site
	} else {
		p.Site = s.anyEmergency()
	}
	if b := s.bindings[id]; b != nil {
		session := *b
		p.Session = &session
	}
	if u := s.users[s.sitter(id)]; u != nil {
		user := *u
		p.User = &user
	}
	return p, true
}

// anyEmergency stands for the site of a device whose site is not there, which no
// transaction leaves behind (refer.go) but a damaged store may: emergency calls must
// not hang on that record, so they may use every site's numbers and ways out. The
// caller holds the lock.
func (s *snapshot) anyEmergency() (site Site) {
	for _, name := range slices.Sorted(maps.Keys(s.sites)) {
		e := s.sites[name].Emergency
		site.Emergency.Numbers = append(site.Emergency.Numbers, e.Numbers...)
		site.Emergency.Routes = append(site.Emergency.Routes, e.Routes...)
	}
	return site
}

// wait blocks until the snapshot has reached rev, and tells whether it has, or until
// done is closed.
func (s *snapshot) wait(done <-chan struct{}, rev Rev) bool {
	return s.until(done, func() bool { return s.rev >= rev })
}

// until blocks until the snapshot is as asked for, and tells whether it is, or until
// done is closed. so is called under the lock.
func (s *snapshot) until(done <-chan struct{}, so func() bool) bool {
	for {
		s.mu.RLock()
		reached, changed := so(), s.changed
		s.mu.RUnlock()
		if reached {
			return true
		}
		select {
		case <-changed:
		case <-done:
			return false
		}
	}
}
