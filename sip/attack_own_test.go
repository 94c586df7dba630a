package sip

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// A PBX that leaves an emergency call with a BYE while it rings has refused it: the next
// route takes it.
func TestAttack_ByeOfTheFirstRoute(t *testing.T) {
	inOffice(t, func(o *office) {
		o.twoRoutes()
		anna, main, spare := o.desk(1, "100"), o.trunk(), o.plug(spareAddr)
		spare.user = "spare"
		a := anna.dial("112", "v=0", "")
		b := main.ring()
		anna.expect("180 INVITE")
		b.do("BYE", "", "")
		main.expect("200 BYE")
		main.ok("CANCEL")
		c := spare.ring()
		anna.expect("180 INVITE")
		c.reply(200, "OK", "v=0 spare")
		spare.expect("ACK")
		a.answered("")
		b.reply(487, "Request Terminated", "")
		main.expect("ACK")
		a.bye()
		spare.ok("BYE")
		o.idle()
	})
}

// An emergency call while the server stops is answered within a second, whatever it
// requires, and lasts.
func TestAttack_BrokenEmergencyCallWhileStopping(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, main := o.desk(1, "100"), o.trunk()
		o.edge.calls.close(ordinary)
		o.edge.endOrdinary()
		a := anna.dial("112", "v=0", "Require: 100rel, x\r\nSession-Expires: 1\r\nAccept: x/y\r\n")
		began := time.Now()
		b := main.ring()
		b.reply(200, "OK", "v=0")
		main.expect("ACK")
		for {
			msg := anna.read(time.Minute)
			if name(msg) == "200 INVITE" {
				a.confirm(anna.asResponse(msg), "")
				break
			}
			if msg == nil || !strings.HasPrefix(name(msg), "1") {
				t.Fatalf("the phone gets %s", name(msg))
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the answer took %v", took)
		}
		sleep(5 * time.Minute)
		if busy, _ := o.live.InCall("HD0001", ""); !busy {
			t.Error("the call is cut")
		}
		anna.drop() // it was asked to refresh its session, and has not
		a.bye()
		main.ok("BYE")
	})
}

// What one side's phone calls its dialog, its device and itself does not reach the other
// side: not in the INVITE, not in what comes back, not inside the call.
func TestAttack_NothingOfOneSideReachesTheOther(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		anna.also = all + "X-Secret: HD0001\r\nReason: SIP;text=\"HD0001\"\r\nAlert-Info: <http://HD0001>\r\nCall-Info: <http://HD0001>\r\nDiversion: <sip:HD0001@x>\r\nRecord: on\r\nUser-Agent: HD0001\r\nP-Asserted-Identity: <sip:HD0001@x>\r\nSubject: HD0001\r\nOrganization: HD0001\r\nWarning: 399 x \"HD0001\"\r\nError-Info: <sip:HD0001@x>\r\nIn-Reply-To: HD0001\r\nHistory-Info: <sip:HD0001@x>;index=1\r\n"
		bob.also = strings.ReplaceAll(anna.also, "HD0001", "HD0002")
		secrets := []string{"HD0001", "HD0002", "Record", "X-Secret", "Authorization", "Diversion", "Alert-Info"}
		clean := func(who, text string, more ...string) {
			t.Helper()
			for _, s := range append(more, secrets...) {
				if strings.Contains(text, s) {
					t.Errorf("%s gets %s in\n%s", who, s, text)
				}
			}
		}
		a := anna.invite("101", "v=0 anna")
		inv := bob.request("INVITE")
		clean("bob", inv.String(), a.callID, anna.at)
		b := bob.incoming(inv)
		b.reply(180, "Ringing", "")
		res := anna.response("180 INVITE")
		clean("anna", res.String(), b.callID, bob.at)
		b.reply(200, "OK", "v=0 bob")
		bob.expect("ACK")
		clean("anna", a.answered("").String(), b.callID, bob.at)
		sleep(10 * time.Millisecond)
		for _, method := range []string{"INFO", "MESSAGE", "UPDATE", "INVITE"} {
			a.do(method, sdp, "v=0 "+method)
			req := bob.request(method)
			clean("bob", req.String(), a.callID, anna.at)
			bob.reply(req, 488, "HD0002", "", "")
			if method == "INVITE" {
				bob.expect("ACK")
			}
			res := anna.response(fmt.Sprint("488 ", method))
			clean("anna", res.String(), b.callID, bob.at)
			if method == "INVITE" {
				a.ackFailure(res)
			}
		}
		a.do("BYE", "", "")
		anna.expect("200 BYE")
		clean("bob", bob.ok("BYE").String(), a.callID, anna.at)
		o.idle()
	})
}

// A caller who hides behind a PBX hides for the whole call, also when a later message of
// the PBX says no more that it is private.
func TestAttack_PrivateForTheWholeCall(t *testing.T) {
	inOffice(t, func(o *office) {
		bob, trunk := o.desk(2, "101"), o.trunk()
		bob.also = all
		a, _ := fromTrunk(o, bob, trunk, "Privacy: id\r\nP-Asserted-Identity: <sip:0612@pbx>\r\n")
		a.do("INVITE", sdp+"P-Asserted-Identity: <sip:0612@pbx>\r\n", "v=0 x")
		if got := value(bob.request("INVITE"), "P-Asserted-Identity"); got != "" {
			t.Errorf("the phone is shown %s", got)
		}
	})
}

// twoRoutes gives the site a second way to the rescue centre.
func (o *office) twoRoutes() {
	o.t.Helper()
	if _, err := o.Apply(context.Background(), hotdesk.Desired{
		PBX:   []hotdesk.PBXSpec{{Name: "spare", Mode: ptr("trunk"), Proxy: ptr(spareAddr)}},
		Sites: []hotdesk.SiteSpec{{Name: "roma", Emergency: &hotdesk.EmergencySpec{Routes: []hotdesk.EmergencyRoute{{PBX: "main"}, {PBX: "spare"}}}}},
	}, hotdesk.ApplyOptions{}); err != nil {
		o.t.Fatal(err)
	}
}
