package ingress

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

const realm = "hotdeskd"

// guardian is an Authenticator with a clock that tests move, and one user.
type guardian struct {
	*Authenticator
	at time.Time
}

func newGuardian() *guardian {
	g := &guardian{at: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	g.Authenticator = NewAuthenticator(realm, []byte("key of these tests, 32 bytes long"), func() time.Time { return g.at })
	return g
}

// lookup knows HD0001 with an old and a new secret.
func lookup(user string) (string, []string) {
	if !strings.EqualFold(user, "HD0001") {
		return "", nil
	}
	return "HD0001", []string{newHA1, md5hex("HD0001:" + realm + ":old")}
}

var newHA1 = md5hex("HD0001:" + realm + ":new")

// sign computes the credentials of a REGISTER for a challenge.
func sign(tb testing.TB, challenge, user, password string, count int) string {
	tb.Helper()
	chal, err := digest.ParseChallenge(challenge)
	if err != nil {
		tb.Fatal(err)
	}
	cred, err := digest.Digest(chal, digest.Options{
		Method: "REGISTER", URI: "sip:192.0.2.1", Username: user, Password: password, Count: count, Cnonce: "0a4f113b",
	})
	if err != nil {
		tb.Fatal(err)
	}
	return cred.String()
}

// signed is a REGISTER with credentials, numbered by its CSeq.
func signed(tb testing.TB, cseq int, credentials ...string) *sip.Request {
	lines := ""
	for _, c := range credentials {
		lines += "Authorization: " + c + "\n"
	}
	req := parse(tb, message("REGISTER", "CSeq: 1 ", fmt.Sprintf("CSeq: %d ", cseq), "Max-Forwards: 70\n", lines+"Max-Forwards: 70\n"))
	req.SetSource("192.0.2.7:5060")
	return req
}

func (g *guardian) check(req *sip.Request) Result {
	result, _, _ := g.Check(req, lookup)
	return result
}

// A right digest passes and tells which of the accepted secrets it was made of;
// nothing else does.
func TestCheck(t *testing.T) {
	g := newGuardian()
	challenge := g.Challenge(false)
	stranger := NewAuthenticator(realm, []byte("another key, which is also 32 long"), func() time.Time { return g.at })
	right := sign(t, challenge, "HD0001", "new", 1)
	for _, c := range []struct {
		name        string
		credentials []string
		want        Result
		user        string
		index       int
	}{
		{"none", nil, Missing, "", 0},
		{"the new secret", []string{right}, Right, "HD0001", 0},
		{"the old secret", []string{sign(t, g.Challenge(false), "HD0001", "old", 1)}, Right, "HD0001", 1},
		{"wrong secret", []string{sign(t, g.Challenge(false), "HD0001", "bad", 1)}, Wrong, "HD0001", 0},
		{"unknown user", []string{sign(t, g.Challenge(false), "HD0002", "new", 1)}, Wrong, "HD0002", 0},
		{"other realm", []string{sign(t, strings.Replace(g.Challenge(false), realm, "elsewhere", 1), "HD0001", "new", 1)}, Missing, "", 0},
		{"other scheme", []string{"Basic SEQwMDAxOm5ldw=="}, Missing, "", 0},
		{"unknown scheme", []string{"NoOneKnowsThisScheme opaque-data=here"}, Missing, "", 0},
		{"nonsense", []string{`Digest username="`}, Missing, "", 0},
		{"ours is the third of several", []string{
			"Basic SEQwMDAxOm5ldw==", sign(t, strings.Replace(g.Challenge(false), realm, "elsewhere", 1), "HD0001", "new", 1),
			sign(t, g.Challenge(false), "HD0001", "new", 1),
		}, Right, "HD0001", 0},
		{"nonce of another key", []string{sign(t, stranger.Challenge(false), "HD0001", "new", 1)}, Wrong, "HD0001", 0},
		{"nonce that nobody made", []string{sign(t, `Digest realm="hotdeskd", nonce="x", qop="auth"`, "HD0001", "new", 1)}, Wrong, "HD0001", 0},
		{"without qop, as of RFC 2069", []string{sign(t, strings.Replace(g.Challenge(false), `, qop="auth"`, "", 1), "HD0001", "new", 1)}, Wrong, "HD0001", 0},
		{"SHA-256", []string{sign(t, strings.Replace(g.Challenge(false), "MD5", "SHA-256", 1), "HD0001", "new", 1)}, Wrong, "HD0001", 0},
		{"algorithm and qop in quotes", []string{strings.NewReplacer("MD5", `"MD5"`, "qop=auth", `qop="auth"`).Replace(sign(t, g.Challenge(false), "HD0001", "new", 1))}, Right, "HD0001", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, user, index := g.Check(signed(t, 1, c.credentials...), lookup)
			if result != c.want || user != c.user || index != c.index {
				t.Errorf("got %v %q %d, want %v %q %d", result, user, index, c.want, c.user, c.index)
			}
		})
	}
}

