package sip

import (
	"testing"
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
