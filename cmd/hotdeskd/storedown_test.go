package main

import (
	"net/http"
	"testing"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/simphone"
)

// A store that is down stops logins and logouts, in words and with the old state
// kept, and never calls, emergency calls, registrations or configuration fetches.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	peer := startTrunk(t)
	s := startServer(t)
	s.apply(office(peer.addr))
	idlePhone := s.phone(0, nil)
	s.must("registration", idlePhone.Registered(s.context()))
	mario := s.phone(1, nil)
	anna := s.phone(2, func(c *simphone.Config) { c.AutoAnswer = true })
	for id, p := range map[string]*simphone.Phone{"HD0002": mario, "HD0003": anna} {
		s.must("registration", p.Registered(s.context()))
		user := map[string]string{"HD0002": "100", "HD0003": "101"}[id]
		s.must("login by API", s.api.Post(s.context(), "/devices/"+id+"/login", map[string]string{"user": user}, nil))
		s.awaitDevice(id, "current", current)
	}

	s.store.down.Store(true)
	c := s.dial(idlePhone, "112")
	s.must("hang up", c.HangUp(s.context()))
	c = s.dial(mario, "101")
	s.must("hang up", c.HangUp(s.context()))
	if _, status := s.fetch(s.device("HD0002").ProvisioningURL + phoneMAC(1) + ".cfg"); status != http.StatusOK {
		t.Errorf("fetch while the store is down: %d", status)
	}
	booting := s.phone(1, func(c *simphone.Config) { c.Provision = s.device("HD0002").ProvisioningURL })
	s.must("registration while the store is down", booting.Registered(s.context()))
	c = s.dial(idlePhone, "*77*102*")
	s.must("press", c.Press(s.context(), "4071#"))
	s.must("try again later", c.WaitHeard(s.context(), 50))
	s.ended(c)
	if d := s.device("HD0001"); d.State != "idle" {
		t.Errorf("a login while the store is down: %+v", d)
	}
	err := s.api.Post(s.context(), "/devices/HD0003/logout", map[string]string{"reason": "x"}, nil)
	if err == nil {
		t.Error("a logout was acknowledged while the store was down")
	}
	if d := s.device("HD0003"); !inUseBy("101")(d) {
		t.Errorf("after the refused logout: %+v", d)
	}

	s.store.down.Store(false)
	s.login(idlePhone, "HD0001", "102", "4071")
	for _, call := range s.awaitCalls(4) {
		if call.Kind == hotdesk.CallEmergency && call.Result != "answered" {
			t.Errorf("the emergency call: %+v", call)
		}
	}
	if got := peer.dialled(); len(got) != 1 || got[0] != "112" {
		t.Errorf("at the PBX arrived %q", got)
	}
}
