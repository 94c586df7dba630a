package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hotdeskd/hotdesk"
)

const (
	tailChecked = 1000     // lines proven at open
	readBack    = 64 << 10 // bytes read at a time from the end of a file
	noHash      = "0000000000000000000000000000000000000000000000000000000000000000"
	fileSuffix  = ".jsonl"
	maxLine     = 4 << 20 // bytes; a row is at most hotdesk.MaxValueSize, escaped
)

// files is one log in files of a month each.
type files struct {
	dir, prefix string // file names begin with the prefix
	chained     bool
	now         func() time.Time
	sync        func(*os.File) error // replaced in tests

	mu     sync.Mutex
	file   *os.File // the newest; nil before the first line of a month
	month  string   // of the newest file
	size   int64    // of its whole, durable lines
	torn   bool     // behind size there may be something to cut
	last   line     // the newest line of all files
	closed bool
}

// openFiles finds the newest line. What a crash left unfinished behind it is cut.
func openFiles(dir, prefix string, chained bool, now func() time.Time) (*files, error) {
	f := &files{dir: dir, prefix: prefix, chained: chained, now: now, sync: (*os.File).Sync}
	if chained {
		f.last.Hash = noHash
	}
	months, err := f.months()
	if err != nil || len(months) == 0 {
		return f, err
	}
	f.month = months[len(months)-1]
	f.file, err = os.OpenFile(f.path(f.month), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	if err = f.cutTorn(); err == nil {
		err = f.checkTail()
	}
	if err != nil {
		_ = f.file.Close()
		return nil, err
	}
	return f, nil
}

// cutTorn removes an unfinished last line from the newest file.
func (f *files) cutTorn() error {
	info, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	f.size = info.Size()
	for f.size > 0 {
		chunk := make([]byte, min(readBack, f.size))
		if _, err := f.file.ReadAt(chunk, f.size-int64(len(chunk))); err != nil {
			return fmt.Errorf("open the journal: %w", err)
		}
		end := bytes.LastIndexByte(chunk, '\n')
		f.size -= int64(len(chunk) - (end + 1))
		if end >= 0 {
			break
		}
	}
	if f.size == info.Size() {
		return nil
	}
	if err := errors.Join(f.file.Truncate(f.size), f.sync(f.file)); err != nil {
		return fmt.Errorf("cut the unfinished last line of %s: %w", f.path(f.month), err)
	}
	return nil
}

// checkTail proves the newest lines and takes the last one as the chain's head.
func (f *files) checkTail() error {
	n := 0
	var newer line
	for l, err := range f.backward("") {
		if err == nil && n > 0 && f.chained {
			err = newer.follows(l)
		}
		if err != nil {
			if !f.chained {
				continue // a call record that cannot be read harms no other
			}
			return fmt.Errorf("%w. Move this file away (and keep it), then start again", err)
		}
		if n == 0 {
			f.last = l
		}
		newer = l
		if n++; n == tailChecked || !f.chained {
			return nil
		}
	}
	return nil
}

// pending is a line that is to be written.
type pending struct {
	rev hotdesk.Rev
	row []byte
}

// append writes the rows and makes them durable with one fsync. On an error nothing
// of them is in the file, or is cut before the next are written.
func (f *files) append(rows []pending) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ready(); err != nil {
		return err
	}
	var text []byte
	last := f.last
	for _, p := range rows {
		l := line{Seq: last.Seq + 1, Rev: uint64(p.rev), Row: p.row}
		if f.chained {
			l.chain(last.Hash)
		}
		b, err := l.encode()
		if err != nil {
			return fmt.Errorf("write a row: %w", err)
		}
		text, last = append(text, b...), l
	}
	f.torn = true
	_, err := f.file.Write(text)
	if err == nil {
		err = f.sync(f.file)
	}
	if err != nil {
		f.torn = f.file.Truncate(f.size) != nil
		return fmt.Errorf("write %s: %w", f.path(f.month), err)
	}
	f.torn = false
	f.size += int64(len(text))
	f.last = last
	return nil
}

