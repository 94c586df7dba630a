package hotdesk_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"hotdeskd/hotdesk"
)

// The decision table: emergency first, then codes, then what the device's user
// may call.
func TestRoute(t *testing.T) {
	d := newDesk(t)
	d.office("allow")
	d.apply(hotdesk.Desired{Users: []hotdesk.UserSpec{
		{Extension: "104", PBX: &hotdesk.UserPBXSpec{Name: "main"}, CallerID: ptr("+3906999")},
	}})
	for id, ext := range map[hotdesk.DeviceID]hotdesk.Extension{"HD0002": "100", "HD0003": "104"} {
		if _, err := d.login(id, ext, "4071"); err != nil {
			t.Fatal(err)
		}
	}
	const idle, mario, outside = hotdesk.DeviceID("HD0001"), hotdesk.DeviceID("HD0002"), hotdesk.DeviceID("HD0003")
	for _, c := range []struct {
		device hotdesk.DeviceID
		dialed string
		kind   hotdesk.RouteKind
		number string
		reason string
	}{
		{idle, "sip:112@192.0.2.1", hotdesk.RouteEmergency, "112", ""},
		{idle, "sip:0112@192.0.2.1", hotdesk.RouteEmergency, "112", ""},
		{idle, "tel:+112", hotdesk.RouteEmergency, "112", ""},
		{idle, "sip:%31%31%32@h;user=phone", hotdesk.RouteEmergency, "112", ""},
		{idle, "sip:112%23@h", hotdesk.RouteEmergency, "112", ""},
		{idle, "urn:service:sos", hotdesk.RouteEmergency, "112", ""},
		{idle, "urn:service:sos.police", hotdesk.RouteEmergency, "112", ""},
		{idle, "sip:1120039@h", hotdesk.RouteRefuse, "", hotdesk.ReasonIdle},
		{idle, "sip:*77*100*@h", hotdesk.RouteHotDesk, "*77*100*", ""},
		{idle, "sip:%2A77%2A100%2A%23@h", hotdesk.RouteHotDesk, "*77*100*", ""},
		{idle, "sip:*77*100@h", hotdesk.RouteHotDesk, "*77*100", ""},
		{idle, "sip:*77@h", hotdesk.RouteHotDesk, "*77", ""},
		{idle, "sip:*11@h", hotdesk.RouteHotDesk, "*11", ""},
		{idle, "sip:*11100@h", hotdesk.RouteHotDesk, "*11100", ""},
		{idle, "sip:*12@h", hotdesk.RouteHotDesk, "*12", ""},
		{idle, "sip:100@h", hotdesk.RouteHotDesk, "100", ""}, // one's own extension starts the login
		{idle, "sip:900@h", hotdesk.RouteExternal, "900", ""},
		{idle, "sip:3912345@h", hotdesk.RouteRefuse, "", hotdesk.ReasonIdle},
		{mario, "sip:112@h", hotdesk.RouteEmergency, "112", ""},
		{mario, "sip:104@h", hotdesk.RouteInternal, "104", ""},
		{mario, "sip:101@h", hotdesk.RouteRefuse, "101", hotdesk.ReasonOffDesk},
		{mario, "sip:*77*5*@h", hotdesk.RouteHotDesk, "*77*5*", ""},
		{mario, "sip:0612345@h", hotdesk.RouteRefuse, "", hotdesk.ReasonNoPBX},
		{outside, "sip:0612345@h", hotdesk.RouteExternal, "0612345", ""},
		{outside, "sip:%2B390612345@h", hotdesk.RouteExternal, "+390612345", ""},
		{outside, "sip:100@h", hotdesk.RouteInternal, "100", ""}, // through the PBX, which decides
		{outside, "sip:anna%0d%0aX@h", hotdesk.RouteRefuse, "", hotdesk.ReasonUnknown},
		{"HD9999", "sip:112@h", hotdesk.RouteRefuse, "", hotdesk.ReasonBlocked},
	} {
		r := d.Route(c.device, c.dialed)
		if r.Kind != c.kind || r.Number != c.number || r.Reason != c.reason {
			t.Errorf("%s dials %s: %s %q %q, want %s %q %q", c.device, c.dialed, r.Kind, r.Number, r.Reason, c.kind, c.number, c.reason)
		}
	}
	if r := d.Route(outside, "sip:0612345@h"); r.Caller.Number != "+3906999" || len(r.PBX) != 1 {
		t.Errorf("outside call: caller %+v, PBX %+v", r.Caller, r.PBX)
	}
	if r := d.Route(mario, "sip:112@h"); r.Caller.Number != "+390612345600" || r.Caller.User != "100" {
		t.Errorf("emergency call: caller %+v; the number is the desk's, the user only for the record", r.Caller)
	}
	if r := d.Route(mario, "sip:104@h"); !slices.Equal(r.Devices, []hotdesk.DeviceID{"HD0003"}) || r.Caller.Number != "100" {
		t.Errorf("internal call: %+v", r)
	}
}

