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
	m, err = Extract(path, dir)
	return dir, m, err
}

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
	} {
		if _, _, err := extract(t, backup); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := extract(t, make(`{"format":"hotdeskd-backup-1","files":[{"name":"x","size":0,"sha256":"`+empty+`"}]}`, "x")); err != nil {
		t.Errorf("a good one, for comparison: %v", err)
	}
}