// ready makes the file of this month the newest, and whole.
func (f *files) ready() error {
	if f.closed {
		return fmt.Errorf("write the journal: %w: it is closed", hotdesk.ErrUnavailable)
	}
	if f.torn {
		if err := f.file.Truncate(f.size); err != nil {
			return fmt.Errorf("cut what was not finished in %s: %w", f.path(f.month), err)
		}
		f.torn = false
	}
	month := f.now().UTC().Format("200601")
	if f.file != nil && month <= f.month {
		return nil
	}
	file, err := os.OpenFile(f.path(month), os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("begin the journal of a month: %w", err)
	}
	dir, err := os.Open(f.dir)
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		_ = file.Close()
		_ = os.Remove(f.path(month)) // so that the next try can make it
		return fmt.Errorf("begin the journal of a month: %w", err)
	}
	if f.file != nil {
		_ = f.file.Close() // all in it is durable
	}
	f.file, f.month, f.size = file, month, 0
	return nil
}

// head is the newest line, which is durable.
func (f *files) head() Head {
	f.mu.Lock()
	defer f.mu.Unlock()
	return headOf(f.last)
}

func (f *files) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.file == nil {
		f.closed = true
		return nil
	}
	f.closed = true
	return f.file.Close()
}

func (f *files) path(month string) string {
	return filepath.Join(f.dir, f.prefix+month+fileSuffix)
}

// months lists the months that have a file, oldest first.
func (f *files) months() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	var out []string
	for _, e := range entries {
		month, ok := strings.CutPrefix(e.Name(), f.prefix)
		month, ok2 := strings.CutSuffix(month, fileSuffix)
		if ok && ok2 && len(month) == 6 && strings.Trim(month, "0123456789") == "" {
			out = append(out, month)
		}
	}
	slices.Sort(out)
	return out, nil
}

// backward yields the lines of all files from the newest on, down to the given month
// (all for ""). A line that cannot be read comes as an error that names it; it is up
// to the caller to go on.
func (f *files) backward(until string) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		months, err := f.months()
		if err != nil {
			yield(line{}, err)
			return
		}
		f.mu.Lock()
		newest, size := f.month, f.size
		f.mu.Unlock()
		for _, month := range slices.Backward(months) {
			if month < until {
				return
			}
			if month > newest {
				continue // made after we began
			}
			limit := int64(-1)
			if month == newest {
				limit = size // behind it a group is being written
			}
			for text, err := range linesBackward(f.path(month), limit) {
				var l line
				if err == nil {
					if l, err = decodeLine(text, f.chained); err != nil {
						err = fmt.Errorf("%s: the line %.60q...: %w", f.path(month), text, err)
					}
				}
				if !yield(l, err) {
					return
				}
			}
		}
	}
}

// linesBackward yields the whole lines in the first size bytes of a file (all for
// -1), last first, without their newlines. The bytes are the caller's.
func linesBackward(path string, size int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return // deleted meanwhile: retention
		}
		if err != nil {
			yield(nil, fmt.Errorf("read the journal: %w", err))
			return
		}
		defer func() { _ = file.Close() }() // nothing was written
		if size < 0 {
			if size, err = file.Seek(0, io.SeekEnd); err != nil {
				yield(nil, fmt.Errorf("read the journal: %w", err))
				return
			}
		}
		var rest []byte // the end of a line whose beginning is still to be read
		for first := true; size > 0; {
			chunk := make([]byte, min(readBack, size))
			size -= int64(len(chunk))
			if _, err := file.ReadAt(chunk, size); err != nil {
				yield(nil, fmt.Errorf("read %s: %w", path, err))
				return
			}
			for {
				end := bytes.LastIndexByte(chunk, '\n')
				if end < 0 {
					break
				}
				text := append(chunk[end+1:len(chunk):len(chunk)], rest...)
				if (!first || len(text) > 0) && !yield(text, nil) {
					return
				}
				first, rest, chunk = false, nil, chunk[:end]
			}
			rest = append(chunk[:len(chunk):len(chunk)], rest...)
			if len(rest) > maxLine {
				yield(nil, fmt.Errorf("%s: %w: a line has more than %d bytes", path, ErrDamaged, maxLine))
				return
			}
		}
		if len(rest) > 0 {
			yield(rest, nil)
		}
	}
}
