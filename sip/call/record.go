package call

import (
	"cmp"
	"sync"

	"github.com/google/uuid"

	"hotdeskd/hotdesk"
)

// Record follows one call for the call log, the event stream and the count of
// legs by device. Every method may be called more than once; the first counts.
type Record struct {
	b     *Bench
	mu    sync.Mutex
	call  hotdesk.Call
	legs  map[hotdesk.DeviceID]string // devices that are in the call, with their Call-ID
	ended bool
}

// Begin notes a new call. from is empty for a call from outside. An emergency call is
// written down at once, before anybody has answered.
func (b *Bench) Begin(kind hotdesk.CallKind, from hotdesk.DeviceID, user hotdesk.Extension, to string) *Record {
	r := &Record{b: b, legs: map[hotdesk.DeviceID]string{}, call: hotdesk.Call{
		ID: uuid.NewString(), Started: b.Now().UTC(), FromDevice: from, FromUser: user, To: to, Kind: kind,
	}}
	if kind == hotdesk.CallEmergency {
		b.Record(r.call)
	}
	b.Live.Publish("call.started", from, user, map[string]any{"call": r.call.ID, "to": to, "kind": string(kind)})
	return r
}

// ID is the call's.
func (r *Record) ID() string { return r.call.ID }

// Kind is the call's.
func (r *Record) Kind() hotdesk.CallKind { return r.call.Kind }

// Note gives a reason beforehand, for calls that end without another. It comes before
// the call is placed.
func (r *Record) Note(reason string) { r.call.Reason = reason }

// Unanswered tells whether nobody has answered yet.
func (r *Record) Unanswered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.call.Answered == nil
}

// has tells whether a device is in the call.
func (r *Record) has(id hotdesk.DeviceID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.legs[id]
	return ok
}

// join counts a device in, from the first ring.
func (r *Record) join(id hotdesk.DeviceID, callID string) {
	if id == "" {
		return
	}
	r.mu.Lock()
	r.legs[id] = callID
	r.mu.Unlock()
	r.b.Live.LegUp(id, callID)
}

// leave counts a device out whose phone has stopped ringing.
func (r *Record) leave(id hotdesk.DeviceID) {
	r.mu.Lock()
	callID, ok := r.legs[id]
	delete(r.legs, id)
	r.mu.Unlock()
	if ok {
		r.b.Live.LegDown(id, callID)
	}
}

// answered notes who took the call; to is empty for a party without a device. The call
// is written down here and again at its end, so that a kill in between loses only the
// end. Both under the lock: the end is written last.
func (r *Record) answered(to hotdesk.DeviceID) {
	r.mu.Lock()
	if r.call.Answered != nil {
		r.mu.Unlock()
		return
	}
	now := r.b.Now().UTC()
	r.call.Answered, r.call.ToDevice = &now, to
	call := r.call
	if !r.ended {
		r.b.Record(call)
	}
	r.mu.Unlock()
	r.b.Live.Publish("call.answered", call.FromDevice, call.FromUser, r.data(call))
}

// End closes the record: the legs are down before anybody hears of it.
func (r *Record) End(result, reason string) {
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		return
	}
	r.ended = true
	now := r.b.Now().UTC()
	r.call.Ended, r.call.Result, r.call.Reason = &now, result, cmp.Or(reason, r.call.Reason)
	call, legs := r.call, r.legs
	r.legs = nil
	r.b.Record(call)
	r.mu.Unlock()
	for id, callID := range legs {
		r.b.Live.LegDown(id, callID)
	}
	r.b.Live.Publish("call.ended", call.FromDevice, call.FromUser, r.data(call))
}

func (r *Record) data(call hotdesk.Call) map[string]any {
	data := map[string]any{"call": call.ID, "to": call.To, "kind": string(call.Kind)}
	for key, value := range map[string]string{"to_device": string(call.ToDevice), "result": call.Result, "reason": call.Reason} {
		if value != "" {
			data[key] = value
		}
	}
	return data
}
