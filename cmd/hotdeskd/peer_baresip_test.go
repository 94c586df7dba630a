package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"hotdeskd/admin"
)

// A real phone does the main job over each transport: registers with the served
// credentials, hears why a number is refused, reaches 112, logs in by PIN, gets
// the check-sync on its flow, and comes back with the new secret.
func TestPeerBaresipMainJob(t *testing.T) {
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			needPeer(t, "baresip")
			t.Parallel()
			peer := startTrunk(t)
			s := startServer(t)
			s.apply(office(peer.addr))
			s.apply("sites:\n  - {name: roma, phones: {transport: " + transport + "}}\n")
			file := s.mustFetch(s.enrolment() + phoneMAC(0) + ".cfg")
			if got := file.Value("account.1.user_name"); got != "HD0001" {
				t.Fatalf("the idle phone's account is %q", got)
			}
			dial := func(b *baresip, number string) {
				b.command("dial", "sip:"+number+"@"+s.app.ready.listeners()["sip."+transport]+";transport="+transport)
			}

			b := startBaresip(t, file, "manual")
			if d := s.awaitDevice("HD0001", "registered", registered); !strings.HasPrefix(d.Source, transport+":") {
				t.Errorf("registered from %s", d.Source)
			}

			dial(b, "00390612345")
			b.await(s, "CALL_ESTABLISHED", 0)
			b.await(s, "CALL_CLOSED", 0) // the refusal was spoken, then BYE
			if c := s.awaitCalls(1)[0]; c.Result != "refused" || c.Reason != "idle" {
				t.Errorf("the refused call is recorded as %+v", c)
			}
			if got := peer.dialled(); len(got) != 0 {
				t.Fatalf("an idle phone reached %q", got)
			}

			dial(b, "112")
			b.await(s, "CALL_ESTABLISHED", 1)
			invite := peer.last("INVITE")
			if invite == nil || invite.Recipient.User != "112" || invite.From().Address.User != "+390612345600" {
				t.Fatalf("the emergency call arrived as %v", invite)
			}
			// The session description is the phone's own and passes untouched; what we
			// write must not name the device.
			if head := strings.Replace(invite.String(), string(invite.Body()), "", 1); strings.Contains(head, "HD0001") {
				t.Errorf("the device is named towards the PBX:\n%s", head)
			}
			b.command("hangup", "")
			s.await("BYE at the trunk", func() bool { return peer.last("BYE") != nil })

			dial(b, "*77*100*")
			b.await(s, "CALL_ESTABLISHED", 2)
			b.press("4071#")
			d := s.awaitDevice("HD0001", "in use by 100", inUseBy("100"))
			if d.Config.State != "updating" {
				t.Errorf("config is %q right after the login", d.Config.State)
			}
			b.await(s, "CALL_CLOSED", 2)
			s.await("check-sync answered by baresip", func() bool {
				return regexp.MustCompile(`check-sync answered.*status=4(89|81)`).MatchString(s.log.String())
			})

			b.stop()
			file = s.mustFetch(d.ProvisioningURL + phoneMAC(0) + ".cfg")
			if user, auth := file.Value("account.1.user_name"), file.Value("account.1.auth_name"); user != "100" || auth != "HD0001" {
				t.Fatalf("the account is %q, authenticated as %q; want 100 and HD0001", user, auth)
			}
			startBaresip(t, file, "manual")
			d = s.awaitDevice("HD0001", "current", current)
			if d.Generation.Proven != d.Generation.Current {
				t.Errorf("the new secret is not proven: %+v", d.Generation)
			}
			var kinds []string
			for _, c := range s.calls() {
				kinds = append(kinds, string(c.Kind)+" "+c.Result)
			}
			if want := []string{"external refused", "emergency answered", "hot-desk answered"}; !slices.Equal(kinds, want) {
				t.Errorf("calls are recorded as %q, want %q", kinds, want)
			}
		})
	}
}

