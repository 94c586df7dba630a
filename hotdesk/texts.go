package hotdesk

import (
	"fmt"
	"maps"
	"slices"

	"hotdeskd/internal/cleantext"
)

// Every text that comes in is looked at here, at the door, and nowhere else: what is
// stored can be written into every vendor's file. What an older version has stored
// is not looked at again, so that it stands in nobody's way.

// maxText is the longest text, in bytes.
const maxText = 200

// cleanText refuses what could break out of a configuration file or a SIP
// header, or would read otherwise than it is written, and overlong text: ErrInvalid.
func cleanText(where, text string) error {
	if len(text) > maxText {
		return fmt.Errorf("%w: %s: text of %d bytes; %d is the most", ErrInvalid, where, len(text), maxText)
	}
	if err := cleantext.Check(text); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrInvalid, where, err)
	}
	return nil
}

// texts collects the texts of one object, each with its key, and keeps the first
// thing that is wrong.
type texts struct {
	where string
	err   error
}

func (t *texts) check(key string, text *string) {
	if t.err == nil && text != nil {
		t.err = cleanText(t.where+": "+key, *text)
	}
}

func (spec UserSpec) texts() error {
	t := texts{where: "user " + spec.Extension}
	t.check("name", spec.Name)
	t.check("caller_id", spec.CallerID)
	t.check("off_desk", spec.OffDesk)
	for i, k := range spec.Keys {
		t.check(fmt.Sprintf("keys[%d].value", i), &k.Value)
		t.check(fmt.Sprintf("keys[%d].label", i), &k.Label)
	}
	if p := spec.PBX; p != nil {
		t.check("pbx.extension", p.Extension)
		t.check("pbx.auth_user", p.AuthUser)
	}
	return t.err
}

func (spec SiteSpec) texts() error {
	t := texts{where: "site " + spec.Name}
	t.check("country", spec.Country)
	if p := spec.Phones; p != nil {
		t.check("phones.ntp", p.NTP)
		if pw := p.AdminPassword; t.err == nil && pw != nil { // of any length: it may come sealed
			if err := cleantext.Check(*pw); err != nil {
				t.err = fmt.Errorf("%w: %s: phones.admin_password: %w", ErrInvalid, t.where, err)
			}
		}
	}
	if d := spec.Dialing; d != nil {
		t.check("dialing.outside_prefix", d.OutsidePrefix)
		t.check("dialing.extensions", d.Extensions)
	}
	if e := spec.Emergency; e != nil {
		t.check("emergency.caller_id", e.CallerID)
		for _, key := range slices.Sorted(maps.Keys(e.Address)) {
			line := e.Address[key]
			t.check("emergency.address", &key)
			t.check("emergency.address", &line)
		}
	}
	return t.err
}

func (spec PBXSpec) texts() error {
	t := texts{where: "pbx " + spec.Name}
	t.check("domain", spec.Domain)
	t.check("proxy", spec.Proxy)
	if a := spec.Account; a != nil {
		t.check("account.auth_user", a.AuthUser)
	}
	return t.err
}
