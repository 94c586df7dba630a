package sip

import (
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/sip/call"
)

// Two phones that lose their power in a call with one another are not in that
// call for ever: when their registrations have run out, it ends.
func TestBothPhonesLosePower(t *testing.T) {
	inOffice(t, func(o *office) {
		up(o)
		sleep(5*time.Minute + call.ProbeWait + call.ByeWait + time.Second)
		o.recorded("answered", "phone_gone")
		o.idle()
	})
}

// A phone that registers as if started anew is asked whether it still knows its
// call: whatever it says but 481, the call goes on; 481 ends it.
func TestPhoneStartedAnew(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, _, _ := up(o)
		again := func(callID string) {
			if res := bob.tryRegister(registration{callID: callID}); res.StatusCode != 200 {
				t.Fatalf("REGISTER got %d", res.StatusCode)
			}
			synctest.Wait()
		}
		again("second")
		bob.reply(bob.request("INFO"), 405, "Method Not Allowed", "", "")
		sleep(call.ProbeWait)
		if busy, _ := o.live.InCall("HD0002", ""); !busy {
			t.Fatal("a phone that knows its call was taken out of it")
		}
		again("second") // a mere refresh asks nothing
		bob.silent(time.Second)
		again("third")
		bob.reply(bob.request("INFO"), 481, "Call/Transaction Does Not Exist", "", "")
		anna.ok("BYE")
		o.recorded("answered", "phone_gone")
		o.idle()
	})
}
