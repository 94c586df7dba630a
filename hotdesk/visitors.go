package hotdesk

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// ProvisioningRequest is one request of a phone and what came of it. Verdict is
// one of claimed, served, unchanged, holding, release, enrolment, challenged,
// refused, not-found, failed; Reason says why in words.
type ProvisioningRequest struct {
	Time      time.Time `json:"time"`
	MAC       string    `json:"mac"`
	Device    DeviceID  `json:"device"`
	Site      string    `json:"site"`
	Source    string    `json:"source"`
	Secure    bool      `json:"secure"` // it came over HTTPS
	Method    string    `json:"method"`
	File      string    `json:"file"` // without the token before it
	UserAgent string    `json:"user_agent"`
	Model     string    `json:"model"` // as file name or User-Agent claim it
	Status    int       `json:"status"`
	Verdict   string    `json:"verdict"`
	Reason    string    `json:"reason"`
}

const (
	keptOfDevice = 20   // requests kept of one device
	keptOfAll    = 1000 // and of everybody together, strangers included
	// newcomers is how many new phones one address may bring in a minute: a whole
	// floor behind one router passes, and nobody pushes everybody else's phones out.
	newcomers = 60
)

// visitors is what Live remembers of phones that come for their configuration.
type visitors struct {
	mu      sync.Mutex
	all     []ProvisioningRequest // oldest first
	devices map[DeviceID][]ProvisioningRequest
	away    map[DeviceID]TurnedAway
	minute  time.Time
	brought map[string]int    // new phones by address in this minute
	counts  map[string]uint64 // by verdict, since the start
}

// TurnedAway says since when and at last from where a claimed device's phone came
// without its HTTP password and has not come with it since.
type TurnedAway struct {
	Since  time.Time
	Source string
	Site   string // whose enrolment URL it came by
	Number uint64 // Device.URLNumber whose password it lacks
}

func (v *visitors) init() {
	v.devices, v.away, v.brought = map[DeviceID][]ProvisioningRequest{}, map[DeviceID]TurnedAway{}, map[string]int{}
	v.counts = map[string]uint64{}
}

// NoteRequest remembers one request; r.Time is set here.
func (l *Live) NoteRequest(r ProvisioningRequest) {
	r.Time = l.now().UTC()
	v := &l.visitors
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts[r.Verdict]++
	if v.all = append(v.all, r); len(v.all) > keptOfAll {
		v.all = slices.Clone(v.all[keptOfAll/4:])
	}
	if r.Device == "" {
		return
	}
	own := append(v.devices[r.Device], r)
	if len(own) > keptOfDevice {
		own = slices.Clone(own[1:])
	}
	v.devices[r.Device] = own
}

// RequestCounts says how many requests for files ended in each verdict since the
// start.
func (l *Live) RequestCounts() map[string]uint64 {
	l.visitors.mu.Lock()
	defer l.visitors.mu.Unlock()
	return maps.Clone(l.visitors.counts)
}

// Requests lists what is remembered of a device or, without one, of a MAC or,
// without either, of everybody; newest first.
func (l *Live) Requests(id DeviceID, mac string) []ProvisioningRequest {
	v := &l.visitors
	v.mu.Lock()
	defer v.mu.Unlock()
	from := v.all
	if id != "" {
		from = v.devices[id]
	}
	list := slices.Clone(from)
	slices.Reverse(list)
	if id == "" && mac != "" {
		list = slices.DeleteFunc(list, func(r ProvisioningRequest) bool { return r.MAC != mac })
	}
	return list
}

// TurnAway notes that the device's phone came without its HTTP password; Admitted,
// that it had it. Many phones try without at every boot.
func (l *Live) TurnAway(d Device, site, source string) {
	v := &l.visitors
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.away[d.ID]
	if t.Number != d.URLNumber { // of a password that is not in use any more
		t = TurnedAway{Since: l.now(), Number: d.URLNumber}
	}
	t.Source, t.Site = source, site
	v.away[d.ID] = t
}

// Admitted ends what TurnAway began.
func (l *Live) Admitted(id DeviceID) {
	l.visitors.mu.Lock()
	defer l.visitors.mu.Unlock()
	delete(l.visitors.away, id)
}

// TurnedAway says whether the device's phone comes without its password.
func (l *Live) TurnedAway(id DeviceID) (TurnedAway, bool) {
	l.visitors.mu.Lock()
	defer l.visitors.mu.Unlock()
	t, ok := l.visitors.away[id]
	return t, ok
}

// mayBring tells whether an address may bring one more new phone in this minute.
func (l *Live) mayBring(source string) bool {
	if ap, err := netip.ParseAddrPort(source); err == nil {
		source = ap.Addr().Unmap().String()
	}
	v := &l.visitors
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := l.now(); now.Sub(v.minute) >= time.Minute || now.Before(v.minute) {
		v.minute = now
		clear(v.brought)
	}
	if v.brought[source] >= newcomers || len(v.brought) >= maxPending {
		return false
	}
	v.brought[source]++
	return true
}

// forgetVisits drops what is remembered of a device that is no more.
func (v *visitors) forgetVisits(id DeviceID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.devices, id)
	delete(v.away, id)
}

// makeRoom chooses who leaves the list: the oldest of the network that has most on it, so
// that nobody who invents MACs pushes another house's phones out. The caller holds the
// lock.
func (l *Live) makeRoom() MAC {
	crowd, most := map[netip.Prefix]int{}, 0
	for _, p := range l.pending {
		crowd[p.network]++
		most = max(most, crowd[p.network])
	}
	var oldest Pending
	for _, p := range l.pending {
		if crowd[p.network] == most && (oldest.Seen.IsZero() || p.Seen.Before(oldest.Seen)) {
			oldest = p
		}
	}
	return oldest.MAC
}

// networkOf is whose an address counts as: its /24, or its /64.
func networkOf(source string) netip.Prefix {
	addr, err := netip.ParseAddr(source)
	if err != nil {
		if ap, err := netip.ParseAddrPort(source); err == nil {
			addr = ap.Addr()
		}
	}
	bits := 24
	if addr = addr.Unmap().WithZone(""); addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// SeePending notes a phone that waits for approval. It tells whether it is on the
// list: one address brings at most 60 new phones a minute.
func (l *Live) SeePending(p Pending) bool {
	l.mu.Lock()
	_, known := l.pending[p.MAC]
	l.mu.Unlock()
	if !known && !l.mayBring(p.Source) {
		return false
	}
	l.mu.Lock()
	_, known = l.pending[p.MAC]
	if !known && len(l.pending) >= maxPending {
		delete(l.pending, l.makeRoom())
	}
	p.network = networkOf(p.Source)
	l.pending[p.MAC] = p
	l.mu.Unlock()
	if !known {
		l.Publish("device.pending", "", "", map[string]any{"mac": p.MAC.String(), "model": p.Model, "site": p.Site})
	}
	return true
}
