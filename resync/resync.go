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
	MayDisturb(hotdesk.DeviceID) error
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
	lateAgain   = 500 * time.Millisecond // memory does not show yet what is to be fetched
	longestRest = 50 * time.Millisecond  // between two devices of a wide look
)

// pauses between the gentle tries.
var pauses = []time.Duration{10 * time.Second, 30 * time.Second}

// Resync is the loop. New builds it, Serve runs it.
//
// Nobody at a desk waits for a wide look: events are only noted (listen), the devices
// that they name are looked at in the background, one by one, each in its own time,
// those that somebody may stand at before all others (lookers), and a check-sync that
// a person waits for is due before anything is rendered (begin).
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
	unstored map[hotdesk.DeviceID]bool   // digests that could not be stored
	person   agenda                      // jobs that somebody at a desk waits for
	bulk     agenda                      // and those that nobody does
	nextBulk time.Time                   // before it nobody at a desk is waiting
	touched  queue                       // devices to be looked at, whose own state has changed
	wide     queue                       // and those that a wide change may have changed
	looked   map[hotdesk.DeviceID]chan struct{}
	wake     chan struct{}
	sending  sync.WaitGroup
}

// job is one phone that is behind.
type job struct {
	id       hotdesk.DeviceID
	wanted   uint64              // the version the tries are for
	ladder   []hotdesk.CheckSync // as the file was prepared; empty until then
	tries    int                 // gentle ones
	rebooted bool                // the stronger form was sent for this version
	due      time.Time           // of the next try
	applies  time.Time           // until then the phone works on the file that it has fetched
	bulk     bool                // caused by a wide change, not by somebody at the desk
	hourly   bool                // it ignores us; only a phone that comes anew is told before its time
	since    time.Time           // of the registration that the last try went to
	at       time.Time           // when it is looked at again, while it is on an agenda
	place    int                 // on its agenda; -1: on none
}

// within is how long the phone needs to apply its file.
func (j *job) within() time.Duration {
	if len(j.ladder) > 0 {
		return j.ladder[0].ApplyWithin
	}
	return time.Minute
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
		work: map[hotdesk.DeviceID]*job{}, busy: map[hotdesk.DeviceID]bool{}, told: map[hotdesk.DeviceID]uint64{},
		unstored: map[hotdesk.DeviceID]bool{}, looked: map[hotdesk.DeviceID]chan struct{}{},
		touched: newQueue(), wide: newQueue(), wake: make(chan struct{}, 1),
	}, nil
}

// Serve works until ctx ends.
func (r *Resync) Serve(ctx context.Context) error {
	// What happens from here on is heard, whenever the listener gets going.
	after := r.live.LastEvent()
	for _, p := range r.desk.Phones() {
		if p.Current() {
			r.told[p.Device.ID] = p.Device.Wanted // before we began
		}
	}
	var helpers sync.WaitGroup
	helpers.Go(func() { r.listen(ctx, after) })
	helpers.Go(func() { r.lookTouched(ctx) })
	helpers.Go(func() { r.lookWide(ctx) })
	defer helpers.Wait()
	defer r.sending.Wait()
	r.lookAtAll()
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
			r.sweep()
			sweep = r.now().Add(lookAgain)
		}
	}
}

// listen follows the events; each one says which device to look at. It renders and
// stores nothing, so that it is never behind them for long.
func (r *Resync) listen(ctx context.Context, after uint64) {
	for ev := range r.live.Events(ctx, after) {
		switch ev.Name {
		case "site.saved", "pbx.saved", "parameter.saved", "settings.saved", "reset":
			r.lookAtAll()
		case "user.saved":
			u, err := r.desk.User(ev.User)
			if err != nil {
				continue // removed meanwhile
			}
			for _, id := range u.Devices {
				r.later(id)
			}
		case "device.registered":
			r.again(ev.Device)
			r.ready(ev.Device)
			r.notice(ctx, ev.Device, shown)
		case "device.fetched":
			version, _ := ev.Data["version"].(uint64)
			r.paused(ev.Device, version)
			r.notice(ctx, ev.Device, shown)
		case "device.unregistered", hotdesk.EventFree:
			r.ready(ev.Device)
			r.notice(ctx, ev.Device, shown)
		case "device.config_updating", "device.config_current", "device.config_stale", "device.asked", "call.started", "call.answered", "call.ended", "login.failed":
			continue
		default:
			if ev.Device != "" {
				r.notice(ctx, ev.Device, touched)
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
