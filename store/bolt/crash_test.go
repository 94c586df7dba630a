package bolt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"hotdeskd/hotdesk"
)

// After kill -9 in the middle of writing, everything acknowledged is there, no
// commit is there by half, and the file passes its check.
func TestKilledWriterLosesNothingAcknowledged(t *testing.T) {
	quickExit(t)
	path := filepath.Join(t.TempDir(), "db")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 6 {
		cmd := exec.Command(exe, "write-until-killed", path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acked := map[string]int{}
		var last hotdesk.Rev
		stop, lines := 100+rand.IntN(900), 0
		for sc := bufio.NewScanner(out); sc.Scan(); lines++ {
			var key string
			var n int
			var rev hotdesk.Rev
			if _, err := fmt.Sscan(sc.Text(), &key, &n, &rev); err != nil {
				t.Fatalf("the writer said %q", sc.Text())
			}
			acked[key], last = n, max(last, rev)
			if lines == stop {
				_ = cmd.Process.Kill() // what it has printed until then is read too
			}
		}
		_ = cmd.Wait()
		if lines < stop {
			t.Fatalf("round %d: the writer ended by itself after %d lines", round, lines)
		}
		d := mustOpen(t, path, Options{CheckCommand: []string{"check-store"}})
		err = d.View(t.Context(), func(r hotdesk.Reader) error {
			if r.Rev() < last {
				t.Errorf("round %d: revision %d, but %d was acknowledged", round, r.Rev(), last)
			}
			for key, want := range acked {
				kv, _, _ := r.Get(key)
				twin, _, err := r.Get(key + "/copy")
				if err != nil {
					return err
				}
				var got int
				_, _ = fmt.Sscan(string(kv.Value), &got)
				if got < want || string(kv.Value) != string(twin.Value) || kv.Rev != twin.Rev {
					t.Errorf("round %d: %s is %q and its copy %q, acknowledged was %d", round, key, kv.Value, twin.Value, want)
				}
			}
			return nil
		})
		if err := errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// damage is one way to spoil a database file of whole pages.
type damage struct {
	name string
	do   func(r *rand.Rand, b []byte) []byte
}

const page = 4096

func damages() []damage {
	somewhere := func(r *rand.Rand, b []byte) int { return r.IntN(len(b)/page) * page }
	return []damage{
		{"random page", func(r *rand.Rand, b []byte) []byte {
			for i, at := 0, somewhere(r, b); i < page; i++ {
				b[at+i] = byte(r.Uint32())
			}
			return b
		}},
		{"zeroed page", func(r *rand.Rand, b []byte) []byte { clear(b[somewhere(r, b):][:page]); return b }},
		{"one byte", func(r *rand.Rand, b []byte) []byte { b[r.IntN(len(b))] ^= byte(1 + r.IntN(255)); return b }},
		{"one byte in a page's head", func(r *rand.Rand, b []byte) []byte {
			b[somewhere(r, b)+r.IntN(64)] ^= byte(1 + r.IntN(255))
			return b
		}},
		{"page copied over another", func(r *rand.Rand, b []byte) []byte {
			copy(b[somewhere(r, b):][:page], b[somewhere(r, b):][:page])
			return b
		}},
		{"cut at a page", func(r *rand.Rand, b []byte) []byte { return b[:somewhere(r, b)] }},
		{"cut anywhere", func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] }},
		{"both metas zeroed", func(_ *rand.Rand, b []byte) []byte { clear(b[:2*page]); return b }},
	}
}

// A damaged file is refused, or else (the damage hit a free page, or one of bbolt's
// two meta pages) it is opened with exactly the records of a commit that was made.
// It is never served damaged, never replaced by an empty one, and never ends the
// process. The check runs as it does in hotdeskd: in a child process.
func TestDamagedFileIsNeverServed(t *testing.T) {
	quickExit(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	d := mustOpen(t, path, Options{})
	history := map[hotdesk.Rev]string{}
	for i := range 60 {
		put(t, d, fmt.Sprintf("/device/HD%04d", i%40), fmt.Sprintf("%0500d", i))
		rev, all := contents(t, d)
		history[rev] = all
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for len(sound) > page && isZero(sound[len(sound)-page:]) { // room to grow: nothing to damage
		sound = sound[:len(sound)-page]
	}
	refused, same := 0, 0
	for i := range 200 {
		dmg := damages()[i%len(damages())]
		r := rand.New(rand.NewPCG(1, uint64(i)))
		spoilt := dmg.do(r, append([]byte(nil), sound...))
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(path, Options{CheckCommand: []string{"check-store"}})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrEmpty) {
				t.Errorf("%d, %s: refused without a sentinel: %v", i, dmg.name, err)
			}
			if now, _ := os.ReadFile(path); string(now) != string(spoilt) {
				t.Errorf("%d, %s: the refused file was changed", i, dmg.name)
			}
			refused++
			continue
		}
		rev, all := contents(t, d)
		if want, ok := history[rev]; !ok || all != want {
			t.Errorf("%d, %s: served at revision %d with other contents than were committed", i, dmg.name, rev)
		}
		put(t, d, "/after", "1") // and it still takes writes
		if err := d.Close(); err != nil {
			t.Errorf("%d, %s: close: %v", i, dmg.name, err)
		}
		same++
	}
	t.Logf("%d refused, %d opened unharmed", refused, same)
	if refused < 100 {
		t.Errorf("only %d of 200 were refused: does the damage hit anything?", refused)
	}
}

// quickExit spares the child processes the second that the race detector waits at
// the end of each.
func quickExit(t *testing.T) { t.Setenv("GORACE", "atexit_sleep_ms=0") }

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// Damage that bbolt's own check does not see is found by the checksums: a changed
// value, a lost record, and one that is older than the last of its key.
func TestCheckFindsWhatBboltCannot(t *testing.T) {
	data := func(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket([]byte(bucketData)) }
	for name, spoil := range map[string]func(*bbolt.Tx) error{
		"changed value": func(tx *bbolt.Tx) error {
			b := append([]byte(nil), data(tx).Get([]byte("/a"))...)
			b[len(b)-1] ^= 1
			return data(tx).Put([]byte("/a"), b)
		},
		"lost record": func(tx *bbolt.Tx) error { return data(tx).Delete([]byte("/a")) },
		"old record": func(tx *bbolt.Tx) error {
			b, _ := encodeRecord("/a", 1, []byte("1"))
			return data(tx).Put([]byte("/a"), b)
		},
		"future record": func(tx *bbolt.Tx) error {
			b, _ := encodeRecord("/a", 99, []byte("2"))
			return data(tx).Put([]byte("/a"), b)
		},
		"short record": func(tx *bbolt.Tx) error { return data(tx).Put([]byte("/a"), []byte("x")) },
		"no counter":   func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketMeta)).Delete([]byte(keyState)) },
	} {
		path := filepath.Join(t.TempDir(), "db")
		d := mustOpen(t, path, Options{})
		put(t, d, "/a", "1")
		put(t, d, "/a", "2")
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err := Check(path); err != nil {
			t.Fatalf("%s: before: %v", name, err)
		}
		db, err := bbolt.Open(path, 0o600, boltOptions())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(spoil), db.Close()); err != nil {
			t.Fatal(err)
		}
		if err := Check(path); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: the check says %v, want ErrCorrupt", name, err)
		}
	}
}
