package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// hidingConfig is a Kamailio as an operator's edge: it takes calls from the server
// (%[5]s) to whoever is registered and from those to the server, stays in between, and
// shows nobody the other side's addresses.
const hidingConfig = `#!KAMAILIO
debug=0
log_stderror=yes
children=2
auto_aliases=no
listen=udp:127.0.0.1:%[1]d
mpath="%[2]s"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "ctl.so"
loadmodule "htable.so"
modparam("htable", "htable", "refused=>size=4;")
%[4]s
modparam("ctl", "binrpc", "unix:%[3]s/ctl")
request_route {
	if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
	if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
	if (is_method("REGISTER")) { save("location"); exit; }
	if (has_totag()) {
		if (loose_route()) { t_relay(); exit; }
		if (is_method("ACK")) { if (t_check_trans()) { t_relay(); } exit; }
		$sht(refused=>$rm) = "by Kamailio";
		sl_send_reply("481", "Not Here"); exit;
	}
	if (is_method("CANCEL")) { if (t_check_trans()) { t_relay(); } exit; }
	if (!is_method("INVITE")) { sl_send_reply("405", "Method Not Allowed"); exit; }
	record_route();
	if ($sp != %[6]s) { $du = "sip:%[5]s"; t_relay(); exit; }
	if (!lookup("location")) { sl_send_reply("404", "Not Found"); exit; }
	t_relay(); exit;
}
onreply_route {
	if ($rs == 481) { $sht(refused=>$rm) = "by port " + $sp; }
}
`

// An operator's edge hides both sides from one another (Contact, Via and Record-Route
// are made up) and stays in between: calls out and in through it are held, resumed and
// ended by either side, and no request is answered with 481.
func TestPeerTopologyHiding(t *testing.T) {
	for _, c := range []struct{ name, load string }{
		{"topoh", "loadmodule \"topoh.so\"\nmodparam(\"topoh\", \"mask_key\", \"hidden\")\nmodparam(\"topoh\", \"mask_ip\", \"127.0.0.8\")\n"},
		{"topoh with Call-ID", "loadmodule \"topoh.so\"\nmodparam(\"topoh\", \"mask_key\", \"hidden\")\nmodparam(\"topoh\", \"mask_ip\", \"127.0.0.8\")\nmodparam(\"topoh\", \"mask_callid\", 1)\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			needPeer(t, "kamailio")
			needPeer(t, "baresip")
			t.Parallel()
			s := startServer(t)
			port, dir := freePorts(t, 1)[0], t.TempDir()
			_, serverPort, _ := strings.Cut(s.app.ready.SIP.UDP, ":")
			k, _ := runKamailio(t, port, dir, fmt.Sprintf(hidingConfig, port, kamailioModules(t), dir, c.load, s.app.ready.SIP.UDP, serverPort))
			s.apply(office(k.addr))
			s.apply("users:\n  - {extension: \"100\", pbx: {name: main}}\n")
			desk := seat(t, s, 0, "100", "manual")
			outside := k.phone("0612345", "none", "manual")
			s.await("registration of the outside", func() bool { return k.contacts("0612345") != "" })

			call, holds := 0, func(by, other *baresip) {
				t.Helper()
				for _, command := range []string{"hold", "resume"} { // an offer there, its answer here
					asked, answered := other.count("CALL_REMOTE_SDP"), by.count("CALL_REMOTE_SDP")
					by.command(command, "")
					other.await(s, "CALL_REMOTE_SDP", asked)
					by.await(s, "CALL_REMOTE_SDP", answered)
				}
			}
			for _, out := range []bool{true, false} {
				for _, deskEnds := range []bool{true, false} {
					caller, called, to := desk, outside, "sip:0612345@"+s.app.ready.SIP.UDP
					if !out {
						caller, called, to = outside, desk, "sip:100@"+k.addr
					}
					incoming, up := called.count("CALL_INCOMING"), caller.count("CALL_ESTABLISHED")
					caller.command("dial", to)
					called.await(s, "CALL_INCOMING", incoming)
					called.command("accept", "")
					caller.await(s, "CALL_ESTABLISHED", up)
					holds(desk, outside)
					holds(outside, desk)
					ends, other := desk, outside
					if !deskEnds {
						ends, other = outside, desk
					}
					ends.command("hangup", "")
					other.await(s, "CALL_CLOSED", call)
					call++
					if got := s.awaitCalls(call)[call-1]; got.Result != "answered" || got.Reason != "" {
						t.Errorf("call %d is recorded as %+v", call, got)
					}
					within(t, patience, "end on both sides", func() bool { return ends.count("CALL_CLOSED") >= call && !s.device("HD0001").InCall })
				}
			}
			if out, err := k.rpc("htable.dump", "refused"); err != nil || strings.Contains(out, "name:") {
				t.Errorf("answered with 481: %s %v", out, err)
			}

			// That nothing is shown is seen by a third party outside.
			w := openWire(t, k.addr)
			w.tryRegister("0699999", "third", 1, "")
			desk.command("dial", "sip:0699999@"+s.app.ready.SIP.UDP)
			var invite *sip.Request
			w.await("INVITE", func(m sip.Message) bool {
				req, ok := m.(*sip.Request)
				invite = req
				return ok && req.IsInvite()
			})
			if head := strings.Replace(invite.String(), string(invite.Body()), "", 1); strings.Contains(head, s.app.ready.SIP.UDP) || !strings.Contains(head, "127.0.0.8") {
				t.Errorf("the server's address is not hidden:\n%s", head)
			}
			w.send(strings.ReplaceAll(sip.NewResponseFromRequest(invite, 486, "Busy Here", nil).String(), "\r\n", "\n"))
			if closed := desk.await(s, "CALL_CLOSED", call); !strings.Contains(closed.Param, "486") {
				t.Errorf("the desk is told %q", closed.Param)
			}
		})
	}
}
