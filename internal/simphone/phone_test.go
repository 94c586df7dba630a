package simphone

import (
	"errors"
	"slices"
	"testing"
	"time"

	"hotdeskd/internal/memnet"
)

// A phone must poll while it has no account, then register and show its label.
func TestBoot(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.hold()
		p, _ := o.phone(nil)
		if err := p.WaitLabel(o.soon(), "Waiting"); err != nil {
			t.Fatal(err)
		}
		if s := p.State(); s.User != "" || s.Registered {
			t.Errorf("a phone without an account shows %+v", s)
		}
		if _, err := p.Dial(o.soon(), "112"); !errors.Is(err, ErrNoAccount) {
			t.Errorf("dial: %v", err)
		}
		o.pass(10 * time.Second)
		if n := len(o.take(t)); n < 4*10 {
			t.Errorf("%d requests in 10 s of waiting", n)
		}
		if len(o.came("REGISTER")) > 0 {
			t.Error("registered without an account")
		}
		o.give("HD0001", "secret", "linekey.1.type = 13", "linekey.1.value = *77*", "linekey.1.label = Login")
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		s := p.State()
		if s.Label != "Desk HD0001" || s.User != "HD0001" || s.AuthUser != "HD0001" || s.Note != "HD0001" || len(s.Config) != 64 {
			t.Errorf("the phone shows %+v", s)
		}
		if want := []LineKey{{1, "speed", "Login", "*77*"}}; !slices.Equal(s.Keys, want) {
			t.Errorf("keys %v", s.Keys)
		}
		if p.Setting("sip.trust_ctrl") != "1" {
			t.Error("a setting of the file is not kept")
		}
		o.told("fetched", "holding", "fetched", "config", "registered")
		o.take(t)
		o.pass(10 * time.Second)
		if asked := o.take(t); len(asked) > 0 {
			t.Errorf("a phone with an account still asks for %q", asked)
		}
	})
}

// A phone that finds no file must say so and try again; one that has an account
// and cannot fetch must keep it.
func TestNothingToFetch(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.phone(nil)
		o.pass(12 * time.Second)
		if n := len(o.take(t)); n != 3*4 {
			t.Errorf("%d requests in 12 s, want three times the sequence", n)
		}
		o.told("error", "error", "error")
		o.give("HD0001", "secret")
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		o.shelf.mu.Lock()
		o.files = map[string]string{}
		o.shelf.mu.Unlock()
		o.notify(p, "check-sync;reboot=false", nil)
		o.pass(time.Minute)
		if s := p.State(); !s.Registered || s.User != "HD0001" {
			t.Errorf("after a failed fetch the phone shows %+v", s)
		}
	})
}

// The registration must be renewed at half of what was granted, in one Call-ID
// with a rising CSeq, also when the nonce has changed.
func TestRefresh(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		start := time.Now()
		o.pass(100 * time.Second)
		o.mu.Lock()
		o.oldest = o.nonce + 1
		o.mu.Unlock()
		o.pass(100 * time.Second)
		all := o.registered()
		if len(all) != 2 || !p.State().Registered {
			t.Fatalf("after %v: %q", time.Since(start), all)
		}
		_, expires, first, seq := fields(all[0])
		_, _, second, next := fields(all[1])
		if first != second || next <= seq || expires != "600" {
			t.Errorf("registered by %q", all)
		}
		var at []time.Duration
		for _, r := range o.came("REGISTER") {
			at = append(at, r.at.Sub(start).Round(time.Second))
		}
		if want := []time.Duration{0, 0, 150 * time.Second, 150 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("REGISTERs at %v, want %v", at, want)
		}
	})
}

// A registrar that finds the time too short must be obeyed (RFC 3261 section
// 10.2.8), and one that refuses must be asked again later.
func TestRegisterRefused(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.give("HD0001", "secret", "account.1.sip_server.1.expires = 10")
		p, _ := o.phone(nil)
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		if _, expires, _, _ := fields(o.registered()[0]); expires != "60" {
			t.Errorf("registered for %s s", expires)
		}
		o.mu.Lock()
		o.password = "changed"
		o.mu.Unlock()
		if err := p.Until(o.soon(), func(s State) bool { return !s.Registered }); err != nil {
			t.Fatal(err)
		}
		before := len(o.came("REGISTER"))
		o.pass(12 * time.Second)
		if tries := len(o.came("REGISTER")) - before; tries != 4 { // two, each challenged and refused
			t.Errorf("%d REGISTERs in 12 s with a wrong password", tries)
		}
		o.mu.Lock()
		o.password = "secret"
		o.mu.Unlock()
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
	})
}

