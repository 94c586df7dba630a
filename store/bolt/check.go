package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// checkTime is far above what a million records take (seconds).
	checkTime = 5 * time.Minute
	// checkStack ends the walk around a circle of damaged pages early.
	checkStack = 64 << 20
)

// Exit statuses of RunCheck, which carry the sentinel to the parent.
const (
	exitCorrupt = 3
	exitInUse   = 4
	exitForeign = 5
	exitEmpty   = 6
	exitOther   = 1
)

// RunCheck is the body of the hidden sub-command that Options.CheckCommand names:
// it checks the database, writes what is wrong to stderr, and returns the exit
// status of the process.
func RunCheck(path string, stderr io.Writer) int {
	err := Check(path)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, err)
	for code, sentinel := range exitCodes() {
		if errors.Is(err, sentinel) {
			return code
		}
	}
	return exitOther
}

func exitCodes() map[int]error {
	return map[int]error{exitCorrupt: ErrCorrupt, exitInUse: ErrInUse, exitForeign: ErrForeign, exitEmpty: ErrEmpty}
}

// Check reads the whole database at path without changing it: every page, every
// record's checksum, and the sum over all records. It returns nil or an error that
// wraps ErrCorrupt, ErrForeign, ErrEmpty or ErrInUse.
//
// Run it in a process of its own: bbolt walks the file in goroutines whose panic
// or fault no caller can recover. checkBounds should leave nothing that ends so, but
// a phone system does not bet on "should".
func Check(path string) (err error) {
	defer debug.SetMaxStack(debug.SetMaxStack(checkStack))
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recovered(&err)
	if err := check(path); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func check(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return ErrEmpty
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return openError(path, err)
	}
	defer func() { _ = db.Close() }() // nothing was written
	file, err := os.Open(path)        // now that its lock is held
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	if err := checkBounds(file, info.Size(), db.Info().PageSize); err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if err := checkPages(tx); err != nil {
			return err
		}
		return checkRecords(tx)
	})
}

func checkPages(tx *bbolt.Tx) error {
	var first error
	n := 0
	for err := range tx.Check() { // to the end: the sender waits for us
		if first == nil {
			first = err
		}
		n++
	}
	if first != nil {
		return fmt.Errorf("%w: %d faults, the first: %w", ErrCorrupt, n, first)
	}
	return nil
}

func checkRecords(tx *bbolt.Tx) error {
	want, err := loadState(tx)
	if err != nil {
		return err
	}
	got := state{rev: want.rev}
	err = tx.Bucket([]byte(bucketData)).ForEach(func(k, v []byte) error {
		rev, sum, _, err := decodeRecord(k, v)
		if err != nil {
			return err
		}
		if rev > want.rev {
			return fmt.Errorf("%w: record %q has revision %d, after the last one %d", ErrCorrupt, k, rev, want.rev)
		}
		got.count++
		got.sum += sum
		return nil
	})
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%w: %d records were stored and %d are there, or some are not the ones stored last", ErrCorrupt, want.count, got.count)
	}
	return nil
}

// checkFile runs the check, in a child process when there is a command for it.
func checkFile(path string, command []string) error {
	if len(command) == 0 {
		return Check(path)
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("check %s: find this program: %w", path, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	var stderr head
	cmd := exec.CommandContext(ctx, exe, append(command[:len(command):len(command)], path)...)
	cmd.Stderr = &stderr
	err = cmd.Run()
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("check %s: start %s: %w", path, exe, err)
	}
	said := stderr.firstLine()
	if sentinel := exitCodes()[exit.ExitCode()]; sentinel != nil {
		return childError{said: said, sentinel: sentinel}
	}
	if exit.ExitCode() == exitOther {
		return fmt.Errorf("check %s: %s", path, said)
	}
	// Go ends with 2 after a panic or fault, and -1 stands for a signal.
	return fmt.Errorf("%s: %w: the check itself ended with %w: %s", path, ErrCorrupt, err, said)
}

// childError is an error that the child process has printed, with its sentinel.
type childError struct {
	said     string
	sentinel error
}

func (e childError) Error() string { return e.said }
func (e childError) Unwrap() error { return e.sentinel }

// head keeps the beginning of what is written to it: a crash prints a lot.
type head struct{ strings.Builder }

func (h *head) Write(p []byte) (int, error) {
	h.Builder.Write(p[:min(len(p), max(0, 4096-h.Len()))])
	return len(p), nil
}

func (h *head) firstLine() string {
	line, _, _ := strings.Cut(strings.TrimSpace(h.String()), "\n")
	return line
}
