package provisioning

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"hotdeskd/hotdesk"
)

// eachVendor is a claimed device of one model of every vendor, or of every model, at
// which user 100 sits by default.
func eachVendor(d *desk, models bool) (ids []hotdesk.DeviceID) {
	d.t.Helper()
	known := map[string]bool{}
	for n, m := range d.Templates.Models() {
		if known[m.Vendor] && !models {
			continue
		}
		known[m.Vendor] = true
		spec := hotdesk.DeviceSpec{MAC: mac(100 + n), Model: &m.ID, Site: ptr("roma"), DefaultUser: ptr("100")}
		p, err := d.AddDevice(d.t.Context(), spec, "test")
		if err == nil {
			p, err = d.Claim(d.t.Context(), p.Device.MAC, "roma", "test")
		}
		if err != nil {
			d.t.Fatal(err)
		}
		ids = append(ids, p.Device.ID)
	}
	return ids
}

// everywhere is a file that has one text in every place that takes one.
func everywhere(text string) map[string]hotdesk.Desired {
	user := hotdesk.UserSpec{Extension: "100"}
	site := hotdesk.SiteSpec{Name: "roma"}
	all := map[string]hotdesk.Desired{}
	one := func(key string, change func(*hotdesk.UserSpec, *hotdesk.SiteSpec)) {
		u, s := user, site
		change(&u, &s)
		all[key] = hotdesk.Desired{Users: []hotdesk.UserSpec{u}, Sites: []hotdesk.SiteSpec{s}}
	}
	one("name", func(u *hotdesk.UserSpec, _ *hotdesk.SiteSpec) { u.Name = &text })
	one("key", func(u *hotdesk.UserSpec, _ *hotdesk.SiteSpec) {
		u.Keys = []hotdesk.Key{{Type: "blf", Value: text, Label: text}}
	})
	one("country", func(_ *hotdesk.UserSpec, s *hotdesk.SiteSpec) { s.Country = &text })
	one("phones", func(_ *hotdesk.UserSpec, s *hotdesk.SiteSpec) { s.Phones = &hotdesk.PhonesSpec{NTP: &text} })
	one("password", func(_ *hotdesk.UserSpec, s *hotdesk.SiteSpec) { s.Phones = &hotdesk.PhonesSpec{AdminPassword: &text} })
	one("dialing", func(_ *hotdesk.UserSpec, s *hotdesk.SiteSpec) {
		s.Dialing = &hotdesk.DialingSpec{OutsidePrefix: &text, Extensions: &text}
	})
	all["desk"] = hotdesk.Desired{Devices: []hotdesk.DeviceSpec{{MAC: mac(100), Desk: &text}}}
	all["parameter"] = hotdesk.Desired{Parameters: []hotdesk.Parameter{{
		Layer: "default", Values: map[string]string{"features.key_as_send": text, "ring_sound": text, "P1362": text},
	}}}
	return all
}

// someText is random text of the kinds that files, headers and screens stumble over.
func someText(r *rand.Rand) string {
	pieces := []string{
		"Mario", "'", "\"", "<", "&", "]]>", "<!--", "{{.}}", "#", "=", ";", "\\", "%s", "é", "Ж", "東", "😀", "\u00a0", "\u200b", "\ufeff", "\u200d", "[1-9]X", "0",
		"\n", "\r", "\t", "\x00", "\x1b", "\x7f", "\u0080", "\u0085", "\u009f", "\u2028", "\u2029", "\ufffd", "\ufffe", "\uffff", "\U0001fffe", "\ufdd0",
		"\xff", "\xc3", "\xed\xa0\x80", "\u202e", "\u202a", "\u2067", "\u200e", "\u061c",
	}
	var b strings.Builder
	for range 1 + r.IntN(3) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// Every text that the door takes, wherever it is written, can be rendered for every
// vendor; every other is refused as invalid, and nothing is stored.
func TestField_F1EveryStoredTextRenders(t *testing.T) {
	d := newDesk(t)
	ids := eachVendor(d, false)
	r := rand.New(rand.NewPCG(1, 2))
	taken, refused := 0, 0
	for n := range 60 {
		text := someText(r)
		if n < 8 {
			text = []string{"a\xffb", "a\ufffdb", "a\ufffeb", "a\u202eb", "a\u0085b", "a\u009bb", "Ma<r>io & 'Жанна'", "\"]]>"}[n]
		}
		for where, file := range everywhere(text) {
			if _, err := d.Apply(t.Context(), file, hotdesk.ApplyOptions{}); err != nil {
				if !errors.Is(err, hotdesk.ErrInvalid) {
					t.Errorf("%s %q: %v", where, text, err)
				}
				refused++
				continue
			}
			taken++
			for _, id := range ids {
				if _, _, err := d.Config(id, ""); err != nil {
					t.Fatalf("%s %q was taken, and %s has no file: %v", where, text, id, err)
				}
			}
		}
	}
	if taken < 50 || refused < 50 {
		t.Errorf("%d texts taken and %d refused: the test says little", taken, refused)
	}
}

// A name that turns the direction of writing, or is no UTF-8, is refused at the door
// with the reason.
func TestField_F1TheDoorSaysWhy(t *testing.T) {
	d := newDesk(t)
	for text, why := range map[string]string{"Mario\u202eissoR": "direction", "Mari\xf2": "UTF-8", "a\u2067b": "direction", "a\nb": "line breaks", "a\ufffdb": "control"} {
		_, err := d.UpdateUser(t.Context(), "100", hotdesk.UserSpec{Name: &text}, "test")
		if !errors.Is(err, hotdesk.ErrInvalid) || !strings.Contains(fmt.Sprint(err), why) || !strings.Contains(fmt.Sprint(err), "user 100: name") {
			t.Errorf("%q: %v, want ErrInvalid with %q", text, err, why)
		}
	}
}

// A name that an older version has stored, and the door would refuse now, leaves no
// phone without its file and stands in nobody's way.
func TestField_F1WhatIsStoredRenders(t *testing.T) {
	d := newDesk(t)
	ids := eachVendor(d, true)
	_, err := d.store.Update(context.Background(), func(tx hotdesk.Txn) error {
		kv, _, err := tx.Get("/user/100")
		if err == nil {
			tx.Put("/user/100", []byte(strings.Replace(string(kv.Value), `"Mario"`, "\"Ma\ufffdr\u202eio\"", 1)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d.apply(hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "101", PIN: ptr("4071")}}})
	if d.phone(ids[0]).User.Name == "Mario" {
		t.Fatal("the old text is not there")
	}
	for _, id := range ids {
		if _, files, err := d.Config(id, ""); err != nil || !strings.Contains(files[0].Content, "Mario") {
			t.Errorf("%s: %v", id, err)
		}
	}
}
