package resync

import (
	"context"
	"time"

	"hotdeskd/hotdesk"
)

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
		j.applies = r.now().Add(j.within())
		j.due = j.applies
	}
}

// ready puts the device's job on its agenda: its phone came, or its call has ended.
func (r *Resync) ready(id hotdesk.DeviceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j := r.work[id]; j != nil {
		r.schedule(j, j.due)
	}
}

// send starts every check-sync that is due and returns when the next one is.
func (r *Resync) send(ctx context.Context) (next time.Time) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.person) > 0 && !r.person[0].at.After(now) {
		r.start(ctx, r.person[0], now)
	}
	for len(r.bulk) > 0 && !r.bulk[0].at.After(now) && !r.nextBulk.After(now) {
		if r.start(ctx, r.bulk[0], now) {
			r.nextBulk = now.Add(bulkGap)
		}
	}
	if len(r.person) > 0 {
		next = r.person[0].at
	}
	if len(r.bulk) > 0 {
		at := r.bulk[0].at
		if r.nextBulk.After(at) {
			at = r.nextBulk
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// start sends the check-sync of a job whose time has come, or puts it off; it tells
// which. The caller holds the lock.
func (r *Resync) start(ctx context.Context, j *job, now time.Time) bool {
	at := j.due
	reg, registered := r.live.Registration(j.id)
	inCall, free := r.live.InCall(j.id, "")
	if r.busy[j.id] || !registered || inCall { // the end of each is an event
		r.unschedule(j)
		return false
	}
	if quiet := free.Add(afterCall); !free.IsZero() && quiet.After(at) {
		at = quiet
	}
	// A phone that has just come has most likely fetched right before, and that
	// is being written down.
	if settled := reg.Since.Add(afterBoot); settled.After(at) {
		at = settled
	}
	if at.After(now) {
		r.schedule(j, at)
		return false
	}
	r.unschedule(j)
	r.busy[j.id], j.since = true, reg.Since
	r.sending.Go(func() { r.try(ctx, j.id, j) })
	return true
}

// try sends one check-sync and sets the time of the next.
func (r *Resync) try(ctx context.Context, id hotdesk.DeviceID, j *job) {
	defer r.rouse()
	// The state may be ahead of the events: a phone that has just shown its new
	// secret must not be asked again.
	p, err := r.desk.Phone(id)
	if err == nil && p.Device.Claimed && p.Device.Wanted < j.wanted {
		r.done(id, j, lateAgain) // memory is late: the phone would be given the older file
		return
	}
	if err != nil || p.Current() {
		r.done(id, j, lookAgain)
		r.look(ctx, id, shown)
		return
	}
	// In an emergency hold only what somebody at the desk has done reaches the phone:
	// a login or logout gives it a new secret, a changed site or parameter does not.
	if !waits(p) && r.desk.MayDisturb(id) != nil {
		r.done(id, j, lookAgain)
		return
	}
	r.mu.Lock()
	ladder := j.ladder
	r.mu.Unlock()
	if len(ladder) == 0 {
		if _, ladder, err = r.files.Prepare(ctx, id); err != nil || len(ladder) == 0 {
			r.log.Error("phone cannot be told to fetch", "device", string(id), "err", err)
			r.done(id, j, lookAgain)
			return
		}
	}
	r.mu.Lock()
	j.ladder = ladder
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

// done ends a try of a job. The device may have another job by now, which has its
// own time and has only waited for the line to be free.
func (r *Resync) done(id hotdesk.DeviceID, j *job, pause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, id)
	if at := r.now().Add(pause); at.After(j.due) {
		j.due = at
	}
	if now := r.work[id]; now != nil {
		r.schedule(now, now.due)
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
			_, free := r.live.InCall(id, "")
			if r.now().Sub(free) < quietReboot || r.desk.MayDisturb(id) != nil {
				return nil, quietReboot, false
			}
			j.rebooted = true
			return &ladder[i], ladder[i].ApplyWithin, false
		}
	}
	j.hourly = true
	return &ladder[0], hourly, true
}