// Out of 10,000 generated strings an idle phone reaches emergency numbers, its
// codes and the site's extra number, and nothing else.
func TestIdleReachesOnlyEmergencyAndCodes(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	rng := rand.New(rand.NewPCG(1, 2))
	counted := map[hotdesk.RouteKind]int{}
	for range 10000 {
		dialed := DialString(rng)
		r := d.Route("HD0001", dialed)
		counted[r.Kind]++
		switch r.Kind {
		case hotdesk.RouteEmergency:
			if !slices.Contains([]string{"112", "113"}, r.Number) {
				t.Errorf("%q became emergency number %q", dialed, r.Number)
			}
		case hotdesk.RouteExternal:
			if r.Number != "900" {
				t.Errorf("%q goes out as %q", dialed, r.Number)
			}
		case hotdesk.RouteInternal:
			t.Errorf("%q rings %v", dialed, r.Devices)
		}
	}
	if counted[hotdesk.RouteEmergency] < 100 || counted[hotdesk.RouteRefuse] < 1000 || counted[hotdesk.RouteHotDesk] < 100 {
		t.Errorf("the strings are not varied enough: %v", counted)
	}
}

// DialString makes a dial string as phones, people and attackers spell them.
func DialString(rng *rand.Rand) string {
	seeds := []string{
		"112", "113", "0112", "*77*100*", "*77*5*", "*12", "100", "900", "0039061234567", "1120039", "00112", "118", "9112", "112112",
		"+390612345", "+112", "112;phone-context=+39", "112@evil.example", "*77*100*112", "*72900123456", "anonymous", "", "112,,,00390612345",
	}
	s := seeds[rng.IntN(len(seeds))]
	if rng.IntN(3) == 0 {
		s = fmt.Sprint(rng.Uint64N(1e12))
	}
	b := []byte(s)
	for range rng.IntN(3) {
		switch rng.IntN(6) {
		case 0:
			at := rng.IntN(len(b) + 1)
			b = slices.Insert(b, at, "0123456789*#+-. ()"[rng.IntN(18)])
		case 1:
			if len(b) > 0 {
				at := rng.IntN(len(b))
				b = slices.Delete(b, at, at+1)
			}
		case 2:
			if len(b) > 0 {
				at := rng.IntN(len(b))
				b = slices.Replace(b, at, at+1, []byte(fmt.Sprintf("%%%02X", b[at]))...)
			}
		case 3:
			b = append(b, '#')
		case 4:
			b = append(b, "%23"...)
		case 5:
			b = slices.Insert(b, 0, []byte([]string{"%00", "%0d", "%25"}[rng.IntN(3)])...)
		}
	}
	switch rng.IntN(4) {
	case 0:
		return "tel:" + string(b)
	case 1:
		return "sip:" + string(b) + "@192.0.2.1;user=phone"
	case 2:
		return "sips:" + string(b) + "@h"
	}
	return "sip:" + string(b) + "@192.0.2.1:5060"
}

// Routing one call, as every INVITE does.
func BenchmarkRoute(b *testing.B) {
	d := newDesk(b)
	d.office("move")
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		b.Fatal(err)
	}
	if _, err := d.login("HD0002", "101", "4071"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if r := d.Route("HD0001", "sip:101@192.0.2.1"); r.Kind != hotdesk.RouteInternal {
			b.Fatal(r)
		}
	}
}
