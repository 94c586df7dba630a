package hotdesk

import (
	"context"
	"iter"
	"sync"
	"time"
)

// Event tells that something happened. It is a hint: the state is the truth.
type Event struct {
	ID     uint64
	Name   string // device.registered, session.started, call.ended, ...
	Time   time.Time
	Device DeviceID
	User   Extension
	Data   map[string]any // further facts by name; never a secret
}

// keptEvents is how many events a listener may be behind.
const keptEvents = 4096

// events is a ring of the last events. Ids grow over restarts too, because they
// begin with the time of the start.
type events struct {
	mu      sync.Mutex
	ring    []Event
	first   uint64 // id of ring[0]
	next    uint64
	changed chan struct{}
	counts  map[string]uint64 // by name, since the start
}

func (e *events) init(start time.Time) {
	e.next = uint64(start.UnixMilli())*1000 + 1
	e.first = e.next
	e.changed = make(chan struct{})
	e.counts = map[string]uint64{}
}

func (e *events) publish(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ev.ID = e.next
	e.next++
	if ev.Name != EventFree {
		e.counts[ev.Name]++
	}
	e.ring = append(e.ring, ev)
	if len(e.ring) > keptEvents {
		drop := len(e.ring) - keptEvents*3/4
		e.ring = append([]Event(nil), e.ring[drop:]...)
		e.first += uint64(drop)
	}
	close(e.changed)
	e.changed = make(chan struct{})
}

// wake tells listeners that a device has no leg any more. It is an event of its
// own, device.free, that the API does not pass on.
func (e *events) wake(id DeviceID) { e.publish(Event{Name: EventFree, Device: id}) }

// EventFree is the internal event that a device's last leg has ended.
const EventFree = "device.free"

func (e *events) since(ctx context.Context, after uint64) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		e.mu.Lock()
		from := after + 1
		if after == 0 {
			from = e.next
		}
		e.mu.Unlock()
		for {
			e.mu.Lock()
			changed, lost := e.changed, from < e.first || from > e.next
			if lost {
				from = e.next
			}
			batch := append([]Event(nil), e.ring[from-e.first:]...)
			last := e.next - 1
			e.mu.Unlock()
			if lost && !yield(Event{ID: last, Name: "reset"}) {
				return
			}
			for _, ev := range batch {
				if !yield(ev) {
					return
				}
			}
			from += uint64(len(batch))
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}
