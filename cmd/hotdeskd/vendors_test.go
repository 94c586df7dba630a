package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
	"hotdeskd/internal/simphone"
)

// verdicts lists what came of a phone's requests for its own file, oldest first,
// without the ones that came as the one before.
func (s *server) verdicts(mac string) []string {
	s.t.Helper()
	asked, err := admin.List[hotdesk.ProvisioningRequest](s.context(), s.api, "/devices/"+mac+"/requests")
	s.must("requests", err)
	var all []string
	for _, r := range asked {
		if r.Verdict != "not-found" {
			all = append(all, r.Verdict)
		}
	}
	slices.Reverse(all)
	return slices.Compact(all)
}

// The phone of every vendor that option 66 leads to the enrolment URL at every boot
// is served in place by its password; one that was deleted is let go, forgets its
// account and waits; one that was reset waits, too, and comes back when it is
// approved.
func TestEveryVendorComesBack(t *testing.T) {
	t.Parallel()
	for _, b := range brands {
		t.Run(b.model, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			s.apply(floor("127.0.0.1:9"))
			s.apply(fmt.Sprintf("devices:\n  - {mac: %q, model: %s, site: roma}\n", b.mac, b.model))
			p := s.phone(0, func(c *simphone.Config) { c.MAC, c.Model, c.AlwaysOption66 = b.mac, b.model, true })
			s.must("idle screen", p.WaitLabel(s.context(), "HD0001"))
			s.must("registration", p.Registered(s.context()))
			before := s.awaitDevice("HD0001", "current", current)

			p.Reboot()
			s.await("a boot by its password", func() bool {
				return slices.Equal(s.verdicts("HD0001"), []string{"claimed", "challenged", "served"})
			})
			s.must("idle screen", p.WaitLabel(s.context(), "HD0001"))
			s.must("registration", p.Registered(s.context()))
			if now := s.awaitDevice("HD0001", "current", current); now.Generation != before.Generation || now.ProvisioningURL != before.ProvisioningURL {
				t.Errorf("a reboot made %+v of %+v", now.Generation, before.Generation)
			}

			// Reset: no password, no account; the administrator says that it is the one.
			p.FactoryReset()
			s.await("a phone that is turned away", func() bool { return p.State().User == "" && slices.Contains(s.verdicts("HD0001")[3:], "challenged") })
			if st := p.State(); st.Label != "" {
				t.Errorf("a phone that was reset shows %+v", st)
			}
			s.clock.move(11 * time.Second) // it has not come with its password since
			s.must("approve", s.api.Post(s.context(), "/devices/HD0001/approve", nil, nil))
			s.must("idle screen", p.WaitLabel(s.context(), "HD0001"))
			s.must("registration", p.Registered(s.context()))
			if now := s.awaitDevice("HD0001", "current", current); now.Generation.Proven <= before.Generation.Proven || now.ProvisioningURL == before.ProvisioningURL {
				t.Errorf("after the reset: %+v", now.Generation)
			}

			// Deleted: its own URL leads it back, with nothing of the account left.
			s.must("delete", s.api.Delete(s.context(), "/devices/HD0001"))
			p.Reboot()
			s.must("holding screen", p.WaitLabel(s.context(), "Waiting for approval"))
			if st := p.State(); st.User != "" || len(st.Keys) > 0 || st.Registered {
				t.Errorf("a phone that was deleted shows %+v", st)
			}
			s.must("approve", s.api.Post(s.context(), "/devices/"+b.mac+"/approve", nil, nil))
			s.must("idle screen", p.WaitLabel(s.context(), "HD0002"))
			s.must("registration", p.Registered(s.context()))
		})
	}
}

