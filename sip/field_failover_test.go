package sip

import (
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// twoAddresses makes "main" a trunk with two addresses that answers OPTIONS at both.
func (o *office) twoAddresses() (first, second *peer) {
	o.t.Helper()
	o.names.set("pbx.example", "192.0.2.100", "192.0.2.60")
	o.setPBX(hotdesk.PBXSpec{Proxy: ptr("pbx.example:5060")})
	first, second = o.trunk(), o.plug(spareAddr)
	sleep(time.Second)
	return first, second
}

// A call that finds the first address of a PBX dead is at the second one in less than
// 4 s, and the next call does not wait for the first again.
func TestField_S9DNSCallMovesOn(t *testing.T) {
	inOffice(t, func(o *office) {
		first, second := o.twoAddresses()
		anna := o.desk(1, "104")
		_ = first.conn.Close()
		for _, limit := range []time.Duration{3900 * time.Millisecond, 100 * time.Millisecond} {
			d := anna.invite("0612345", "v=0")
			began := time.Now()
			b := second.incoming(second.request("INVITE"))
			if waited := time.Since(began); waited > limit {
				t.Errorf("the second address has the call after %s, want %s", waited, limit)
			}
			b.reply(486, "Busy Here", "")
			second.expect("ACK")
			d.refused("486 INVITE")
		}
	})
}

// An address that has refused a call has spoken for the PBX: the next address is not
// asked, not even when nobody answers for long, and its early media passes.
func TestField_S9DNSRefusalIsFinal(t *testing.T) {
	inOffice(t, func(o *office) {
		first, second := o.twoAddresses()
		anna := o.desk(1, "104")
		d := anna.invite("0612345", "v=0")
		b := first.incoming(first.request("INVITE"))
		b.reply(183, "Session Progress", "v=0 media")
		if res := anna.response("183 INVITE"); string(res.Body()) != "v=0 media" {
			t.Errorf("early media is %q", res.Body())
		}
		second.silent(time.Minute)
		b.reply(486, "Busy Here", "")
		first.expect("ACK")
		d.refused("486 INVITE")
		second.silent(10 * time.Second)
	})
}
