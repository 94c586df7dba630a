package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/archive"
	"hotdeskd/journal"
	"hotdeskd/store/bolt"
)

// exampleData makes a data directory as the server leaves it after its first start,
// with a certificate.
func exampleData(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	err := errors.Join(startable(t.Context(), dir), os.Mkdir(filepath.Join(dir, tlsDir), 0o700),
		os.WriteFile(filepath.Join(dir, tlsDir, "cert.pem"), []byte("x"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// exampleBackup makes a backup of a data directory that no server uses.
func exampleBackup(t *testing.T, dir string, keys bool) (file string) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, databaseFile), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return written(t, func(w io.Writer) error {
		return errors.Join(writeBackup(w, dir, db, keys, time.Unix(1, 0)), db.Close())
	})
}

// handMade makes a backup of the files of a data directory, and of others with
// their content.
func handMade(t *testing.T, dir string, files []string, others map[string]string) string {
	t.Helper()
	var parts []archive.Part
	for _, name := range files {
		parts = append(parts, archive.FromFile(name, filepath.Join(dir, name), false))
	}
	for name, content := range others {
		parts = append(parts, archive.Part{Name: name, Write: func(w io.Writer) error {
			_, err := io.WriteString(w, content)
			return err
		}})
	}
	return written(t, func(w io.Writer) error { return archive.Write(w, archive.Manifest{}, parts) })
}

func written(t *testing.T, write func(io.Writer) error) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "backup.zip")
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(write(f), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// leftIn lists what is in a directory; nothing when it is not there.
func leftIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A backup comes to the real place that --data-dir means: behind a link, which stays
// one, into the directory where the shell stands, and to one that is not there yet.
// Nothing else is left behind.
func TestRestoreIntoTheRealPlace(t *testing.T) {
	file := exampleBackup(t, exampleData(t), true)
	for name, c := range map[string]struct{ dir, real string }{
		"behind a link":           {"link", "real"},
		"absent, parent a link":   {"linked/data", "parent/data"},
		"here":                    {".", "."},
		"there and empty":         {"real/", "real"},
		"absent":                  {"./new/data", "new/data"},
		"a killed restore before": {"killed", "killed"},
	} {
		top := t.TempDir()
		t.Chdir(top)
		if name != "here" {
			for _, dir := range []string{"real", "parent", "killed/" + restoreScratch + "1/keys"} {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.Symlink("real", "link"), os.Symlink("parent", "linked")); err != nil {
				t.Fatal(err)
			}
		}
		before, _ := os.Stat(c.real)
		if out, err := cli(t, "restore", file, "--data-dir", c.dir); err != nil || !strings.Contains(out, "the keys fit") {
			t.Errorf("%s: %s %v", name, out, err)
			continue
		}
		if got := strings.Join(leftIn(t, c.real), " "); got != "hotdeskd.db hotdeskd.db.id keys tls" {
			t.Errorf("%s: in %s is %s", name, c.real, got)
		}
		if after, err := os.Stat(c.real); err != nil || before != nil && !os.SameFile(before, after) || after.Mode().Perm()&0o077 != 0 && before == nil {
			t.Errorf("%s: it is another directory, or open to others: %v", name, err)
		}
		if info, err := os.Lstat("link"); name != "here" && (err != nil || info.Mode()&os.ModeSymlink == 0) {
			t.Errorf("%s: the link is gone", name)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(c.real), restoreScratch+"*")); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
		for path, want := range map[string]os.FileMode{"keys": 0o700, "keys/device.key": 0o400, "tls/cert.pem": 0o600} {
			if info, err := os.Stat(filepath.Join(c.real, path)); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %s: %v %v", name, path, info.Mode(), err)
			}
		}
		if err := startable(t.Context(), c.real); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the server would not start on is refused in words before anything is put in
// place, and neither the keys' folder nor what its links lead to is changed.
func TestRestoreChecksFirst(t *testing.T) {
	t.Parallel()
	data, other, empty, half, links := exampleData(t), exampleData(t), t.TempDir(), t.TempDir(), t.TempDir()
	bare := exampleBackup(t, data, false)
	mustDo := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := os.ReadFile(filepath.Join(data, keysDir, "pepper.key"))
	mustDo(err)
	mustDo(os.WriteFile(filepath.Join(half, "pepper.key"), key, 0o400))
	outside := filepath.Join(t.TempDir(), "outside")
	mustDo(errors.Join(os.WriteFile(outside, key, 0o640), os.Symlink(outside, filepath.Join(links, "pepper.key"))))
	database, id := databaseFile, databaseFile+".id"
	keys := []string{"keys/device.key", "keys/pepper.key", "keys/sealing.key"}
	for name, c := range map[string]struct {
		file, keys, says string
	}{
		"no keys anywhere":         {bare, "", "--keys FOLDER"},
		"keys of another server":   {bare, filepath.Join(other, keysDir), "not those that this data was made with"},
		"an empty folder of keys":  {bare, empty, "no key file"},
		"some keys only":           {bare, half, "key file missing"},
		"a link out of the folder": {bare, links, "the files themselves"},
		"another database's id":    {handMade(t, data, append([]string{database}, keys...), map[string]string{id: "ANOTHER"}), "", "it is database"},
		"no id":                    {handMade(t, data, append([]string{database}, keys...), nil), "", id + " is not in it"},
		"no database":              {handMade(t, data, append([]string{id}, keys...), nil), "", database + " is not in it"},
		"a foreign file":           {handMade(t, data, []string{database, id}, map[string]string{"authorized_keys": "x"}), "", "belongs in no data directory"},
		"keys in name only":        {handMade(t, data, []string{database, id}, map[string]string{"keys/README": "x"}), "", "--keys FOLDER"},
	} {
		top := t.TempDir()
		args := []string{"restore", c.file, "--data-dir", filepath.Join(top, "data")}
		if c.keys != "" {
			args = append(args, "--keys", c.keys)
		}
		if _, err := cli(t, args...); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), restoreScratch) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if left := leftIn(t, top); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file outside of the keys' folder has mode %v, %v", info.Mode(), err)
	}
	if len(leftIn(t, empty)) > 0 {
		t.Error("keys were made in the folder that was given")
	}
}

