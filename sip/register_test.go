package sip

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

// listed is the Contact of a 200 to REGISTER and its expiry; empty for none.
func listed(tb testing.TB, res *sip.Response) (contact string, expires int) {
	tb.Helper()
	all := res.GetHeaders("Contact")
	if len(all) > 1 {
		tb.Errorf("%d Contacts are listed", len(all))
	}
	if len(all) == 0 {
		return "", 0
	}
	c := all[0].(*sip.ContactHeader)
	text, _ := c.Params.Get("expires")
	expires, _ = strconv.Atoi(text)
	return c.Address.String(), expires
}

// A registration lasts at most 300 seconds, up to a tenth less so that phones
// spread, and never less than the 60 below which it is refused.
func TestRegisterExpiry(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		for _, c := range []struct {
			expires, contact string
			status, min, max int
		}{
			{"300", "", 200, 270, 300},
			{"3600", "", 200, 270, 300},
			{"4294967295", "", 200, 270, 300},
			{"99999999999999999999", "", 200, 270, 300},
			{"soon", "", 200, 270, 300},
			{"100", "", 200, 90, 100},
			{"60", "", 200, 60, 60},
			{"59", "", 423, 0, 0},
			{"1", "", 423, 0, 0},
			{"300", "<sip:HD0001@192.0.2.11:5060>;expires=30", 423, 0, 0},
			{"30", "<sip:HD0001@192.0.2.11:5060>;EXPIRES=120", 200, 108, 120},
		} {
			for range 3 {
				res := p.tryRegister(registration{expires: c.expires, contact: c.contact})
				if res.StatusCode != c.status {
					t.Fatalf("Expires %s, Contact %s: %d, want %d", c.expires, c.contact, res.StatusCode, c.status)
				}
				_, got := listed(t, res)
				if c.status == 200 && (got < c.min || got > c.max) {
					t.Errorf("Expires %s: granted %d, want %d to %d", c.expires, got, c.min, c.max)
				}
				if h := res.GetHeader("Min-Expires"); c.status == 423 && (h == nil || h.Value() != "60") {
					t.Errorf("Min-Expires %v", h)
				}
			}
		}
	})
}

// A registration that is not renewed runs out, and its phone is unregistered.
func TestRegistrationRunsOut(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		p.register()
		sleep(269 * time.Second)
		if _, ok := o.live.Registration("HD0001"); !ok {
			t.Error("gone before its time")
		}
		sleep(33 * time.Second)
		if _, ok := o.live.Registration("HD0001"); ok {
			t.Error("still registered after 302 seconds")
		}
	})
}

// What takes a registration away, and what must not: the old AOR's un-REGISTER
// after a login, in both orders around the new REGISTER, leaves the new one.
func TestUnregister(t *testing.T) {
	const a, b = "sip:HD0001@192.0.2.1", "sip:100@192.0.2.1"
	idle, user := "<sip:HD0001@192.0.2.11:5060>", "<sip:100@192.0.2.11:5060>"
	for _, c := range []struct {
		name  string
		steps []registration
		left  string
	}{
		{"same call", []registration{{aor: a, contact: idle}, {aor: a, contact: idle, expires: "0"}}, ""},
		{"all of them", []registration{{aor: a, contact: idle}, {aor: a, contact: "*", expires: "0"}}, ""},
		{"all of another call", []registration{{aor: a, contact: idle}, {aor: a, contact: "*", expires: "0", callID: "other"}}, idle},
		{"rebooted phone", []registration{{aor: a, contact: idle}, {aor: a, contact: idle, expires: "0", callID: "other"}}, ""},
		{"another contact", []registration{{aor: a, contact: idle}, {aor: a, contact: "<sip:x@192.0.2.11:5060>", expires: "0", callID: "other"}}, idle},
		{"old one last", []registration{{aor: a, contact: idle}, {aor: b, contact: user, callID: "new"}, {aor: a, contact: idle, expires: "0"}}, user},
		{"old one last, one Call-ID for both", []registration{{aor: a, contact: idle}, {aor: b, contact: user}, {aor: a, contact: idle, expires: "0"}}, user},
		{"old one first", []registration{{aor: a, contact: idle}, {aor: a, contact: idle, expires: "0"}, {aor: b, contact: user, callID: "new"}}, user},
		{"old one last, same contact", []registration{{aor: a, contact: idle}, {aor: b, contact: idle, callID: "new"}, {aor: a, contact: idle, expires: "0"}}, idle},
		{"old one last, same call and contact", []registration{{aor: a, contact: idle}, {aor: b, contact: idle}, {aor: a, contact: idle, expires: "0"}}, idle},
		{"all of the old one last", []registration{{aor: a, contact: idle}, {aor: b, contact: user}, {aor: a, contact: "*", expires: "0"}}, user},
		{"old and new contact in one", []registration{{aor: a, contact: idle}, {aor: a, contact: idle + ";expires=0, " + user}}, user},
		{"new and old contact in one", []registration{{aor: a, contact: idle}, {aor: a, contact: user + ", " + idle + ";expires=0"}}, user},
		{"a lower CSeq of a phone that was started anew", []registration{{aor: a, contact: user, cseq: 90}, {aor: a, contact: idle, cseq: 80}}, idle},
		{"overtaken un-REGISTER", []registration{{aor: a, contact: idle, cseq: 90}, {aor: a, contact: idle, expires: "0", cseq: 80}}, idle},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				p := o.phone(1)
				var last string
				for _, step := range c.steps {
					res := p.tryRegister(step)
					if res.StatusCode != 200 {
						t.Fatalf("%+v: %d", step, res.StatusCode)
					}
					last, _ = listed(t, res)
				}
				want := strings.Trim(c.left, "<>")
				if last != want {
					t.Errorf("listed %q, want %q", last, want)
				}
				if r, _ := o.live.Registration("HD0001"); r.Contact != want {
					t.Errorf("live has %q, want %q", r.Contact, want)
				}
			})
		})
	}
}

