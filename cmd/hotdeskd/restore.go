package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/archive"
	"hotdeskd/store/bolt"
	"hotdeskd/vault"
)

// restoreCommand puts a backup into an empty data directory. It needs no server,
// and must have none.
func restoreCommand() *cobra.Command {
	var dir, keys string
	c := &cobra.Command{Use: "restore FILE", Short: "Put a backup into an empty data directory, for the server to start on", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := restore(cmd.Context(), args[0], dir, keys); err != nil {
			return inOneLine(err)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: restored, and the keys fit; start it: hotdeskd serve --data-dir %s (with the --config FILE that you used before; it is not in the backup)\n", dir, dir)
		return err
	}}
	c.Flags().StringVar(&dir, "data-dir", "./data", "data directory to make; must be empty or absent")
	c.Flags().StringVar(&keys, "keys", "", "folder with the keys, for a backup without them")
	return c
}

// restore unpacks a backup beside where it belongs, or in the empty directory there,
// looks whether the server would start on it, and only then puts it in its place.
func restore(ctx context.Context, file, dir, keys string) (err error) {
	a, err := openBackup(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	target, there, err := restoreTarget(dir)
	if err != nil {
		return err
	}
	if keys == "" && !hasKeys(a) {
		return fmt.Errorf("%s was made without keys, and without them no PIN and no phone is recognised; say where they are: --keys FOLDER (it was the folder keys of the data directory, or is in a backup made with --keys)", file)
	}
	parent := filepath.Dir(target)
	if there {
		parent = target
	}
	tmp, done, err := scratch(parent, restoreScratch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp), done()) }() // what was moved away is not there
	if err := unpackForServer(a, file, tmp, keys); err != nil {
		return err
	}
	if err := startable(ctx, tmp); err != nil {
		return fmt.Errorf("%s: the server would not start on it with the keys of %s: %s; nothing was restored", file, keysFrom(file, keys), inside(err, tmp))
	}
	return putInPlace(tmp, target, there)
}

func keysFrom(file, keys string) string {
	if keys != "" {
		return keys
	}
	return file
}

// restoreTarget is the real place of a data directory, behind links, and tells
// whether it is there. It must be empty, but for what a killed restore has left.
func restoreTarget(dir string) (target string, there bool, err error) {
	if target, err = filepath.Abs(dir); err != nil {
		return "", false, err
	}
	if _, err := os.Lstat(target); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return "", false, err
		}
		parent, err := filepath.EvalSymlinks(filepath.Dir(target))
		return filepath.Join(parent, filepath.Base(target)), false, err
	}
	if target, err = filepath.EvalSymlinks(target); err != nil {
		return "", false, fmt.Errorf("%s leads nowhere (%w); make what it points to, or remove it", dir, err)
	}
	if err := sweep(target); err != nil {
		return "", false, err
	}
	old, err := os.ReadDir(target)
	if err != nil {
		return "", false, err
	}
	if len(old) > 0 {
		return "", false, fmt.Errorf("%s is not empty; stop the server and move it away first: mv %s %s.old", dir, target, target)
	}
	return target, true, nil
}

// unpackForServer makes tmp a data directory: the backup's files, proven, with the
// keys of the folder if there is one, in the modes that the server wants to see.
func unpackForServer(a *archive.Archive, file, tmp, keys string) error {
	if err := a.Extract(tmp, func(name string) bool { return keys == "" || !isKey(name) }); err != nil {
		return err
	}
	if _, _, err := proveFiles(file, tmp); err != nil {
		return err
	}
	to := filepath.Join(tmp, keysDir)
	if keys != "" {
		if err := copyKeys(keys, to); err != nil {
			return fmt.Errorf("keys: %w", err)
		}
	}
	files, err := os.ReadDir(to)
	for _, f := range files { // all were made here just now
		err = errors.Join(err, os.Chmod(filepath.Join(to, f.Name()), 0o400))
	}
	return err
}

const maxKeyFile = 4 << 10 // bytes; keys have 32

// copyKeys copies the key files of a folder. A link that leads out of it is
// refused, and nothing in the folder is changed.
func copyKeys(from, to string) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // it was only read
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	copied := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), keySuffix) {
			continue
		}
		info, err := root.Stat(e.Name())
		if err != nil {
			return fmt.Errorf("%s: %w; give the folder that holds the files themselves", from, err)
		}
		if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
			return fmt.Errorf("%s is no key file", filepath.Join(from, e.Name()))
		}
		b, err := root.ReadFile(e.Name())
		if err != nil {
			return err
		}
		if err := writeNew(filepath.Join(to, e.Name()), b); err != nil {
			return err
		}
		copied++
	}
	if copied == 0 {
		return fmt.Errorf("there is no key file (*%s) in %s", keySuffix, from)
	}
	return nil
}

// writeNew writes a file that must not exist, for its owner only, and makes it
// durable.
func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// startable does with a data directory what the server does before it answers the
// first question: the keys are whole, the database is the one of its instance file,
// of a version that we read and made with these keys, and every record can be read.
func startable(ctx context.Context, dir string) error {
	keys, err := vault.Open(filepath.Join(dir, keysDir))
	if err != nil {
		return err
	}
	db, err := bolt.Open(filepath.Join(dir, databaseFile), bolt.Options{CheckCommand: []string{"check-store"}})
	if err != nil {
		return err
	}
	desk, err := hotdesk.New(hotdesk.Options{Store: db, Vault: keys, Live: hotdesk.NewLive(time.Now), Realm: "hotdeskd", Now: time.Now})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- desk.Serve(serving) }()
	select {
	case <-desk.Ready():
		stop()
		err = <-ended
	case err = <-ended:
	}
	return errors.Join(err, ctx.Err(), db.Close())
}

// putInPlace moves the finished data directory to where it belongs. One that is not
// there comes at once. One that is there stays what it is (it may be a mount, or
// where a shell stands) and is filled: with the database last and its instance
// file first, so that the server refuses to start on what a crash left in between.
func putInPlace(tmp, target string, there bool) error {
	if !there {
		return errors.Join(os.Rename(tmp, target), syncDir(filepath.Dir(target)))
	}
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	names := []string{databaseFile + ".id"}
	for _, e := range entries {
		if !slices.Contains([]string{databaseFile, databaseFile + ".id"}, e.Name()) {
			names = append(names, e.Name())
		}
	}
	names = append(names, databaseFile)
	for i, name := range names {
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(target, name)); err != nil {
			for _, back := range names[:i] {
				err = errors.Join(err, os.Rename(filepath.Join(target, back), filepath.Join(tmp, back)))
			}
			return err
		}
	}
	return syncDir(target)
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
