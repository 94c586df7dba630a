package resync

import (
	"context"
	"time"

	"hotdeskd/hotdesk"
)

// queue is devices that wait to be looked at, each once, in the order they came. Its
// fields belong to Resync.mu.
type queue struct {
	ids  []hotdesk.DeviceID
	in   map[hotdesk.DeviceID]cause
	come chan struct{}
}

func newQueue() queue {
	return queue{in: map[hotdesk.DeviceID]cause{}, come: make(chan struct{}, 1)}
}

// put adds a device, or the stronger cause to one that is there.
func (q *queue) put(id hotdesk.DeviceID, why cause) {
	before, there := q.in[id]
	q.in[id] = max(before, why)
	if !there {
		q.ids = append(q.ids, id)
	}
	select {
	case q.come <- struct{}{}:
	default:
	}
}

// take removes the first device; ok is false when there is none.
func (q *queue) take() (id hotdesk.DeviceID, why cause, ok bool) {
	for len(q.ids) > 0 && !ok {
		id = q.ids[0]
		q.ids = q.ids[1:]
		why, ok = q.in[id] // one that was taken out of turn is not in any more
	}
	delete(q.in, id)
	return id, why, ok
}

// lookAtAll has every device looked at: a wide change may have changed any file.
// Who waits at a desk is told at once.
func (r *Resync) lookAtAll() {
	for _, p := range r.desk.Phones() {
		if !p.Device.Claimed {
			continue
		}
		if waits(p) {
			r.begin(p, nil, wide)
		}
		r.later(p.Device.ID)
	}
	r.remind()
}

// later has a device looked at when its turn comes.
func (r *Resync) later(id hotdesk.DeviceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wide.put(id, wide)
}

// sweep looks for what no event has told: who is behind by the state itself, and
// digests that could not be stored.
func (r *Resync) sweep() {
	for _, id := range r.desk.Behind() {
		p, err := r.desk.Phone(id)
		if err != nil {
			continue
		}
		if waits(p) {
			r.begin(p, nil, wide)
		}
		if p.Device.Digest == "" || !r.has(id, p.Device.Wanted) {
			r.later(id)
		}
	}
	r.mu.Lock()
	for id := range r.unstored {
		r.wide.put(id, wide)
	}
	clear(r.unstored)
	r.mu.Unlock()
	r.remind()
}

// notice takes note of an event of one device. A phone that somebody waits for is
// told now; what has to be rendered for it is, before every wide look.
func (r *Resync) notice(ctx context.Context, id hotdesk.DeviceID, why cause) {
	p, err := r.desk.Phone(id)
	if err != nil || !p.Device.Claimed {
		r.drop(id)
		return
	}
	if waits(p) {
		r.begin(p, nil, why)
	}
	if why == shown && p.Device.Digest != "" && (p.Current() || r.has(id, p.Device.Wanted)) {
		r.look(ctx, id, shown) // which renders nothing
		return
	}
	r.mu.Lock()
	delete(r.wide.in, id) // it jumps the queue
	r.touched.put(id, why)
	r.mu.Unlock()
}

// waits tells from the state alone whether somebody at the desk waits for this phone:
// a login, logout, claim or rotation has given it a secret that it has not shown yet.
func waits(p hotdesk.Phone) bool {
	return p.Device.Claimed && p.Fetched.Proven < p.Device.Generation
}

// lookTouched looks at devices whose own state has changed, until ctx ends.
func (r *Resync) lookTouched(ctx context.Context) {
	for {
		r.mu.Lock()
		id, why, ok := r.touched.take()
		r.mu.Unlock()
		if ok {
			r.look(ctx, id, why)
			r.rouse()
			continue
		}
		select {
		case <-r.touched.come:
		case <-ctx.Done():
			return
		}
	}
}

// lookWide looks at the devices that a wide change may have changed, until ctx ends.
// It rests after each one for as long as that took: half the time is others'.
func (r *Resync) lookWide(ctx context.Context) {
	for {
		r.mu.Lock()
		id, why, ok := r.wide.take()
		r.mu.Unlock()
		if !ok {
			select {
			case <-r.wide.come:
				continue
			case <-ctx.Done():
				return
			}
		}
		start := time.Now()
		r.look(ctx, id, why)
		r.rouse()
		select {
		case <-time.After(min(time.Since(start), longestRest)):
		case <-ctx.Done():
			return
		}
	}
}

