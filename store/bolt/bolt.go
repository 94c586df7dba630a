package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"hotdeskd/hotdesk"
)

var _ hotdesk.Store = (*DB)(nil)

const (
	lockWait = time.Second // for the lock on the database file
	// mapSize is mapped from the start (address space, not memory), so that a
	// growing file is rarely mapped anew: that has to wait for every open View.
	mapSize = 128 << 20
	// growSize is what the file grows by beyond the need; bbolt's 16 MiB would be
	// most of the file in an office.
	growSize = 1 << 20
)

// Options of Open. The zero value is right for tests.
type Options struct {
	// CheckCommand is the sub-command of this program that runs RunCheck in a child
	// process; the path is added as its last argument. Without it the check runs in
	// this process, where a badly damaged file can end the process: tests only.
	CheckCommand []string

	commit func(*bbolt.Tx) error // replaces the commit in tests
	ring   int                   // commits kept for Watch; 0 is ringCommits
}

// DB is an open store. All methods may be called from any goroutine.
type DB struct {
	bolt   *bbolt.DB
	path   string
	commit func(*bbolt.Tx) error
	ring   *ring

	jobs    chan *job
	closing chan struct{} // closed by Close
	stopped chan struct{} // closed when the writer has ended
	close   sync.Once
	failed  error // of closing the file; read after the Once

	running atomic.Int64          // functions of View and Update that run now
	broken  atomic.Pointer[error] // bbolt panicked while it wrote: no more Updates
}

// Open opens the database at path, or creates it with its instance file (path
// with ".id" added) when neither of the two exists. The directory must exist.
//
// It refuses with ErrEmpty, ErrForeign, ErrCorrupt or ErrInUse, each wrapped in a
// message that names the file and the way out.
func Open(path string, opts Options) (*DB, error) {
	if err := admit(path, opts.CheckCommand); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, boltOptions())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, openError(path, err))
	}
	db.AllocSize = growSize
	d := &DB{
		bolt: db, path: path, commit: opts.commit,
		jobs:    make(chan *job, maxGroup),
		closing: make(chan struct{}),
		stopped: make(chan struct{}),
	}
	if d.commit == nil {
		d.commit = (*bbolt.Tx).Commit
	}
	st, err := d.readState()
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	d.ring = newRing(st.rev, opts.ring)
	go d.write(st)
	return d, nil
}

func boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout: lockWait, InitialMmapSize: mapSize,
		NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
	}
}

// openError says what an error of bbolt means to whoever runs hotdeskd.
func openError(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w: stop the other one first (two cannot share a data directory)", ErrInUse)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return fmt.Errorf("%w (%w): put a backup in its place, or move it and %s away to start empty",
			ErrForeign, err, instancePath(path))
	}
	var sys syscall.Errno
	if errors.As(err, &sys) {
		return err // no permission, no such directory: not the file's fault
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// View runs fn on one snapshot. It returns fn's error as it is, ErrUnavailable
// after Close, and ErrNested inside another transaction. A View that stays open
// keeps old pages from being reused, so fn should copy and return.
func (d *DB) View(ctx context.Context, fn func(hotdesk.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.read(func(tx *bbolt.Tx) error {
		st, err := loadState(tx)
		if err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		r := &reader{data: tx.Bucket([]byte(bucketData)), rev: st.rev}
		defer func() { r.over = true }()
		return fn(r)
	})
}

// Backup writes a consistent copy of the database to w while work goes on. Write
// to a local file, never to a slow network client: until it returns, no page that
// it may still need is reused, and the file grows. To restore, stop hotdeskd and put
// the copy in the place of the database; see Open for the instance file.
func (d *DB) Backup(w io.Writer) error {
	return d.read(func(tx *bbolt.Tx) error {
		if _, err := tx.WriteTo(w); err != nil {
			return fmt.Errorf("back up %s: %w", d.path, err)
		}
		return nil
	})
}

func (d *DB) read(fn func(*bbolt.Tx) error) error {
	if d.nested() {
		return hotdesk.ErrNested
	}
	tx, err := d.bolt.Begin(false)
	if err != nil {
		return fmt.Errorf("read %s: %w: %w", d.path, hotdesk.ErrUnavailable, err)
	}
	defer func() { _ = tx.Rollback() }() // the only error is "already closed"
	return d.run(func() error { return fn(tx) })
}

// Watch yields every commit after the given revision, whole and in order; the
// values are the caller's. It ends with ErrCompacted when the commits after the
// revision are no longer kept (some thousand are, and none from before Open), with
// the context's error, or with ErrUnavailable after Close.
func (d *DB) Watch(ctx context.Context, after hotdesk.Rev) iter.Seq2[hotdesk.Commit, error] {
	return func(yield func(hotdesk.Commit, error) bool) {
		for after := after; ; {
			if err := ctx.Err(); err != nil {
				yield(hotdesk.Commit{}, err)
				return
			}
			c, changed, err := d.ring.next(after)
			switch {
			case err != nil:
				yield(hotdesk.Commit{}, fmt.Errorf("watch after revision %d: %w", after, err))
				return
			case changed == nil:
				if !yield(c, nil) {
					return
				}
				after = c.Rev
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// Close lets the group that is being committed finish, turns waiting Updates away
// with ErrUnavailable, ends every Watch and closes the file once all Views have
// returned. It may be called again, and then returns the same.
func (d *DB) Close() error {
	if d.nested() {
		return hotdesk.ErrNested
	}
	d.close.Do(func() {
		close(d.closing)
		<-d.stopped
		d.ring.close()
		if d.broken.Load() != nil {
			// bbolt may hold its locks for ever; the process is about to end and
			// nothing is unwritten.
			return
		}
		if err := d.bolt.Close(); err != nil {
			d.failed = fmt.Errorf("close %s: %w", d.path, err)
		}
	})
	return d.failed
}

func (d *DB) readState() (st state, err error) {
	err = d.read(func(tx *bbolt.Tx) error {
		st, err = loadState(tx)
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s: %w", d.path, err)
	}
	return st, err
}
