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
	used map[string]*uses // by device, of those who passed
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
	count   uint64            // nc of the last request
	request [sha256.Size]byte // its imprint: a retransmission gets the same answer
	at      time.Time         // when it came first
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

// Lookup finds who a user name stands for: id is the one spelling by which uses of
// nonces are counted, and ha1s (lower-case hex) are what the credentials may be made
// of; the index of the one that fits is returned by Check.
type Lookup func(user string) (id string, ha1s []string)

// Check judges the request's credentials for our realm. user is set from them
// even when they are wrong.
func (a *Authenticator) Check(req *sip.Request, lookup Lookup) (result Result, user string, index int) {
	cred, result := a.credentials(req)
	if result != Right {
		return result, cred.username, 0
	}
	made, ours, fresh := a.age(cred.nonce)
	if !ours || !strings.EqualFold(cred.qop, "auth") || cred.algorithm != "" && !strings.EqualFold(cred.algorithm, "MD5") {
		return Wrong, cred.username, 0
	}
	if req.Method != sip.REGISTER && dialled(cred.uri) != dialled(req.Recipient.String()) && !names(cred.uri, req.Recipient.Host) {
		return Wrong, cred.username, 0 // made for another call
	}
	ha2 := md5hex(string(req.Method) + ":" + cred.uri)
	found := -1
	id, ha1s := lookup(cred.username)
	for i, ha1 := range ha1s {
		want := md5hex(ha1 + ":" + cred.nonce + ":" + cred.nc + ":" + cred.cnonce + ":" + cred.qop + ":" + ha2)
		if subtle.ConstantTimeCompare([]byte(want), []byte(cred.response)) == 1 {
			found = i
			break
		}
	}
	switch {
	case found < 0:
		return Wrong, cred.username, 0
	case !fresh, !a.count(id, use{nonce: cred.nonce, made: made, count: cred.count, request: a.imprint(req, cred)}):
		return Stale, cred.username, found
	}
	return Right, cred.username, found
}

// imprint tells one request from another: what a retransmission repeats to the
// letter, and who plays a recorded one again cannot change.
func (a *Authenticator) imprint(req *sip.Request, cred credentials) [sha256.Size]byte {
	mac := hmac.New(sha256.New, a.key)
	write := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		mac.Write(n[:])
		mac.Write([]byte(s))
	}
	write(cred.text)
	write(req.Transport() + " " + req.Source())
	write(req.Recipient.String())
	for _, h := range req.Headers() {
		switch h.(type) {
		case *sip.ViaHeader, *sip.MaxForwardsHeader:
			continue // ours or of those on the way
		}
		write(h.Name())
		write(h.Value())
	}
	write(string(req.Body()))
	return [sha256.Size]byte(mac.Sum(nil))
}

// names tells whether a URI names a host and nobody there. Some stacks (SIPp 3.6) put the
// server into the digest and not the Request-URI, which RFC 7616 section 3.4.6 leaves to
// the server to judge; the nonce count keeps such credentials from being used twice.
func names(uri, host string) bool {
	scheme, rest, _ := strings.Cut(uri, ":")
	if !strings.EqualFold(scheme, "sip") && !strings.EqualFold(scheme, "sips") || strings.Contains(rest, "@") {
		return false
	}
	rest, _, _ = strings.Cut(rest, ";")
	if h, port, ok := strings.Cut(rest, ":"); ok && strings.Trim(port, "0123456789") == "" {
		rest = h
	}
	return host != "" && strings.EqualFold(rest, host)
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

// count notes one use of a nonce by a device; false means that it was played before.
func (a *Authenticator) count(user string, u use) bool {
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

// credentials finds the digest credentials for our realm among all that a request
// carries: Right when there are exactly one, which can be read in one way. Other
// schemes and realms are not for us.
func (a *Authenticator) credentials(req *sip.Request) (found credentials, result Result) {
	result = Missing
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		for _, h := range req.GetHeaders(name) {
			cred, digest, ok := parseCredentials(h.Value())
			if !digest || cred.realm != a.realm {
				continue
			}
			if !ok || result != Missing {
				return cred, Wrong
			}
			found, result = cred, Right
		}
	}
	return found, result
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}
