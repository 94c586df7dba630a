package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"hotdeskd/hotdesk"
)

// ErrSealed: a sealed text cannot be opened. It was altered, stands under another
// label than it was sealed for, or was sealed with another sealing key.
var ErrSealed = errors.New("sealed text cannot be opened")

const sealVersion = "v1:"

// Vault computes with the keys. All methods may be called from any goroutine.
type Vault struct {
	pepper  []byte
	device  []byte
	sealing []byte
	sealer  cipher.AEAD
	gate    *gate
	work    func(func()) // runs one hash; replaced in tests
}

// Open reads the key files of the directory dir (keys/ in the data directory). When
// there is none it creates all three, mode 0400; dir's parent must exist. It fails
// with ErrMissing, ErrPermissions or ErrSize, in a message that says what to do.
func Open(dir string) (*Vault, error) {
	keys, err := loadKeys(dir)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(keys[sealingFile])
	if err != nil {
		return nil, fmt.Errorf("use the sealing key: %w", err)
	}
	sealer, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("use the sealing key: %w", err)
	}
	return &Vault{
		pepper: keys[pepperFile], device: keys[deviceFile], sealing: keys[sealingFile], sealer: sealer,
		gate: newGate(), work: func(hash func()) { hash() },
	}, nil
}

// Derive returns a secret that is always the same for the same purpose, id and
// number, and cannot be computed without the device key: 26 lower-case letters and
// digits 2 to 7, 128 bits. Every phone model can store and type it.
func (v *Vault) Derive(purpose, id string, n uint64) hotdesk.Secret {
	sum := v.mac(deriveSecret, purpose, id, n)
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
	return hotdesk.Secret(strings.ToLower(text))
}

// DeriveKey returns 32 bytes that are always the same for the same purpose, for
// keys inside the server such as that of nonces. No Derive gives anything of them.
func (v *Vault) DeriveKey(purpose string) []byte {
	return v.mac(deriveKey, purpose, "", 0)
}

// Fingerprint is the same for the same three keys and tells nothing of them: 64 hex
// digits.
func (v *Vault) Fingerprint() string {
	m := hmac.New(sha256.New, v.mac(deriveFingerprint, "", "", 0))
	for _, key := range [][]byte{v.pepper, v.sealing} {
		sum := sha256.Sum256(key)
		m.Write(sum[:])
	}
	return hex.EncodeToString(m.Sum(nil))
}

// What a derived value is for, so that a secret handed to a phone is never part of
// a key that the server keeps.
const (
	deriveSecret      byte = 1
	deriveKey         byte = 2
	deriveFingerprint byte = 3
)

// mac is HMAC-SHA-256 over the fields, each text with its length before it: no two
// different lists of fields give the same bytes.
func (v *Vault) mac(kind byte, purpose, id string, n uint64) []byte {
	m := hmac.New(sha256.New, v.device)
	b := []byte{kind}
	for _, s := range []string{purpose, id} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	m.Write(binary.BigEndian.AppendUint64(b, n))
	return m.Sum(nil)
}

// Seal encrypts a secret for the database. The label says where it stands (the
// record's key): moved to another place, it does not open. Sealing twice gives two
// different texts.
func (v *Vault) Seal(label string, plain hotdesk.Secret) (string, error) {
	nonce := make([]byte, v.sealer.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("seal %s: %w", label, err)
	}
	box := v.sealer.Seal(nonce, nonce, []byte(plain.Reveal()), []byte(label))
	return sealVersion + base64.RawStdEncoding.EncodeToString(box), nil
}

// Unseal opens what Seal made for the same label, or fails with ErrSealed.
func (v *Vault) Unseal(label, sealed string) (hotdesk.Secret, error) {
	fail := func(why string) (hotdesk.Secret, error) {
		return "", fmt.Errorf("%s: %w: %s", label, ErrSealed, why)
	}
	text, ok := strings.CutPrefix(sealed, sealVersion)
	if !ok {
		return fail("it does not begin with " + sealVersion)
	}
	box, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return fail("it is not base64")
	}
	n := v.sealer.NonceSize()
	if len(box) < n {
		return fail("it is too short")
	}
	plain, err := v.sealer.Open(nil, box[:n], box[n:], []byte(label))
	if err != nil {
		return fail("it was altered, or sealed for another record or with another sealing key; enter the secret again, or put the right sealing.key back")
	}
	return hotdesk.Secret(plain), nil
}
