package vault

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/alexedwards/argon2id"

	"hotdeskd/hotdesk"
)

// A PIN compares with its own hash only, a hash is salted, and it is worth nothing
// without this vault's pepper.
func TestPIN(t *testing.T) {
	v := open(t)
	hash, err := v.HashPIN(t.Context(), "4711")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q has other parameters than 19 MiB, t=2, p=1", hash)
	}
	if again, _ := v.HashPIN(t.Context(), "4711"); again == hash {
		t.Error("the same PIN hashed twice gives the same text")
	}
	if bare, _ := argon2id.ComparePasswordAndHash("4711", hash); bare {
		t.Error("the hash is of the bare PIN: a stolen database would be enough")
	}
	for _, c := range []struct {
		name string
		v    *Vault
		pin  hotdesk.Secret
		hash string
		want bool
		err  error
	}{
		{"right", v, "4711", hash, true, nil},
		{"wrong", v, "4712", hash, false, nil},
		{"longer", v, "47110", hash, false, nil},
		{"empty PIN", v, "", hash, false, nil},
		{"another pepper", open(t), "4711", hash, false, nil},
		{"no user", v, "4711", "", false, nil},
		{"no user, no PIN", v, "", "", false, nil},
		{"dummy", v, "", dummyHash, false, nil},
		{"not a hash", v, "4711", "4711", false, ErrHash},
		{"cut hash", v, "4711", hash[:len(hash)-30], false, ErrHash},
		{"hash of nothing", v, "4711", hash[:strings.LastIndex(hash, "$")+1], false, ErrHash},
		{"too much memory", v, "4711", strings.Replace(hash, "m=19456", "m=4000000000", 1), false, ErrHash},
		{"no iterations", v, "4711", strings.Replace(hash, "t=2", "t=0", 1), false, ErrHash},
		{"no lanes", v, "4711", strings.Replace(hash, "p=1", "p=0", 1), false, ErrHash},
		{"too many iterations", v, "4711", strings.Replace(hash, "t=2", "t=99999", 1), false, ErrHash},
	} {
		ok, err := c.v.VerifyPIN(t.Context(), c.pin, c.hash)
		if ok != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v, want %v, %v", c.name, ok, err, c.want, c.err)
		}
	}
}

// The dummy hash costs what a real one costs: its parameters are the same.
func TestDummyCostsTheSame(t *testing.T) {
	p, salt, key, err := argon2id.DecodeHash(dummyHash)
	if err != nil || *p != *params() || len(salt) != 16 || len(key) != 32 {
		t.Errorf("the dummy hash has %+v, %d and %d bytes, %v, want %+v", p, len(salt), len(key), err, params())
	}
}

// Every comparison does one hash's work, whatever it compares with: nobody can tell
// an unknown user by the time.
func TestEveryComparisonWorks(t *testing.T) {
	v := open(t)
	hash, err := v.HashPIN(t.Context(), "4711")
	if err != nil {
		t.Fatal(err)
	}
	works := 0
	v.work = func(fn func()) { works++; fn() }
	for _, against := range []string{hash, "", "rubbish", strings.Replace(hash, "t=2", "t=0", 1)} {
		works = 0
		_, _ = v.VerifyPIN(t.Context(), "4711", against)
		if works != 1 {
			t.Errorf("comparing with %q did the work of %d hashes, want 1", against, works)
		}
	}
}

// Two hashes run at once, 200 wait, the next is told to try again; a cancelled one
// leaves its place, and all that waited get their turn.
func TestQueue(t *testing.T) {
	v := open(t)
	synctest.Test(t, func(t *testing.T) {
		v.gate = newGate() // its channel belongs to this bubble
		var mu sync.Mutex
		running, most := 0, 0
		release := make(chan struct{})
		v.work = func(func()) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			<-release
			mu.Lock()
			running--
			mu.Unlock()
		}
		results := make(chan error, 2*hashQueue)
		ask := func(ctx context.Context) {
			go func() {
				_, err := v.VerifyPIN(ctx, "4711", "")
				results <- err
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		ask(t.Context())
		ask(t.Context())
		ask(ctx)
		for range hashQueue - 1 {
			ask(t.Context())
		}
		if len(results) != 0 {
			t.Fatalf("somebody was answered already: %v", <-results)
		}
		ask(t.Context())
		if err := <-results; !errors.Is(err, hotdesk.ErrBusy) {
			t.Errorf("one too many: %v, want ErrBusy", err)
		}
		cancel()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("the cancelled one: %v", err)
		}
		ask(t.Context()) // takes the place that became free
		if len(results) != 0 {
			t.Errorf("a free place was refused: %v", <-results)
		}
		ask(ctx) // cancelled before: not even when the queue is full
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v", err)
		}
		close(release)
		synctest.Wait()
		for range 2 + hashQueue {
			if err := <-results; err != nil {
				t.Errorf("one that waited: %v", err)
			}
		}
		if most != hashesAtOnce {
			t.Errorf("%d hashes ran at once, want %d", most, hashesAtOnce)
		}
	})
}

func BenchmarkVerifyPIN(b *testing.B) {
	v := open(b)
	hash, err := v.HashPIN(b.Context(), "4711")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := v.VerifyPIN(b.Context(), "4711", hash); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
