package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// How the directories begin in which a backup is unpacked.
const (
	verifyScratch  = ".hotdeskd-verify-"
	restoreScratch = ".hotdeskd-restore-"
)

// scratch makes a directory in parent that only its owner can read, and removes
// there what runs that were killed have left: keys may be in it. It stays locked until
// done is called or the process ends, which tells the living from the dead.
func scratch(parent, prefix string) (dir string, done func() error, err error) {
	if err := sweep(parent); err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp(parent, prefix); err != nil {
		return "", nil, err
	}
	lock, err := lockDir(dir)
	if err != nil { // another run may have come between and taken it for left over
		return "", nil, errors.Join(fmt.Errorf("%s: %w; try again", dir, err), os.RemoveAll(dir))
	}
	return dir, lock.Close, nil
}

// sweep removes the scratch directories in parent that nobody works in any more.
func sweep(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), verifyScratch) && !strings.HasPrefix(e.Name(), restoreScratch) {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		lock, err := lockDir(dir)
		if err != nil {
			continue // in use, somebody else's, or no directory
		}
		if err := errors.Join(os.RemoveAll(dir), lock.Close()); err != nil {
			return fmt.Errorf("a run that was killed has left %s, which may hold keys: remove it: %w", dir, err)
		}
	}
	return nil
}

// lockDir locks a directory of our own, and follows no link to it. The lock ends
// with the file or the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
			err = os.ErrPermission
		}
	}
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
