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

// KeptEvents is how many events a listener may be behind.
const KeptEvents = 4096

// events is a ring of the last events. Ids grow over restarts too, because they
// begin with the time of the start.
type events struct {
	mu      sync.Mutex
	ring    [KeptEvents]Event // an event is at its id modulo the length
	first   uint64            // the oldest id that is kept
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
	e.ring[ev.ID%KeptEvents] = ev
	e.next++
	if e.next-e.first > KeptEvents {
		e.first = e.next - KeptEvents
	}
	if ev.Name != EventFree {
		e.counts[ev.Name]++
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
			batch := e.kept(from)
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

// kept copies the events from an id on. The caller holds mu.
func (e *events) kept(from uint64) []Event {
	batch := make([]Event, 0, e.next-from)
	for id := from; id < e.next; id++ {
		batch = append(batch, e.ring[id%KeptEvents])
	}
	return batch
}
