package bolt

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"hotdeskd/hotdesk"
)

// maxGroup is how many Updates share one commit at most.
const maxGroup = 256

// The states of a job. Only who moves it from waiting may run or drop it.
const (
	waiting int32 = iota
	started
	abandoned
)

// job is one Update on its way through the writer.
type job struct {
	state atomic.Int32
	turn  chan *txn     // the writer hands the transaction over
	ran   chan bool     // the caller hands it back: keep the writes?
	done  chan struct{} // closed when rev and err are final
	rev   hotdesk.Rev
	err   error // of the commit; fn's own error stays with the caller
}

// Update runs fn and commits what it wrote; see hotdesk.Store. It fails with
// ErrTooLarge for a broken limit, ErrNested inside another transaction,
// ErrUnavailable when nothing was done (disk full, store closed), and
// ErrUnknownOutcome when the disk failed after the writes had become visible. The
// context counts until fn has started; from then on the outcome is awaited.
func (d *DB) Update(ctx context.Context, fn func(hotdesk.Txn) error) (hotdesk.Rev, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if d.nested() {
		return 0, hotdesk.ErrNested
	}
	j := &job{turn: make(chan *txn, 1), ran: make(chan bool, 1), done: make(chan struct{})}
	select {
	case <-d.closing: // looked at first: the queue may have room
		return 0, d.closedError()
	default:
	}
	select {
	case d.jobs <- j:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-d.closing:
		return 0, d.closedError()
	}
	tx, err := d.await(ctx, j)
	if tx == nil {
		return 0, err
	}
	if err := d.call(j, tx, fn); err != nil {
		<-j.done
		if j.err != nil {
			// fn judged by what others of the group had written, and that is gone.
			return 0, j.err
		}
		return 0, err
	}
	<-j.done
	return j.rev, j.err
}

// await waits for the job's turn. Without a transaction the Update was not started.
func (d *DB) await(ctx context.Context, j *job) (*txn, error) {
	select {
	case tx := <-j.turn:
		return tx, nil
	case <-j.done:
		return nil, j.err
	case <-ctx.Done():
		if j.state.CompareAndSwap(waiting, abandoned) {
			return nil, ctx.Err()
		}
	case <-d.stopped:
		if j.state.CompareAndSwap(waiting, abandoned) {
			return nil, d.closedError()
		}
	}
	select { // the writer was faster
	case tx := <-j.turn:
		return tx, nil
	case <-j.done:
		return nil, j.err
	}
}

// call runs fn and hands the transaction back, whichever way fn ends: return,
// panic or runtime.Goexit.
func (d *DB) call(j *job, tx *txn, fn func(hotdesk.Txn) error) error {
	keep := false
	defer func() {
		tx.over = true
		j.ran <- keep
	}()
	err := d.run(func() error { return fn(tx) })
	if err == nil {
		err = tx.err
	}
	keep = err == nil
	return err
}

func (d *DB) closedError() error {
	return fmt.Errorf("update %s: %w: the store is closed", d.path, hotdesk.ErrUnavailable)
}

// write is the writer: it owns the one write transaction. st is what it knows to
// be committed.
func (d *DB) write(st state) {
	defer close(d.stopped)
	debug.SetPanicOnFault(true) // of this goroutine only; see DB.run
	for {
		select {
		case <-d.closing:
			return
		default:
		}
		select {
		case <-d.closing:
			return
		case j := <-d.jobs:
			st = d.writeGroup(st, j)
		}
	}
}

// group is the Updates of one commit.
type group struct {
	db      *DB
	tx      *bbolt.Tx
	data    *bbolt.Bucket
	state   state // as it will be when all is committed
	jobs    []*job
	commits []hotdesk.Commit
}

