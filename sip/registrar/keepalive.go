package registrar

import (
	"context"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"hotdeskd/hotdesk"
)

// A phone behind a NAT is asked something every 25 seconds, less than any router
// forgets in; when it has missed three of them it is silent.
const (
	PulseEvery  = 25 * time.Second
	pulseWait   = 5 * time.Second
	pulseMisses = 3
)

// pulse is what is known of whether a phone behind a NAT is still there.
type pulse struct {
	due    time.Time // the next question
	misses int
}

// due returns the phones that must be asked now.
func (t *table) due(now time.Time) []Location {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Location
	for id, p := range t.pulses {
		if now.Before(p.due) {
			continue
		}
		p.due = now.Add(PulseEvery)
		t.pulses[id] = p
		all = append(all, t.byDevice[id])
	}
	return all
}

// felt notes whether a phone has answered; it tells whether it is silent now. One
// that has registered anew since it was asked is not concerned.
func (t *table) felt(l Location, answered bool) (silent, concerned bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.pulses[l.Device]
	if !ok || t.byDevice[l.Device].Flow != l.Flow {
		return false, false
	}
	if p.misses++; answered {
		p.misses = 0
	}
	t.pulses[l.Device] = p
	return p.misses >= pulseMisses, true
}

// silent tells whether a device's phone has not answered for a while.
func (t *table) silent(id hotdesk.DeviceID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pulses[id].misses >= pulseMisses
}

// feel asks a phone something from the listening socket, which keeps its NAT open.
// Whatever it answers, it is there.
func (r *Registrar) feel(l Location) {
	r.Chore(func(life context.Context) {
		ctx, cancel := context.WithTimeout(life, pulseWait)
		defer cancel()
		_, err := r.line.Net.Do(ctx, r.Request(sip.OPTIONS, l, uuid.NewString(), sip.GenerateTagN(16), 1), l.To())
		if life.Err() != nil {
			return
		}
		if silent, ok := r.table.felt(l, err == nil); ok {
			r.Live.Silent(l.Device, silent)
		}
	})
}
