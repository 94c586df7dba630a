package sip

import (
	"context"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// setPBX changes the PBX "main".
func (o *office) setPBX(spec hotdesk.PBXSpec) {
	o.t.Helper()
	spec.Name = "main"
	if _, err := o.Apply(context.Background(), hotdesk.Desired{PBX: []hotdesk.PBXSpec{spec}}, hotdesk.ApplyOptions{}); err != nil {
		o.t.Fatal(err)
	}
}

// An Asterisk reads P-Asserted-Identity and Remote-Party-ID only: with identity set so,
// the site's number reaches it in an emergency call, also of somebody who is logged in,
// and so does the number of an ordinary caller; the account stays the one in From.
func TestField_S30NumberReachesThePBX(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		o.setPBX(hotdesk.PBXSpec{Identity: []string{"pai", "rpid"}})
		anna := o.desk(1, "100")
		sleep(2 * time.Second)
		anna.dial("112", "v=0", "").refused("486 INVITE")
		anna.invite("0612345", "v=0").refused("486 INVITE")
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, want := range []struct{ from, number string }{{"emergency", "+390612345600"}, {"100", "100"}} {
			req := r.invites[i]
			for _, name := range []string{"P-Asserted-Identity", "Remote-Party-ID"} {
				if h := req.GetHeader(name); h == nil || !strings.Contains(h.Value(), "<sip:"+want.number+"@pbx.example>") {
					t.Errorf("call to %s: %s is %v, want %s", req.Recipient.User, name, h, want.number)
				}
			}
			if req.GetHeader("P-Preferred-Identity") != nil || req.From().Address.User != want.from {
				t.Errorf("call to %s: From %s\n%s", req.Recipient.User, req.From().Address.User, req)
			}
		}
	})
}
