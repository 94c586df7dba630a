package resync

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"hotdeskd/hotdesk"
)

// Files prepares configurations; provisioning does it.
type Files interface {
	// Prepare returns the digest of the device's file as it should be now, and
	// the ways to tell the phone to fetch, gentle ones first.
	Prepare(context.Context, hotdesk.DeviceID) (digest string, ladder []hotdesk.CheckSync, err error)
}

// Phones reaches phones; sip does it.
type Phones interface {
	CheckSync(context.Context, hotdesk.DeviceID, hotdesk.CheckSync) error
}

// Desk is what resync asks the rules.
type Desk interface {
	Phone(hotdesk.DeviceID) (hotdesk.Phone, error)
	Phones() []hotdesk.Phone
	User(hotdesk.Extension) (hotdesk.UserView, error)
	Behind() []hotdesk.DeviceID
	Prepared(ctx context.Context, was hotdesk.Device, digest string) (hotdesk.Device, error)
	Held(hotdesk.DeviceID) bool
}

// The pace (design: check-sync).
const (
	afterCall   = 500 * time.Millisecond // of silence on the device
	afterBoot   = 500 * time.Millisecond // of a phone that has just come
	quietReboot = time.Minute            // without a leg before a reboot
	hourly      = time.Hour              // between gentle tries of a stale phone
	answerWait  = 8 * time.Second        // for the phone's answer to the NOTIFY
	bulkGap     = 50 * time.Millisecond  // between check-syncs that nobody at a desk waits for: 20 a second
	lookAgain   = 30 * time.Second       // state is looked at again without any event
)

// pauses between the gentle tries.
var pauses = []time.Duration{10 * time.Second, 30 * time.Second}

// Resync is the loop. New builds it, Serve runs it.
type Resync struct {
	desk   Desk
	live   *hotdesk.Live
	files  Files
	phones Phones
	log    *slog.Logger
	now    func() time.Time

	mu       sync.Mutex
	work     map[hotdesk.DeviceID]*job
	busy     map[hotdesk.DeviceID]bool   // a NOTIFY is under way
	told     map[hotdesk.DeviceID]uint64 // versions that were told to be current
	nextBulk time.Time                   // before it nobody at a desk is waiting
	wake     chan struct{}
	looking  chan struct{} // held by the one who compares a device's state with its job
	sending  sync.WaitGroup
}

// job is one phone that is behind.
type job struct {
	wanted   uint64        // the version the tries are for
	within   time.Duration // that the phone needs to apply it
	tries    int           // gentle ones
	rebooted bool          // the stronger form was sent for this version
	due      time.Time     // of the next try
	applies  time.Time     // until then the phone works on the file that it has fetched
	bulk     bool          // caused by a wide change, not by somebody at the desk
	hourly   bool          // it ignores us; only a phone that comes anew is told before its time
	since    time.Time     // of the registration that the last try went to
}

// cause is why a device is looked at.
type cause int

const (
	// shown: the phone has only shown itself, which changes no file. A boot storm
	// is a thousand of those: nothing is rendered.
	shown cause = iota
	// touched: something of this device has changed, and somebody may stand at it.
	touched
	// wide: a change of many devices, with nobody waiting at the desk.
	wide
)

