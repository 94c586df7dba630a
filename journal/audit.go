package journal

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"hotdeskd/hotdesk"
)

const (
	groupRows    = 1000 // appended with one fsync at most
	directKept   = 4096 // ids of AppendNow kept to recognise the same row in the store
	defaultLimit = 100
)

// stored is an audit row as the store holds it.
type stored struct {
	key  string
	rev  hotdesk.Rev
	row  hotdesk.AuditRow
	text []byte // as it will stand in the file; nil: not encoded yet
}

// drain lists what is in the store and then follows its commits. It returns when
// something fails; moved tells whether anything was written before.
func (j *Journal) drain(ctx context.Context, store hotdesk.Store) (moved bool, err error) {
	var rows []stored
	var rev hotdesk.Rev
	var head Head
	err = store.View(ctx, func(r hotdesk.Reader) (err error) {
		rev = r.Rev()
		if head, err = readHead(r); err != nil {
			return err
		}
		for kv, err := range r.Scan(hotdesk.AuditPrefix) {
			if err != nil {
				return err
			}
			rows = j.decode(rows, kv.Key, kv.Value, kv.Rev)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	if err := j.checkHead(ctx, store, head); err != nil {
		return false, err
	}
	if err := j.findWritten(rows); err != nil {
		return false, err
	}
	if err := j.move(ctx, store, rows); err != nil {
		return false, err
	}
	return true, j.follow(ctx, store, rev)
}

// follow moves the rows of every commit after the revision.
func (j *Journal) follow(ctx context.Context, store hotdesk.Store, after hotdesk.Rev) error {
	ctx, cancel := context.WithCancel(ctx)
	type item struct {
		commit hotdesk.Commit
		err    error
	}
	items := make(chan item, groupRows)
	var pump sync.WaitGroup
	defer pump.Wait()
	defer cancel()
	pump.Go(func() {
		defer close(items)
		for c, err := range store.Watch(ctx, after) {
			select {
			case items <- item{c, err}:
			case <-ctx.Done():
				return
			}
		}
	})
	for it := range items {
		var rows []stored
		end := it.err
		for more := true; more && end == nil; {
			for _, ch := range it.commit.Changes {
				if ch.Value != nil && strings.HasPrefix(ch.Key, hotdesk.AuditPrefix) {
					rows = j.decode(rows, ch.Key, ch.Value, it.commit.Rev)
				}
			}
			if len(rows) >= groupRows {
				break
			}
			select {
			case it, more = <-items:
				end = it.err
			default:
				more = false
			}
		}
		if err := j.move(ctx, store, rows); err != nil {
			return err
		}
		if end != nil {
			return end
		}
	}
	return ctx.Err()
}

// decode adds a row to the list. One that cannot be read stays in the store, where
// somebody can look at it, and holds up no other.
func (j *Journal) decode(rows []stored, key string, value []byte, rev hotdesk.Rev) []stored {
	s := stored{key: key, rev: rev}
	if err := json.Unmarshal(value, &s.row); err != nil {
		if _, known := j.bad[key]; !known {
			j.bad[key] = struct{}{}
			j.log.Error("an audit row cannot be read and stays in the store", "key", key, "err", err)
		}
		return rows
	}
	if s.row.Op == "" {
		s.row.Op = strings.TrimPrefix(key, hotdesk.AuditPrefix)
	}
	return append(rows, s)
}

// findWritten looks once, after a start, which of the rows left in the store a
// crash has left in the file as well. A row is never in a file older than itself.
func (j *Journal) findWritten(rows []stored) error {
	if j.checked || len(rows) == 0 {
		j.checked = true
		return nil
	}
	waiting := map[string]struct{}{}
	oldest := rows[0].row.Time
	for _, r := range rows {
		waiting[r.row.Op] = struct{}{}
		if r.row.Time.Before(oldest) {
			oldest = r.row.Time
		}
	}
	const slack = 48 * time.Hour // clocks of several nodes, or one that was set
	for l, err := range j.audit.backward(oldest.Add(-slack).UTC().Format("200601")) {
		if err != nil {
			return err
		}
		var row hotdesk.AuditRow
		if err := json.Unmarshal(l.Row, &row); err != nil {
			return fmt.Errorf("%w: line number %d: %w", ErrDamaged, l.Seq, err)
		}
		if _, ok := waiting[row.Op]; ok {
			j.mu.Lock()
			j.seen[row.Op] = struct{}{}
			j.mu.Unlock()
		}
	}
	j.checked = true
	return nil
}

// move appends the rows that are not in the file, in the order of their commits,
// and then deletes all of them from the store.
func (j *Journal) move(ctx context.Context, store hotdesk.Store, rows []stored) error {
	slices.SortFunc(rows, func(a, b stored) int {
		return cmp.Or(cmp.Compare(a.rev, b.rev), cmp.Compare(a.key, b.key))
	})
	for group := range slices.Chunk(rows, groupRows) {
		if err := j.appendNew(group); err != nil {
			return err
		}
		for keys := range slices.Chunk(group, hotdesk.MaxTxnKeys-1) { // and the head
			err := j.putHead(ctx, store, func(tx hotdesk.Txn) {
				for _, s := range keys {
					tx.Delete(s.key)
				}
			})
			if err != nil {
				return fmt.Errorf("delete audit rows that are in the file: %w", err)
			}
			j.mu.Lock()
			for _, s := range keys {
				delete(j.seen, s.row.Op)
			}
			j.mu.Unlock()
		}
	}
	return nil
}

// appendNew appends the rows whose operation is not in the file yet.
func (j *Journal) appendNew(rows []stored) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.writeKeptLocked(); err != nil {
		return err
	}
	return j.appendLocked(rows)
}

// appendLocked appends the rows that are not in the file yet; the caller holds j.mu.
func (j *Journal) appendLocked(rows []stored) error {
	var lines []pending
	ops := map[string]struct{}{}
	for _, s := range rows {
		_, old := j.seen[s.row.Op]
		_, twice := ops[s.row.Op]
		if s.row.Op != "" && (old || twice) {
			continue
		}
		text := s.text
		if text == nil {
			var err error
			if text, err = json.Marshal(s.row); err != nil {
				return fmt.Errorf("encode audit row %s: %w", s.row.Op, err)
			}
		}
		ops[s.row.Op] = struct{}{}
		lines = append(lines, pending{rev: s.rev, row: text})
	}
	if len(lines) == 0 {
		return nil
	}
	if err := j.audit.append(lines); err != nil {
		return err
	}
	for op := range ops {
		j.seen[op] = struct{}{}
	}
	return nil
}

// Audit returns up to limit rows (100 when it is not positive), newest first. With
// an operation id in before, it returns those that are older than its row, or
// ErrNotFound when no row has it. Rows that wait for the disk are the newest.
func (j *Journal) Audit(limit int, before string) ([]hotdesk.AuditRow, error) {
	if limit <= 0 {
		limit = defaultLimit
	}
	found := before == ""
	var out []hotdesk.AuditRow
	for row, err := range j.backward() {
		if err != nil {
			return out, err
		}
		if !found {
			found = row.Op == before
			continue
		}
		if out = append(out, row); len(out) == limit {
			break
		}
	}
	if !found {
		return nil, fmt.Errorf("audit row %s: %w", before, hotdesk.ErrNotFound)
	}
	return out, nil
}

// backward yields the rows from the newest on: those that wait for the disk, then
// those in the files. One that is written meanwhile comes once.
func (j *Journal) backward() iter.Seq2[hotdesk.AuditRow, error] {
	return func(yield func(hotdesk.AuditRow, error) bool) {
		memory := map[string]struct{}{}
		for _, k := range slices.Backward(j.kept.list(-1)) {
			if !yield(k.row, nil) {
				return
			}
			memory[k.row.Op] = struct{}{}
		}
		for l, err := range j.audit.backward("") {
			var row hotdesk.AuditRow
			if err == nil {
				if err = json.Unmarshal(l.Row, &row); err != nil {
					err = fmt.Errorf("%w: line number %d: %w", ErrDamaged, l.Seq, err)
				}
			}
			if _, twice := memory[row.Op]; twice && err == nil {
				continue
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

// Verify proves the whole audit log in dir, which may be a copy. It returns how many
// lines are sound and, if not all are, ErrDamaged with the file and the line. The
// first file may have predecessors that retention has deleted. ErrCut tells that the
// lines fit together and the head is not among them, or was not at an earlier start.
func Verify(dir string, head Head) (n int, err error) {
	f := &files{dir: dir, prefix: "audit-"}
	months, err := f.months()
	if err != nil {
		return 0, err
	}
	var last *line
	var cut error
	found := head == Head{}
	look := func(l line) {
		found = found || headOf(l) == head
		if cut == nil {
			cut = wasCut(l)
		}
	}
	for _, month := range months {
		sound, end, err := verifyFile(f.path(month), last, look)
		n += sound
		if err != nil {
			return n, err
		}
		last = end
	}
	if !found {
		return n, fmt.Errorf("%w: line number %d, which the store knows, is not there", ErrCut, head.Seq)
	}
	return n, cut
}

// wasCut is ErrCut of a row that tells it.
func wasCut(l line) error {
	var row hotdesk.AuditRow
	if err := json.Unmarshal(l.Row, &row); err != nil || row.Action != cutAction {
		return nil // what cannot be read tells nothing; the chain holds it all the same
	}
	return fmt.Errorf("%w before %s: line number %s was missing (line number %d tells it)", ErrCut, row.Time.UTC().Format(time.RFC3339), row.Detail["missing_line"], l.Seq)
}

// verifyFile proves one file that continues the line before (nil: the first of all),
// and shows each sound line to look.
func verifyFile(path string, before *line, look func(line)) (n int, last *line, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, nil, fmt.Errorf("verify the journal: %w", err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	for r := bufio.NewReader(file); ; n++ {
		text, err := r.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF) && len(text) == 0:
			return n, before, nil
		case errors.Is(err, io.EOF):
			err = fmt.Errorf("%w: the line is not finished", ErrDamaged)
		case err == nil:
			var l line
			if l, err = decodeLine(text[:len(text)-1], true); err == nil {
				err = begins(l, before)
			}
			if before = &l; err == nil {
				look(l)
			}
		}
		if err != nil {
			return n, nil, fmt.Errorf("%s line %d: %w", path, n+1, err)
		}
	}
}

// begins tells whether l continues the line before, or may be the first of all.
func begins(l line, before *line) error {
	switch {
	case before != nil:
		return l.follows(*before)
	case l.Seq == 1:
		return l.follows(line{Hash: noHash})
	case l.Seq == 0:
		return fmt.Errorf("%w: lines are counted from 1", ErrDamaged)
	}
	return nil
}