// The next verify or restore removes what killed ones have left beside the backup
// or the data directory; a living one's directory, and what only looks like one, stay.
func TestLeftoversOfTheDead(t *testing.T) {
	t.Parallel()
	file := exampleBackup(t, exampleData(t), true)
	for _, command := range []string{"verify", "restore"} {
		top, elsewhere := filepath.Dir(file), t.TempDir()
		args := []string{"backup", "verify", file}
		if command == "restore" {
			top = t.TempDir()
			args = []string{"restore", file, "--data-dir", filepath.Join(top, "data")}
		}
		err := os.WriteFile(filepath.Join(elsewhere, "mine"), nil, 0o600)
		for _, prefix := range []string{verifyScratch, restoreScratch} {
			keys := filepath.Join(top, prefix+"dead", keysDir)
			err = errors.Join(err, os.MkdirAll(keys, 0o700), os.WriteFile(filepath.Join(keys, "pepper.key"), nil, 0o400),
				os.Symlink(elsewhere, filepath.Join(top, prefix+"link")))
		}
		living, done, failed := scratch(top, restoreScratch)
		if err = errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(living); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, %v", living, info.Mode(), err)
		}
		if _, err := cli(t, args...); err != nil {
			t.Errorf("%s: %v", command, err)
		}
		if dead, _ := filepath.Glob(filepath.Join(top, ".hotdeskd-*-dead")); len(dead) > 0 {
			t.Errorf("%s leaves %v", command, dead)
		}
		if _, err := os.Stat(living); err != nil || len(leftIn(t, elsewhere)) != 1 {
			t.Errorf("%s removed what is not left over: %v", command, err)
		}
		if err := done(); err != nil {
			t.Fatal(err)
		}
	}
}

// Verify writes neither keys nor certificates to the disk: two whose names cannot
// stand side by side there do not trouble it, and trouble restore.
func TestVerifyWritesNoKeys(t *testing.T) {
	t.Parallel()
	data := exampleData(t)
	files := []string{databaseFile, databaseFile + ".id", "keys/device.key", "keys/pepper.key", "keys/sealing.key"}
	file := handMade(t, data, files, map[string]string{"tls/a": "x", "tls/a/b": "x"})
	if out, err := cli(t, "backup", "verify", file); err != nil || strings.Contains(out, "WITHOUT") {
		t.Errorf("verify: %s %v", out, err)
	}
	if _, err := cli(t, "restore", file, "--data-dir", filepath.Join(t.TempDir(), "data")); err == nil {
		t.Error("restored what cannot be written")
	}
}

// A backup of a log whose newest rows were cut off is a true copy, and says so.
func TestVerifyTellsOfACutLog(t *testing.T) {
	t.Parallel()
	data := exampleData(t)
	j, err := journal.Open(filepath.Join(data, journalDir), journal.Options{})
	if err == nil {
		err = errors.Join(j.AppendNow(hotdesk.AuditRow{Op: "1", Action: "audit.cut", Detail: map[string]string{"missing_line": "7"}}), j.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := cli(t, "backup", "verify", exampleBackup(t, data, true)); err != nil || !strings.Contains(out, "sound") || !strings.Contains(out, "line number 7 was missing") {
		t.Errorf("%s %v", out, err)
	}
}