// "*" together with a life or with another Contact is refused and changes nothing.
func TestRegisterStarRules(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		p.register()
		for _, r := range []registration{{contact: "*"}, {contact: "*, <sip:x@192.0.2.11>", expires: "0"}} {
			if res := p.tryRegister(r); res.StatusCode != 400 {
				t.Errorf("%+v: %d, want 400", r, res.StatusCode)
			}
		}
		if _, ok := o.live.Registration("HD0001"); !ok {
			t.Error("not registered any more")
		}
	})
}

// The 200 lists the Contact of the device itself and of no other.
func TestRegisterListsOwnContactOnly(t *testing.T) {
	inOffice(t, func(o *office) {
		one, two := o.phone(1), o.phone(2)
		one.register()
		got, _ := listed(t, two.tryRegister(registration{aor: "sip:HD0001@192.0.2.1"}))
		if got != "sip:HD0002@192.0.2.12:5060" {
			t.Errorf("HD0002, registering the AOR of HD0001, is told %q", got)
		}
		if r, _ := o.live.Registration("HD0001"); r.Source != "udp:192.0.2.11:5060" {
			t.Errorf("HD0001 is at %s", r.Source)
		}
	})
}

// varying is what may differ between two refusals.
var varying = regexp.MustCompile(`nonce="[^"]*"|branch=[^;\r]*|tag=[^;\r]*`)

// An unknown user, a wrong secret and an unclaimed device get the same answer,
// byte for byte but for nonce, branch and tags.
func TestRefusalsLookAlike(t *testing.T) {
	inOffice(t, func(o *office) {
		answer := func(id string, gen uint64) string {
			p := o.plug("192.0.2.77:5060")
			defer p.conn.Close()
			p.id, p.user, p.gen, p.call = id, "100", gen, "same"
			return varying.ReplaceAllString(p.tryRegister(registration{callID: "same"}).String(), "")
		}
		wrong := answer("HD0001", 999)
		if !strings.HasPrefix(wrong, "SIP/2.0 401 ") {
			t.Fatalf("a wrong secret gets\n%s", wrong)
		}
		for _, id := range []string{"HD9999", "nobody", "100", ""} {
			if got := answer(id, 999); got != wrong {
				t.Errorf("user %q gets\n%s\nbut a wrong secret\n%s", id, got, wrong)
			}
		}
	})
}

// A blocked device that knows its secret is told 403; one that does not is
// told no more than a stranger.
func TestRegisterBlocked(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		if err := o.Block(context.Background(), "HD0001", "test"); err != nil {
			t.Fatal(err)
		}
		p.gen = o.generation("HD0001")
		if res := p.tryRegister(registration{}); res.StatusCode != 403 {
			t.Errorf("got %d, want 403", res.StatusCode)
		}
		p.gen = 999
		if res := p.tryRegister(registration{}); res.StatusCode != 401 {
			t.Errorf("with a wrong secret: %d, want 401", res.StatusCode)
		}
		if _, ok := o.live.Registration("HD0001"); ok {
			t.Error("registered")
		}
	})
}

