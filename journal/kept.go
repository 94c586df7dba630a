package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"hotdeskd/hotdesk"
)

// kept are the audit rows of emergency calls that are not in the file yet, in their
// order. Nothing bounds them but the number of emergency calls: none is ever dropped.
// Its lock is never held while the disk is waited for, so whoever asks what waits
// does not wait as well.
type kept struct {
	wake chan struct{}

	mu     sync.Mutex
	rows   []keptRow
	why    error // the last try failed
	closed bool
}

type keptRow struct {
	row  hotdesk.AuditRow
	text []byte // as it will stand in the file
}

// add keeps a row, unless the journal is closed. now tells that no try has failed
// since the last that went well, so that another is worth it.
func (k *kept) add(r keptRow) (now, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false, false
	}
	k.rows = append(k.rows, r)
	return k.why == nil, true
}

// list is the oldest rows, so many at most; all for -1.
func (k *kept) list(most int) []keptRow {
	k.mu.Lock()
	defer k.mu.Unlock()
	if most < 0 || most > len(k.rows) {
		most = len(k.rows)
	}
	return slices.Clone(k.rows[:most])
}

// tried notes how it went with the oldest n rows: they are in the file, or err says
// why not.
func (k *kept) tried(n int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.why = err; err == nil {
		k.rows = slices.Clone(k.rows[n:])
	}
}

// close hands out what is left; from now on nothing is kept.
func (k *kept) close() (left []keptRow) {
	k.mu.Lock()
	defer k.mu.Unlock()
	left, k.rows, k.closed = k.rows, nil, true
	return left
}

// AppendNow writes a row straight to the file and returns when it is durable: for
// emergency calls, whose row must not depend on the store. It takes as long as an
// fsync. A row that the disk does not take is kept in memory and written later, in
// its order and once (Serve tries again, Close a last time); that is no error, and
// Waiting tells it. If the same operation's row comes from the store as well, soon
// before or after, it is not written again. After Close the row is logged, and the
// error says so.
func (j *Journal) AppendNow(row hotdesk.AuditRow) error {
	text, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encode audit row %s: %w", row.Op, err)
	}
	r := keptRow{row, text}
	first, ok := j.kept.add(r)
	if !ok {
		err := fmt.Errorf("audit row %s: %w: the journal is closed; the row stands in the log", row.Op, hotdesk.ErrUnavailable)
		j.onlyLogged(r, err)
		return err
	}
	if first && j.writeKept() != nil { // later ones leave it to Serve and its pace
		select {
		case j.kept.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// Waiting is how many audit rows of emergency calls are in memory only, because the
// disk does not take them, and why.
func (j *Journal) Waiting() (rows int, why error) {
	j.kept.mu.Lock()
	defer j.kept.mu.Unlock()
	if j.kept.why == nil {
		return 0, nil // at most one that is being written
	}
	return len(j.kept.rows), j.kept.why
}

// writeKept tries to write what is kept.
func (j *Journal) writeKept() error {
	j.mu.Lock()
	err := j.writeKeptLocked()
	j.mu.Unlock()
	if err != nil {
		j.unwritten.Failed(j.log, "audit rows of emergency calls wait for the disk; they are kept in memory", err, "rows", len(j.kept.list(-1)))
	}
	return err
}

// writeKeptLocked appends what is kept, in groups; the caller holds j.mu. Whoever
// else appends calls it first: what is kept is older.
func (j *Journal) writeKeptLocked() error {
	written := 0
	for {
		group := j.kept.list(groupRows)
		if len(group) == 0 {
			break
		}
		rows := make([]stored, len(group))
		for i, k := range group {
			rows[i] = stored{row: k.row, text: k.text}
		}
		err := j.appendLocked(rows)
		j.kept.tried(len(group), err)
		if err != nil {
			return err
		}
		for _, k := range group {
			j.direct = append(j.direct, k.row.Op)
		}
		for over := len(j.direct) - directKept; over > 0; over-- {
			delete(j.seen, j.direct[0])
			j.direct = j.direct[1:]
		}
		written += len(group)
	}
	if written > 0 {
		j.unwritten.Worked(j.log, "audit rows of emergency calls are written again", "rows", written)
	}
	return nil
}

// serveKept tries again until everything kept is written, after growing pauses.
func (j *Journal) serveKept(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.kept.wake:
		}
		for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longestPause) {
			wait(ctx, pause)
			if j.writeKept() == nil {
				break
			}
		}
	}
}

// closeAudit tries a last time. What the disk does not take then is logged whole, so
// that it can be read there.
func (j *Journal) closeAudit() error {
	err := j.writeKept()
	left := j.kept.close()
	for _, r := range left {
		j.onlyLogged(r, err)
	}
	if len(left) == 0 {
		err = nil // another goroutine's try went well
	} else {
		err = fmt.Errorf("%d audit rows of emergency calls are not in the file but in the log: %w", len(left), err)
	}
	return errors.Join(err, j.audit.close())
}

func (j *Journal) onlyLogged(r keptRow, err error) {
	j.log.Error("an emergency call's audit row cannot be written; this line is all there is of it", "row", string(r.text), "err", err)
}
