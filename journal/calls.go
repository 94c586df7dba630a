package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/paced"
)

const (
	callsQueued = 8192 // records that wait for the disk at most
	callsKept   = 4096 // newest records kept in memory
)

// CallFilter says which call records are asked for. Empty fields match all.
type CallFilter struct {
	User   hotdesk.Extension // who called, or was dialled
	Device hotdesk.DeviceID  // from which, or at which
	Limit  int               // 100 when it is not positive
}

func (f CallFilter) match(c hotdesk.Call) bool {
	return (f.User == "" || c.FromUser == f.User || c.To == string(f.User)) &&
		(f.Device == "" || c.FromDevice == f.Device || c.ToDevice == f.Device)
}

// Results of a call without an end: it is up, or its end was never told, because the
// server was killed while it was.
const (
	resultOngoing     = "ongoing"
	resultInterrupted = "interrupted"
)

// numbered is a call record with its line's number in the file.
type numbered struct {
	seq      uint64
	call     hotdesk.Call
	replaces uint64 // the line that told of the same call before; 0: none
}

// calls is the queue before the file of call records, and the newest of them.
type calls struct {
	files *files
	log   *slog.Logger
	wake  chan struct{}

	mu      sync.Mutex
	queue   []pending
	recent  []numbered        // oldest first; includes the queued ones
	last    uint64            // the number of the newest record
	open    map[string]uint64 // the newest record of each call that is up, by its id
	dropped int               // since it was last logged
	closed  bool

	flushing  sync.Mutex // one flush at a time
	unwritten paced.Failure
}

// RecordCall queues a call record and returns at once. One without an end tells that
// the call is up, so that a kill does not lose it; the next of the same id replaces
// it. With 8192 waiting for a disk that does not take them, and after Close, it is
// dropped, which is counted and logged; records of calls that are up take half of the
// room and give way in silence, for another will come.
func (j *Journal) RecordCall(call hotdesk.Call) { j.calls.record(call) }

// Calls returns the call records that match, newest first and one for each call,
// including those that are not on the disk yet. The result of one without an end is
// "ongoing", or "interrupted" when this server did not see it begin. The newest few thousand come from memory; for more the
// files are read, all of them when too few match.
func (j *Journal) Calls(f CallFilter) ([]hotdesk.Call, error) { return j.calls.find(f) }

func (c *calls) record(call hotdesk.Call) {
	row, err := json.Marshal(call)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed { // nobody comes by any more to log the count
		c.log.Error("a call record was dropped: the journal is closed", "call_id", call.ID)
		return
	}
	up := call.Ended == nil
	switch {
	case up && len(c.queue) >= callsQueued/2:
		return
	case err != nil || len(c.queue) >= callsQueued:
		c.dropped++
		delete(c.open, call.ID)
	default:
		c.last++
		before := c.open[call.ID]
		c.queue = append(c.queue, pending{rev: hotdesk.Rev(before), row: row})
		c.keep(numbered{c.last, call, before})
		if delete(c.open, call.ID); up {
			c.open[call.ID] = c.last
		}
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// keep adds to the newest. It lets them grow to twice the number before it cuts, so
// that the copying is rare.
func (c *calls) keep(n numbered) {
	if c.recent = append(c.recent, n); len(c.recent) >= 2*callsKept {
		c.recent = slices.Clone(c.recent[len(c.recent)-callsKept:])
	}
}

// load reads the newest records from the files.
func (c *calls) load() {
	c.last = c.files.last.Seq
	for l, err := range c.files.backward("") {
		if err == nil {
			var call hotdesk.Call
			if err = json.Unmarshal(l.Row, &call); err == nil {
				c.recent = append(c.recent, numbered{l.Seq, call, l.Rev})
			}
		}
		if err != nil {
			c.log.Error("a call record cannot be read", "err", err)
		}
		if len(c.recent) == callsKept {
			break
		}
	}
	slices.Reverse(c.recent)
}

// serve writes what is queued until the context ends.
func (c *calls) serve(ctx context.Context) {
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			if err := c.flush(); err != nil {
				c.log.Error("call records wait for the disk", "err", err)
			}
			return
		case <-c.wake:
		}
		for err := c.flush(); err != nil && ctx.Err() == nil; err = c.flush() {
			c.unwritten.Failed(c.log, "call records wait for the disk", err)
			wait(ctx, pause)
			pause = min(2*pause, longestPause)
		}
		pause = firstPause
		c.unwritten.Worked(c.log, "call records are written again")
	}
}

// flush writes all that is queued with one fsync. What it cannot write stays queued.
func (c *calls) flush() error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	group, dropped := slices.Clone(c.queue), c.dropped
	c.dropped = 0
	c.mu.Unlock()
	if dropped > 0 {
		c.log.Error("call records were dropped: too many wait for the disk", "count", dropped)
	}
	if len(group) == 0 {
		return nil
	}
	if err := c.files.append(group); err != nil {
		return err
	}
	c.mu.Lock()
	c.queue = slices.Clone(c.queue[len(group):])
	c.mu.Unlock()
	return nil
}

func (c *calls) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	err := c.flush()
	c.mu.Lock()
	left := len(c.queue)
	c.queue = nil
	c.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("%d call records are lost: %w", left, err)
	}
	if cerr := c.files.close(); err == nil {
		err = cerr
	}
	return err
}

func (c *calls) find(f CallFilter) (out []hotdesk.Call, err error) {
	if f.Limit <= 0 {
		f.Limit = defaultLimit
	}
	c.mu.Lock()
	recent, open := slices.Clone(c.recent), maps.Clone(c.open)
	c.mu.Unlock()
	replaced := map[uint64]struct{}{} // lines still to come; a call's are never far apart
	full := func(n numbered) bool {
		_, old := replaced[n.seq]
		delete(replaced, n.seq)
		if n.replaces != 0 {
			replaced[n.replaces] = struct{}{}
		}
		if old || !f.match(n.call) {
			return false
		}
		if n.call.Ended == nil {
			n.call.Result = resultInterrupted
			if open[n.call.ID] == n.seq {
				n.call.Result = resultOngoing
			}
		}
		out = append(out, n.call)
		return len(out) == f.Limit
	}
	for _, n := range slices.Backward(recent) {
		if full(n) {
			return out, nil
		}
	}
	if len(recent) == 0 || recent[0].seq <= 1 {
		return out, nil // memory holds all there are
	}
	for l, err := range c.files.backward("") {
		if err != nil || l.Seq >= recent[0].seq {
			continue // what cannot be read was logged at the start
		}
		var call hotdesk.Call
		if json.Unmarshal(l.Row, &call) == nil && full(numbered{l.Seq, call, l.Rev}) {
			break
		}
	}
	return out, nil
}
