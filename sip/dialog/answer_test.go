package dialog

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// Every challenge that RFC 7616 and the grammar of RFC 3261 allow is answered as a
// server computes it: auth where it is offered, in whatever place and with whatever
// blanks, else auth-int over the body; the -sess algorithms with their own H(A1).
func TestField_L10Challenges(t *testing.T) {
	const body = "v=0\r\n"
	for _, c := range []struct{ challenge, algorithm, qop string }{
		{`Digest realm="r", nonce="n"`, "", ""},
		{`Digest realm="r", nonce="n", qop="auth"`, "", "auth"},
		{`Digest realm="r", nonce="n", algorithm=MD5, qop="auth-int"`, "MD5", "auth-int"},
		{`Digest realm="r", nonce="n", qop="auth-int,auth"`, "", "auth"},
		{`Digest realm="r", nonce="n", qop="auth-int, auth"`, "", "auth"},
		{`Digest realm="r", nonce="n", qop=" auth , auth-int "`, "", "auth"},
		{`Digest realm="r", nonce="n", qop="auth,"`, "", "auth"},
		{`Digest realm="r", nonce="n", qop=",auth-int,"`, "", "auth-int"},
		{`Digest realm="r", nonce="n", qop="auth",`, "", "auth"},
		{`Digest ,realm = "r" ,, nonce= "n",	QOP ="AUTH"`, "", "auth"},
		{"digest\t" + `Realm="r",` + "\r\n " + `NONCE="n", Algorithm="MD5", qop=auth`, "MD5", "auth"},
		{`Digest realm="r", nonce="n", algorithm=MD5-sess, qop="auth"`, "MD5-sess", "auth"},
		{`Digest realm="r", nonce="n", algorithm=md5-SESS, qop="auth-int"`, "md5-SESS", "auth-int"},
		{`Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth"`, "SHA-256", "auth"},
		{`Digest realm="r", nonce="n", algorithm=SHA-256-sess, qop="auth"`, "SHA-256-sess", "auth"},
	} {
		value, err := Answer([]sip.Header{sip.NewHeader("WWW-Authenticate", c.challenge)}, digest.Options{
			Method: "INVITE", URI: "sip:101@h", Username: "u", Password: "p",
			GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(body))), nil },
		})
		if err != nil {
			t.Errorf("%s: %v", c.challenge, err)
			continue
		}
		cred, err := digest.ParseCredentials(value)
		if err != nil {
			t.Fatalf("%s is answered %s: %v", c.challenge, value, err)
		}
		var h hash.Hash = md5.New()
		if strings.HasPrefix(c.algorithm, "SHA") {
			h = sha256.New()
		}
		sum := func(parts ...string) string {
			h.Reset()
			h.Write([]byte(strings.Join(parts, ":")))
			return hex.EncodeToString(h.Sum(nil))
		}
		a1, a2 := sum("u", "r", "p"), sum("INVITE", "sip:101@h")
		if strings.HasSuffix(strings.ToLower(c.algorithm), "-sess") {
			a1 = sum(a1, "n", cred.Cnonce)
		}
		if c.qop == "auth-int" {
			a2 = sum("INVITE", "sip:101@h", sum(body))
		}
		want := sum(a1, "n", a2)
		if c.qop != "" {
			want = sum(a1, "n", "00000001", cred.Cnonce, c.qop, a2)
		}
		if cred.Response != want || cred.QOP != c.qop || cred.Algorithm != c.algorithm || cred.Realm != "r" || cred.Nonce != "n" || cred.Username != "u" {
			t.Errorf("%s is answered %s, want response %s", c.challenge, value, want)
		}
	}
}

// Of several challenges the first that can be answered is; that none can says nothing
// of the password.
func TestField_L10NoAnswer(t *testing.T) {
	headers := func(values ...string) (all []sip.Header) {
		for _, v := range values {
			all = append(all, sip.NewHeader("WWW-Authenticate", v))
		}
		return all
	}
	o := digest.Options{Method: "REGISTER", URI: "sip:h", Username: "u", Password: "p"}
	value, err := Answer(headers(`Basic realm="b"`, `Digest realm="x", nonce="n", algorithm=ROT13`, `Digest realm="y", nonce="n", qop="auth-conf"`, `Digest realm="z", nonce="n"`), o)
	if err != nil || !strings.Contains(value, `realm="z"`) {
		t.Errorf("answered %s, %v", value, err)
	}
	for _, list := range [][]string{
		nil, {`Basic realm="b"`}, {`Digest realm="x", nonce="n", algorithm=ROT13`}, {`Digest realm="x", nonce="n", algorithm=MD5-sess`},
		{`Digest realm="x, nonce="n"`}, {`Digest realm="x`}, {`Digest realm`}, {`Digest`}, {``},
	} {
		if value, err := Answer(headers(list...), o); !errors.Is(err, ErrUnanswerable) {
			t.Errorf("%q is answered %q, %v", list, value, err)
		}
	}
}

// FuzzParseChallenge: what is read as a challenge is read the same when it is written
// again.
func FuzzParseChallenge(f *testing.F) {
	f.Add(`Digest realm="a\"b", nonce="n", qop="auth, auth-int,", stale=TRUE`)
	f.Add("digest\trealm=x,,nonce=\"\"")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseChallenge(text)
		if err != nil {
			return
		}
		quote := func(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }
		again, err := ParseChallenge("Digest realm=" + quote(c.Realm) + ", nonce=" + quote(c.Nonce) + ", opaque=" + quote(c.Opaque) +
			", algorithm=" + quote(c.Algorithm) + ", qop=" + quote(strings.Join(c.QOP, " , ")))
		if err != nil || again.Realm != c.Realm || again.Nonce != c.Nonce || again.Opaque != c.Opaque || again.Algorithm != c.Algorithm || !slices.Equal(again.QOP, c.QOP) {
			t.Errorf("%q is %+v, and then %+v, %v", text, c, again, err)
		}
	})
}
