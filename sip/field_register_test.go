package sip

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// A phone that keeps its Call-ID over a restart, and so comes with a lower CSeq from a
// new port, is reachable there at once: 200 means that what it says is taken (RFC 3261
// section 10.3). Its calls of before are looked after.
func TestField_S17LowerCSeqOfTheSamePhone(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		bob.tryRegister(registration{cseq: 501})
		_ = bob.conn.Close()
		again := o.plug("192.0.2.12:49152")
		again.id, again.user, again.gen, again.call, again.cseq = bob.id, bob.user, bob.gen, bob.call, 1
		res := again.tryRegister(registration{})
		if res.StatusCode != 200 || res.Contact().Address.Port != 49152 {
			t.Errorf("REGISTER gets\n%s", res)
		}
		a := anna.invite("101", "v=0")
		b := again.ring()
		anna.expect("180 INVITE")
		b.reply(200, "OK", "v=0")
		again.expect("ACK")
		a.answered("")
	})
}

// A PIN that somebody types behind the code, right or with a slip, on an idle phone or
// one in use, reaches the attendant at most: no PBX, no record and no event has it.
func TestField_S26PINBehindTheCode(t *testing.T) {
	for _, idle := range []bool{true, false} {
		for dialled, attended := range map[string]bool{
			"*77*101*5162": true, "*77*101*5162*": true, "*11101*5162": true, "*77*101**5162": true, "%2A77%2a101%2A5162": true,
			"*77*101%235162": false, "*77*x*5162": false, "*77101*5162": false, "*77*1015162*": true, "*111015162": true, "*77**5162": false,
		} {
			t.Run(fmt.Sprint(dialled, " idle ", idle), func(t *testing.T) {
				inOffice(t, func(o *office) {
					p, trunk := o.phone(1), o.trunk()
					if idle {
						p.register()
					} else {
						_ = p.conn.Close()
						p = o.desk(1, "104") // whose other calls go to the PBX
					}
					var events []string
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					go func() {
						for ev := range o.live.Events(ctx, 0) {
							b, err := json.Marshal(ev)
							if err != nil {
								panic(err)
							}
							o.mu.Lock()
							events = append(events, string(b))
							o.mu.Unlock()
						}
					}()
					visits := make(chan Visit, 1)
					o.attend = func(_ context.Context, v Visit) (Conversation, error) {
						visits <- v
						return &talk{run: func(context.Context) error { return nil }}, nil
					}
					a := p.invite(dialled, "v=0")
					a.answered("")
					p.ok("BYE")
					v := <-visits
					if code, ok := o.Code("HD0001", v.Dialed); ok != attended || ok && code.Action != hotdesk.CodeLogin {
						t.Errorf("the attendant reads %+v, %v", code.Action, ok)
					}
					for _, rec := range o.records() {
						b, err := json.Marshal(rec)
						if err != nil || strings.Contains(string(b), "5162") {
							t.Errorf("recorded as %s (%v)", b, err)
						}
					}
					o.mu.Lock()
					defer o.mu.Unlock()
					if all := strings.Join(events, "\n"); !strings.Contains(all, "call.ended") || strings.Contains(all, "5162") {
						t.Errorf("events:\n%s", all)
					}
					if got := trunk.read(0); got != nil {
						t.Errorf("the PBX gets\n%s", got)
					}
				})
			})
		}
	}
}

// Two phones on streams lose their power in a call and come back: their connections are
// other ones, their registrations begin anew, and neither counts as in a call.
func TestField_S31StreamsAfterAPowerCut(t *testing.T) {
	for _, via := range []string{"TCP", "TLS"} {
		t.Run(via, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, bob := o.deskVia(1, "100", via), o.deskVia(2, "101", via)
				a := anna.invite("101", "v=0 anna")
				b := bob.ring()
				anna.expect("180 INVITE")
				b.reply(200, "OK", "v=0 bob")
				bob.expect("ACK")
				a.answered("")
				sleep(time.Second)
				for _, p := range []*peer{anna, bob} {
					_ = p.conn.Close()
					sleep(10 * time.Millisecond)
					p.reconnect()
					p.call = "anew-" + p.at
					p.register()
				}
				for _, p := range []*peer{anna, bob} {
					for msg := p.read(time.Second); msg != nil; msg = p.read(time.Second) {
						p.reply(p.asRequest(msg), 481, "Call/Transaction Does Not Exist", "", "")
					}
				}
				for _, id := range []hotdesk.DeviceID{"HD0001", "HD0002"} {
					if busy, _ := o.live.InCall(id, ""); busy {
						t.Errorf("%s is in a call still", id)
					}
				}
			})
		})
	}
}