// A check-sync must be answered with 200, make the phone fetch, and register the
// new account in a new Call-ID; the old one is taken back first, last or never.
func TestCheckSync(t *testing.T) {
	for _, c := range []struct {
		order string
		want  []string // user and expiry of what passed
	}{
		{"", []string{"HD0001 600", "100 600"}},
		{First, []string{"HD0001 600", "HD0001 0", "100 600"}},
		{Last, []string{"HD0001 600", "100 600", "HD0001 0"}},
	} {
		t.Run("unregister "+c.order, func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				p, _ := o.ready(func(cfg *Config) { cfg.UnregisterOld = c.order })
				o.take(t)
				o.give("100", "secret")
				if status := o.notify(p, "check-sync;reboot=false", nil); status != 200 {
					t.Fatalf("status %d", status)
				}
				if err := p.WaitLabel(o.soon(), "Desk 100"); err != nil {
					t.Fatal(err)
				}
				if err := p.Registered(o.soon()); err != nil {
					t.Fatal(err)
				}
				o.pass(time.Second)
				var got []string
				calls := map[string]string{}
				for _, line := range o.registered() {
					user, expires, callID, _ := fields(line)
					got = append(got, user+" "+expires)
					if known, ok := calls[user]; ok && known != callID {
						t.Errorf("%s came with two Call-IDs", user)
					}
					calls[user] = callID
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("registered %q, want %q", got, c.want)
				}
				if calls["100"] == calls["HD0001"] {
					t.Error("two accounts with one Call-ID")
				}
				o.told("check-sync", "refetching", "fetched", "config", "registered")
				if asked := o.take(t); !slices.Equal(asked, []string{
					"805ec0000001.boot 404", "y000000000000.boot 404", "y000000000108.cfg 404", "805ec0000001.cfg 200"}) {
					t.Errorf("asked for %q", asked)
				}
			})
		})
	}
}

// Each kind of NOTIFY must have its answer, and only a check-sync that is to be
// obeyed makes the phone fetch.
func TestNotify(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*Config)
		event    string
		own      *credentials
		status   int
		last     string // file that was asked for last
		rebooted bool
	}{
		{"unchanged", nil, "check-sync;reboot=false", nil, 200, "805ec0000001.cfg 304", false},
		{"odd spelling", nil, "Check-Sync ; REBOOT = false", nil, 200, "805ec0000001.cfg 304", false},
		{"no parameter", nil, "check-sync", nil, 200, "805ec0000001.cfg 304", false},
		{"reboot", nil, "check-sync;reboot=true", nil, 200, "805ec0000001.cfg 200", true},
		{"unknown event", nil, "message-summary", nil, 489, "", false},
		{"never fetches", func(c *Config) { c.NeverRefetch = true }, "check-sync;reboot=false", nil, 200, "", false},
		{"challenged", func(c *Config) { c.ChallengeNotify = true }, "check-sync;reboot=false",
			&credentials{user: "HD0001", password: "secret"}, 200, "805ec0000001.cfg 304", false},
		{"challenged, wrong password", func(c *Config) { c.ChallengeNotify = true }, "check-sync;reboot=false",
			&credentials{user: "HD0001", password: "old"}, 401, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				p, _ := o.ready(c.change)
				o.take(t)
				before := o.registered()
				if status := o.notify(p, c.event, c.own); status != c.status {
					t.Errorf("status %d, want %d", status, c.status)
				}
				o.pass(2 * time.Second)
				last := ""
				if asked := o.take(t); len(asked) > 0 {
					last = asked[len(asked)-1]
				}
				if last != c.last {
					t.Errorf("asked last for %q, want %q", last, c.last)
				}
				after := o.registered()
				if rebooted := len(after) > len(before); rebooted != c.rebooted {
					t.Errorf("registered anew %v, want %v: %q", rebooted, c.rebooted, after)
				}
				if c.rebooted {
					o.told("rebooting", "fetched", "config", "registered")
				}
			})
		})
	}
}

// A phone that was never told otherwise must restart at every check-sync, as
// Yealink's do.
func TestNotifyFactory(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.give("HD0001", "secret", "sip.notify_reboot_enable = 1")
		p, _ := o.phone(nil)
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		o.notify(p, "check-sync;reboot=false", nil)
		o.pass(time.Second)
		o.told("registered", "check-sync", "rebooting", "registered")
	})
}

