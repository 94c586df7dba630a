package sip

import (
	"fmt"
	"testing"
	"time"
)

// A connection that ends at any step of a call leaves nothing behind, and one record.
func TestAttack_ConnectionLostAtEachStep(t *testing.T) {
	for _, whose := range []string{"caller", "callee"} {
		for step := range 6 {
			t.Run(fmt.Sprint(whose, step), func(t *testing.T) {
				inOffice(t, func(o *office) {
					anna, bob := o.deskVia(1, "100", "TCP"), o.deskVia(2, "101", "TCP")
					anna.also, bob.also = all, all
					lost := anna
					if whose == "callee" {
						lost = bob
					}
					var a, b *leg
					for n := range 6 {
						if n == step {
							_ = lost.conn.Close()
							break
						}
						switch n {
						case 0:
							a = anna.invite("101", "v=0 anna")
							b = bob.incoming(bob.request("INVITE"))
						case 1:
							b.reply(180, "Ringing", "")
							anna.expect("180 INVITE")
						case 2:
							b.reply(200, "OK", "v=0 bob")
							bob.expect("ACK")
						case 3:
							a.answered("")
							sleep(10 * time.Millisecond)
						case 4:
							a.do("INVITE", sdp, "v=0 hold")
							bob.request("INVITE")
						}
					}
					other := bob
					if lost == bob {
						other = anna
					}
					for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
						msg := other.receive(time.Second)
						if msg == nil {
							sleep(time.Second)
						}
						switch name(msg) {
						case "CANCEL":
							other.reply(other.asRequest(msg), 200, "OK", "", "")
							b.reply(487, "Request Terminated", "")
						case "BYE", "INFO", "OPTIONS":
							other.reply(other.asRequest(msg), 200, "OK", "", "")
						}
					}
					want := 1
					if step == 0 {
						want = 0
					}
					if n := len(o.records()); n != want {
						t.Errorf("%d records", n)
					}
					o.idle()
				})
			})
		}
	}
}
