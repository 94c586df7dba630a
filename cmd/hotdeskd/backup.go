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
		part := file + ".part"
		out, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // never through a link that lies there
		if errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("%s exists already: another backup is being made, or one was cut off; if none is, remove it", part)
		}
		if err != nil {
			return "", err
		}
		err = c.Backup(ctx, keys, out)
		if err = errors.Join(err, out.Sync(), out.Close()); err == nil {
			var said string
			if said, err = proveBackup(part); err == nil {
				return file + ": " + said, os.Rename(part, file)
			}
		}
		return "", errors.Join(err, os.Remove(part))
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

// backupLimits are far above what an office has in many years.
var backupLimits = archive.Limits{Files: 10_000, File: 8 << 30, Total: 16 << 30}

// openBackup opens a backup, every byte of which is proven, and looks whether what
// is in it belongs into a data directory and is enough for one.
func openBackup(file string) (*archive.Archive, error) {
	a, err := archive.Open(file, backupLimits)
	if err != nil {
		return nil, err
	}
	need := map[string]bool{databaseFile: true, databaseFile + ".id": true}
	for _, f := range a.Files {
		if !inBackup(f.Name) {
			return nil, errors.Join(fmt.Errorf("%s: %w: %q belongs in no data directory", file, archive.ErrDamaged, f.Name), a.Close())
		}
		delete(need, f.Name)
	}
	for name := range need {
		return nil, errors.Join(fmt.Errorf("%s: %w: %s is not in it", file, archive.ErrDamaged, name), a.Close())
	}
	return a, nil
}

// inBackup tells whether writeBackup puts a file of this name into a backup.
func inBackup(name string) bool {
	folder, rest, nested := strings.Cut(name, "/")
	switch {
	case !nested:
		return name == databaseFile || name == databaseFile+".id"
	case folder == keysDir, folder == journalDir:
		return !strings.Contains(rest, "/")
	}
	return folder == soundsDir || folder == tlsDir
}

const keySuffix = ".key"

// isKey tells whether a file of a backup is in the folder of the keys.
func isKey(name string) bool { return strings.HasPrefix(name, keysDir+"/") }

// hasKeys tells whether there are keys in a backup, whatever its manifest says.
func hasKeys(a *archive.Archive) bool {
	return slices.ContainsFunc(a.Files, func(f archive.File) bool { return isKey(f.Name) && strings.HasSuffix(f.Name, keySuffix) })
}

// proveBackup unpacks a backup beside it and examines what came out. Keys and
// certificates are proven where they are: no copy of them touches the disk.
func proveBackup(file string) (said string, err error) {
	a, err := openBackup(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	dir, done, err := scratch(filepath.Dir(file), verifyScratch)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir), done()) }()
	if err := a.Extract(dir, func(name string) bool { return !isKey(name) && !strings.HasPrefix(name, tlsDir+"/") }); err != nil {
		return "", err
	}
	rows, cut, err := proveFiles(file, dir)
	if err != nil {
		return "", err
	}
	said = fmt.Sprintf("sound; made %s by %s, %d files, %d audit rows", stamp(&a.Created), a.Version, len(a.Files), rows)
	if !hasKeys(a) {
		said += ", WITHOUT keys: keep the folder keys of the data directory too"
	}
	if cut != nil { // it is a true copy of that all the same
		said += "; but " + inside(cut, dir)
	}
	return said, nil
}

// proveFiles proves the database and the audit log that were unpacked from file. cut
// tells of rows that were missing when the backup was made.
func proveFiles(file, dir string) (rows int, cut, err error) {
	if err := bolt.Check(filepath.Join(dir, databaseFile)); err != nil {
		return 0, nil, fmt.Errorf("%s: %s", file, inside(err, dir))
	}
	rows, err = journal.Verify(filepath.Join(dir, journalDir), journal.Head{})
	switch {
	case errors.Is(err, journal.ErrCut):
		return rows, err, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return 0, nil, fmt.Errorf("%s: audit log: %s", file, inside(err, dir))
	}
	return rows, nil, nil
}

// inside is what an error says, with file names as they are in the backup: dir is
// gone when somebody reads it.
func inside(err error, dir string) string { return strings.ReplaceAll(err.Error(), dir+"/", "") }