// New builds the loop.
func New(desk Desk, live *hotdesk.Live, files Files, phones Phones, now func() time.Time, log *slog.Logger) (*Resync, error) {
	if desk == nil || live == nil || files == nil || phones == nil || now == nil {
		return nil, errors.New("resync.New: an argument is missing")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Resync{
		desk: desk, live: live, files: files, phones: phones, now: now, log: log,
		work: map[hotdesk.DeviceID]*job{}, busy: map[hotdesk.DeviceID]bool{}, told: map[hotdesk.DeviceID]uint64{}, wake: make(chan struct{}, 1),
		looking: make(chan struct{}, 1),
	}, nil
}

// Serve works until ctx ends.
func (r *Resync) Serve(ctx context.Context) error {
	for _, p := range r.desk.Phones() {
		if p.Current() {
			r.told[p.Device.ID] = p.Device.Wanted // before we began
		}
	}
	// What happens from here on is heard, whenever the listener gets going.
	after := r.live.LastEvent()
	var listening sync.WaitGroup
	listening.Go(func() { r.listen(ctx, after) })
	defer listening.Wait()
	defer r.sending.Wait()
	r.lookAtAll(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	sweep := r.now().Add(lookAgain)
	for {
		next := r.send(ctx)
		if next.IsZero() || next.After(sweep) {
			next = sweep
		}
		timer.Reset(max(0, next.Sub(r.now())))
		select {
		case <-timer.C:
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
		if !r.now().Before(sweep) {
			for _, id := range r.desk.Behind() {
				r.look(ctx, id, wide)
			}
			sweep = r.now().Add(lookAgain)
		}
	}
}

// listen follows the events; each one says which device to look at.
func (r *Resync) listen(ctx context.Context, after uint64) {
	for ev := range r.live.Events(ctx, after) {
		switch ev.Name {
		case "site.saved", "pbx.saved", "parameter.saved", "settings.saved", "reset":
			r.lookAtAll(ctx)
		case "user.saved":
			u, err := r.desk.User(ev.User)
			if err != nil {
				continue // removed meanwhile
			}
			for _, id := range u.Devices {
				r.look(ctx, id, wide)
			}
		case "device.registered":
			r.again(ev.Device)
			r.look(ctx, ev.Device, shown)
		case "device.fetched":
			version, _ := ev.Data["version"].(uint64)
			r.paused(ev.Device, version)
			r.look(ctx, ev.Device, shown)
		case "device.unregistered", hotdesk.EventFree:
			r.look(ctx, ev.Device, shown)
		case "device.config_updating", "device.config_current", "device.config_stale", "call.started", "call.answered", "call.ended", "login.failed":
			continue
		default:
			if ev.Device != "" {
				r.look(ctx, ev.Device, touched)
			}
		}
		r.rouse()
	}
}

func (r *Resync) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// lookAtAll renders every device once: a wide change may have changed any file.
func (r *Resync) lookAtAll(ctx context.Context) {
	for _, p := range r.desk.Phones() {
		if ctx.Err() != nil {
			return
		}
		r.look(ctx, p.Device.ID, wide)
	}
}

// look compares one device's state and begins, keeps or ends its job. One at a
// time: storing a digest takes a while, and what was read before it must not end
// the job that a login has begun in between.
func (r *Resync) look(ctx context.Context, id hotdesk.DeviceID, why cause) {
	select {
	case r.looking <- struct{}{}:
		defer func() { <-r.looking }()
	case <-ctx.Done():
		return
	}
	p, err := r.desk.Phone(id)
	if err != nil || !p.Device.Claimed {
		r.drop(id)
		return
	}
	var within time.Duration
	if why != shown || p.Device.Digest == "" || !p.Current() && !r.has(id, p.Device.Wanted) {
		if p, within, err = r.prepare(ctx, p); err != nil {
			return
		}
	}
	if p.Current() {
		r.current(p)
		return
	}
	r.mu.Lock()
	j := r.work[id]
	fresh := j == nil || j.wanted != p.Device.Wanted
	if fresh {
		j = &job{wanted: p.Device.Wanted, within: within, due: r.now(), bulk: why == wide}
		r.work[id] = j
	}
	r.mu.Unlock()
	if fresh {
		r.live.Stale(id, false)
		r.live.Publish("device.config_updating", id, "", map[string]any{"version": p.Device.Wanted})
	}
}

// prepare renders the device's file and stores its digest, which may make a new
// version wanted. It tells how long the phone needs to apply the file.
func (r *Resync) prepare(ctx context.Context, p hotdesk.Phone) (hotdesk.Phone, time.Duration, error) {
	id := p.Device.ID
	digest, ladder, err := r.files.Prepare(ctx, id)
	if err != nil {
		r.log.Error("configuration cannot be prepared", "device", string(id), "err", err)
		return p, 0, err
	}
	within := time.Minute
	if len(ladder) > 0 {
		within = ladder[0].ApplyWithin
	}
	if p.Device, err = r.desk.Prepared(ctx, p.Device, digest); err != nil {
		r.log.Warn("digest not stored; it will be tried again", "device", string(id), "err", err)
	}
	return p, within, nil
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
	news := r.told[id] != p.Device.Wanted
	r.told[id] = p.Device.Wanted
	_, had := r.work[id]
	delete(r.work, id)
	r.mu.Unlock()
	if had || news {
		r.live.Stale(id, false)
		r.live.Publish("device.config_current", id, "", map[string]any{"version": p.Device.Wanted})
	}
}

// drop forgets a device that has no phone any more.
func (r *Resync) drop(id hotdesk.DeviceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.work, id)
	delete(r.told, id)
}

// again lets the next try come at once: the phone has just shown itself. One
// that works on what it has fetched is left in peace, and one that ignores us
// too, unless it comes anew.
func (r *Resync) again(id hotdesk.DeviceID) {
	reg, _ := r.live.Registration(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	j, soon := r.work[id], r.now().Add(afterCall)
	if j == nil || j.tries == 0 || soon.Before(j.applies) || j.hourly && reg.Since.Equal(j.since) {
		return
	}
	if j.due.After(soon) {
		j.due = soon
	}
}

// paused gives a phone that has fetched the wanted version the time it needs to
// apply it. The fetch of an older one says nothing about the wanted one: events
// come late, and the check-sync of a login in between must not wait for it.
func (r *Resync) paused(id hotdesk.DeviceID, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j := r.work[id]; j != nil && version >= j.wanted {
		j.applies = r.now().Add(j.within)
		j.due = j.applies
	}
}

// send starts every check-sync that is due and returns when the next one is.
func (r *Resync) send(ctx context.Context) (next time.Time) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, j := range r.work {
		at := j.due
		if r.busy[id] {
			continue // its end wakes us
		}
		reg, registered := r.live.Registration(id)
		if !registered {
			continue // its registration is an event
		}
		inCall, free := r.live.InCall(id, "")
		if inCall {
			continue // its end is an event
		}
		if quiet := free.Add(afterCall); !free.IsZero() && quiet.After(at) {
			at = quiet
		}
		// A phone that has just come has most likely fetched right before, and that
		// is being written down.
		if settled := reg.Since.Add(afterBoot); settled.After(at) {
			at = settled
		}
		if j.bulk && r.nextBulk.After(at) {
			at = r.nextBulk
		}
		if !at.After(now) {
			if j.bulk {
				r.nextBulk = now.Add(bulkGap)
			}
			r.busy[id], j.since = true, reg.Since
			r.sending.Go(func() { r.try(ctx, id, j) })
			continue
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// try sends one check-sync and sets the time of the next.
func (r *Resync) try(ctx context.Context, id hotdesk.DeviceID, j *job) {
	defer r.rouse()
	// The state may be ahead of the events: a phone that has just shown its new
	// secret must not be asked again.
	p, err := r.desk.Phone(id)
	if err != nil || p.Current() {
		r.done(id, j, lookAgain)
		r.look(ctx, id, shown)
		return
	}
	// In an emergency hold only what somebody at the desk has done reaches the phone:
	// a login or logout gives it a new secret, a changed site or parameter does not.
	if p.Fetched.Proven >= p.Device.Generation && r.desk.Held(id) {
		r.done(id, j, lookAgain)
		return
	}
	_, ladder, err := r.files.Prepare(ctx, id)
	if err != nil || len(ladder) == 0 {
		r.log.Error("phone cannot be told to fetch", "device", string(id), "err", err)
		r.done(id, j, hourly)
		return
	}
	r.mu.Lock()
	cs, pause, stale := r.rung(id, j, ladder)
	r.mu.Unlock()
	if cs != nil {
		ctx, cancel := context.WithTimeout(ctx, answerWait)
		defer cancel()
		if err := r.phones.CheckSync(ctx, id, *cs); err != nil {
			r.log.Info("check-sync not answered", "device", string(id), "event", cs.Event, "err", err)
		}
	}
	if stale && r.is(id, j) && r.live.Stale(id, true) {
		r.live.Publish("device.config_stale", id, "", map[string]any{"version": j.wanted})
	}
	r.done(id, j, pause)
}

// is tells whether the job is still the device's: a login may have replaced it
// while its NOTIFY was under way.
func (r *Resync) is(id hotdesk.DeviceID, j *job) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.work[id] == j
}

func (r *Resync) done(id hotdesk.DeviceID, j *job, pause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, id)
	if at := r.now().Add(pause); at.After(j.due) {
		j.due = at
	}
}

// rung chooses the form of the next check-sync: the gentle ones, then one
// reboot when the device has been quiet and no emergency call holds it, then a
// gentle one every hour. cs is nil when it has to wait. The caller holds the lock.
func (r *Resync) rung(id hotdesk.DeviceID, j *job, ladder []hotdesk.CheckSync) (cs *hotdesk.CheckSync, pause time.Duration, stale bool) {
	if j.tries <= len(pauses) {
		pause = ladder[0].ApplyWithin
		if j.tries < len(pauses) {
			pause = pauses[j.tries]
		}
		j.tries++
		return &ladder[0], pause, false
	}
	if !j.rebooted {
		for i := range ladder {
			if !ladder[i].Reboot {
				continue
			}
			inCall, free := r.live.InCall(id, "")
			if inCall || r.now().Sub(free) < quietReboot || r.desk.Held(id) {
				return nil, quietReboot, false
			}
			j.rebooted = true
			return &ladder[i], ladder[i].ApplyWithin, false
		}
	}
	j.hourly = true
	return &ladder[0], hourly, true
}