// seat puts a user on a phone and runs baresip with what the phone gets.
func seat(t *testing.T, s *server, n int, user, answer string) *baresip {
	t.Helper()
	id := []string{"HD0001", "HD0002", "HD0003", "HD0004"}[n]
	url := s.enrolment() + phoneMAC(n) + ".cfg"
	if d := s.device(id); d.Config.State == "never" {
		s.mustFetch(url)
	}
	if err := s.api.Post(s.context(), "/devices/"+id+"/login", map[string]string{"user": user}, nil); err != nil {
		t.Fatal(err)
	}
	file := s.mustFetch(s.device(id).ProvisioningURL + phoneMAC(n) + ".cfg")
	b := startBaresip(t, file, answer)
	s.awaitDevice(id, "registered", registered)
	return b
}

// Calls between real phones: the user's number is shown, hold goes through, each
// side can hang up, busy is told.
func TestPeerBaresipCalls(t *testing.T) {
	needPeer(t, "baresip")
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9") + "settings: {refusal: speak}\n")
	setAllow(s)
	anna := seat(t, s, 1, "101", "manual")
	mario := seat(t, s, 0, "100", "manual")
	to101 := "sip:101@" + s.app.ready.SIP.UDP

	mario.command("dial", to101)
	in := anna.await(s, "CALL_INCOMING", 0)
	if !strings.HasPrefix(in.Peer, "sip:100@") || in.Name != "User 100" {
		t.Errorf("101 sees %q %q, want 100 and its name", in.Peer, in.Name)
	}
	mario.await(s, "CALL_RINGING", 0)
	anna.command("accept", "")
	mario.await(s, "CALL_ESTABLISHED", 0)
	offers := anna.count("CALL_REMOTE_SDP")
	mario.command("hold", "")
	anna.await(s, "CALL_REMOTE_SDP", offers) // the re-INVITE went through
	mario.command("resume", "")
	anna.await(s, "CALL_REMOTE_SDP", offers+1)
	mario.command("hangup", "")
	anna.await(s, "CALL_CLOSED", 0)
	calls := s.awaitCalls(1)
	if c := calls[0]; c.FromUser != "100" || c.FromDevice != "HD0001" || c.To != "101" || c.ToDevice != "HD0002" || c.Result != "answered" || string(c.Kind) != "internal" {
		t.Errorf("call 1 is recorded as %+v", c)
	}

	mario.command("dial", to101)
	anna.await(s, "CALL_INCOMING", 1)
	anna.command("accept", "")
	mario.await(s, "CALL_ESTABLISHED", 1)
	anna.command("hangup", "") // this time the called side
	mario.await(s, "CALL_CLOSED", 1)
	s.awaitCalls(2)

	mario.command("dial", to101)
	anna.await(s, "CALL_INCOMING", 2)
	anna.command("hangup", "") // baresip declines: the caller hears busy
	closed := mario.await(s, "CALL_CLOSED", 2)
	if !strings.Contains(closed.Param, "486") {
		t.Errorf("the caller was told %q, want 486", closed.Param)
	}
	if c := s.awaitCalls(3)[2]; c.Result != "busy" {
		t.Errorf("call 3 is recorded as %+v", c)
	}
}

// setAllow lets a user have several phones.
func setAllow(s *server) {
	s.apply("sites:\n  - {name: roma, second_phone: allow}\n")
}

// A call rings both phones of a user; when one answers, the other one stops.
func TestPeerBaresipFork(t *testing.T) {
	needPeer(t, "baresip")
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	setAllow(s)
	first := seat(t, s, 1, "101", "manual")
	second := seat(t, s, 2, "101", "manual")
	mario := seat(t, s, 0, "100", "manual")
	mario.command("dial", "sip:101@"+s.app.ready.SIP.UDP)
	first.await(s, "CALL_INCOMING", 0)
	second.await(s, "CALL_INCOMING", 0)
	first.command("accept", "")
	mario.await(s, "CALL_ESTABLISHED", 0)
	second.await(s, "CALL_CLOSED", 0)
	if d := s.device("HD0003"); d.InCall {
		t.Error("the phone that did not answer still counts as in a call")
	}
	first.command("hangup", "")
	mario.await(s, "CALL_CLOSED", 0)
	if c := s.awaitCalls(1)[0]; c.ToDevice != "HD0002" || c.Result != "answered" {
		t.Errorf("recorded as %+v", c)
	}
	s.awaitDevice("HD0002", "free", func(d admin.Device) bool { return !d.InCall })
}
