package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/paced"
)

// While the store or the disk refuses, the pause between two tries grows from the
// first to the longest.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second
)

// Options of Open.
type Options struct {
	Now func() time.Time // decides the month of a line; time.Now if nil
	Log *slog.Logger     // nothing is logged if nil
}

// Journal is the open audit log and call records. All methods may be called from
// any goroutine.
type Journal struct {
	log   *slog.Logger
	audit *files
	calls calls
	kept  kept
	// unwritten are the tries to write what is kept, unmoved those to empty the store.
	unwritten, unmoved paced.Failure

	mu      sync.Mutex
	seen    map[string]struct{} // operation ids in the file whose row may still come
	direct  []string            // the newest that came by AppendNow, oldest first
	checked bool                // the files were searched for what was left in the store
	bad     map[string]struct{} // keys of rows that cannot be read: logged once
	head    Head                // that the store has
	told    Head                // that was missing, and a row says so
	sure    Head                // that is in the files
}

// Open opens the journal in dir, which it creates if needed. It cuts a line that a
// crash left unfinished, proves the newest lines of the audit log, and fails with
// ErrDamaged, naming the file and what to do, when they do not fit together.
func Open(dir string, opts Options) (*Journal, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	audit, err := openFiles(dir, "audit-", true, opts.Now)
	if err != nil {
		return nil, err
	}
	records, err := openFiles(dir, "calls-", false, opts.Now)
	if err != nil {
		return nil, errors.Join(err, audit.close())
	}
	j := &Journal{
		log: opts.Log, audit: audit,
		seen: map[string]struct{}{}, bad: map[string]struct{}{},
		calls: calls{files: records, log: opts.Log, wake: make(chan struct{}, 1), open: map[string]uint64{}},
		kept:  kept{wake: make(chan struct{}, 1)},
	}
	j.calls.load()
	return j, nil
}

// Serve drains the store's audit rows into the file and writes the queued call
// records, until the context ends; it returns nil then. While the store or the disk
// refuses, it keeps trying: nothing is lost, the rows wait in the store. One Serve
// runs at a time.
func (j *Journal) Serve(ctx context.Context, store hotdesk.Store) error {
	var all sync.WaitGroup
	all.Go(func() { j.calls.serve(ctx) })
	all.Go(func() { j.serveKept(ctx) })
	pause := firstPause
	for ctx.Err() == nil {
		moved, err := j.drain(ctx, store)
		switch {
		case ctx.Err() != nil:
			continue
		case errors.Is(err, hotdesk.ErrCompacted):
			continue // list again at once
		case moved:
			pause = firstPause
		}
		j.unmoved.Failed(j.log, "audit rows wait in the store, trying again", err)
		wait(ctx, pause)
		pause = min(2*pause, longestPause)
	}
	all.Wait()
	return nil
}

// Close writes the call records that are still queued and the audit rows that wait
// for the disk, and closes the files. It says how many could not be written. It may
// be called again.
func (j *Journal) Close() error {
	return errors.Join(j.calls.close(), j.closeAudit())
}

// wait lets d pass, or less when the context ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