// Three secrets later a phone that fetched nothing still registers with the one
// it has; when it has proven a newer one, the older ones are refused for good.
func TestGenerations(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		p.register()
		old := p.gen
		for range 3 {
			if err := o.Rotate(context.Background(), "HD0001", false, "test"); err != nil {
				t.Fatal(err)
			}
			p.gen = old
			p.register()
		}
		p.gen = old + 2
		p.register()
		for gen := old; gen <= old+3; gen++ {
			want := 401
			if gen >= old+2 {
				want = 200
			}
			p.gen = gen
			if res := p.tryRegister(registration{}); res.StatusCode != want {
				t.Errorf("generation %d of %d, %d proven: %d, want %d", gen, old+3, old+2, res.StatusCode, want)
			}
		}
		p.gen = old
		for n := range 1000 {
			if res := p.tryRegister(registration{}); res.StatusCode != 401 {
				t.Fatalf("REGISTER %d of 1000 with the old secret: %d", n, res.StatusCode)
			}
		}
	})
}

// Phones on UDP are there again after a restart, without a word of theirs; those
// whose time is over or that were removed or blocked meanwhile are not.
func TestLocationsOutliveRestart(t *testing.T) {
	inOffice(t, func(o *office) {
		for n := 1; n <= 3; n++ {
			o.phone(n).register()
		}
		sleep(1500 * time.Millisecond)
		file := filepath.Join(o.dir, "locations.json")
		if text, err := os.ReadFile(file); err != nil || strings.Count(string(text), `"contact"`) != 3 {
			t.Fatalf("after 1.5 s the file is %s, %v", text, err)
		}
		o.closeEdge()
		if err := o.Block(context.Background(), "HD0002", "test"); err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 3; n++ {
			o.live.Unregistered(hotdesk.DeviceID(fmt.Sprintf("HD000%d", n)))
		}
		o.openEdge()
		for id, want := range map[hotdesk.DeviceID]bool{"HD0001": true, "HD0002": false, "HD0003": true} {
			if _, ok := o.live.Registration(id); ok != want {
				t.Errorf("%s registered: %v, want %v", id, ok, want)
			}
		}
		o.closeEdge()
		sleep(10 * time.Minute)
		for _, id := range []hotdesk.DeviceID{"HD0001", "HD0003"} {
			o.live.Unregistered(id)
		}
		o.openEdge()
		if _, ok := o.live.Registration("HD0001"); ok {
			t.Error("registered ten minutes after its last word")
		}
	})
}

// A location file that is broken, or cannot be written for a while, costs no
// registration, and what was not written is written later.
func TestBrokenLocationFile(t *testing.T) {
	inOffice(t, func(o *office) {
		o.closeEdge()
		file := filepath.Join(o.dir, "locations.json")
		if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		o.openEdge()
		blocker := file + ".new"
		if err := os.Mkdir(blocker, 0o700); err != nil {
			t.Fatal(err)
		}
		o.phone(1).register()
		sleep(3 * time.Second)
		if err := os.Remove(blocker); err != nil {
			t.Fatal(err)
		}
		sleep(2 * time.Second)
		synctest.Wait()
		if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "192.0.2.11:5060") {
			t.Errorf("the file is %s, %v", text, err)
		}
	})
}

// A recorded REGISTER that somebody sends from elsewhere moves no phone.
func TestReplayedRegisterMovesNothing(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		res := p.tryRegister(registration{callID: "first"})
		if res.StatusCode != 200 {
			t.Fatal(res.StatusCode)
		}
		text := fmt.Sprintf("REGISTER sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bKx1\r\nFrom: <sip:HD0001@192.0.2.1>;tag=r\r\nTo: <sip:HD0001@192.0.2.1>\r\nCall-ID: x\r\nCSeq: 7 REGISTER\r\nContact: <sip:HD0001@192.0.2.11>\r\n", p.at)
		p.send(text + "Content-Length: 0\r\n\r\n")
		auth := p.sign(p.response("401 REGISTER").GetHeader("WWW-Authenticate").Value(), "REGISTER", "sip:192.0.2.1")
		recorded := strings.Replace(text, "x1", "x2", 1) + auth + "Content-Length: 0\r\n\r\n"
		p.send(recorded)
		p.expect("200 REGISTER")
		thief := o.plug("203.0.113.9:5060")
		for n := range 3 {
			thief.send(strings.Replace(recorded, "x2", fmt.Sprint("y", n), 1))
			if got := name(thief.read(time.Second)); got != "401 REGISTER" {
				t.Errorf("the thief gets %s", got)
			}
		}
		if r, _ := o.live.Registration("HD0001"); r.Source != "udp:192.0.2.11:5060" {
			t.Errorf("HD0001 is at %s now", r.Source)
		}
	})
}
