package bolt

import (
	"bytes"
	"fmt"
	"sync"

	"hotdeskd/hotdesk"
)

const (
	ringCommits = 4096     // kept for Watch
	ringBytes   = 64 << 20 // of keys and values kept, whatever their number
)

// ring keeps the newest commits for the watchers. Nobody is waited for: who is
// too slow finds that its revision has gone.
type ring struct {
	mu      sync.Mutex
	commits []hotdesk.Commit // revisions follow each other without a gap
	last    hotdesk.Rev      // of the newest commit, kept or not
	max     int              // commits kept
	bytes   int
	changed chan struct{} // closed and replaced at every push
	closed  bool
}

func newRing(last hotdesk.Rev, keep int) *ring {
	if keep == 0 {
		keep = ringCommits
	}
	return &ring{last: last, max: keep, changed: make(chan struct{})}
}

// push adds the commits of a group.
func (r *ring) push(group []hotdesk.Commit) {
	if len(group) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range group {
		r.commits = append(r.commits, c)
		r.bytes += size(c)
		r.last = c.Rev
	}
	drop := 0
	for len(r.commits)-drop > r.max || r.bytes > ringBytes {
		r.bytes -= size(r.commits[drop])
		drop++
	}
	clear(r.commits[:drop]) // the slice moves on, its memory would keep them
	r.commits = r.commits[drop:]
	close(r.changed)
	r.changed = make(chan struct{})
}

// next returns the commit after the given revision or, when there is none yet, a
// channel that is closed when there may be.
func (r *ring) next(after hotdesk.Rev) (hotdesk.Commit, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return hotdesk.Commit{}, nil, fmt.Errorf("%w: the store is closed", hotdesk.ErrUnavailable)
	}
	if after >= r.last {
		return hotdesk.Commit{}, r.changed, nil
	}
	floor := r.last - hotdesk.Rev(len(r.commits)) // the newest revision not kept
	if after < floor {
		return hotdesk.Commit{}, nil, hotdesk.ErrCompacted
	}
	return clone(r.commits[after-floor]), nil, nil
}

func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	close(r.changed)
	r.changed = make(chan struct{})
}

func clone(c hotdesk.Commit) hotdesk.Commit {
	out := hotdesk.Commit{Rev: c.Rev, Changes: make([]hotdesk.Change, len(c.Changes))}
	for i, ch := range c.Changes {
		out.Changes[i] = hotdesk.Change{Key: ch.Key, Value: bytes.Clone(ch.Value)}
	}
	return out
}

func size(c hotdesk.Commit) int {
	n := 64 // the commit itself, about
	for _, ch := range c.Changes {
		n += 48 + len(ch.Key) + len(ch.Value)
	}
	return n
}
