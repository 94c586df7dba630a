package hotdesk_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"hotdeskd/hotdesk"
)

// Which headers carry the caller's number is the PBX's to say (identity): what is
// applied comes back with the export and changes nothing, an empty list is the default
// of the mode again, and a word that is no such header is refused with the four that are.
func TestField_S30IdentityIsStored(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	identity := func(words ...string) hotdesk.Desired {
		return hotdesk.Desired{PBX: []hotdesk.PBXSpec{{Name: "main", Identity: words}}}
	}
	main := func() hotdesk.PBX { return d.PBXs()[0] }
	for mode, want := range map[string]string{"register": "ppi", "trunk": "pai"} {
		if p := (hotdesk.PBX{Mode: mode}); !slices.Equal(p.IdentityHeaders(), []string{want}) {
			t.Errorf("mode %s: %q, want %s", mode, p.IdentityHeaders(), want)
		}
	}
	if res := d.apply(identity("pai", "rpid", "from")); len(res.Changes) != 1 || !slices.Equal(main().IdentityHeaders(), []string{"pai", "rpid", "from"}) {
		t.Fatalf("changed %q, is %q", res.Changes, main().IdentityHeaders())
	}
	if res := d.apply(d.Export()); len(res.Changes) != 0 {
		t.Errorf("the export changes %q", res.Changes)
	}
	if res := d.apply(identity()); len(res.Changes) != 0 || len(main().Identity) != 3 {
		t.Errorf("a file that does not name it changes %q", res.Changes)
	}
	for _, words := range [][]string{{"pai", "diversion"}, {"PAI"}, {""}, {"ppi", "ppi"}} {
		_, err := d.Apply(context.Background(), identity(words...), hotdesk.ApplyOptions{})
		if !errors.Is(err, hotdesk.ErrInvalid) || !strings.Contains(err.Error(), "pbx main: identity[") {
			t.Errorf("%q: %v", words, err)
		}
		if words[0] != "ppi" && !strings.Contains(err.Error(), "pai, rpid, ppi, from") {
			t.Errorf("%q: %v does not name the four", words, err)
		}
	}
	d.apply(hotdesk.Desired{PBX: []hotdesk.PBXSpec{{Name: "main", Identity: []string{}}}})
	if len(main().Identity) != 0 {
		t.Errorf("an empty list leaves %q", main().Identity)
	}
}

// Where a PBX may send from is stored as it is given, comes back with the export, and
// is refused when it is no address or network, or the network of everybody.
func TestField_S9SourcesAreStored(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	d.apply(hotdesk.Desired{PBX: []hotdesk.PBXSpec{{Name: "main", Sources: []string{"192.0.2.7", "2001:db8::/64"}}}})
	if got := d.PBXs()[0].Sources; !slices.Equal(got, []string{"192.0.2.7", "2001:db8::/64"}) {
		t.Errorf("stored %q", got)
	}
	if res := d.apply(d.Export()); len(res.Changes) != 0 {
		t.Errorf("the export changes %q", res.Changes)
	}
	for _, text := range []string{"pbx.example", "", "192.0.2.7:5060", "192.0.2.0/33", "0.0.0.0/0", "::/0"} {
		_, err := d.Apply(context.Background(), hotdesk.Desired{PBX: []hotdesk.PBXSpec{{Name: "main", Sources: []string{text}}}}, hotdesk.ApplyOptions{})
		if !errors.Is(err, hotdesk.ErrInvalid) || !strings.Contains(err.Error(), "pbx main: sources[0]: ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
