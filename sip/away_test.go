package sip

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// A phone that was off for a day, while its secret was changed three times and
// nothing was fetched, still registers, calls 112 and gets its check-sync with
// the secret it has. When it has fetched and comes back as somebody else, it
// stays registered whether it takes its old identity back before or after, and
// 112 and check-sync go on.
func TestAwayForADay(t *testing.T) {
	for _, order := range []string{"first", "last"} {
		t.Run("old one "+order, func(t *testing.T) {
			inOffice(t, func(o *office) {
				p, trunk := o.phone(1), o.trunk()
				p.register()
				old := p.gen
				for range 3 {
					if err := o.Rotate(context.Background(), "HD0001", false, "test"); err != nil {
						t.Fatal(err)
					}
				}
				sleep(25 * time.Hour)
				p.gen = old
				p.register()
				alive := func() {
					d := p.dial("112", "v=0", "") // on its own flow it is not challenged
					b := trunk.ring()
					p.expect("180 INVITE")
					b.reply(200, "OK", "v=0")
					trunk.expect("ACK")
					d.answered("")
					d.bye()
					trunk.ok("BYE")
					done := make(chan error, 1)
					go func() {
						done <- o.edge.CheckSync(context.Background(), "HD0001", hotdesk.CheckSync{Event: "check-sync"})
					}()
					p.ok("NOTIFY")
					if err := <-done; err != nil {
						t.Errorf("check-sync: %v", err)
					}
				}
				alive()

				// The phone has fetched: another identity, the newest secret.
				was := registration{aor: "sip:HD0001@192.0.2.1", contact: "<sip:HD0001@" + p.at + ">", expires: "0"}
				now := registration{aor: "sip:100@192.0.2.1", contact: "<sip:100@" + p.at + ">", callID: "new"}
				steps := []registration{was, now}
				if order == "last" {
					steps = []registration{now, was}
				}
				for _, step := range steps {
					p.gen = old + 3
					if step.expires == "0" {
						p.gen = old // taken back with the old account
					}
					res := p.tryRegister(step)
					// Once the new secret is proven the old one is void: 401 is right then.
					if want := fmt.Sprint(res.StatusCode); want != "200" && (order == "first" || step.expires != "0") {
						t.Fatalf("%+v got %s", step, want)
					}
				}
				p.gen = old + 3
				if r, ok := o.live.Registration("HD0001"); !ok || r.Contact != "sip:100@"+p.at {
					t.Fatalf("registered: %v %+v", ok, r)
				}
				alive()
			})
		})
	}
}
