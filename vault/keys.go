package vault

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const keySize = 32 // bytes of each key

// The key files.
const (
	pepperFile  = "pepper.key"
	deviceFile  = "device.key"
	sealingFile = "sealing.key"
)

// Why Open refuses a key directory. Nothing was changed when it does.
var (
	// ErrMissing: some key files are there and others are not.
	ErrMissing = errors.New("key file missing")
	// ErrPermissions: a key file may be read by others than its owner.
	ErrPermissions = errors.New("key file open to others")
	// ErrSize: a key file does not hold exactly 32 bytes.
	ErrSize = errors.New("key file has the wrong size")
)

// loadKeys reads all key files of dir, or creates them when there is none.
func loadKeys(dir string) (map[string][]byte, error) {
	keys, err := readKeys(dir)
	if err != nil || len(keys) > 0 {
		return keys, err
	}
	if err := createKeys(dir); err != nil {
		return nil, fmt.Errorf("create the keys in %s: %w", dir, err)
	}
	// Read what is there: another process may have been faster.
	if keys, err = readKeys(dir); err == nil && len(keys) == 0 {
		err = fmt.Errorf("create the keys in %s: they are not there afterwards", dir)
	}
	return keys, err
}

// readKeys returns all keys, or none when no file is there.
func readKeys(dir string) (map[string][]byte, error) {
	keys := map[string][]byte{}
	var missing []string
	for _, name := range []string{pepperFile, deviceFile, sealingFile} {
		key, err := readKey(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, filepath.Join(dir, name))
		case err != nil:
			return nil, err
		default:
			keys[name] = key
		}
	}
	if len(keys) > 0 && len(missing) > 0 {
		return nil, fmt.Errorf("%w: %s; put it back from a backup of the keys. Made anew it would change every secret: to accept that, remove the whole directory %s, then reset all PINs, enrol all phones again and enter all PBX passwords again",
			ErrMissing, strings.Join(missing, ", "), dir)
	}
	return keys, nil
}

func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 || perm&0o100 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o and may have 0400 or 0600; if nobody else has read it, run: chmod 0400 %s",
			ErrPermissions, path, perm, path)
	}
	if info.Size() != keySize {
		return nil, fmt.Errorf("%w: %s has %d bytes instead of %d; put it back from a backup of the keys", ErrSize, path, info.Size(), keySize)
	}
	key := make([]byte, keySize)
	if _, err := f.ReadAt(key, 0); err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	return key, nil
}

// createKeys makes all files in a directory beside dir and moves it into place as
// one, so that a crash never leaves some of the keys.
func createKeys(dir string) error {
	parent := filepath.Dir(filepath.Clean(dir))
	tmp, err := os.MkdirTemp(parent, filepath.Base(dir)+".new-") // mode 0700
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // what was moved away is not there
	for _, name := range []string{pepperFile, deviceFile, sealingFile} {
		key := make([]byte, keySize)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		if err := writeKey(filepath.Join(tmp, name), key); err != nil {
			return err
		}
	}
	if err := syncDir(tmp); err != nil {
		return err
	}
	// An empty directory, as a package may have made it, gives way; one with
	// anything in it does not.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	return syncDir(parent)
}

func writeKey(path string, key []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	_, err = f.Write(key)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