// The response is computed over the nonce count as the phone wrote it, so that
// one in upper case passes too.
func TestCountInUpperCase(t *testing.T) {
	g := newGuardian()
	challenge := g.Challenge(false)
	chal, err := digest.ParseChallenge(challenge)
	if err != nil {
		t.Fatal(err)
	}
	response := md5hex(newHA1 + ":" + chal.Nonce + ":0000000A:0a4f113b:auth:" + md5hex("REGISTER:sip:192.0.2.1"))
	req := signed(t, 1, `Digest username="HD0001", realm="hotdeskd", nonce="`+chal.Nonce+`", uri="sip:192.0.2.1", cnonce="0a4f113b", qop=auth, nc=0000000A, response="`+response+`"`)
	if got := g.check(req); got != Right {
		t.Errorf("got %v, want Right", got)
	}
}

// A nonce is taken for five minutes; after that the right secret gets stale,
// which lets a phone answer again without asking anybody, and a wrong one
// still gets wrong.
func TestNonceGrowsOld(t *testing.T) {
	g := newGuardian()
	challenge := g.Challenge(false)
	g.at = g.at.Add(nonceLife - time.Second)
	if got := g.check(signed(t, 1, sign(t, challenge, "HD0001", "new", 1))); got != Right {
		t.Errorf("just in time: %v", got)
	}
	g.at = g.at.Add(time.Second)
	if got := g.check(signed(t, 2, sign(t, challenge, "HD0001", "new", 2))); got != Stale {
		t.Errorf("too late: %v, want Stale", got)
	}
	if got := g.check(signed(t, 3, sign(t, challenge, "HD0001", "bad", 3))); got != Wrong {
		t.Errorf("too late and wrong: %v, want Wrong", got)
	}
	if c := g.Challenge(true); !strings.Contains(c, "stale=true") {
		t.Errorf("challenge %s", c)
	}
	g.at = g.at.Add(-time.Hour) // the clock was set back
	if got := g.check(signed(t, 4, sign(t, challenge, "HD0001", "new", 4))); got != Stale {
		t.Errorf("from the future: %v, want Stale", got)
	}
}

