package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// write makes a journal of 3 months with n rows each and returns its files' names.
func write(t *testing.T, dir string, n int) []string {
	t.Helper()
	at := november()
	j := mustOpen(t, dir, Options{Now: at.now})
	for _, month := range []time.Month{time.September, time.October, time.November} {
		at.set(month, 5)
		for i := range n {
			if err := j.AppendNow(row(fmt.Sprintf("%d-%d", month, i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(names) != 3 {
		t.Fatalf("files %q, %v, want 3", names, err)
	}
	if got, err := Verify(dir, Head{}); got != 3*n || err != nil {
		t.Fatalf("Verify: %d, %v, want %d", got, err, 3*n)
	}
	return names
}

// A change of any single byte in any file is found, by file and line.
func TestVerifyFindsEveryChangedByte(t *testing.T) {
	dir := t.TempDir()
	names := write(t, dir, 5)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		path := names[r.IntN(len(names))]
		sound, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := r.IntN(len(sound))
		spoilt := bytes.Clone(sound)
		spoilt[at] ^= byte(1 + r.IntN(255))
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%s line %d:", path, 1+bytes.Count(sound[:at], []byte("\n")))
		if _, err := Verify(dir, Head{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), want) {
			t.Errorf("change %d, byte %d (%q to %q): %v, want ErrDamaged at %s", i, at, sound[at], spoilt[at], err, want)
		}
		if err := os.WriteFile(path, sound, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Of a line with all its fields, every byte changed to every other one is noticed.
func TestDecodeLineNoticesEveryByte(t *testing.T) {
	b, err := json.Marshal(row("op"))
	if err != nil {
		t.Fatal(err)
	}
	l := line{Seq: 17, Rev: 29, Row: b}
	l.chain(strings.Repeat("0123456789abcdef", 4))
	text, err := l.encode()
	if err != nil {
		t.Fatal(err)
	}
	text = text[:len(text)-1]
	if _, err := decodeLine(text, true); err != nil {
		t.Fatal(err)
	}
	for i, was := range text {
		for to := range 256 {
			if text[i] = byte(to); byte(to) == was {
				continue
			}
			if _, err := decodeLine(text, true); !errors.Is(err, ErrDamaged) {
				t.Errorf("byte %d changed from %q to %q: %v", i, was, byte(to), err)
			}
		}
		text[i] = was
	}
}

// Lines taken out, put in or moved are found, and so is a whole file that is missing
// between others or begins anew; only the oldest files may go.
func TestVerifyFindsMovedLines(t *testing.T) {
	lines := func(fn func(l [][]byte) [][]byte) func(names []string) error {
		return func(names []string) error {
			b, err := os.ReadFile(names[1])
			if err != nil {
				return err
			}
			l := fn(bytes.SplitAfter(b[:len(b):len(b)], []byte("\n"))[:5])
			return os.WriteFile(names[1], bytes.Join(l, nil), 0o600)
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(names []string) error
		sound int
		bad   bool
	}{
		{"first line gone", lines(func(l [][]byte) [][]byte { return l[1:] }), 5, true},
		{"middle line gone", lines(func(l [][]byte) [][]byte { return append(l[:2], l[3:]...) }), 7, true},
		{"last line gone", lines(func(l [][]byte) [][]byte { return l[:4] }), 9, true},
		{"two swapped", lines(func(l [][]byte) [][]byte { l[1], l[2] = l[2], l[1]; return l }), 6, true},
		{"one twice", lines(func(l [][]byte) [][]byte { return append(l[:2], l[1:]...) }), 7, true},
		{"empty line", lines(func(l [][]byte) [][]byte { return append(l[:4], []byte("\n"), l[4]) }), 9, true},
		{"unfinished", lines(func(l [][]byte) [][]byte { l[4] = l[4][:20]; return l }), 9, true},
		{"middle file gone", func(n []string) error { return os.Remove(n[1]) }, 5, true},
		{"files swapped", func(n []string) error {
			return errors.Join(os.Rename(n[1], n[1]+"x"), os.Rename(n[0], n[1]), os.Rename(n[1]+"x", n[0]))
		}, 5, true},
		{"oldest file gone", func(n []string) error { return os.Remove(n[0]) }, 10, false},
		{"a foreign file beside them", func(n []string) error { return os.WriteFile(n[0]+".bak", []byte("x"), 0o600) }, 15, false},
	} {
		dir := t.TempDir()
		if err := c.spoil(write(t, dir, 5)); err != nil {
			t.Fatal(err)
		}
		if n, err := Verify(dir, Head{}); n != c.sound || errors.Is(err, ErrDamaged) != c.bad {
			t.Errorf("%s: %d lines sound, %v, want %d and damage %v", c.name, n, err, c.sound, c.bad)
		}
	}
}

// Cut anywhere in its last line, as a crash leaves it, a file is opened with the
// lines before, and the next row continues the chain.
func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	names := write(t, dir, 2)
	path := names[2]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.IndexByte(whole, '\n') + 1
	for cut := 0; cut < len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		want := "9-0 9-1 10-0 10-1"
		if cut >= second {
			want += " 11-0"
		}
		j := mustOpen(t, dir, Options{})
		if got := ops(t, j); got != want {
			t.Fatalf("cut at %d: %s, want %s", cut, got, want)
		}
		if err := errors.Join(j.AppendNow(row("new")), j.Close()); err != nil {
			t.Fatal(err)
		}
		if got := ops(t, j); got != want+" new" {
			t.Fatalf("cut at %d: %s, want %s new", cut, got, want)
		}
	}
	// A crash may also leave blocks that were never written: zeroes, many of them.
	if err := os.WriteFile(path, append(bytes.Clone(whole), make([]byte, 3*readBack)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := ops(t, mustOpen(t, dir, Options{})), "9-0 9-1 10-0 10-1 11-0 11-1"; got != want {
		t.Errorf("after zeroes: %s, want %s", got, want)
	}
}

// A damaged tail is not continued: Open names the file and what to do.
func TestOpenProvesTheTail(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, 3)[2]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte("HD0001"), []byte("HD0002"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, Options{})
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "Move this file away") {
		t.Errorf("Open: %v, want ErrDamaged with the file and the way out", err)
	}
}

// A new month begins a new file that continues the chain, and a clock that goes back
// does not go back to the old one.
func TestMonths(t *testing.T) {
	dir, at := t.TempDir(), november()
	j := mustOpen(t, dir, Options{Now: at.now})
	for i, month := range []time.Month{time.October, time.October, time.November, time.October, time.December} {
		at.set(month, 5)
		if err := j.AppendNow(row(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if got := ops(t, j); got != "0 1 2 3 4" {
		t.Errorf("rows %s", got)
	}
	for name, want := range map[string]int{"audit-202610": 2, "audit-202611": 2, "audit-202612": 1} {
		b, err := os.ReadFile(filepath.Join(dir, name+".jsonl"))
		if n := bytes.Count(b, []byte("\n")); n != want || err != nil {
			t.Errorf("%s has %d lines, %v, want %d", name, n, err, want)
		}
	}
}

// Rows come newest first, page by page, and a page after a row that nobody knows is
// an error, not the first page again.
func TestAuditPages(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 4)
	j := mustOpen(t, dir, Options{})
	for _, c := range []struct {
		limit  int
		before string
		want   string
		err    error
	}{
		{3, "", "11-3 11-2 11-1", nil},
		{3, "11-1", "11-0 10-3 10-2", nil},
		{3, "9-1", "9-0", nil},
		{3, "9-0", "", nil},
		{0, "10-0", "9-3 9-2 9-1 9-0", nil},
		{3, "none", "", hotdesk.ErrNotFound},
	} {
		rows, err := j.Audit(c.limit, c.before)
		var got []string
		for _, r := range rows {
			got = append(got, r.Op)
		}
		if strings.Join(got, " ") != c.want || !errors.Is(err, c.err) {
			t.Errorf("Audit(%d, %q) is %q, %v, want %q, %v", c.limit, c.before, got, err, c.want, c.err)
		}
	}
}

// Lines longer than what is read at a time come back whole, and so do short ones
// around every boundary.
func TestLongLines(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{})
	var want []string
	for i := range 40 {
		r := row(fmt.Sprint(i))
		r.Detail = map[string]string{"text": strings.Repeat("x", i*i*150)}
		if err := j.AppendNow(r); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprint(i))
	}
	if got := ops(t, j); got != strings.Join(want, " ") {
		t.Errorf("rows %s", got)
	}
}

// Files are for the owner only.
func TestFileModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j := mustOpen(t, dir, Options{})
	if err := j.AppendNow(row("1")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "audit-202611.jsonl"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
}

// Whatever the decoder accepts is spelt exactly as the encoder spells it, and what
// is chained has its own hash; what the encoder writes of any row is accepted.
func FuzzDecodeLine(f *testing.F) {
	b, err := json.Marshal(row("op"))
	if err != nil {
		f.Fatal(err)
	}
	l := line{Seq: 7, Rev: 9, Row: b}
	plain, _ := l.encode()
	f.Add(plain, true)
	l.chain(noHash)
	chained, _ := l.encode()
	f.Add(chained, true)
	f.Add([]byte(`{"seq":1,"row":{}}`), false)
	f.Add([]byte(`{"SEQ":1,"row":{}}`), false)
	f.Add([]byte(`{"seq":1,"row": {}}`), false)
	f.Add([]byte(`{"seq":1,"row":"<"}`), false)
	f.Add([]byte(`null`), false)
	f.Fuzz(func(t *testing.T, text []byte, chained bool) {
		if l, err := decodeLine(text, chained); err == nil {
			again, err := l.encode()
			if err != nil || !bytes.Equal(again, append(bytes.Clone(text), '\n')) {
				t.Errorf("accepted %q, spelt %q, %v", text, again, err)
			}
			if chained && l.sum() != l.Hash {
				t.Errorf("accepted %q without its hash", text)
			}
		}
		r, err := json.Marshal(hotdesk.AuditRow{Op: string(text), Detail: map[string]string{"x": string(text)}})
		if err != nil {
			t.Fatal(err)
		}
		l := line{Seq: uint64(len(text)), Row: r}
		if chained {
			l.chain(noHash)
		}
		b, err := l.encode()
		if err != nil || bytes.IndexByte(b, '\n') != len(b)-1 {
			t.Fatalf("encoded %q, %v", b, err)
		}
		if back, err := decodeLine(b[:len(b)-1], chained); err != nil || back.Hash != l.Hash || !bytes.Equal(back.Row, r) {
			t.Errorf("%q was written and read back as %+v, %v", b, back, err)
		}
	})
}
