package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"hotdeskd/hotdesk"
)

// Whatever does not fit together is refused with the right sentinel and a message
// that names the file and the way out, and nothing is created in its place.
func TestOpenRefuses(t *testing.T) {
	quickExit(t)
	remove := func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	write := func(t *testing.T, path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  error
		says  []string
	}{
		{"database gone", remove, ErrEmpty, []string{"missing", "backup", "db.id"}},
		{"database empty", func(t *testing.T, p string) { write(t, p, "") }, ErrEmpty, []string{"empty", "backup", "db.id"}},
		{"empty without instance file", func(t *testing.T, p string) { write(t, p, ""); remove(t, p+".id") }, ErrEmpty, []string{"remove both"}},
		{"instance file gone", func(t *testing.T, p string) { remove(t, p+".id") }, ErrForeign, []string{"db.id", "is missing", "put \""}},
		{"instance file empty", func(t *testing.T, p string) { write(t, p+".id", "") }, ErrForeign, []string{"db.id"}},
		{"another id", func(t *testing.T, p string) { write(t, p+".id", "ELSE\n") }, ErrForeign, []string{`"ELSE"`}},
		{"text file", func(t *testing.T, p string) { write(t, p, strings.Repeat("hello ", 5000)) }, ErrForeign, []string{"backup", "db.id"}},
		{"one byte", func(t *testing.T, p string) { write(t, p, "x") }, ErrForeign, nil},
		{"directory", func(t *testing.T, p string) {
			remove(t, p)
			if err := os.Mkdir(p, 0o700); err != nil {
				t.Fatal(err)
			}
		}, ErrForeign, nil},
		{"another program's bbolt file", func(t *testing.T, p string) {
			remove(t, p)
			db, err := bbolt.Open(p, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}, ErrForeign, []string{"buckets"}},
		{"newer format", func(t *testing.T, p string) {
			db, err := bbolt.Open(p, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyFormat), []byte("2"))
			})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		}, ErrForeign, []string{`format "2"`, "newer"}},
	} {
		for _, command := range [][]string{nil, {"check-store"}} {
			path := filepath.Join(t.TempDir(), "db")
			d := mustOpen(t, path, Options{})
			put(t, d, "/a", "1")
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			c.spoil(t, path)
			for range 2 { // refusing must not change what the next start finds
				d, err := Open(path, Options{CheckCommand: command})
				if err == nil {
					_ = d.Close()
					t.Fatalf("%s: opened", c.name)
				}
				if !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", c.name, err, c.want)
				}
				for _, word := range append(c.says, path) {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("%s: the message lacks %q: %v", c.name, word, err)
					}
				}
			}
		}
	}
}

// A backup put in the place of a lost database is accepted, and so is one on a new
// machine once its id was put into the instance file as the message says.
func TestBackupRestores(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	d := mustOpen(t, path, Options{})
	put(t, d, "/a", "kept")
	backup, err := os.Create(path + ".backup")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Backup(backup), backup.Close()); err != nil {
		t.Fatal(err)
	}
	put(t, d, "/a", "later")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".backup", path); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, path, Options{})
	if rev, all := contents(t, d); rev != 1 || !strings.Contains(all, "kept") {
		t.Errorf("restored at revision %d: %s", rev, all)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	if err := os.Remove(path + ".id"); err != nil {
		t.Fatal(err)
	}
	_, err = Open(path, Options{})
	if err == nil {
		t.Fatal("opened without an instance file")
	}
	_, id, _ := strings.Cut(err.Error(), `put "`)
	id, _, _ = strings.Cut(id, `"`)
	if err := os.WriteFile(path+".id", []byte(id), 0o600); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path, Options{})
}

// A first start that was cut off at any point is finished by the next one.
func TestFirstStartCutOff(t *testing.T) {
	for name, undo := range map[string]func(path string) error{
		"before the instance file": func(p string) error { return errors.Join(os.Rename(p, p+".new"), os.Remove(p+".id")) },
		"after the instance file":  func(p string) error { return os.Rename(p, p+".new") },
		"in the new file": func(p string) error {
			return errors.Join(os.Remove(p), os.Remove(p+".id"), os.WriteFile(p+".new", []byte("torn"), 0o600))
		},
	} {
		path := filepath.Join(t.TempDir(), "db")
		if err := mustOpen(t, path, Options{}).Close(); err != nil {
			t.Fatal(err)
		}
		if err := undo(path); err != nil {
			t.Fatal(err)
		}
		d, err := Open(path, Options{})
		if err != nil {
			t.Errorf("cut off %s: %v", name, err)
			continue
		}
		put(t, d, "/a", "1")
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Two servers cannot share a database, and the second one is told why.
func TestInUse(t *testing.T) {
	quickExit(t)
	path := filepath.Join(t.TempDir(), "db")
	mustOpen(t, path, Options{})
	for _, command := range [][]string{nil, {"check-store"}} {
		_, err := Open(path, Options{CheckCommand: command})
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
			t.Errorf("a second Open: %v, want ErrInUse with the path", err)
		}
	}
}

// A check command that is wrong is an error of its own, not a damaged database.
func TestCheckCommandFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := mustOpen(t, path, Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path, Options{CheckCommand: []string{"say-nonsense"}})
	if err == nil || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "unknown command") {
		t.Errorf("Open says %v, want what the command said", err)
	}
}

// The files hold secrets' hashes: nobody but the owner reads them.
func TestFileModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	mustOpen(t, path, Options{})
	for _, p := range []string{path, path + ".id"} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s has mode %o, want 600", p, got)
		}
	}
}

func mustOpen(t testing.TB, path string, opts Options) *DB {
	t.Helper()
	d, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func put(t testing.TB, d *DB, key, value string) {
	t.Helper()
	_, err := d.Update(t.Context(), func(tx hotdesk.Txn) error { tx.Put(key, []byte(value)); return nil })
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// contents is the revision and all records as one text.
func contents(t testing.TB, d *DB) (rev hotdesk.Rev, all string) {
	t.Helper()
	var b strings.Builder
	err := d.View(t.Context(), func(r hotdesk.Reader) error {
		rev = r.Rev()
		for kv, err := range r.Scan("") {
			if err != nil {
				return err
			}
			b.WriteString(kv.Key + "=" + string(kv.Value) + "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rev, b.String()
}
