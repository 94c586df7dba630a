package admin

import (
	"errors"
	"strings"
	"testing"

	"hotdeskd/hotdesk"
)

// Numbers stand as they are written: YAML would make an octal of an extension
// and a large number of a MAC.
func TestDesiredAsWritten(t *testing.T) {
	d, err := ParseDesired([]byte(`
users:
  - {extension: 0150, name: Anna # the first
    , pin: 04071}
  - extension: "0151"
    name: 'O''Neil: 1st'
    pin: "00815" # quoted
devices: [{mac: 001565000077, desk: 2-14}]
sites: [{name: roma, emergency: {numbers: [112, 0113, "118"]}, auto_logout: {max: 12h}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want string }{
		{d.Users[0].Extension, "0150"}, {*d.Users[0].PIN, "04071"}, {*d.Users[0].Name, "Anna"},
		{d.Users[1].Extension, "0151"}, {*d.Users[1].Name, "O'Neil: 1st"}, {*d.Users[1].PIN, "00815"},
		{d.Devices[0].MAC, "001565000077"}, {*d.Devices[0].Desk, "2-14"},
		{strings.Join(d.Sites[0].Emergency.Numbers, " "), "112 0113 118"},
	} {
		if c.got != c.want {
			t.Errorf("read %q, want %q", c.got, c.want)
		}
	}
}

// A second document would be lost; it is refused.
func TestDesiredOneDocument(t *testing.T) {
	_, err := ParseDesired([]byte("users: []\n---\nusers: []\n"))
	if !errors.Is(err, hotdesk.ErrInvalid) || !strings.Contains(err.Error(), "document") {
		t.Errorf("two documents: %v", err)
	}
	for _, empty := range []string{"", "# nothing yet\n", "---\n"} {
		if d, err := ParseDesired([]byte(empty)); err != nil || len(d.Users) != 0 {
			t.Errorf("%q: %v", empty, err)
		}
	}
}
