package vault

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/alexedwards/argon2id"

	"hotdeskd/hotdesk"
)

const (
	hashesAtOnce = 2 // each takes 19 MiB and about 35 ms
	// hashQueue may wait for one: as many people as can be on the phone to us at once
	// (ivr.DefaultMaxCalls), so that nobody who has typed a PIN is turned away when a
	// whole floor comes to work. The last of them waits for about 4 s.
	hashQueue = 200
	// maxMemory bounds what a stored hash may ask for, in KiB: a record that was
	// tampered with must not take the server's memory.
	maxMemory     = 64 << 10
	maxIterations = 10
	// dummyHash is compared with when there is no hash. Its parameters are those of
	// params, and no PIN is known for it: its key is not the hash of anything.
	dummyHash = "$argon2id$v=19$m=19456,t=2,p=1$aG90ZGVza2Qtbm9ib2R5IQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// ErrHash: a stored PIN hash cannot be read. The user needs a new PIN.
var ErrHash = errors.New("stored PIN hash cannot be read")

func params() *argon2id.Params {
	return &argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}
}

// PINHash says how PINs are hashed, as argon2's own encoding does.
func PINHash() string {
	p := params()
	return fmt.Sprintf("argon2id m=%d t=%d p=%d", p.Memory, p.Iterations, p.Parallelism)
}

// HashPIN returns the argon2id hash to store for a PIN. It takes about 35 ms of
// processor time and waits behind others; with too many waiting it fails at once
// with hotdesk.ErrBusy. The context ends only the waiting.
func (v *Vault) HashPIN(ctx context.Context, pin hotdesk.Secret) (hash string, err error) {
	if err := v.gate.enter(ctx); err != nil {
		return "", fmt.Errorf("hash a PIN: %w", err)
	}
	defer v.gate.leave()
	v.work(func() { hash, err = argon2id.CreateHash(v.peppered(pin), params()) })
	if err != nil {
		return "", fmt.Errorf("hash a PIN: %w", err)
	}
	return hash, nil
}

// VerifyPIN tells whether hash was made of pin by HashPIN. An empty hash stands for
// "no such user": the answer is false and takes the same time. It waits and fails as
// HashPIN does, and with ErrHash when the hash cannot be read, after the same time.
func (v *Vault) VerifyPIN(ctx context.Context, pin hotdesk.Secret, hash string) (ok bool, err error) {
	if err := v.gate.enter(ctx); err != nil {
		return false, fmt.Errorf("compare a PIN: %w", err)
	}
	defer v.gate.leave()
	against, unreadable := hash, checkHash(hash)
	if unreadable != nil || hash == "" {
		against = dummyHash
	}
	v.work(func() { ok, err = argon2id.ComparePasswordAndHash(v.peppered(pin), against) })
	switch {
	case hash == "":
		return false, nil
	case unreadable != nil:
		return false, fmt.Errorf("compare a PIN: %w: %w", ErrHash, unreadable)
	case err != nil:
		return false, fmt.Errorf("compare a PIN: %w: %w", ErrHash, err)
	}
	return ok, nil
}

// checkHash finds what argon2 would panic on or take too much for.
func checkHash(hash string) error {
	if hash == "" {
		return nil
	}
	p, _, key, err := argon2id.DecodeHash(hash)
	if err != nil {
		return err
	}
	if p.Memory > maxMemory || p.Iterations < 1 || p.Iterations > maxIterations || p.Parallelism < 1 || len(key) < 16 {
		return fmt.Errorf("its parameters m=%d, t=%d, p=%d are out of bounds", p.Memory, p.Iterations, p.Parallelism)
	}
	return nil
}

// peppered is what is hashed in place of the PIN.
func (v *Vault) peppered(pin hotdesk.Secret) string {
	m := hmac.New(sha256.New, v.pepper)
	m.Write([]byte(pin.Reveal()))
	return base64.RawStdEncoding.EncodeToString(m.Sum(nil))
}

// gate lets some in at once, makes some wait, and turns the rest away.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int32
}

func newGate() *gate { return &gate{slots: make(chan struct{}, hashesAtOnce)} }

func (g *gate) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > hashQueue {
		return hotdesk.ErrBusy
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) leave() { <-g.slots }
