package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
)

// kamailioOffice is an office whose PBX is Kamailio in mode register.
func kamailioOffice(k *kamailio, transport string) string {
	return strings.NewReplacer("PROXY", k.addr, "TRANSPORT", transport).Replace(`
pbx:
  - {name: main, mode: register, domain: 127.0.0.1, proxy: "PROXY", transport: TRANSPORT, account: {auth_user: hd-emerg, secret: lifesaver}}
sites:
  - name: roma
    networks: ["127.0.0.0/8"]
    second_phone: allow
    dialing: {idle_numbers: ["118"]}
    emergency:
      numbers: ["112"]
      caller_id: "+390612345600"
      address: {city: Roma}
      routes: [{pbx: main}]
users:
  - {extension: "100", name: Mario Rossi, pin: "4071", pbx: {name: main, extension: "100", auth_user: "100", secret: s3cret100}}
  - {extension: "101", name: Anna Bianchi, pin: "4071", pbx: {name: main, secret: s3cret101}}
  - {extension: "102", name: Wrong Password, pin: "4071", pbx: {name: main, secret: nonsense}}
devices:
  - {mac: "805ec0000001", model: yealink-t46u, site: roma, desk: "2-1"}
  - {mac: "805ec0000002", model: yealink-t46u, site: roma, desk: "2-2"}
  - {mac: "805ec0000003", model: yealink-t46u, site: roma, desk: "2-3"}
`)
}

// With Kamailio as PBX in mode register: its own account is registered always, a
// login registers the user there and a logout takes that back; a call in rings the
// desk, on all phones of the user; a call out is the user's own; 112 from an idle
// phone goes out as the emergency account. Kamailio never sees a device.
func TestPeerKamailioRegister(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			needPeer(t, "kamailio")
			needPeer(t, "baresip")
			t.Parallel()
			carrier := startTrunk(t)
			k := startKamailio(t, carrier.addr, map[string]string{
				"100": "s3cret100", "101": "s3cret101", "102": "s3cret102", "900": "outside", "hd-emerg": "lifesaver",
			})
			s := startServer(t)
			s.apply(kamailioOffice(k, transport))
			s.await("registration of the emergency account", func() bool { return k.contacts("hd-emerg") != "" })
			if got := k.contacts("100"); got != "" {
				t.Fatalf("user 100 sits nowhere and is registered as %s", got)
			}

			// An idle phone reaches 112 and the site's extra number, as the account.
			file := s.mustFetch(s.enrolment() + phoneMAC(2) + ".cfg")
			idle := startBaresip(t, file, "manual")
			s.awaitDevice("HD0003", "registered", registered)
			for n, number := range []string{"112", "118"} {
				idle.command("dial", "sip:"+number+"@"+s.app.ready.SIP.UDP)
				idle.await(s, "CALL_ESTABLISHED", n)
				invite := carrier.last("INVITE")
				if invite == nil || invite.Recipient.User != number || invite.From().Address.User != "hd-emerg" {
					t.Fatalf("%s arrived as %v", number, invite)
				}
				if wish := invite.GetHeader("P-Preferred-Identity"); wish == nil || !strings.Contains(wish.Value(), "+390612345600") {
					t.Errorf("%s arrived with identity %v", number, wish)
				}
				if head := strings.Replace(invite.String(), string(invite.Body()), "", 1); strings.Contains(head, "HD0003") {
					t.Errorf("the device is named towards the PBX:\n%s", head)
				}
				idle.command("hangup", "")
				idle.await(s, "CALL_CLOSED", n)
			}

			// A login registers the user, without the device's name.
			mario := seat(t, s, 0, "100", "manual")
			s.await("registration of 100", func() bool { return k.contacts("100") != "" })
			if c := k.contacts("100"); strings.Contains(c, "100@") || strings.Contains(strings.ToUpper(c), "HD0") {
				t.Errorf("the contact tells more than it must: %s", c)
			}
			s.await("one registered user in pbx list", func() bool {
				list, err := admin.List[admin.PBX](s.context(), s.api, "/pbx")
				return err == nil && list[0].Status.State == hotdesk.PBXUp && list[0].Status.Registered == 1 && list[0].Status.Account == "registered"
			})

			// A call in rings all desks of the user; each side can hang up.
			second := seat(t, s, 1, "100", "manual")
			outside := k.phone("900", "outside", "manual")
			s.await("registration of 900", func() bool { return k.contacts("900") != "" })
			outside.command("dial", "sip:100@"+k.addr)
			in := mario.await(s, "CALL_INCOMING", 0)
			if !strings.HasPrefix(in.Peer, "sip:900@") {
				t.Errorf("the desk sees %q", in.Peer)
			}
			second.await(s, "CALL_INCOMING", 0)
			mario.command("accept", "")
			outside.await(s, "CALL_ESTABLISHED", 0)
			second.await(s, "CALL_CLOSED", 0)
			offers := outside.count("CALL_REMOTE_SDP")
			mario.command("hold", "")
			outside.await(s, "CALL_REMOTE_SDP", offers)
			mario.command("resume", "")
			outside.await(s, "CALL_REMOTE_SDP", offers+1)
			outside.command("hangup", "")
			mario.await(s, "CALL_CLOSED", 0)

			// A call out is the user's own, and so is one to a colleague.
			mario.command("dial", "sip:900@"+s.app.ready.SIP.UDP)
			if in := outside.await(s, "CALL_INCOMING", 0); !strings.HasPrefix(in.Peer, "sip:100@") {
				t.Errorf("the outside sees %q", in.Peer)
			}
			outside.command("accept", "")
			mario.await(s, "CALL_ESTABLISHED", 1)
			mario.command("hangup", "")
			outside.await(s, "CALL_CLOSED", 1)

			// The last logout takes the registration back, ten seconds later.
			for _, id := range []string{"HD0001", "HD0002"} {
				if c := k.contacts("100"); c == "" {
					t.Errorf("not registered any more before %s is logged out", id)
				}
				s.must("logout", s.api.Post(s.context(), "/devices/"+id+"/logout", map[string]string{}, nil))
			}
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			look := time.NewTicker(100 * time.Millisecond)
			defer look.Stop()
			for k.contacts("100") != "" {
				select {
				case <-look.C:
				case <-ctx.Done():
					t.Fatalf("30 seconds after the logout 100 is registered as %s", k.contacts("100"))
				}
			}
			outside.command("dial", "sip:100@"+k.addr)
			if closed := outside.await(s, "CALL_CLOSED", 2); !strings.Contains(closed.Param, "404") {
				t.Errorf("a call to nobody is told %q", closed.Param)
			}
			if k.contacts("hd-emerg") == "" {
				t.Error("the emergency account is not registered any more")
			}
		})
	}
}

