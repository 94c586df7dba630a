package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotdeskd/admin"
	"hotdeskd/internal/archive"
	"hotdeskd/journal"
	"hotdeskd/store/bolt"
)

// writeBackup copies the data directory while the server uses it. The database
// comes first and as of one moment; an audit row that moves to the journal after
// that is in both, and the journal knows such rows by their operation id.
func writeBackup(w io.Writer, dir string, db *bolt.DB, withKeys bool, now time.Time) error {
	parts := []archive.Part{{Name: databaseFile, Write: db.Backup}, archive.FromFile(databaseFile+".id", filepath.Join(dir, databaseFile+".id"), false)}
	folders := []string{journalDir, soundsDir}
	if withKeys {
		folders = append(folders, keysDir, tlsDir)
	}
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(dir, folder), func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			name, err := filepath.Rel(dir, path)
			parts = append(parts, archive.FromFile(filepath.ToSlash(name), path, folder == journalDir))
			return err
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("backup: %w", err)
		}
	}
	return archive.Write(w, archive.Manifest{Created: now.UTC(), Version: version(), Keys: withKeys}, parts)
}

func backupCommand(f *clientFlags) *cobra.Command {
	return group("backup", "Copies of everything", createBackup(f), verifyBackup(f))
}

func createBackup(f *clientFlags) *cobra.Command {
	var keys bool
	c := action(f, "create FILE", "Make a backup while the server runs", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
		file := filepath.Clean(args[0])
		if _, err := os.Lstat(file); err == nil {
			return "", fmt.Errorf("%s exists already; give another name, or remove it", file)
		}
		out, err := os.OpenFile(file+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return "", err
		}
		err = c.Backup(ctx, keys, out)
		if err = errors.Join(err, out.Sync(), out.Close()); err == nil {
			var said string
			if said, err = proveBackup(file + ".part"); err == nil {
				return file + ": " + said, os.Rename(file+".part", file)
			}
		}
		return "", errors.Join(err, os.Remove(file+".part"))
	})
	c.Flags().BoolVar(&keys, "keys", false, "with keys and certificates; without them no PIN and no phone is recognised after a restore")
	return c
}

func verifyBackup(f *clientFlags) *cobra.Command {
	return &cobra.Command{Use: "verify FILE", Short: "Prove that a backup is whole: every byte, the database and the audit log", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		said, err := proveBackup(args[0])
		if err == nil {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), args[0]+": "+said)
		}
		return err
	}}
}

// proveBackup unpacks a backup beside it and examines what came out.
func proveBackup(file string) (said string, err error) {
	if _, err := os.Stat(file); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), ".hotdeskd-verify-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m, rows, err := unpackBackup(file, dir)
	if err != nil {
		return "", err
	}
	said = fmt.Sprintf("sound; made %s by %s, %d files, %d audit rows", stamp(&m.Created), m.Version, len(m.Files), rows)
	if !m.Keys {
		said += ", WITHOUT keys: keep the folder keys of the data directory too"
	}
	return said, nil
}

// unpackBackup unpacks a backup and proves its database and its audit log.
func unpackBackup(file, dir string) (m archive.Manifest, rows int, err error) {
	if m, err = archive.Extract(file, dir); err != nil {
		return m, 0, err
	}
	if err := bolt.Check(filepath.Join(dir, databaseFile)); err != nil {
		return m, 0, fmt.Errorf("%s: %w", file, err)
	}
	rows, err = journal.Verify(filepath.Join(dir, journalDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return m, 0, fmt.Errorf("%s: audit log: %w", file, err)
	}
	return m, rows, nil
}

// restoreCommand puts a backup into an empty data directory. It needs no server,
// and must have none.
func restoreCommand() *cobra.Command {
	var dir, keys string
	c := &cobra.Command{Use: "restore FILE", Short: "Put a backup into an empty data directory, for the server to start on", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := restore(args[0], filepath.Clean(dir), keys); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: restored; start it: hotdeskd serve --data-dir %s (with the --config FILE that you used before; it is not in the backup)\n", dir, dir)
		return err
	}}
	c.Flags().StringVar(&dir, "data-dir", "./data", "data directory to make; must be empty or absent")
	c.Flags().StringVar(&keys, "keys", "", "folder with the keys, for a backup without them")
	return c
}

// restore makes the directory at once or not at all.
func restore(file, dir, keys string) error {
	if _, err := os.Stat(file); err != nil {
		return err
	}
	old, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(old) > 0 {
		return fmt.Errorf("%s is not empty; stop the server and move it away first: mv %s %s.old", dir, dir, strings.TrimRight(dir, "/"))
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".hotdeskd-restore-")
	if err != nil {
		return err
	}
	err = func() error {
		m, _, err := unpackBackup(file, tmp)
		if err != nil {
			return err
		}
		switch {
		case keys != "":
			if err := os.RemoveAll(filepath.Join(tmp, keysDir)); err != nil {
				return err
			}
			if err := os.CopyFS(filepath.Join(tmp, keysDir), os.DirFS(keys)); err != nil {
				return fmt.Errorf("keys: %w", err)
			}
		case !m.Keys:
			return fmt.Errorf("%s was made without keys; say where they are: --keys FOLDER (it was the folder keys of the data directory)", file)
		}
		if err := protectKeys(filepath.Join(tmp, keysDir)); err != nil {
			return err
		}
		if old != nil {
			if err := os.Remove(dir); err != nil {
				return err
			}
		}
		return os.Rename(tmp, dir)
	}()
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return nil
}

// protectKeys gives the keys the mode that the server wants to see.
func protectKeys(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if len(files) == 0 {
		return fmt.Errorf("keys: %s is empty", dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	for f := range slices.Values(files) {
		if err := os.Chmod(filepath.Join(dir, f.Name()), 0o400); err != nil {
			return err
		}
	}
	return nil
}