// A phone that is rebooted must keep its settings; one that was reset must have
// forgotten them, with the URL of its last file.
func TestRebootAndReset(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		o.shelf.mu.Lock()
		o.files["y000000000108.cfg"] = ini("phone_setting.ring_type = Ring9.wav")
		o.shelf.mu.Unlock()
		p.Reboot()
		o.wait("the common file", func() bool { return p.Setting("phone_setting.ring_type") != "" })
		o.shelf.mu.Lock()
		delete(o.files, "y000000000108.cfg")
		o.shelf.mu.Unlock()
		for _, c := range []struct {
			do   func()
			kept string
		}{{p.Reboot, "Ring9.wav"}, {p.FactoryReset, ""}} {
			before := len(o.registered())
			c.do()
			o.wait("a new registration", func() bool { return len(o.registered()) > before })
			if got := p.Setting("phone_setting.ring_type"); got != c.kept {
				t.Errorf("the phone holds %q, want %q", got, c.kept)
			}
		}
		o.told("rebooting", "registered", "rebooting", "registered", "rebooting", "registered")
	})
}

// A phone that trusts its server only must not even answer somebody else.
func TestTrust(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		stranger, err := openAgent(Config{Local: "192.0.2.66", ListenPacket: o.net.ListenPacket}, "stranger", o.receive, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.close()
		req := o.dialogTo(p).next("OPTIONS", "stranger")
		if res, err := stranger.udp.do(o.soon(), req, ""); err == nil {
			t.Errorf("the phone answered a stranger with %d", res.StatusCode)
		}
		if res, err := o.agent.udp.do(o.soon(), o.dialogTo(p).next("OPTIONS", "server"), ""); err != nil || res.StatusCode != 200 {
			t.Errorf("the server got %v, %v", res, err)
		}
	})
}

// A phone whose account is taken away must un-REGISTER it, say nothing by SIP any
// more, and wait for another.
func TestRelease(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		question := o.dialogTo(p).next("OPTIONS", "server")
		o.hold()
		o.notify(p, "check-sync;reboot=false", nil)
		if err := p.WaitLabel(o.soon(), "Waiting"); err != nil {
			t.Fatal(err)
		}
		all := o.registered()
		if user, expires, _, _ := fields(all[len(all)-1]); user != "HD0001" || expires != "0" {
			t.Errorf("registered by %q", all)
		}
		if res, err := o.agent.udp.do(o.soon(), question, ""); err == nil {
			t.Errorf("a phone without an account answers with %d", res.StatusCode)
		}
		o.give("HD0001", "secret")
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
	})
}

// At boot a phone must go where its last file said, unless the network's option
// always wins.
func TestWhereToBoot(t *testing.T) {
	for _, c := range []struct {
		name   string
		always bool
		want   string
	}{{"own URL", false, "http://own/"}, {"option 66", true, "http://192.0.2.1/enrol/"}} {
		p, err := New(Config{Provision: "http://192.0.2.1/enrol", MAC: "805ec0000001", Model: "yealink-t46u", AlwaysOption66: c.always})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.server(true).url; got != "http://192.0.2.1/enrol/" {
			t.Errorf("%s: a new phone goes to %s", c.name, got)
		}
		p.loaded.settings["static.auto_provision.server.url"] = "http://own/"
		p.loaded.settings["static.auto_provision.server.username"] = "HD0001"
		if got := p.server(true); got.url != c.want || got.user != "HD0001" {
			t.Errorf("%s: boots from %+v", c.name, got)
		}
		if got := p.server(false).url; got != "http://own/" {
			t.Errorf("%s: a check-sync fetches from %s", c.name, got)
		}
	}
}

// A phone that is switched off must be silent, or say goodbye when it is told to;
// either way nobody waits for it any more.
func TestOff(t *testing.T) {
	for _, goodbye := range []bool{false, true} {
		inOffice(t, func(t *testing.T, o *office) {
			p, off := o.ready(func(c *Config) { c.UnregisterOnExit = goodbye })
			waiting := make(chan error, 1)
			go func() { waiting <- p.WaitLabel(o.soon(), "never") }()
			off()
			if err := <-waiting; !errors.Is(err, ErrStopped) {
				t.Errorf("who waited got %v", err)
			}
			all := o.registered()
			if _, expires, _, _ := fields(all[len(all)-1]); (expires == "0") != goodbye {
				t.Errorf("goodbye %v: registered by %q", goodbye, all)
			}
			if p.State().Registered {
				t.Error("a phone that is off shows that it is registered")
			}
			if err := p.Run(o.soon()); err == nil {
				t.Error("it ran twice")
			}
		})
	}
}

// On a network that loses a fifth of all packets and repeats and reorders others
// a phone must still get registered and stay so.
func TestBadNetwork(t *testing.T) {
	inBadOffice(t, memnet.Conditions{Loss: 0.2, Reorder: 0.1, Duplicate: 0.1, Delay: 20 * time.Millisecond}, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		o.pass(20 * time.Minute)
		if n := len(o.registered()); n < 8 || !p.State().Registered {
			t.Errorf("%d registrations in 20 minutes, registered %v", n, p.State().Registered)
		}
	})
}