// lookAlone lets one look at a device at a time: storing a digest takes a while. It
// returns false when ctx ends first; done ends the turn.
func (r *Resync) lookAlone(ctx context.Context, id hotdesk.DeviceID) (done func(), ok bool) {
	for {
		r.mu.Lock()
		other, taken := r.looked[id]
		if !taken {
			mine := make(chan struct{})
			r.looked[id] = mine
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				delete(r.looked, id)
				r.mu.Unlock()
				close(mine)
			}, true
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// look compares one device's state and begins, keeps or ends its job. What it has
// read may be old when it is done: a job for a newer version is left alone.
func (r *Resync) look(ctx context.Context, id hotdesk.DeviceID, why cause) {
	done, ok := r.lookAlone(ctx, id)
	if !ok {
		return
	}
	defer done()
	p, err := r.desk.Phone(id)
	if err != nil || !p.Device.Claimed {
		r.drop(id)
		return
	}
	var ladder []hotdesk.CheckSync
	if why != shown || p.Device.Digest == "" || !p.Current() && !r.has(id, p.Device.Wanted) {
		if p, ladder, err = r.prepare(ctx, p); err != nil {
			return
		}
	}
	if p.Current() {
		r.current(p)
		return
	}
	r.begin(p, ladder, why)
}

// prepare renders the device's file and stores its digest, which may make a new
// version wanted. It returns the ways to tell the phone to fetch, too.
func (r *Resync) prepare(ctx context.Context, p hotdesk.Phone) (hotdesk.Phone, []hotdesk.CheckSync, error) {
	id := p.Device.ID
	digest, ladder, err := r.files.Prepare(ctx, id)
	if err != nil {
		r.log.Error("configuration cannot be prepared", "device", string(id), "err", err)
		return p, nil, err
	}
	now, err := r.desk.Prepared(ctx, p.Device, digest)
	if err != nil {
		r.log.Warn("digest not stored; it will be tried again", "device", string(id), "err", err)
		r.mu.Lock()
		r.unstored[id] = true
		r.mu.Unlock()
		return p, ladder, nil
	}
	p.Device = now
	return p, ladder, nil
}

// begin sees to it that a phone that is behind has a job for the version that is
// wanted. ladder may be empty: then the first try has it made.
func (r *Resync) begin(p hotdesk.Phone, ladder []hotdesk.CheckSync, why cause) {
	id := p.Device.ID
	r.mu.Lock()
	j := r.work[id]
	fresh := j == nil || j.wanted < p.Device.Wanted
	if fresh {
		r.unschedule(j)
		j = &job{id: id, wanted: p.Device.Wanted, due: r.now(), bulk: why == wide && !waits(p), place: -1}
		r.work[id] = j
		r.schedule(j, j.due)
	}
	if len(ladder) > 0 {
		j.ladder = ladder
	}
	r.mu.Unlock()
	if fresh {
		r.live.Stale(id, false)
		r.live.Publish("device.config_updating", id, "", map[string]any{"version": p.Device.Wanted})
	}
	r.rouse()
}

// has tells whether there is a job for the version.
func (r *Resync) has(id hotdesk.DeviceID, wanted uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.work[id]
	return j != nil && j.wanted == wanted
}

// current ends the job of a phone that runs what is wanted, and tells so once: also
// of one that was faster than we could look.
func (r *Resync) current(p hotdesk.Phone) {
	id := p.Device.ID
	r.mu.Lock()
	j := r.work[id]
	if j != nil && j.wanted > p.Device.Wanted || r.told[id] > p.Device.Wanted {
		r.mu.Unlock()
		return // a login came while we looked
	}
	news := r.told[id] != p.Device.Wanted
	r.told[id] = p.Device.Wanted
	r.unschedule(j)
	delete(r.work, id)
	r.mu.Unlock()
	if j != nil || news {
		r.live.Stale(id, false)
		r.live.Publish("device.config_current", id, "", map[string]any{"version": p.Device.Wanted})
	}
}

// drop forgets a device that has no phone any more.
func (r *Resync) drop(id hotdesk.DeviceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unschedule(r.work[id])
	delete(r.work, id)
	delete(r.told, id)
	delete(r.unstored, id)
	delete(r.wide.in, id)
}
