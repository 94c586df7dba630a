package resync

import (
	"container/heap"
	"time"
)

// agenda is the jobs that have a time, soonest first (container/heap). A job whose
// phone is away, in a call or being told is on none: an event brings it back.
type agenda []*job

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, k int) bool { return a[i].at.Before(a[k].at) }
func (a agenda) Swap(i, k int) {
	a[i], a[k] = a[k], a[i]
	a[i].place, a[k].place = i, k
}

// Push is for container/heap.
func (a *agenda) Push(x any) {
	j := x.(*job)
	j.place = len(*a)
	*a = append(*a, j)
}

// Pop is for container/heap.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	j := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	j.place = -1
	return j
}

// agendaOf is where a job belongs. The caller holds the lock.
func (r *Resync) agendaOf(j *job) *agenda {
	if j.bulk {
		return &r.bulk
	}
	return &r.person
}

// schedule has a job looked at then. The caller holds the lock.
func (r *Resync) schedule(j *job, at time.Time) {
	a := r.agendaOf(j)
	j.at = at
	if j.place >= 0 {
		heap.Fix(a, j.place)
		return
	}
	heap.Push(a, j)
}

// unschedule takes a job, if any, off its agenda. The caller holds the lock.
func (r *Resync) unschedule(j *job) {
	if j != nil && j.place >= 0 {
		heap.Remove(r.agendaOf(j), j.place)
	}
}

// remind puts every job back on its agenda: an event that would have may be lost.
func (r *Resync) remind() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.work {
		if j.place < 0 {
			r.schedule(j, j.due)
		}
	}
	r.rouse()
}
