package registrar

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// Location is where one device's phone is: what it registered and on which flow.
type Location struct {
	Device  hotdesk.DeviceID `json:"device"`
	AOR     string           `json:"aor"` // To URI as the phone sent it
	CallID  string           `json:"call_id"`
	CSeq    uint32           `json:"cseq"`
	Contact string           `json:"contact"` // Contact URI, verbatim
	Flow    dialog.Flow      `json:"flow"`
	// Reach is where it listens when that is another port than it sends from; zero: it
	// is not.
	Reach dialog.Flow `json:"reach,omitzero"`
	// Path is the way back through the proxies between, nearest to us first (RFC 3327).
	Path      []string  `json:"path,omitempty"`
	UserAgent string    `json:"user_agent"`
	Expires   time.Time `json:"expires"`
	NAT       bool      `json:"nat,omitempty"` // on UDP behind a NAT
}

// To is where requests to the phone go.
func (l Location) To() dialog.Flow {
	if l.Reach != (dialog.Flow{}) {
		return l.Reach
	}
	return l.Flow
}

// Route is the headers of a request to the phone by its Path.
func (l Location) Route() (headers []sip.Header) {
	for _, text := range l.Path {
		headers = append(headers, &sip.RouteHeader{Address: URI(text)})
	}
	return headers
}

// table is the registered devices: one Location each, found by
// device or by flow.
type table struct {
	mu       sync.RWMutex
	byDevice map[hotdesk.DeviceID]Location
	byFlow   map[dialog.Flow]crew           // several behind an SBC or an outbound proxy
	byHost   map[netip.Addr]crew            // by the address from which they were heard last
	former   map[hotdesk.DeviceID]Location  // of phones that are not registered now
	pulses   map[hotdesk.DeviceID]pulse     // of phones behind a NAT
	swaps    map[hotdesk.DeviceID]swap      // of phones whose registration went elsewhere
	away     map[hotdesk.DeviceID]time.Time // when the connections of these ended
	changed  bool                           // since it was last written to its file
	// know and forget are told whose flows are phones'.
	know, forget func(dialog.Flow)
}

func newTable(know, forget func(dialog.Flow)) *table {
	return &table{
		byDevice: map[hotdesk.DeviceID]Location{}, byFlow: map[dialog.Flow]crew{}, byHost: map[netip.Addr]crew{}, former: map[hotdesk.DeviceID]Location{}, swaps: map[hotdesk.DeviceID]swap{}, away: map[hotdesk.DeviceID]time.Time{},
		pulses: map[hotdesk.DeviceID]pulse{}, know: know, forget: forget,
	}
}

func (t *table) get(id hotdesk.DeviceID) (Location, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	l, ok := t.byDevice[id]
	return l, ok
}

// crew is the devices on one flow: nearly always one.
type crew struct {
	one  hotdesk.DeviceID
	more map[hotdesk.DeviceID]bool // all of them, once there were several
}

// on returns the devices that are registered on a flow, in order.
func (t *table) on(f dialog.Flow) []hotdesk.DeviceID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byFlow[f].all()
}

// count is how many devices are registered on a flow.
func (t *table) count(f dialog.Flow) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c := t.byFlow[f]
	if c.more != nil {
		return len(c.more)
	}
	return len(c.all())
}

func (c crew) all() []hotdesk.DeviceID {
	switch {
	case c.more != nil:
		return slices.Sorted(maps.Keys(c.more))
	case c.one != "":
		return []hotdesk.DeviceID{c.one}
	}
	return nil
}

// board puts a device on a flow or at a host, unboard takes it off. The caller holds
// the lock.
func board[K comparable](on map[K]crew, k K, id hotdesk.DeviceID) {
	c := on[k]
	switch {
	case c.more != nil:
		c.more[id] = true
	case c.one == "" || c.one == id:
		c.one = id
	default:
		c.more = map[hotdesk.DeviceID]bool{c.one: true, id: true}
	}
	on[k] = c
}

func unboard[K comparable](from map[K]crew, k K, id hotdesk.DeviceID) {
	c := from[k]
	if c.more != nil {
		if delete(c.more, id); len(c.more) > 0 {
			return
		}
	} else if c.one != id {
		return
	}
	delete(from, k)
}

func (t *table) put(l Location, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, had := t.byDevice[l.Device]
	if had {
		unboard(t.byFlow, old.Flow, l.Device)
	}
	if before, ok := t.former[l.Device]; ok || had {
		if had {
			before = old
		}
		unboard(t.byHost, dialog.HostOf(before.Flow.Remote), l.Device)
		delete(t.former, l.Device)
	}
	t.byDevice[l.Device] = l
	board(t.byFlow, l.Flow, l.Device)
	board(t.byHost, dialog.HostOf(l.Flow.Remote), l.Device)
	delete(t.away, l.Device)
	delete(t.pulses, l.Device)
	if l.NAT {
		t.pulses[l.Device] = pulse{due: now.Add(rand.N(PulseEvery))} // not all at once after a restart
	}
	t.changed = true
	if had && old.Flow == l.Flow {
		return
	}
	t.know(l.Flow)
	if had {
		t.forget(old.Flow)
	}
}

// take takes a Location out. The caller holds the lock.
func (t *table) take(l Location) {
	delete(t.byDevice, l.Device)
	delete(t.pulses, l.Device)
	unboard(t.byFlow, l.Flow, l.Device)
	t.former[l.Device] = l
	t.changed = true
	t.forget(l.Flow)
}

// lost takes out whoever is registered on a connection that has ended.
func (t *table) lost(f dialog.Flow, now time.Time) []hotdesk.DeviceID {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := t.byFlow[f].all()
	for _, id := range gone {
		t.take(t.byDevice[id])
		t.away[id] = now
	}
	return gone
}

// missing takes out and returns the devices whose connection ended a while ago and
// that have not come back.
func (t *table) missing(before time.Time) []hotdesk.DeviceID {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ids []hotdesk.DeviceID
	for id, at := range t.away {
		if at.Before(before) {
			ids = append(ids, id)
			delete(t.away, id)
		}
	}
	return ids
}

// removeIf takes a Location out when match says so; it tells whether it did.
func (t *table) removeIf(id hotdesk.DeviceID, match func(Location) bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.byDevice[id]
	if !ok || !match(l) {
		return false
	}
	t.take(l)
	return true
}

// expired takes out and returns the devices whose registration has run out.
func (t *table) expired(now time.Time) []hotdesk.DeviceID {
	t.mu.Lock()
	defer t.mu.Unlock()
	var gone []hotdesk.DeviceID
	for id, l := range t.byDevice {
		if now.After(l.Expires) {
			gone = append(gone, id)
			t.take(l)
		}
	}
	return gone
}

// dirty returns all UDP locations if anything changed since the last call.
func (t *table) dirty() (map[hotdesk.DeviceID]Location, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.changed {
		return nil, false
	}
	t.changed = false
	udp := maps.Clone(t.byDevice)
	maps.DeleteFunc(udp, func(_ hotdesk.DeviceID, l Location) bool { return l.Flow.Transport != "UDP" })
	return udp, true
}

// touch says that the file is not what the table is.
func (t *table) touch() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed = true
}

// at lists the devices that were heard from an address last, in order.
func (t *table) at(a netip.Addr) []hotdesk.DeviceID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byHost[a].all()
}

// last is where a device's phone registered last, also when that has run out.
func (t *table) last(id hotdesk.DeviceID) (Location, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if l, ok := t.byDevice[id]; ok {
		return l, true
	}
	l, ok := t.former[id]
	return l, ok
}
