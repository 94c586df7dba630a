package sip

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

// A 200 to a REGISTER without any Contact, or with ours under another name at our
// address, is success (RFC 3261 section 10.2.4): the time is that of the Contact, else
// of Expires, else what was asked for; nobody is told of a conflict, and the next
// registration comes when that time is nearly over.
func TestField_S24Success(t *testing.T) {
	for name, c := range map[string]struct {
		headers []string
		every   time.Duration
	}{
		"no Contact":                {nil, 300 * time.Second},
		"no Contact, but Expires":   {[]string{"Expires: 120\r\n"}, 120 * time.Second},
		"another user part":         {[]string{"Contact: <sip:101@192.0.2.1:5060>;expires=100\r\n"}, 100 * time.Second},
		"another user, no port":     {[]string{"Contact: <sip:101@192.0.2.1>\r\nExpires: 100\r\n"}, 100 * time.Second},
		"ours behind another proxy": {[]string{"Contact: <sip:TOKEN@203.0.113.4:5090>;expires=100\r\n"}, 100 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				r := o.openRegistrar()
				events, stop := o.events()
				defer stop()
				r.with(func() {
					r.first = func(req *sip.Request) bool {
						if req.Method != sip.REGISTER || req.GetHeader("Authorization") == nil || req.To().Address.User != "101" {
							return false
						}
						r.registers = append(r.registers, req)
						headers := strings.ReplaceAll(strings.Join(c.headers, ""), "TOKEN", req.Contact().Address.User)
						r.plain(req, 200, "OK", headers)
						return true
					}
				})
				o.login("HD0001", "101")
				sleep(2 * time.Second)
				if got := o.live.PBX("main"); got.Registered != 1 || len(got.Failed) != 0 || events("pbx.contact_conflict") != 0 {
					t.Errorf("status %+v", got)
				}
				sleep(20 * c.every)
				if n := len(r.of("101")); n < 20 || n > 28 {
					t.Errorf("%d registrations in 20 times %s", n, c.every)
				}
			})
		})
	}
}

// A redirected REGISTER goes where the registrar says, if that is the PBX (RFC 3261
// sections 8.1.3.4 and 21.3), at most five times; to nobody else is it sent, and that
// is told with the address.
func TestField_S24Redirect(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		o.setPBX(hotdesk.PBXSpec{Sources: []string{"192.0.2.100", "192.0.2.60"}})
		to, redirected := "sip:192.0.2.60:5070", 0
		r.with(func() {
			r.first = func(req *sip.Request) bool {
				if req.Method != sip.REGISTER || req.To().Address.User != "101" {
					return false
				}
				redirected++
				r.plain(req, 302, "Moved Temporarily", "Contact: <"+to+">\r\n")
				return true
			}
		})
		other := o.plug("192.0.2.60:5070")
		o.login("HD0001", "101")
		req := other.request("REGISTER")
		if req.Recipient.String() != "sip:192.0.2.60:5070" || req.To().Address.String() != "sip:101@pbx.example" {
			t.Errorf("sent on as\n%s", req)
		}
		other.reply(req, 401, "Unauthorized", "", "", "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\"\r\n")
		req = other.request("REGISTER")
		if uri := quoted(req.GetHeader("Authorization").Value(), "uri"); uri != "sip:192.0.2.60:5070" {
			t.Errorf("the credentials are for %s", uri)
		}
		other.send("SIP/2.0 200 OK\r\nVia: " + req.Via().Value() + "\r\nFrom: " + req.From().Value() + "\r\nTo: " + req.To().Value() + "\r\nCall-ID: " + req.CallID().Value() +
			"\r\nCSeq: " + req.CSeq().Value() + "\r\nContact: <" + req.Contact().Address.String() + ">;expires=60\r\nContent-Length: 0\r\n\r\n")
		sleep(2 * time.Second)
		if got := o.live.PBX("main"); got.Registered != 1 {
			t.Errorf("status %+v", got)
		}

		stranger := o.plug("203.0.113.66:5060")
		r.with(func() { to = "sip:203.0.113.66" })
		sleep(time.Minute)
		stranger.silent(time.Second)
		if got := o.live.PBX("main").Failed; len(got) != 1 || !strings.Contains(got[0], "203.0.113.66") || !strings.Contains(got[0], "sources") {
			t.Errorf("told %q", got)
		}
		r.with(func() { to, redirected = "sip:192.0.2.100:5060", 0 })
		o.login("HD0002", "102") // another one, whose registrar sends it round in circles
		r.with(func() {
			old := r.first
			r.first = func(req *sip.Request) bool {
				if req.To().Address.User == "102" && req.Method == sip.REGISTER {
					redirected++
					r.plain(req, 302, "Moved Temporarily", "Contact: <sip:192.0.2.100:5060>\r\n")
					return true
				}
				return old(req)
			}
		})
		sleep(2 * time.Second)
		r.with(func() {
			if redirected != 6 {
				t.Errorf("sent %d times, want once and five times on", redirected)
			}
		})
	})
}

