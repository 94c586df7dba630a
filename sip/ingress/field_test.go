package ingress

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// respell writes the parameters of a digest response anew: in another order, in
// other letters, with other white space, doubled, with list elements that are empty.
// None of that needs the secret.
func respell(r *rand.Rand, header string) string {
	params := strings.Split(strings.TrimPrefix(header, "Digest "), ", ")
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	some := func() bool { return r.IntN(4) == 0 } // a few changes each, so that one alone is tried, too
	if some() {
		r.Shuffle(len(params), func(i, j int) { params[i], params[j] = params[j], params[i] })
	}
	letters, spaces := some(), some()
	for i, p := range params {
		name, value, _ := strings.Cut(p, "=")
		switch {
		case name == "username" && letters:
			value = pick(`"hd0001"`, `"Hd0001"`, `"HD000\1"`)
		case name == "qop" && some():
			value = pick(`"auth"`, "auth")
		case name == "nc" && some():
			value = `"` + value + `"`
		}
		if letters {
			name = pick(name, strings.ToUpper(name), strings.ToUpper(name[:1])+name[1:])
		}
		equal := "="
		if spaces {
			equal = pick("=", " = ", "=\t", "\r\n =", "= \r\n ")
		}
		params[i] = name + equal + value
	}
	for range r.IntN(3) {
		name := pick("nc", "nc", "nc", "NC", "username", "nonce", "cnonce", "uri", "realm", "response", "qop", "algorithm", "opaque", "userhash", "username*")
		value := pick("00000002", "00000009", `"HD0002"`, `"x"`, "ffffffff", "true", `""`)
		params = slices.Insert(params, r.IntN(len(params)+1), name+"="+value)
	}
	comma := ", "
	if spaces {
		comma = pick(", ", ",", " ,\t", ",\r\n ", ", , ")
	}
	return pick("Digest ", "digest ", "DIGEST ") + strings.Join(params, comma)
}

// A recorded digest is never good a second time, however it is spelled anew: in the
// same request from elsewhere, in another request, and with what a phone would not
// repeat changed (RFC 2617 section 4.5: nc is there to detect replays).
func TestField_TaRecordedCredentialsAreGoodOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 1000 {
		g := newGuardian()
		right := sign(t, g.Challenge(false), "HD0001", "new", 1)
		if got := g.check(signed(t, 1, right)); got != Right {
			t.Fatalf("the phone's own: %v", got)
		}
		text := respell(r, right)
		played := parse(t, message("REGISTER", "Max-Forwards: 70\n", "Max-Forwards: 70\nX-Replay: "+fmt.Sprint(round)+"\n"))
		played.AppendHeader(sip.NewHeader("Authorization", text))
		played.SetSource([]string{"203.0.113.9:5060", "192.0.2.7:5060"}[round%2])
		if got := g.check(played); got == Right {
			t.Errorf("round %d: good twice, as %q", round, text)
		}
		if got := g.check(signed(t, 1, right)); got != Right {
			t.Errorf("round %d: the phone's own retransmission is %v after that", round, got)
		}
	}
}

// What a phone sends again to the letter from its own flow is good again, and
// nothing else with the same Call-ID and CSeq is: not another Contact, not another
// lifetime, not another body.
func TestField_TaOnlyTheRetransmissionPasses(t *testing.T) {
	right := func(g *guardian) string { return sign(t, g.Challenge(false), "HD0001", "new", 1) }
	for _, c := range []struct{ name, old, with string }{
		{"another Contact", "sip:HD0001@192.0.2.7:5060", "sip:HD0001@203.0.113.9:5060"},
		{"another lifetime", "Content-Length: 0", "Expires: 0\nContent-Length: 0"},
		{"another From tag", "tag=1928301774", "tag=evil"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuardian()
			cred := right(g)
			if got := g.check(signed(t, 1, cred)); got != Right {
				t.Fatal(got)
			}
			req := parse(t, message("REGISTER", c.old, c.with, "Max-Forwards: 70\n", "Authorization: "+cred+"\nMax-Forwards: 70\n"))
			req.SetSource("192.0.2.7:5060")
			if got := g.check(req); got == Right {
				t.Error("passes as a retransmission")
			}
		})
	}
}

// Names of parameters ignore case, and white space, folding and empty list elements
// are legal in credentials (RFC 3261 sections 7.3.1 and 25.1); what can be read in
// two ways is wrong.
func TestField_S18CredentialsAsTheGrammarHasThem(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(string) string
		want  Result
	}{
		{"as it is", func(s string) string { return s }, Right},
		{"Cnonce", func(s string) string { return strings.Replace(s, "cnonce=", "Cnonce=", 1) }, Right},
		{"Username", func(s string) string { return strings.Replace(s, "username=", "Username=", 1) }, Right},
		{"tabs", func(s string) string { return strings.ReplaceAll(s, ", ", ",\t") }, Right},
		{"no white space", func(s string) string { return strings.ReplaceAll(s, ", ", ",") }, Right},
		{"folded", func(s string) string { return strings.ReplaceAll(s, ", ", ",\r\n  ") }, Right},
		{"empty elements", func(s string) string { return strings.ReplaceAll(s, ", ", ", , ") + "," }, Right},
		{"scheme in other letters", func(s string) string { return strings.Replace(s, "Digest", "dIGEST", 1) }, Right},
		{"a parameter of its own", func(s string) string { return s + `, x-vendor="a,b=c"` }, Right},
		{"nc twice", func(s string) string { return s + ", nc=00000002" }, Wrong},
		{"nc twice in other letters", func(s string) string { return strings.Replace(s, "Digest ", "Digest NC=00000002, ", 1) }, Wrong},
		{"username twice", func(s string) string { return s + `, username="HD0002"` }, Wrong},
		{"another kind of user name", func(s string) string { return s + `, userhash=true` }, Wrong},
		{"a quote that does not end", func(s string) string { return s + `, opaque="x` }, Wrong},
		{"no comma between", func(s string) string { return strings.Replace(s, ", cnonce", " cnonce", 1) }, Wrong},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuardian()
			req := parse(t, message("REGISTER"))
			req.AppendHeader(sip.NewHeader("Authorization", c.write(sign(t, g.Challenge(false), "HD0001", "new", 1))))
			if got := g.check(req); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// Two digests for our realm in one request are as good as none: nobody can tell
// whose request it is.
func TestField_TaTwoCredentials(t *testing.T) {
	g := newGuardian()
	one, two := sign(t, g.Challenge(false), "HD0001", "new", 1), sign(t, g.Challenge(false), "HD0001", "old", 1)
	if got := g.check(signed(t, 1, one, two)); got != Wrong {
		t.Errorf("got %v, want Wrong", got)
	}
}
