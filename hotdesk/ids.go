package hotdesk

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
)

// MAC is the hardware address of a phone, its identity in provisioning.
type MAC [6]byte

// ParseMAC reads a MAC in any usual spelling: 12 hex digits with any mix of
// colons, dashes, dots or nothing between them. It returns ErrInvalid otherwise.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	plain := strings.NewReplacer(":", "", "-", "", ".", "", " ", "").Replace(s)
	if len(plain) != 12 {
		return m, fmt.Errorf("%w: MAC %q must have 12 hex digits, like 80:5e:c0:00:00:01", ErrInvalid, s)
	}
	if _, err := hex.Decode(m[:], []byte(plain)); err != nil {
		return m, fmt.Errorf("%w: MAC %q must have 12 hex digits, like 80:5e:c0:00:00:01", ErrInvalid, s)
	}
	return m, nil
}

// String is the canonical spelling: 12 lower-case hex digits.
func (m MAC) String() string { return hex.EncodeToString(m[:]) }

// IsZero tells whether the MAC is missing.
func (m MAC) IsZero() bool { return m == MAC{} }

// MarshalText makes the canonical spelling the one in JSON and YAML.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText accepts every spelling that ParseMAC does.
func (m *MAC) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMAC(string(b))
	return err
}

// DeviceID is a device's permanent name, "HD0001" and up, in order of creation.
// It is never reused, and it is the digest user name of the phone.
type DeviceID string

// deviceID spells the n-th device's id.
func deviceID(n uint64) DeviceID { return DeviceID(fmt.Sprintf("HD%04d", n)) }

// Extension is a user's internal number, "100". Digits only, 1 to 15.
type Extension string

// ParseExtension returns ErrInvalid unless s has 1 to 15 digits and nothing else.
func ParseExtension(s string) (Extension, error) {
	if len(s) == 0 || len(s) > 15 || strings.Trim(s, "0123456789") != "" {
		return "", fmt.Errorf("%w: extension %q must have 1 to 15 digits", ErrInvalid, s)
	}
	return Extension(s), nil
}

// Secret is text that must never be printed: it prints, logs and marshals as
// asterisks. Reveal is the one way to the text, so that every use can be found.
type Secret string

const hidden = "********"

// Reveal returns the secret text.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string               { return hidden }
func (s Secret) GoString() string             { return hidden }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
