package vault

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hotdeskd/hotdesk"
)

func open(t testing.TB) *Vault {
	t.Helper()
	v, err := Open(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// fixed is a vault with known keys, for values that must never change.
func fixed(t testing.TB) *Vault {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{pepperFile, deviceFile, sealingFile} {
		if err := writeKey(filepath.Join(dir, name), []byte(strings.Repeat(string(rune('a'+i)), keySize))); err != nil {
			t.Fatal(err)
		}
	}
	v, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The first Open creates three different keys that only their owner can read, also
// in an empty directory that is already there; the next Open reads the same ones.
func TestCreateKeys(t *testing.T) {
	for _, made := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "keys")
		if made {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		first, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for _, name := range []string{pepperFile, deviceFile, sealingFile} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if other := seen[string(b)]; info.Mode().Perm() != 0o400 || len(b) != 32 || other != "" {
				t.Errorf("%s has mode %o, %d bytes, the same as %q", name, info.Mode().Perm(), len(b), other)
			}
			seen[string(b)] = name
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the directory has mode %v, %v, want 0700", info.Mode(), err)
		}
		if left, _ := filepath.Glob(dir + ".new-*"); len(left) != 0 {
			t.Errorf("left behind: %q", left)
		}
		second, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := first.Derive("sip", "HD0001", 1), second.Derive("sip", "HD0001", 1); a != b {
			t.Error("a second Open has other keys")
		}
		if a, b := first.Derive("sip", "HD0001", 1), open(t).Derive("sip", "HD0001", 1); a == b {
			t.Error("another directory has the same keys")
		}
	}
}

// A key directory that is not as it should be is refused by name, and left as it is.
func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(dir string) error
		want  error
		says  string
	}{
		{"one missing", func(d string) error { return os.Remove(filepath.Join(d, pepperFile)) }, ErrMissing, pepperFile},
		{"two missing", func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, deviceFile)), os.Remove(filepath.Join(d, sealingFile)))
		}, ErrMissing, sealingFile},
		{"group may read", func(d string) error { return os.Chmod(filepath.Join(d, deviceFile), 0o440) }, ErrPermissions, "chmod 0400"},
		{"others may read", func(d string) error { return os.Chmod(filepath.Join(d, deviceFile), 0o404) }, ErrPermissions, deviceFile},
		{"group may write", func(d string) error { return os.Chmod(filepath.Join(d, deviceFile), 0o620) }, ErrPermissions, "0620"},
		{"empty", func(d string) error { return replace(d, "") }, ErrSize, sealingFile},
		{"too short", func(d string) error { return replace(d, strings.Repeat("x", 31)) }, ErrSize, "31 bytes"},
		{"too long", func(d string) error { return replace(d, strings.Repeat("x", 33)) }, ErrSize, "33 bytes"},
	} {
		dir := filepath.Join(t.TempDir(), "keys")
		if _, err := Open(dir); err != nil {
			t.Fatal(err)
		}
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadDir(dir)
		_, err := Open(dir)
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v, want %v with %q", c.name, err, c.want, c.says)
		}
		if after, _ := os.ReadDir(dir); len(after) != len(before) {
			t.Errorf("%s: %d files before, %d after", c.name, len(before), len(after))
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none", "keys")); err == nil {
		t.Error("Open without a parent directory succeeded")
	}
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.MkdirAll(filepath.Join(dir, "other"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("Open replaced a directory with something else in it")
	}
}

func replace(dir, text string) error {
	p := filepath.Join(dir, sealingFile)
	return errors.Join(os.Remove(p), os.WriteFile(p, []byte(text), 0o400))
}

// 0600, which an editor or a restore leaves, is good enough.
func TestOwnerWritableKeyIsAccepted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, pepperFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err != nil {
		t.Error(err)
	}
}

// Derived values never change from one version to the next: phones hold them. The
// wanted ones were computed apart, with Python's hmac.
func TestDeriveIsStable(t *testing.T) {
	v := fixed(t)
	for _, c := range []struct {
		purpose, id string
		n           uint64
		want        string
	}{
		{"sip", "HD0001", 1, "f7bpk462t3a4xusupsqbacmuny"},
		{"url", "HD0001", 18446744073709551615, "5ipkh5fs5uyayygobw3mfinekm"},
	} {
		if got := v.Derive(c.purpose, c.id, c.n).Reveal(); got != c.want {
			t.Errorf("Derive(%q, %q, %d) is %s, want %s", c.purpose, c.id, c.n, got, c.want)
		}
	}
	if got := hex.EncodeToString(v.DeriveKey("nonce")); got != "456c128a63f480aab3882eb5849897bdea6449161092b4e7c3e403b689940c54" {
		t.Errorf("DeriveKey is %s", got)
	}
}

