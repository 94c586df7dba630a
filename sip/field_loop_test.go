package sip

import (
	"context"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// A PBX whose address is our own is no PBX: what comes back to us is answered 482 (RFC
// 3261 section 16.3), the PBX is down and said to be this server itself, by its state
// and by its test, nothing counts as a wrong password, and an emergency call takes the
// next route at once.
func TestField_O7PBXIsOurselves(t *testing.T) {
	for _, mode := range []string{"register", "trunk"} {
		for _, transport := range []string{"udp", "tcp"} {
			t.Run(mode+" "+transport, func(t *testing.T) {
				inOffice(t, func(o *office) {
					own := map[string]string{"udp": server.String(), "tcp": serverTCP.String()}[transport]
					spare := o.plug(spareAddr)
					_, err := o.Apply(context.Background(), hotdesk.Desired{
						PBX: []hotdesk.PBXSpec{
							{
								Name: "main", Mode: &mode, Transport: &transport, Proxy: &own, Domain: ptr("pbx.example"),
								Account: &hotdesk.AccountSpec{AuthUser: ptr("emergency"), Secret: ptr("e")},
							},
							{Name: "spare", Mode: ptr("trunk"), Proxy: ptr(spareAddr)},
						},
						Sites: []hotdesk.SiteSpec{{Name: "roma", Emergency: &hotdesk.EmergencySpec{Routes: []hotdesk.EmergencyRoute{{PBX: "main"}, {PBX: "spare"}}}}},
					}, hotdesk.ApplyOptions{})
					if err != nil {
						t.Fatal(err)
					}
					idle := o.phone(1)
					idle.register()
					began := time.Now()
					idle.dial("112", "v=0", "")
					spare.ring()
					if waited := time.Since(began); waited > 100*time.Millisecond {
						t.Errorf("112 is at the next route after %s", waited)
					}
					sleep(3 * time.Second)
					want := "proxy " + own + " is this server itself"
					got := o.live.PBX("main")
					if got.State != hotdesk.PBXDown || !strings.Contains(got.Problem, want) || len(got.Troubles) == 0 || !strings.Contains(got.Troubles[0].Words, want) {
						t.Errorf("status %+v", got)
					}
					for _, x := range got.Troubles {
						if strings.Contains(x.String(), "secret") {
							t.Errorf("a password is blamed: %s", x)
						}
					}
					test, err := o.edge.TestPBX(context.Background(), "main")
					if err != nil || test.OK || !strings.Contains(test.Verdict, want) {
						t.Errorf("the test says %q, %v", test.Verdict, err)
					}
				})
			})
		}
	}
}

// A proxy that sends our call on to one of our contacts, with all its headers, is no
// loop but a spiral (RFC 5393 section 4.2): the phone rings. A mark that is not ours
// means nothing.
func TestField_O7SpiralIsNoLoop(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		sleep(2 * time.Second)
		anna.invite("101", "v=0").refused("486 INVITE")
		token, _, _ := strings.Cut(strings.TrimPrefix(r.at("101")[0], "sip:"), "@")
		mark := ""
		r.with(func() {
			for _, h := range r.invites[0].GetHeaders("Hotdeskd-Loop") {
				mark += "Hotdeskd-Loop: " + h.Value() + "\r\n"
			}
		})
		if mark == "" {
			t.Error("the call is not marked")
		}
		proxy := o.plug("192.0.2.100:5099")
		proxy.user = "100"
		proxy.dial(token, "v=0", mark)
		bob.ring()
		proxy.drop()
		proxy.dial(token, "v=0", "Hotdeskd-Loop: 00112233445566778899aabbccddeeff\r\n")
		bob.ring()
	})
}