// writeGroup runs first and all that wait behind it, commits, and releases the
// results. It returns the committed state.
func (d *DB) writeGroup(st state, first *job) (committed state) {
	g := &group{db: d, state: st}
	defer func() {
		for _, j := range g.jobs {
			close(j.done)
		}
	}()
	defer func() {
		if p := recover(); p != nil {
			err := fmt.Errorf("%w: %w: %v: restart hotdeskd, which checks the file", hotdesk.ErrUnavailable, ErrCorrupt, p)
			d.broken.Store(&err)
			g.fail(err)
			committed = st
		}
	}()
	if err := d.broken.Load(); err != nil {
		g.jobs = append(g.jobs, first)
		g.fail(*err)
		return st
	}
	tx, err := d.bolt.Begin(true)
	if err != nil {
		g.jobs = append(g.jobs, first)
		g.fail(fmt.Errorf("update %s: %w: %w", d.path, hotdesk.ErrUnavailable, err))
		return st
	}
	g.tx, g.data = tx, tx.Bucket([]byte(bucketData))
	err = g.runAll(first)
	if err != nil || len(g.commits) == 0 {
		_ = tx.Rollback()
		g.fail(err)
		return st
	}
	if err = tx.Bucket([]byte(bucketMeta)).Put([]byte(keyState), g.state.encode()); err == nil {
		err = d.commit(tx)
	}
	if err != nil {
		_ = tx.Rollback() // does nothing after a failed commit, which has done it
		return g.commitFailed(st, err)
	}
	d.ring.push(g.commits)
	return g.state
}

// runAll gives every waiting job its turn. An error is bbolt's and ends the group.
func (g *group) runAll(first *job) error {
	for j := first; j != nil; {
		if err := g.runOne(j); err != nil {
			return err
		}
		j = nil
		if len(g.jobs) < maxGroup {
			select {
			case j = <-g.db.jobs:
			default:
			}
		}
	}
	return nil
}

func (g *group) runOne(j *job) error {
	if !j.state.CompareAndSwap(waiting, started) {
		return nil
	}
	g.jobs = append(g.jobs, j)
	t := newTxn(g.data)
	j.turn <- t
	if keep := <-j.ran; !keep {
		return nil
	}
	j.rev = t.seen
	return g.apply(j, t)
}

// apply puts a finished Update's writes into the bbolt transaction, where the next
// one reads them.
func (g *group) apply(j *job, t *txn) error {
	rev := g.state.rev + 1
	var changes []hotdesk.Change
	for _, key := range slices.Sorted(maps.Keys(t.writes)) {
		value := t.writes[key]
		old := g.data.Get([]byte(key))
		if old == nil && value == nil {
			continue
		}
		if old != nil {
			_, sum, _, err := decodeRecord([]byte(key), old)
			if err != nil {
				return fmt.Errorf("update %s: %w: %w", g.db.path, hotdesk.ErrUnavailable, err)
			}
			g.state.count--
			g.state.sum -= sum
		}
		var err error
		if value == nil {
			err = g.data.Delete([]byte(key))
		} else {
			record, sum := encodeRecord(key, rev, value)
			g.state.count++
			g.state.sum += sum
			err = g.data.Put([]byte(key), record)
		}
		if err != nil {
			return fmt.Errorf("update %s: %w: %w", g.db.path, hotdesk.ErrUnavailable, err)
		}
		changes = append(changes, hotdesk.Change{Key: key, Value: value})
	}
	if len(changes) > 0 {
		g.state.rev, j.rev = rev, rev
		g.commits = append(g.commits, hotdesk.Commit{Rev: rev, Changes: changes})
	}
	return nil
}

// commitFailed finds out what readers see now. Almost always it is the old state:
// nothing was done. But when only the last fsync failed, the new state is visible
// and may or may not survive a power cut.
func (g *group) commitFailed(st state, cause error) state {
	d := g.db
	now, err := d.readState()
	if err == nil && now == g.state {
		g.fail(fmt.Errorf("commit %s: %w: %w", d.path, hotdesk.ErrUnknownOutcome, cause))
		d.ring.push(g.commits)
		return g.state
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", hotdesk.ErrUnavailable, err)
		d.broken.Store(&err)
	}
	g.fail(fmt.Errorf("commit %s: %w: %w", d.path, hotdesk.ErrUnavailable, cause))
	return st
}

// fail gives every job of the group the error; none for nil.
func (g *group) fail(err error) {
	if err == nil {
		return
	}
	for _, j := range g.jobs {
		j.rev, j.err = 0, err
	}
}