// A nonce count is taken once: a recorded request is stale in another request,
// from another place and later, and only its retransmission passes again.
func TestReplay(t *testing.T) {
	g := newGuardian()
	challenge := g.Challenge(false)
	first := sign(t, challenge, "HD0001", "new", 1)
	elsewhere := signed(t, 1, first)
	elsewhere.SetSource("203.0.113.9:5060")
	for _, step := range []struct {
		name string
		req  *sip.Request
		wait time.Duration
		want Result
	}{
		{"first", signed(t, 1, first), 0, Right},
		{"retransmission", signed(t, 1, first), time.Second, Right},
		{"same credentials in another request", signed(t, 2, first), 0, Stale},
		{"same request from elsewhere", elsewhere, 0, Stale},
		{"next count", signed(t, 2, sign(t, challenge, "HD0001", "new", 2)), 0, Right},
		{"an older count", signed(t, 3, first), 0, Stale},
		{"the first request again", signed(t, 1, first), 0, Stale},
		{"a count left out", signed(t, 3, sign(t, challenge, "HD0001", "new", 9)), 0, Right},
		{"retransmission after its time", signed(t, 3, sign(t, challenge, "HD0001", "new", 9)), retransmitted, Stale},
	} {
		g.at = g.at.Add(step.wait)
		if got := g.check(step.req); got != step.want {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
}

// Credentials that were made for one number place no call to another one,
// however the number is escaped; and those of before a start are stale.
func TestCredentialsOfAnotherCall(t *testing.T) {
	g := newGuardian()
	invite := func(dialled, uri string) *sip.Request {
		chal, err := digest.ParseChallenge(g.Challenge(false))
		if err != nil {
			t.Fatal(err)
		}
		cred, err := digest.Digest(chal, digest.Options{Method: "INVITE", URI: uri, Username: "HD0001", Password: "new", Count: 1, Cnonce: "0a4f113b"})
		if err != nil {
			t.Fatal(err)
		}
		text := message("INVITE", "Max-Forwards: 70\n", "Authorization: "+cred.String()+"\nMax-Forwards: 70\n")
		first, _, _ := strings.Cut(text, " SIP/2.0")
		return parse(t, strings.Replace(text, first, "INVITE "+dialled, 1))
	}
	for _, c := range []struct {
		dialled, uri string
		want         Result
	}{
		{"sip:*77*9*@192.0.2.1", "sip:*77*9*@192.0.2.1", Right},
		{"sip:%2A77*9*@192.0.2.1", "sip:*77*9*@192.0.2.1:5060", Right},
		{"sip:*77*100*@192.0.2.1", "sip:*77*9*@192.0.2.1", Wrong},
		{"tel:112", "tel:112", Right},
		{"tel:112", "tel:113", Wrong},
	} {
		if got := g.check(invite(c.dialled, c.uri)); got != c.want {
			t.Errorf("%s with credentials for %s: %v, want %v", c.dialled, c.uri, got, c.want)
		}
	}
	recorded := signed(t, 1, sign(t, g.Challenge(false), "HD0001", "new", 1))
	again := newGuardian()
	again.at = g.at.Add(time.Second)
	again.Authenticator = NewAuthenticator(realm, []byte("key of these tests, 32 bytes long"), func() time.Time { return again.at })
	if got := again.check(recorded); got != Stale {
		t.Errorf("recorded before the start: %v, want Stale", got)
	}
}

// A nonce that was used stays used when many others have come after it.
func TestReplayAfterManyNonces(t *testing.T) {
	g := newGuardian()
	recorded := sign(t, g.Challenge(false), "HD0001", "new", 1)
	if got := g.check(signed(t, 1, recorded)); got != Right {
		t.Fatalf("first: %v", got)
	}
	for n := range 3 * keptNonces {
		g.at = g.at.Add(time.Second)
		if got := g.check(signed(t, 2+n, sign(t, g.Challenge(false), "HD0001", "new", 1))); got != Right {
			t.Fatalf("nonce %d: %v", n, got)
		}
	}
	if got := g.check(signed(t, 1, recorded)); got != Stale {
		t.Errorf("replay: %v, want Stale", got)
	}
	if kept := len(g.used["HD0001"].last); kept != keptNonces {
		t.Errorf("%d nonces kept, want %d", kept, keptNonces)
	}
}

// No two challenges have the same nonce, also when the clock stands.
func TestNoncesDiffer(t *testing.T) {
	g := newGuardian()
	seen := map[string]bool{}
	for range 1000 {
		seen[g.Challenge(false)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different challenges of 1000", len(seen))
	}
}

// One nonce count is right once, however many try at the same time.
func TestReplayRace(t *testing.T) {
	g := newGuardian()
	cred := sign(t, g.Challenge(false), "HD0001", "new", 1)
	var wg sync.WaitGroup
	var mu sync.Mutex
	right := 0
	for n := range 50 {
		req := signed(t, n+1, cred)
		wg.Go(func() {
			if result, _, _ := g.Check(req, lookup); result == Right {
				mu.Lock()
				right++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if right != 1 {
		t.Errorf("%d of 50 passed with one nonce count", right)
	}
}

// FuzzCheck: whatever stands in the header, nobody is Right who does not know
// the secret, and nothing panics.
func FuzzCheck(f *testing.F) {
	g := newGuardian()
	f.Add(sign(f, g.Challenge(false), "HD0001", "bad", 1))
	f.Add(sign(f, strings.Replace(g.Challenge(false), "MD5", "md5", 1), "hd0001", "", 1))
	f.Add(`Digest username="HD0001",realm="hotdeskd",nonce="",uri="",qop=auth,nc=ffffffff,cnonce="",response=""`)
	f.Add("Digest nc")
	f.Fuzz(func(t *testing.T, header string) {
		if strings.ContainsAny(header, "\r\n") {
			return
		}
		req := parse(t, message("REGISTER"))
		req.AppendHeader(sip.NewHeader("Authorization", header))
		if result, user, _ := g.Check(req, lookup); result == Right || result == Stale {
			t.Errorf("%v for %q with %s", result, user, header)
		}
	})
}

// BenchmarkCheck is the digest of one REGISTER with the right secret.
func BenchmarkCheck(b *testing.B) {
	g := newGuardian()
	challenge := g.Challenge(false)
	reqs := make([]*sip.Request, 256)
	for i := range reqs {
		reqs[i] = signed(b, i+1, sign(b, challenge, "HD0001", "new", i+1))
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n%len(reqs) == 0 {
			g.used = map[string]*uses{}
		}
		if got := g.check(reqs[n%len(reqs)]); got != Right {
			b.Fatal(got)
		}
		n++
	}
}
