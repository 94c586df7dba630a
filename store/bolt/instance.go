package bolt

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/bbolt"
)

// Why Open refuses a database. Nothing was written when it does.
var (
	// ErrEmpty: the database is missing or empty although there has been one.
	ErrEmpty = errors.New("the database is missing or empty")
	// ErrForeign: the file is not the database that belongs here.
	ErrForeign = errors.New("not the database that belongs here")
	// ErrCorrupt: the database is damaged.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrInUse: another process has the database open.
	ErrInUse = errors.New("data directory in use by another hotdeskd")
)

func instancePath(path string) string { return path + ".id" }
func newPath(path string) string      { return path + ".new" }

// admit lets Open go on when the database and its instance file fit together and
// the database is sound, and creates both when there is neither.
func admit(path string, command []string) error {
	id, err := readInstance(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return admitMissing(path, id)
	case err != nil:
		return fmt.Errorf("open the database: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: %w: it is not a regular file", path, ErrForeign)
	case info.Size() == 0:
		return emptyError(path, "empty")
	}
	if err := checkFile(path, command); err != nil {
		if errors.Is(err, ErrCorrupt) {
			return fmt.Errorf("%w; nothing was changed: put the latest backup in its place and start again", err)
		}
		return err
	}
	stored, err := readStoredInstance(path)
	switch {
	case err != nil:
		return err
	case id == "":
		return fmt.Errorf("%s: %w: the instance file %s is missing. If this is the right database (a restored backup, say), put %q into that file; otherwise put the right one in its place",
			path, ErrForeign, instancePath(path), stored)
	case id != stored:
		return fmt.Errorf("%s: %w: it is database %q and %s says %q. If this is the right database, put its id into that file; otherwise put the right one in its place",
			path, ErrForeign, stored, instancePath(path), id)
	}
	return nil
}

func admitMissing(path, id string) error {
	if id == "" {
		return create(path)
	}
	// A first start that was cut off after the instance file: all is in the new file.
	if stored, err := readStoredInstance(newPath(path)); err == nil && stored == id {
		return rename(newPath(path), path)
	}
	return emptyError(path, "missing")
}

func emptyError(path, what string) error {
	return fmt.Errorf("%s: %w: the file is %s. Put a backup in its place; or, to start empty and lose all devices and users, remove both it and %s",
		path, ErrEmpty, what, instancePath(path))
}

// create makes the database and its instance file so that a crash at any point
// leaves either nothing that counts or a state that admit finishes.
func create(path string) error {
	id, tmp := rand.Text(), newPath(path)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("create the database: %w", err)
	}
	db, err := bbolt.Open(tmp, 0o600, boltOptions())
	if err != nil {
		return fmt.Errorf("create the database (does the directory exist, and may hotdeskd write there?): %w", err)
	}
	db.AllocSize = growSize
	err = db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket([]byte(bucketData)); err != nil {
			return err
		}
		meta, err := tx.CreateBucket([]byte(bucketMeta))
		if err != nil {
			return err
		}
		return errors.Join(meta.Put([]byte(keyFormat), []byte(format)),
			meta.Put([]byte(keyInstance), []byte(id)), meta.Put([]byte(keyState), state{}.encode()))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("create the database %s: %w", tmp, err)
	}
	if err := writeInstance(path, id); err != nil {
		return err
	}
	return rename(tmp, path)
}

func readInstance(path string) (string, error) {
	b, err := os.ReadFile(instancePath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the instance file: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if id == "" {
		return "", fmt.Errorf("%s: %w: the instance file is empty; restore it from a backup, or remove it and hotdeskd will say what belongs there",
			instancePath(path), ErrForeign)
	}
	return id, nil
}

// writeInstance puts the id into its file at once or not at all.
func writeInstance(path, id string) error {
	tmp := instancePath(path) + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("create the instance file: %w", err)
	}
	_, err = f.WriteString(id + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("create the instance file: %w", err)
	}
	return rename(tmp, instancePath(path))
}

// readStoredInstance reads the id inside a database that was checked.
func readStoredInstance(path string) (id string, err error) {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return "", fmt.Errorf("%s: %w", path, ErrEmpty)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, openError(path, err))
	}
	defer func() { _ = db.Close() }() // nothing was written
	err = db.View(func(tx *bbolt.Tx) error {
		if _, err := loadState(tx); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		id = string(tx.Bucket([]byte(bucketMeta)).Get([]byte(keyInstance)))
		return nil
	})
	return id, err
}

// rename moves a file and makes the move durable.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("create %s: %w", to, err)
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return fmt.Errorf("create %s: %w", to, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("create %s: make it durable: %w", to, err)
	}
	return nil
}