// The Service-Route of a registration is the Route of its account's calls, in order
// (RFC 3608 section 6.1), until a later 200 has another one or none.
func TestField_S24ServiceRoute(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		routes := "Service-Route: <sip:orig@one.example;lr>, <sip:two.example;lr>\r\nService-Route: <sip:three.example;lr>\r\n"
		r.with(func() {
			r.first = func(req *sip.Request) bool {
				if req.Method != sip.REGISTER || req.GetHeader("Authorization") == nil || req.To().Address.User != "100" {
					return false
				}
				r.plain(req, 200, "OK", "Expires: 60\r\n", routes)
				return true
			}
		})
		anna := o.desk(1, "100")
		sleep(2 * time.Second)
		check := func(want string) {
			t.Helper()
			anna.invite("0612345", "v=0").refused("486 INVITE")
			r.mu.Lock()
			defer r.mu.Unlock()
			var got []string
			last := r.invites[len(r.invites)-1]
			for _, h := range last.GetHeaders("Route") {
				got = append(got, h.Value())
			}
			if strings.Join(got, " ") != want || last.Recipient.String() != "sip:0612345@pbx.example" {
				t.Errorf("Route %q, want %s\n%s", got, want, last)
			}
		}
		check("<sip:orig@one.example;lr> <sip:two.example;lr> <sip:three.example;lr>")
		r.with(func() { routes = "" })
		sleep(time.Minute)
		check("")
	})
}

// A registrar that is not to be asked again for a while (503 with Retry-After, RFC 3261
// section 21.5.4) is left alone for that long.
func TestField_S24RetryAfter(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		asked := 0
		r.with(func() {
			r.first = func(req *sip.Request) bool {
				if req.Method != sip.REGISTER || req.To().Address.User != "101" {
					return false
				}
				asked++
				r.plain(req, 503, "Service Unavailable", "Retry-After: 400;duration=60\r\n")
				return true
			}
		})
		o.login("HD0001", "101")
		sleep(395 * time.Second)
		r.with(func() {
			if asked != 1 {
				t.Errorf("asked %d times in 395 s", asked)
			}
			r.first = nil
		})
		sleep(10 * time.Second)
		if len(r.at("101")) != 1 {
			t.Error("not registered after that")
		}
	})
}

// Only what the PBX says to credentials counts towards the three refusals that stop all
// others: not an account that it does not know, not a 403 before any password was asked
// for, and not a challenge that we cannot answer, which is told as what it is.
func TestField_S24WhatCounts(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(r *pbxRegistrar, req *sip.Request)
		words  string
	}{
		"404":         {func(r *pbxRegistrar, req *sip.Request) { r.plain(req, 404, "Not Found") }, "does not know"},
		"403 unasked": {func(r *pbxRegistrar, req *sip.Request) { r.plain(req, 403, "Forbidden") }, "without asking for a password"},
		"unknown algorithm": {func(r *pbxRegistrar, req *sip.Request) {
			r.plain(req, 401, "Unauthorized", "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", algorithm=ROT13\r\n")
		}, "algorithm=ROT13"},
	} {
		t.Run(name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				r := o.openRegistrar()
				r.with(func() {
					r.first = func(req *sip.Request) bool {
						if req.Method != sip.REGISTER || req.To().Address.User == "103" || req.To().Address.User == "emergency" {
							return false
						}
						c.answer(r, req)
						return true
					}
				})
				for n := range 3 {
					o.login(hotdesk.DeviceID(fmt.Sprintf("HD%04d", n+1)), hotdesk.Extension(fmt.Sprint(100+n)))
				}
				sleep(2 * time.Minute)
				o.login("HD0004", "103")
				sleep(2 * time.Second)
				if len(r.at("103")) != 1 {
					t.Errorf("103 waits for others that nobody has refused: %q", o.live.PBX("main").Failed)
				}
				got := o.live.PBX("main").Failed
				if len(got) != 3 || !strings.Contains(got[0], c.words) {
					t.Errorf("told %q", got)
				}
			})
		})
	}
}

// A registrar that asks with MD5-sess, or with auth-int alone, is answered.
func TestField_L10Registers(t *testing.T) {
	for _, challenge := range []string{`Digest realm="pbx", nonce="n", algorithm=MD5-sess, qop="auth"`, `Digest realm="pbx", nonce="n", qop="auth-int"`} {
		inOffice(t, func(o *office) {
			r := o.openRegistrar()
			r.with(func() { r.challenge = challenge })
			anna := o.desk(1, "100")
			sleep(2 * time.Second)
			if len(r.at("100")) != 1 {
				t.Errorf("%s: %q", challenge, o.live.PBX("main").Failed)
			}
			anna.invite("0612345", "v=0").refused("486 INVITE")
		})
	}
}
