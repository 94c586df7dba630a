package simphone

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// challenged answers a REGISTER by a script: "200", or a status, a nonce and what
// else the challenge says. It reports what each request proved.
type challenged struct {
	script   []string
	password string
	got      []string
}

func (c *challenged) send(req *sip.Request) (*sip.Response, error) {
	proof := "none"
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		h := req.GetHeader(name)
		if h == nil {
			continue
		}
		cred, err := digest.ParseCredentials(h.Value())
		if err != nil {
			return nil, err
		}
		want, err := digest.Digest(&digest.Challenge{Realm: cred.Realm, Nonce: cred.Nonce, QOP: []string{"auth"}}, digest.Options{
			Method: "REGISTER", URI: "sip:192.0.2.1", Username: "HD0001", Password: c.password, Count: cred.Nc, Cnonce: cred.Cnonce,
		})
		if err != nil {
			return nil, err
		}
		proof = fmt.Sprintf("%s %s nc=%d right=%v", name, cred.Nonce, cred.Nc, want.Response == cred.Response)
	}
	c.got = append(c.got, proof)
	now := c.script[0]
	c.script = c.script[1:]
	var status int
	var nonce, more string
	_, _ = fmt.Sscan(now, &status, &nonce, &more)
	res := sip.NewResponse(status, "")
	if nonce != "" {
		header := "WWW-Authenticate"
		if status == 407 {
			header = "Proxy-Authenticate"
		}
		res.AppendHeader(sip.NewHeader(header, `Digest realm="x", nonce="other", algorithm=SHA-256, qop="auth"`))
		if nonce != "sha" {
			res.AppendHeader(sip.NewHeader(header, `Digest realm="x", nonce="`+nonce+`", algorithm=MD5, qop="auth"`+more))
		}
	}
	return res, nil
}

// The phone must answer a challenge once, a second one only when its nonce was
// stale, use a nonce again with a rising count, and never try a wrong password
// twice.
func TestChallenges(t *testing.T) {
	for _, c := range []struct {
		name   string
		times  int
		script []string
		want   []string
		status int
		err    error
	}{
		{"let in", 1, []string{"200"}, []string{"none"}, 200, nil},
		{"challenged", 1, []string{"401 n1", "200"}, []string{"none", "Authorization n1 nc=1 right=true"}, 200, nil},
		{"challenged by a proxy", 1, []string{"407 n1", "200"}, []string{"none", "Proxy-Authorization n1 nc=1 right=true"}, 200, nil},
		{"nonce used again", 3, []string{"401 n1", "200", "200", "200"},
			[]string{"none", "Authorization n1 nc=1 right=true", "Authorization n1 nc=2 right=true", "Authorization n1 nc=3 right=true"}, 200, nil},
		{"old nonce stale", 2, []string{"401 n1", "200", "401 n2 ,stale=true", "200"},
			[]string{"none", "Authorization n1 nc=1 right=true", "Authorization n1 nc=2 right=true", "Authorization n2 nc=1 right=true"}, 200, nil},
		{"fresh nonce stale once", 1, []string{"401 n1", "401 n2 ,stale=true", "200"},
			[]string{"none", "Authorization n1 nc=1 right=true", "Authorization n2 nc=1 right=true"}, 200, nil},
		{"stale for ever", 1, []string{"401 n1", "401 n2 ,stale=true", "401 n3 ,stale=true"},
			[]string{"none", "Authorization n1 nc=1 right=true", "Authorization n2 nc=1 right=true"}, 401, nil},
		{"wrong password", 1, []string{"401 n1", "401 n2"}, []string{"none", "Authorization n1 nc=1 right=true"}, 401, nil},
		{"after a failure from the start", 2, []string{"401 n1", "401 n2", "200"},
			[]string{"none", "Authorization n1 nc=1 right=true", "none"}, 200, nil},
		{"nothing it can answer", 1, []string{"401 sha"}, []string{"none"}, 0, errNoChallenge},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := &challenged{script: c.script, password: "secret"}
			own := &credentials{user: "HD0001", password: "secret"}
			var res *sip.Response
			var err error
			for range c.times {
				res, err = own.exchange(func() *sip.Request {
					return sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: "192.0.2.1"})
				}, peer.send)
			}
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && res.StatusCode != c.status {
				t.Errorf("status %d, want %d", res.StatusCode, c.status)
			}
			if !slices.Equal(peer.got, c.want) || len(peer.script) != 0 {
				t.Errorf("sent %q, want %q; %d answers left", peer.got, c.want, len(peer.script))
			}
		})
	}
}

// A check-sync must pass only with the phone's password, for a nonce of its own,
// once.
func TestProves(t *testing.T) {
	for _, c := range []struct {
		name           string
		user, password string
		spoil          func(*digest.Challenge)
		want           bool
	}{
		{"right", "HD0001", "secret", func(*digest.Challenge) {}, true},
		{"wrong password", "HD0001", "old", func(*digest.Challenge) {}, false},
		{"wrong user", "100", "secret", func(*digest.Challenge) {}, false},
		{"foreign nonce", "HD0001", "secret", func(ch *digest.Challenge) { ch.Nonce = "x" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var n nonces
			challenge, err := digest.ParseChallenge(n.challenge())
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(challenge)
			cred, err := digest.Digest(challenge, digest.Options{Method: "NOTIFY", URI: "sip:HD0001@192.0.2.50", Username: c.user, Password: c.password})
			if err != nil {
				t.Fatal(err)
			}
			req := sip.NewRequest(sip.NOTIFY, sip.Uri{Scheme: "sip", Host: "192.0.2.50"})
			if n.proves(req, "HD0001", "secret") {
				t.Error("taken without credentials")
			}
			req.AppendHeader(sip.NewHeader("Authorization", cred.String()))
			if got := n.proves(req, "HD0001", "secret"); got != c.want {
				t.Errorf("taken %v, want %v", got, c.want)
			}
			if n.proves(req, "HD0001", "secret") {
				t.Error("a nonce was taken twice")
			}
		})
	}
}