// A phone that only knows its own, revoked URL gets the release file there, and is
// led to the enrolment URL.
func TestEveryVendorIsReleased(t *testing.T) {
	t.Parallel()
	for _, b := range brands {
		t.Run(b.model, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			s.apply(floor("127.0.0.1:9"))
			s.apply(fmt.Sprintf("devices:\n  - {mac: %q, model: %s, site: roma}\n", b.mac, b.model))
			p := s.phone(0, func(c *simphone.Config) { c.MAC, c.Model = b.mac, b.model })
			s.must("registration", p.Registered(s.context()))
			s.must("delete", s.api.Delete(s.context(), "/devices/HD0001"))
			p.Reboot()
			s.must("holding screen", p.WaitLabel(s.context(), "Waiting for approval"))
			s.await("release file, then the holding file", func() bool {
				got := s.verdicts(b.mac)
				return slices.Equal(got[max(0, len(got)-2):], []string{"release", "holding"})
			})
			if st := p.State(); st.User != "" || len(st.Keys) > 0 || st.Registered {
				t.Errorf("a phone that was let go shows %+v", st)
			}
		})
	}
}

// A phone that challenges the check-sync gets its own credentials, over every
// transport.
func TestChallengedCheckSync(t *testing.T) {
	t.Parallel()
	for n, b := range brands {
		transport := []string{"udp", "tcp", "tls"}[n]
		t.Run(b.model+" "+transport, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			s.apply(floor("127.0.0.1:9"))
			s.apply(fmt.Sprintf("devices:\n  - {mac: %q, model: %s, site: roma, transport: %s}\n", b.mac, b.model, transport))
			p := s.phone(0, func(c *simphone.Config) { c.MAC, c.Model, c.ChallengeNotify = b.mac, b.model, true })
			s.must("registration", p.Registered(s.context()))
			s.awaitDevice("HD0001", "current", current)
			s.must("login by API", s.api.Post(s.context(), "/devices/HD0001/login", map[string]string{"user": "100"}, nil))
			s.must("new screen", p.WaitLabel(s.context(), "100 User 100"))
			s.awaitDevice("HD0001", "current", current)
		})
	}
}

// When the site's transport changes, a phone of every vendor fetches, and registers
// over the new one; the call that comes next goes that way.
func TestTransportChanges(t *testing.T) {
	t.Parallel()
	for _, b := range brands {
		t.Run(b.model, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			s.apply(floor("127.0.0.1:9"))
			s.apply(fmt.Sprintf("devices:\n  - {mac: %q, model: %s, site: roma}\n", b.mac, b.model))
			p := s.phone(0, func(c *simphone.Config) { c.MAC, c.Model = b.mac, b.model })
			s.must("registration", p.Registered(s.context()))
			s.awaitDevice("HD0001", "current", current)
			for n, transport := range []string{"tcp", "tls", "udp"} {
				s.apply(fmt.Sprintf("sites:\n  - {name: roma, phones: {transport: %s}}\n", transport))
				s.awaitDevice("HD0001", "registered over "+transport, func(d admin.Device) bool {
					return d.Registered && strings.HasPrefix(d.Source, transport+":") && current(d)
				})
				s.must("registration", p.Registered(s.context()))
				c := s.dial(p, "*77*9*")
				s.must("hear", c.WaitHeard(s.context(), 5))
				s.must("hang up", c.HangUp(s.context()))
				s.awaitCalls(n + 1)
			}
		})
	}
}

// Where a site requires HTTPS, the lines for the DHCP server say what a phone needs
// that does not know our certificate, and such a phone is led to HTTPS by it.
func TestFactoryPhoneReachesHTTPS(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	s.apply("sites:\n  - {name: roma, require_https: true}\n")
	got, err := s.command("dhcp")
	s.must("dhcp", err)
	plain := s.app.ready.Provisioning.HTTP + "/"
	if !strings.Contains(got, "need "+plain+"\n") || !strings.Contains(got, "dhcp-option-force=66,\"https://") {
		t.Errorf("dhcp says\n%s", got)
	}
	told := make(chan string, 1)
	lost := s.phone(0, func(c *simphone.Config) {
		c.CheckCertificates = true
		c.Step = func(step simphone.Step) {
			select {
			case told <- step.Detail["error"]:
			default:
			}
		}
	})
	if said := <-told; !strings.Contains(said, "certificate signed by unknown authority") || lost.State().User != "" {
		t.Errorf("a phone that checks certificates says %q", said)
	}
	led := s.phone(1, func(c *simphone.Config) { c.CheckCertificates, c.Provision = true, plain })
	s.must("registration", led.Registered(s.context()))
}