// A wrong password is told, not hammered; pbx test says in words what is right and
// what is wrong, and what to do.
func TestPeerKamailioTest(t *testing.T) {
	needPeer(t, "kamailio")
	t.Parallel()
	carrier := startTrunk(t)
	k := startKamailio(t, carrier.addr, map[string]string{"100": "s3cret100", "102": "s3cret102", "hd-emerg": "lifesaver"})
	s := startServer(t)
	s.apply(kamailioOffice(k, "udp"))
	s.must("login", s.api.Post(s.context(), "/devices/HD0001/login", map[string]string{"user": "102"}, nil))
	var list []admin.PBX
	s.await("word of the wrong password", func() (told bool) {
		var err error
		list, err = admin.List[admin.PBX](s.context(), s.api, "/pbx")
		return err == nil && len(list[0].Status.Failed) == 1
	})
	if words := list[0].Status.Failed[0]; !strings.Contains(words, "user 102") || !strings.Contains(words, "pbx.secret") {
		t.Errorf("told %q", words)
	}
	tell := func(wantExit int) string {
		t.Helper()
		var out bytes.Buffer
		root := newRoot()
		root.SetArgs([]string{"pbx", "test", "main", "--data-dir", s.config.DataDir})
		root.SetOut(&out)
		err := root.ExecuteContext(s.context())
		if (err != nil) != (wantExit == exitRefused) {
			t.Errorf("pbx test: %v\n%s", err, out.String())
		}
		if err != nil {
			out.WriteString(err.Error())
		}
		return out.String()
	}
	good := tell(exitDone)
	for _, word := range []string{"address", k.addr, "OPTIONS", "200", "REGISTER", "hd-emerg: registered for", "works"} {
		if !strings.Contains(good, word) {
			t.Errorf("no %q in:\n%s", word, good)
		}
	}
	s.apply("pbx:\n  - {name: main, account: {auth_user: hd-emerg, secret: wrong}}\n")
	if bad := tell(exitRefused); !strings.Contains(bad, "FAILED") || !strings.Contains(bad, "account.secret") || strings.Contains(bad, "wrong\"") {
		t.Errorf("a wrong password:\n%s", bad)
	}
	s.apply("pbx:\n  - {name: main, proxy: \"127.0.0.1:9\", transport: tcp}\n")
	if bad := tell(exitRefused); !strings.Contains(bad, "FAILED  transport") || !strings.Contains(bad, "refuses the connection: check port and transport") {
		t.Errorf("nobody there:\n%s", bad)
	}
}
