package ingress

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
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

	mu   sync.Mutex
	used map[string][]use // by user; at most keptNonces each
}

// keptNonces is how many nonces a phone may use in turn.
const keptNonces = 4

type use struct {
	nonce   string
	count   string // nc of the last request, 8 hex digits
	request string // its Call-ID and CSeq: a retransmission gets the same answer
}

// NewAuthenticator makes one; key must be secret and stay the same over restarts.
func NewAuthenticator(realm string, key []byte, now func() time.Time) *Authenticator {
	return &Authenticator{realm: realm, key: key, now: now, used: map[string][]use{}}
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

// nonce is the time and its HMAC.
func (a *Authenticator) nonce(t time.Time) string {
	var b [8 + sha256.Size]byte
	binary.BigEndian.PutUint64(b[:8], uint64(t.UnixNano()))
	mac := hmac.New(sha256.New, a.key)
	mac.Write(b[:8])
	mac.Sum(b[:8])
	return base64.RawURLEncoding.EncodeToString(b[:8+16])
}

// fresh tells whether we made the nonce and whether it still counts.
func (a *Authenticator) fresh(nonce string) (ours, fresh bool) {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != 8+16 {
		return false, false
	}
	made := time.Unix(0, int64(binary.BigEndian.Uint64(b[:8])))
	if subtle.ConstantTimeCompare([]byte(a.nonce(made)), []byte(nonce)) != 1 {
		return false, false
	}
	age := a.now().Sub(made)
	return true, age < nonceLife && age > -nonceLife
}

// Lookup returns the HA1s (lower-case hex) that a user's credentials may be made
// of; the index of the one that fits is returned by Check.
type Lookup func(user string) []string

// Check judges the request's credentials for our realm. user is set from them
// even when they are wrong.
func (a *Authenticator) Check(req *sip.Request, lookup Lookup) (result Result, user string, index int) {
	cred := a.credentials(req)
	if cred == nil {
		return Missing, "", 0
	}
	ours, fresh := a.fresh(cred.Nonce)
	if !ours || cred.QOP != "auth" || cred.Algorithm != "" && !strings.EqualFold(cred.Algorithm, "MD5") {
		return Wrong, cred.Username, 0
	}
	count := nc(cred.Nc)
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
	case !fresh, !a.count(cred.Username, cred.Nonce, count, req):
		return Stale, cred.Username, found
	}
	return Right, cred.Username, found
}

// count notes one use of a nonce; false means that it was played before.
func (a *Authenticator) count(user, nonce, count string, req *sip.Request) bool {
	request := req.CallID().Value() + " " + req.CSeq().Value()
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.used[user]
	for i := range list {
		if list[i].nonce != nonce {
			continue
		}
		if count < list[i].count || count == list[i].count && request != list[i].request {
			return false
		}
		list[i].count, list[i].request = count, request
		return true
	}
	list = append(list, use{nonce, count, request})
	if len(list) > keptNonces {
		list = append([]use(nil), list[1:]...)
	}
	a.used[user] = list
	return true
}

// credentials finds the digest credentials for our realm among all that a
// request carries; other schemes and realms are not for us.
func (a *Authenticator) credentials(req *sip.Request) *digest.Credentials {
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		for _, h := range req.GetHeaders(name) {
			if !digest.IsDigest(h.Value()) {
				continue
			}
			cred, err := digest.ParseCredentials(h.Value())
			if err == nil && cred.Realm == a.realm {
				return cred
			}
		}
	}
	return nil
}

// nc writes the nonce count as the response is computed over it.
func nc(n int) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n))
	return hex.EncodeToString(b[:])
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}
