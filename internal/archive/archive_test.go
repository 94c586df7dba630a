package archive

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func text(name, content string) Part {
	return Part{name, func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	}}
}

// example is a backup of two files and a log whose last line is not whole yet.
func example(t *testing.T) []byte {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("one\ntwo\nthr"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	m := Manifest{Created: time.Unix(1, 0).UTC(), Version: "1", Keys: true}
	if err := Write(&b, m, []Part{text("a.db", strings.Repeat("data", 5000)), text("keys/pepper", "x"), FromFile("journal/log", log, true)}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func extract(t *testing.T, backup []byte) (dir string, m Manifest, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup.zip")
	if err := os.WriteFile(path, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	a, err := Open(path, limits)
	if err != nil {
		return dir, m, err
	}
	return dir, a.Manifest, errors.Join(a.Extract(dir, func(string) bool { return true }), a.Close())
}

// limits let the example in.
var limits = Limits{Files: 5, File: 1 << 20, Total: 2 << 20}

// What was put in comes out, and nobody else can read it.
func TestRoundTrip(t *testing.T) {
	dir, m, err := extract(t, example(t))
	if err != nil || !m.Keys || m.Version != "1" || len(m.Files) != 3 {
		t.Fatalf("%+v %v", m, err)
	}
	for name, want := range map[string]string{"a.db": strings.Repeat("data", 5000), "keys/pepper": "x", "journal/log": "one\ntwo\n"} {
		path := filepath.Join(dir, name)
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
}

// No byte of a backup can be changed or missing without being noticed before
// anything is unpacked.
func TestDamaged(t *testing.T) {
	whole := example(t)
	unpacked := func(dir string) int {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	for cut := 0; cut < len(whole); cut += 7 {
		if dir, _, err := extract(t, whole[:cut]); !errors.Is(err, ErrDamaged) || unpacked(dir) > 0 {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	same, _, err := extract(t, whole)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 3 {
		changed := bytes.Clone(whole)
		changed[at] ^= 0x40
		dir, _, err := extract(t, changed)
		if err != nil {
			if unpacked(dir) > 0 {
				t.Fatalf("byte %d: %v, and files were unpacked", at, err)
			}
			continue
		}
		for _, name := range []string{"a.db", "keys/pepper", "journal/log"} { // a byte that means nothing, such as a file's time
			a, errA := os.ReadFile(filepath.Join(same, name))
			b, errB := os.ReadFile(filepath.Join(dir, name))
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Fatalf("byte %d was changed, and %s with it", at, name)
			}
		}
	}
}

// Files that the manifest does not name, names that lead out of the directory, and
// other formats are refused.
func TestForeign(t *testing.T) {
	make := func(manifest string, names ...string) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for _, name := range append(names, manifestName) {
			w, err := z.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			content := ""
			if name == manifestName {
				content = manifest
			}
			if _, err := io.WriteString(w, content); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	const empty = `e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855`
	for name, backup := range map[string][]byte{
		"no zip":        []byte("hello"),
		"another zip":   make(`{}`),
		"later format":  make(`{"format":"hotdeskd-backup-2","files":[]}`),
		"one too many":  make(`{"format":"hotdeskd-backup-1","files":[]}`, "x"),
		"one too few":   make(`{"format":"hotdeskd-backup-1","files":[{"name":"x","size":0,"sha256":"` + empty + `"}]}`),
		"leads out":     make(`{"format":"hotdeskd-backup-1","files":[{"name":"../x","size":0,"sha256":"`+empty+`"}]}`, "../x"),
		"absolute name": make(`{"format":"hotdeskd-backup-1","files":[{"name":"/tmp/x","size":0,"sha256":"`+empty+`"}]}`, "/tmp/x"),
		"twice":         make(`{"format":"hotdeskd-backup-1","files":[{"name":"x","size":0,"sha256":"`+empty+`"},{"name":"x","size":0,"sha256":"`+empty+`"}]}`, "x", "x"),
		"another way":   make(`{"format":"hotdeskd-backup-1","files":[{"name":"y/../x","size":0,"sha256":"`+empty+`"}]}`, "y/../x"),
	} {
		if _, _, err := extract(t, backup); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := extract(t, make(`{"format":"hotdeskd-backup-1","files":[{"name":"x","size":0,"sha256":"`+empty+`"}]}`, "x")); err != nil {
		t.Errorf("a good one, for comparison: %v", err)
	}
}

// A backup that would unpack to more files or bytes than the limits let in is
// refused before anything is unpacked, whatever its manifest says of them.
func TestTooMuch(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		parts  []Part
		want   error
	}{
		"at the limits":  {Limits{Files: 2, File: 5, Total: 8}, []Part{text("a", "12345"), text("b", "123")}, nil},
		"too many files": {Limits{Files: 1, File: 5, Total: 8}, []Part{text("a", "12345"), text("b", "123")}, ErrTooMuch},
		"a file":         {Limits{Files: 2, File: 4, Total: 8}, []Part{text("a", "12345"), text("b", "123")}, ErrTooMuch},
		"all together":   {Limits{Files: 2, File: 5, Total: 7}, []Part{text("a", "12345"), text("b", "123")}, ErrTooMuch},
	} {
		var b bytes.Buffer
		if err := Write(&b, Manifest{}, c.parts); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "backup.zip")
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := Open(path, c.limits)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err == nil {
			_ = a.Close()
		}
	}
}

// A member that unpacks to more than its manifest says is read no further than
// that: a gigabyte of zeroes costs no gigabyte of work.
func TestBomb(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeroes{}, 1<<24); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	n, err := digest(r.File[0], 10)
	if err == nil || n.n > 11 {
		t.Errorf("%d bytes were read of a member of 10: %v", n.n, err)
	}
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Only the files that are wanted are written.
func TestExtractSome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup.zip")
	if err := os.WriteFile(path, example(t), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Open(path, limits)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := errors.Join(a.Extract(dir, func(name string) bool { return name != "keys/pepper" }), a.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "keys")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the keys were written too: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a.db")); err != nil {
		t.Error(err)
	}
}
