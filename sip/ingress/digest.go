package ingress

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// nonceLife is how long a nonce is taken; an older one is answered stale=true.
const nonceLife = 5 * time.Minute

// Result says what a request's credentials are worth.
type Result int

const (
	Missing Result = iota // none for our realm
	Stale                 // right so far, but the nonce is old or was used before
	Wrong                 // unknown user or wrong secret
	Right
)

// Authenticator checks digest credentials and makes challenges: MD5 with
// qop=auth and nothing else, which every desk phone can do. Nonces carry their
// time and an HMAC, so that none is stored; the uses of each device's last
// nonces are, so that a recorded request cannot be played again.
type Authenticator struct {
	realm string
	key   []byte
	now   func() time.Time
	// started: which nonces were used before is not known, so older ones are stale.
	started time.Time

	mu   sync.Mutex
	used map[string]*uses // by user, of those who passed
}

// uses are a phone's last nonces, at most keptNonces. What is older than the
// newest one that was forgotten is not taken any more: nobody could tell
// whether it was used.
type uses struct {
	last   []use
	oldest time.Time
}

// keptNonces is how many nonces a phone may use in turn.
const keptNonces = 4

type use struct {
	nonce   string
	made    time.Time
	count   int       // nc of the last request
	request string    // its Call-ID, CSeq and source: a retransmission gets the same answer
	at      time.Time // when it came first
}

// retransmitted is how long a request may come again with the same nonce count:
// 64*T1, the life of a transaction.
const retransmitted = 32 * time.Second

// NewAuthenticator makes one; key must be secret and stay the same over restarts.
func NewAuthenticator(realm string, key []byte, now func() time.Time) *Authenticator {
	return &Authenticator{realm: realm, key: key, now: now, started: now(), used: map[string]*uses{}}
}

// Challenge is the value of a WWW-Authenticate header with a fresh nonce.
func (a *Authenticator) Challenge(stale bool) string {
	var b strings.Builder
	b.WriteString(`Digest realm="` + a.realm + `", nonce="` + a.nonce(a.now()) + `", algorithm=MD5, qop="auth"`)
	if stale {
		b.WriteString(", stale=true")
	}
	return b.String()
}

// A nonce is the time it was made, four random bytes, so that no two are equal
// however coarse the clock, and the first half of their HMAC.
const (
	nonceHead = 8 + 4
	nonceSize = nonceHead + sha256.Size/2
)

func (a *Authenticator) nonce(t time.Time) string {
	var head [nonceHead]byte
	binary.BigEndian.PutUint64(head[:], uint64(t.UnixNano()))
	_, _ = rand.Read(head[8:]) // never fails (Go 1.24)
	return a.sign(head)
}

