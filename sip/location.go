package sip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/guard"
)

// location is where one device's phone is: what it registered and on which flow.
type location struct {
	Device  hotdesk.DeviceID `json:"device"`
	AOR     string           `json:"aor"` // To URI as the phone sent it
	CallID  string           `json:"call_id"`
	CSeq    uint32           `json:"cseq"`
	Contact string           `json:"contact"` // Contact URI, verbatim
	Flow    dialog.Flow      `json:"flow"`
	// Reach is where it listens when that is another port than it sends from; zero: it
	// is not.
	Reach     dialog.Flow `json:"reach,omitzero"`
	UserAgent string      `json:"user_agent"`
	Expires   time.Time   `json:"expires"`
	NAT       bool        `json:"nat,omitempty"` // on UDP behind a NAT
}

// to is where requests to the phone go.
func (l location) to() dialog.Flow {
	if l.Reach != (dialog.Flow{}) {
		return l.Reach
	}
	return l.Flow
}

// locations is the table of registered devices: one location each, found by
// device or by flow.
type locations struct {
	mu       sync.RWMutex
	byDevice map[hotdesk.DeviceID]location
	byFlow   map[dialog.Flow]crew           // several behind an SBC or an outbound proxy
	byHost   map[netip.Addr]crew            // by the address from which they were heard last
	former   map[hotdesk.DeviceID]location  // of phones that are not registered now
	pulses   map[hotdesk.DeviceID]pulse     // of phones behind a NAT
	away     map[hotdesk.DeviceID]time.Time // when the connections of these ended
	changed  bool                           // since it was last written to its file
	guard    *guard.Guard                   // is told whose flows are known
}

func newLocations(g *guard.Guard) *locations {
	return &locations{
		byDevice: map[hotdesk.DeviceID]location{}, byFlow: map[dialog.Flow]crew{}, byHost: map[netip.Addr]crew{}, former: map[hotdesk.DeviceID]location{}, away: map[hotdesk.DeviceID]time.Time{},
		pulses: map[hotdesk.DeviceID]pulse{}, guard: g,
	}
}

func (t *locations) get(id hotdesk.DeviceID) (location, bool) {
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
func (t *locations) on(f dialog.Flow) []hotdesk.DeviceID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byFlow[f].all()
}

// count is how many devices are registered on a flow.
func (t *locations) count(f dialog.Flow) int {
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

func (t *locations) put(l location, now time.Time) {
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
		unboard(t.byHost, addrOf(before.Flow.Remote), l.Device)
		delete(t.former, l.Device)
	}
	t.byDevice[l.Device] = l
	board(t.byFlow, l.Flow, l.Device)
	board(t.byHost, addrOf(l.Flow.Remote), l.Device)
	delete(t.away, l.Device)
	delete(t.pulses, l.Device)
	if l.NAT {
		t.pulses[l.Device] = pulse{due: now.Add(rand.N(pulseEvery))} // not all at once after a restart
	}
	t.changed = true
	if had && old.Flow == l.Flow {
		return
	}
	t.guard.Know(l.Flow.Transport, l.Flow.Remote)
	if had {
		t.guard.Forget(old.Flow.Transport, old.Flow.Remote)
	}
}

// take takes a location out. The caller holds the lock.
func (t *locations) take(l location) {
	delete(t.byDevice, l.Device)
	delete(t.pulses, l.Device)
	unboard(t.byFlow, l.Flow, l.Device)
	t.former[l.Device] = l
	t.changed = true
	t.guard.Forget(l.Flow.Transport, l.Flow.Remote)
}

// lost takes out whoever is registered on a connection that has ended.
func (t *locations) lost(f dialog.Flow, now time.Time) []hotdesk.DeviceID {
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
func (t *locations) missing(before time.Time) []hotdesk.DeviceID {
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

// removeIf takes a location out when match says so; it tells whether it did.
func (t *locations) removeIf(id hotdesk.DeviceID, match func(location) bool) bool {
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
func (t *locations) expired(now time.Time) []hotdesk.DeviceID {
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
func (t *locations) dirty() (map[hotdesk.DeviceID]location, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.changed {
		return nil, false
	}
	t.changed = false
	udp := maps.Clone(t.byDevice)
	maps.DeleteFunc(udp, func(_ hotdesk.DeviceID, l location) bool { return l.Flow.Transport != "UDP" })
	return udp, true
}

// touch says that the file is not what the table is.
func (t *locations) touch() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed = true
}

// comeBack is how long a phone in a call may take to open another connection when
// its own has ended.
const comeBack = 90 * time.Second

// keepLocations expires registrations and writes the file within a second of a
// change, so that phones on UDP can be reached after a restart.
func (e *Edge) keepLocations(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return e.saveLocations()
		}
		e.knowPBXs()
		for _, id := range e.locations.expired(e.Now()) {
			e.Live.Unregistered(id)
			e.probe(id)
		}
		for _, l := range e.locations.due(e.Now()) {
			e.feel(l)
		}
		for _, id := range e.locations.missing(e.Now().Add(-comeBack)) {
			e.probe(id)
		}
		if err := e.saveLocations(); err != nil {
			e.unsaved.Failed(e.Log, "phone locations not saved; after a restart phones are reached when they register again", err)
		} else {
			e.unsaved.Worked(e.Log, "phone locations are saved again")
		}
	}
}

// saveLocations writes the file anew and puts it in place whole.
func (e *Edge) saveLocations() error {
	if e.LocationFile == "" {
		return nil
	}
	udp, changed := e.locations.dirty()
	if !changed {
		return nil
	}
	b, err := json.Marshal(udp)
	if err != nil {
		return fmt.Errorf("encode locations: %w", err)
	}
	tmp := e.LocationFile + ".new"
	if err = os.WriteFile(tmp, b, 0o600); err == nil {
		err = os.Rename(tmp, e.LocationFile)
	}
	if err != nil {
		e.locations.touch() // once more in a second
		return fmt.Errorf("write locations: %w", err)
	}
	return nil
}

// loadLocations brings the phones of the last run back. A file that cannot be
// read costs nothing but time: the phones register again.
func (e *Edge) loadLocations() error {
	if e.LocationFile == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Clean(e.LocationFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read locations: %w", err)
	}
	var saved map[hotdesk.DeviceID]location
	if err := json.Unmarshal(b, &saved); err != nil {
		return fmt.Errorf("read locations %s: %w", e.LocationFile, err)
	}
	now := e.Now()
	for id, l := range saved {
		if _, blocked, ok := e.Desk.Credentials(id); !ok || blocked || now.After(l.Expires) {
			continue
		}
		e.locations.put(l, now)
		e.Live.Registered(id, hotdesk.Registration{Contact: l.Contact, Source: l.Flow.String(), UserAgent: l.UserAgent, Since: now, Expires: l.Expires})
	}
	return nil
}

// uri parses a stored URI; it was parsed once already.
func uri(text string) sip.Uri {
	var u sip.Uri
	if err := sip.ParseUri(text, &u); err != nil {
		return sip.Uri{Scheme: "sip", Host: "invalid.invalid"}
	}
	return u
}