// Different fields give different secrets, however they are cut, and all have 26
// characters that every phone takes.
func TestDeriveIsUnambiguous(t *testing.T) {
	v := fixed(t)
	seen := map[string]string{}
	for _, f := range []struct {
		purpose, id string
		n           uint64
	}{
		{"sip", "HD0001", 1}, {"sip", "HD0001", 2}, {"sip", "HD0002", 1}, {"http", "HD0001", 1},
		{"sipH", "D0001", 1}, {"", "sipHD0001", 1}, {"sipHD0001", "", 1}, {"sip", "HD0001", 1 << 56},
		{"sip", "HD0001\x00", 1}, {"sip|HD0001", "", 1}, {"sip", "|HD0001", 1}, {"", "", 0}, {"nonce", "", 0},
	} {
		got := v.Derive(f.purpose, f.id, f.n).Reveal()
		if len(got) != 26 || strings.Trim(got, "abcdefghijklmnopqrstuvwxyz234567") != "" {
			t.Errorf("Derive(%+v) is %q", f, got)
		}
		if other := seen[got]; other != "" {
			t.Errorf("Derive(%+v) is the same as for %s", f, other)
		}
		seen[got] = fmt.Sprintf("%+v", f)
	}
	key := v.DeriveKey("nonce")
	if len(key) != 32 || strings.EqualFold(v.Derive("nonce", "", 0).Reveal(), b32(key)) {
		t.Errorf("DeriveKey has %d bytes, or Derive gives them away", len(key))
	}
}

// What was sealed opens under its own label, and the text shows nothing of it.
func TestSeal(t *testing.T) {
	v := open(t)
	for _, plain := range []hotdesk.Secret{"s3cret-pbx", "", "päss\x00wörd", hotdesk.Secret(strings.Repeat("x", 1000))} {
		a, err := v.Seal("/user/100", plain)
		if err != nil {
			t.Fatal(err)
		}
		b, err := v.Seal("/user/100", plain)
		if err != nil {
			t.Fatal(err)
		}
		if a == b || !strings.HasPrefix(a, "v1:") || (plain != "" && strings.Contains(a, plain.Reveal())) {
			t.Errorf("sealed texts %q and %q", a, b)
		}
		got, err := v.Unseal("/user/100", a)
		if err != nil || got.Reveal() != plain.Reveal() {
			t.Errorf("unsealed %q, %v, want %q", got.Reveal(), err, plain.Reveal())
		}
	}
}

// Every change of the text, the label or the key is noticed, and the error does not
// give the secret away.
func TestUnsealTampered(t *testing.T) {
	v := open(t)
	sealed, err := v.Seal("/user/100", "s3cret-pbx")
	if err != nil {
		t.Fatal(err)
	}
	type try struct {
		name          string
		v             *Vault
		label, sealed string
	}
	tries := []try{
		{"another label", v, "/user/101", sealed},
		{"no label", v, "", sealed},
		{"another key", open(t), "/user/100", sealed},
		{"no version", v, "/user/100", strings.TrimPrefix(sealed, "v1:")},
		{"another version", v, "/user/100", "v2:" + strings.TrimPrefix(sealed, "v1:")},
		{"empty", v, "/user/100", ""},
		{"only the version", v, "/user/100", "v1:"},
		{"only a nonce", v, "/user/100", "v1:" + base64.RawStdEncoding.EncodeToString(make([]byte, 12))},
		{"plain text", v, "/user/100", "s3cret-pbx"},
		{"line break", v, "/user/100", sealed + "\n"},
		{"cut", v, "/user/100", sealed[:len(sealed)-4]},
	}
	box, err := base64.RawStdEncoding.DecodeString(sealed[3:])
	if err != nil {
		t.Fatal(err)
	}
	for i := range box {
		b := append([]byte(nil), box...)
		b[i] ^= 0x40
		tries = append(tries, try{fmt.Sprintf("byte %d", i), v, "/user/100", "v1:" + base64.RawStdEncoding.EncodeToString(b)})
	}
	for _, c := range tries {
		got, err := c.v.Unseal(c.label, c.sealed)
		if !errors.Is(err, ErrSealed) || got != "" || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %q, %v, want ErrSealed", c.name, got.Reveal(), err)
		}
	}
}

func b32(key []byte) string {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	out, bits, n := "", 0, 0
	for _, c := range key[:16] {
		bits, n = bits<<8|int(c), n+8
		for ; n >= 5; n -= 5 {
			out += string(digits[bits>>(n-5)&31])
		}
	}
	return out + string(digits[bits<<(5-n)&31])
}

func BenchmarkDerive(b *testing.B) {
	v := open(b)
	for b.Loop() {
		v.Derive("sip", "HD0001", 7)
	}
}

// The fingerprint stays with the keys, and changes with any one of the three files.
func TestFingerprint(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "keys")
	print := func(dir string) string {
		t.Helper()
		v, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return v.Fingerprint()
	}
	was := print(first)
	if again := print(first); again != was || len(was) != 64 {
		t.Errorf("%q and then %q", was, again)
	}
	print(second)
	for _, name := range []string{pepperFile, deviceFile, sealingFile} {
		own, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.ReadFile(filepath.Join(second, name))
		if err != nil {
			t.Fatal(err)
		}
		put := func(key []byte) {
			t.Helper()
			path := filepath.Join(first, name)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, key, 0o400); err != nil {
				t.Fatal(err)
			}
		}
		put(other)
		if got := print(first); got == was {
			t.Errorf("another %s is not noticed", name)
		}
		put(own)
	}
}
