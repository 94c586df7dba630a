package hotdesk

import (
	"context"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Registration is where a device's phone can be reached now.
type Registration struct {
	Contact   string    `json:"contact"`
	Source    string    `json:"source"` // "udp:127.0.0.1:5062"
	UserAgent string    `json:"user_agent"`
	Since     time.Time `json:"since"`
	Expires   time.Time `json:"expires"`
	// Silent: the phone is behind a NAT and does not answer any more; calls pass
	// it over until it does or registers again.
	Silent bool `json:"silent,omitempty"`
}

// Pending is a phone that asked for its configuration and waits for an
// administrator. Nothing about it is stored.
type Pending struct {
	MAC       MAC
	Model     string // guessed from file name and User-Agent; may be empty
	Site      string
	Source    string
	UserAgent string
	Seen      time.Time
	Problem   string // why it cannot be approved, "dect-base"; empty when it can

	network netip.Prefix // whose share of the list it takes
}

// maxPending bounds the memory that strangers can take; the oldest goes first.
const maxPending = 1000

// Live holds what is true only now: registrations, legs by device, pending
// phones and the stream of events. sip and provisioning write it; the rules,
// resync, admin and provisioning read it. It holds no socket.
type Live struct {
	now      func() time.Time
	mu       sync.Mutex
	regs     map[DeviceID]Registration
	legs     map[DeviceID]map[string]time.Time // Call-ID -> since
	free     map[DeviceID]time.Time            // end of the last leg
	pending  map[MAC]Pending
	stale    map[DeviceID]bool // phones that do not take their configuration
	pbxs     map[string]PBXStatus
	events   events
	visitors visitors
}

// NewLive returns an empty Live that takes the time of events from now.
func NewLive(now func() time.Time) *Live {
	l := &Live{
		now:     now,
		regs:    map[DeviceID]Registration{},
		legs:    map[DeviceID]map[string]time.Time{},
		free:    map[DeviceID]time.Time{},
		pending: map[MAC]Pending{},
		stale:   map[DeviceID]bool{},
		pbxs:    map[string]PBXStatus{},
	}
	l.visitors.init()
	l.events.init(now())
	return l
}

// Registered notes a successful REGISTER.
func (l *Live) Registered(id DeviceID, r Registration) {
	l.mu.Lock()
	old, known := l.regs[id]
	if known {
		r.Since = old.Since
	}
	l.regs[id] = r
	l.mu.Unlock()
	l.Publish("device.registered", id, "", map[string]any{"contact": r.Contact, "source": r.Source})
}

// Unregistered notes that the phone left, by itself or by silence.
func (l *Live) Unregistered(id DeviceID) {
	l.mu.Lock()
	_, known := l.regs[id]
	delete(l.regs, id)
	l.mu.Unlock()
	if known {
		l.Publish("device.unregistered", id, "", nil)
	}
}

// Registration returns where the device is, if it is registered.
func (l *Live) Registration(id DeviceID) (Registration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.regs[id]
	return r, ok
}

// Silent notes whether a registered phone answers.
func (l *Live) Silent(id DeviceID, silent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.regs[id]; ok {
		r.Silent = silent
		l.regs[id] = r
	}
}

// LegUp notes that a device takes part in a call, from the first ring.
func (l *Live) LegUp(id DeviceID, callID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.legs[id] == nil {
		l.legs[id] = map[string]time.Time{}
	}
	l.legs[id][callID] = l.now()
}

// LegDown notes that the leg has ended and tells those who wait for it.
func (l *Live) LegDown(id DeviceID, callID string) {
	l.mu.Lock()
	delete(l.legs[id], callID)
	quiet := len(l.legs[id]) == 0
	if quiet {
		delete(l.legs, id)
		l.free[id] = l.now()
	}
	l.mu.Unlock()
	if quiet {
		l.events.wake(id)
	}
}

// InCall tells whether the device has a leg other than the excepted Call-ID,
// and when its last leg ended (zero: none since the start).
func (l *Live) InCall(id DeviceID, except string) (busy bool, freeSince time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for callID := range l.legs[id] {
		if callID != except {
			return true, time.Time{}
		}
	}
	return false, l.free[id]
}

// Legs is how many calls the device takes part in.
func (l *Live) Legs(id DeviceID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.legs[id])
}

// AllLegs is how many legs of calls all phones have together.
func (l *Live) AllLegs() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, legs := range l.legs {
		n += len(legs)
	}
	return n
}

// Pending lists the waiting phones, longest seen first.
func (l *Live) Pending() []Pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(maps.Values(l.pending), func(a, b Pending) int { return a.Seen.Compare(b.Seen) })
}

// PendingPhone returns one waiting phone.
func (l *Live) PendingPhone(mac MAC) (Pending, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.pending[mac]
	return p, ok
}

// forgetPending drops a phone that became a device.
func (l *Live) forgetPending(mac MAC) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, mac)
}

// Forget drops everything about a device that is no more.
func (l *Live) Forget(id DeviceID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.regs, id)
	delete(l.free, id)
	delete(l.stale, id)
	l.visitors.forgetVisits(id)
}

// Stale notes whether the phone ignores its check-syncs; it tells whether that
// is a change.
func (l *Live) Stale(id DeviceID, stale bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale[id] == stale {
		return false
	}
	if stale {
		l.stale[id] = true
	} else {
		delete(l.stale, id)
	}
	return true
}

// IsStale tells whether the phone ignores its check-syncs.
func (l *Live) IsStale(id DeviceID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stale[id]
}

// Publish sends one event to all who listen. data may be nil.
func (l *Live) Publish(name string, device DeviceID, user Extension, data map[string]any) {
	l.events.publish(Event{Name: name, Time: l.now().UTC(), Device: device, User: user, Data: data})
}

// Events yields every event after the given id (0: from now on) until ctx ends.
// An id that is not in the memory of events yields first an event named "reset".
func (l *Live) Events(ctx context.Context, after uint64) iter.Seq[Event] {
	return l.events.since(ctx, after)
}

// EventCounts says how many events of each name there were since the start.
func (l *Live) EventCounts() map[string]uint64 {
	l.events.mu.Lock()
	defer l.events.mu.Unlock()
	return maps.Clone(l.events.counts)
}

// LastEvent is the id of the newest event: a listener that begins after it
// misses nothing from now on.
func (l *Live) LastEvent() uint64 {
	l.events.mu.Lock()
	defer l.events.mu.Unlock()
	return l.events.next - 1
}

// publishRow tells a transaction's event, which its audit row is the source of.
func (l *Live) publishRow(row AuditRow) {
	data := map[string]any{"by": row.By, "op": row.Op}
	for k, v := range row.Detail {
		data[k] = v
	}
	l.Publish(row.Action, row.Device, row.User, data)
}