func (a *Authenticator) sign(head [nonceHead]byte) string {
	mac := hmac.New(sha256.New, a.key)
	mac.Write(head[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(head[:])[:nonceSize])
}

// age tells whether we made the nonce, when, and whether it still counts.
func (a *Authenticator) age(nonce string) (made time.Time, ours, fresh bool) {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != nonceSize {
		return made, false, false
	}
	if subtle.ConstantTimeCompare([]byte(a.sign([nonceHead]byte(b))), []byte(nonce)) != 1 {
		return made, false, false
	}
	made = time.Unix(0, int64(binary.BigEndian.Uint64(b)))
	age := a.now().Sub(made)
	return made, true, age < nonceLife && age > -nonceLife && !made.Before(a.started)
}

// Lookup returns the HA1s (lower-case hex) that a user's credentials may be made
// of; the index of the one that fits is returned by Check.
type Lookup func(user string) []string

// Check judges the request's credentials for our realm. user is set from them
// even when they are wrong.
func (a *Authenticator) Check(req *sip.Request, lookup Lookup) (result Result, user string, index int) {
	cred, count := a.credentials(req)
	if cred == nil {
		return Missing, "", 0
	}
	made, ours, fresh := a.age(cred.Nonce)
	if !ours || cred.QOP != "auth" || cred.Algorithm != "" && !strings.EqualFold(cred.Algorithm, "MD5") {
		return Wrong, cred.Username, 0
	}
	if req.Method != sip.REGISTER && dialled(cred.URI) != dialled(req.Recipient.String()) {
		return Wrong, cred.Username, 0 // made for another call
	}
	ha2 := md5hex(string(req.Method) + ":" + cred.URI)
	found := -1
	for i, ha1 := range lookup(cred.Username) {
		want := md5hex(ha1 + ":" + cred.Nonce + ":" + count + ":" + cred.Cnonce + ":auth:" + ha2)
		if subtle.ConstantTimeCompare([]byte(want), []byte(cred.Response)) == 1 {
			found = i
			break
		}
	}
	switch {
	case found < 0:
		return Wrong, cred.Username, 0
	case !fresh, !a.count(cred.Username, use{nonce: cred.Nonce, made: made, count: cred.Nc}, req):
		return Stale, cred.Username, found
	}
	return Right, cred.Username, found
}

// dialled is the user part of a URI without escapes, which phones write one way
// in the Request-URI and another in their credentials.
func dialled(uri string) string {
	_, rest, _ := strings.Cut(uri, ":")
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		if scheme, _, _ := strings.Cut(uri, ":"); strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips") {
			return ""
		}
		at = len(rest)
	}
	user, _, _ := strings.Cut(rest[:at], ";")
	if plain, err := url.PathUnescape(user); err == nil {
		return plain
	}
	return user
}

// count notes one use of a nonce; false means that it was played before.
func (a *Authenticator) count(user string, u use, req *sip.Request) bool {
	u.request = req.CallID().Value() + " " + req.CSeq().Value() + " " + req.Source() + " " + req.Recipient.String()
	u.at = a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.used[user]
	if seen == nil {
		seen = &uses{}
		a.used[user] = seen
	}
	for i := range seen.last {
		old := &seen.last[i]
		switch {
		case old.nonce != u.nonce:
			continue
		case u.count > old.count:
			*old = u
			return true
		}
		return u.count == old.count && u.request == old.request && u.at.Sub(old.at) < retransmitted
	}
	if !u.made.After(seen.oldest) {
		return false
	}
	seen.last = append(seen.last, u)
	if len(seen.last) > keptNonces {
		oldest := 0
		for i := range seen.last {
			if seen.last[i].made.Before(seen.last[oldest].made) {
				oldest = i
			}
		}
		seen.oldest = seen.last[oldest].made
		seen.last = append(seen.last[:oldest], seen.last[oldest+1:]...)
	}
	return true
}

// credentials finds the digest credentials for our realm among all that a
// request carries; other schemes and realms are not for us. count is nc as it
// was written.
func (a *Authenticator) credentials(req *sip.Request) (cred *digest.Credentials, count string) {
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		for _, h := range req.GetHeaders(name) {
			if !digest.IsDigest(h.Value()) {
				continue
			}
			cred, err := digest.ParseCredentials(h.Value())
			if err == nil && cred.Realm == a.realm {
				return cred, nc(h.Value())
			}
		}
	}
	return nil, ""
}

// nc finds the nonce count as the phone wrote it: the response is computed over
// that text, whose digits some write in upper case.
func nc(header string) string {
	quoted := false
	from := len("Digest ")
	for i := from; i <= len(header); i++ {
		switch {
		case i < len(header) && header[i] == '"':
			quoted = !quoted
		case i == len(header) || header[i] == ',' && !quoted:
			key, value, ok := strings.Cut(header[from:i], "=")
			if ok && strings.EqualFold(strings.TrimSpace(key), "nc") {
				return strings.Trim(strings.TrimSpace(value), `"`)
			}
			from = i + 1
		}
	}
	return ""
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}
