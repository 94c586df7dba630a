package dialog

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// ErrUnanswerable: no challenge of a response is one that we can answer. It says nothing of
// the credentials, which were not tried.
var ErrUnanswerable = errors.New("no challenge that can be answered")

// Credentials answers the challenge of a 401 or 407 to a request: the header for the
// next one, which has the same body (RFC 3261 section 22.2).
func Credentials(res *sip.Response, req *sip.Request, user, password string) (sip.Header, error) {
	challenge, answer := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		challenge, answer = "Proxy-Authenticate", "Proxy-Authorization"
	}
	value, err := Answer(res.GetHeaders(challenge), digest.Options{
		Method: string(req.Method), URI: req.Recipient.String(), Username: user, Password: password,
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(req.Body())), nil },
	})
	if err != nil {
		return nil, err
	}
	return sip.NewHeader(answer, value), nil
}

// Stale tells whether a challenge only wants a newer nonce (RFC 7616 section 3.3).
func Stale(res *sip.Response) bool {
	for _, name := range []string{"WWW-Authenticate", "Proxy-Authenticate"} {
		for _, h := range res.GetHeaders(name) {
			if c, err := ParseChallenge(h.Value()); err == nil && c.Stale {
				return true
			}
		}
	}
	return false
}

// Answer computes the credentials for the first challenge of several that can be
// answered (RFC 7616 section 3.4.1). Of the qualities of protection it takes auth where
// it is offered, otherwise auth-int, for which o.GetBody gives the body.
func Answer(challenges []sip.Header, o digest.Options) (string, error) {
	asked := "none"
	for _, h := range challenges {
		chal, err := ParseChallenge(h.Value())
		if err != nil {
			continue
		}
		asked = "algorithm=" + chal.Algorithm + " qop=" + strings.Join(chal.QOP, ",")
		algorithm, session := cutSession(chal.Algorithm)
		known := *chal
		known.Algorithm = algorithm
		if !digest.CanDigest(&known) || session && len(chal.QOP) == 0 { // nobody would know our cnonce
			continue
		}
		if session {
			o.Cnonce = nonce()
			o.A1 = sessionA1(algorithm, chal, o)
		}
		cred, err := digest.Digest(&known, o)
		if err != nil {
			return "", fmt.Errorf("answer the challenge: %w", err)
		}
		cred.Algorithm = chal.Algorithm
		return cred.String(), nil
	}
	return "", fmt.Errorf("%w: %s", ErrUnanswerable, asked)
}

// cutSession takes the "-sess" off an algorithm.
func cutSession(algorithm string) (base string, session bool) {
	if n := len(algorithm) - len("-sess"); n >= 0 && strings.EqualFold(algorithm[n:], "-sess") {
		return algorithm[:n], true
	}
	return algorithm, false
}

// sessionA1 is H(A1) of the -sess algorithms (RFC 7616 section 3.4.2).
func sessionA1(algorithm string, chal *digest.Challenge, o digest.Options) string {
	var h hash.Hash
	switch strings.ToUpper(algorithm) {
	case "SHA-256":
		h = sha256.New()
	case "SHA-512":
		h = sha512.New()
	case "SHA-512-256":
		h = sha512.New512_256()
	default:
		h = md5.New()
	}
	sum := func(text string) string {
		h.Reset()
		h.Write([]byte(text))
		return hex.EncodeToString(h.Sum(nil))
	}
	return sum(sum(o.Username+":"+chal.Realm+":"+o.Password) + ":" + chal.Nonce + ":" + o.Cnonce)
}

func nonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	return hex.EncodeToString(b[:])
}

// ParseChallenge reads a digest challenge as RFC 3261 sections 7.3.1 and 25.1 write it:
// names in any case, white space anywhere between words, empty elements in every list.
func ParseChallenge(value string) (*digest.Challenge, error) {
	value = strings.TrimLeft(value, lws)
	scheme := strings.IndexAny(value, lws)
	if scheme < 0 || !strings.EqualFold(value[:scheme], "Digest") {
		return nil, errors.New("no digest challenge")
	}
	var c digest.Challenge
	for rest := value[scheme:]; ; {
		rest = strings.TrimLeft(rest, lws+",")
		if rest == "" {
			return &c, nil
		}
		end := strings.IndexAny(rest, "=,")
		if end < 0 || rest[end] == ',' {
			return nil, fmt.Errorf("challenge: %q has no value", rest)
		}
		name := strings.ToLower(strings.Trim(rest[:end], lws))
		var text string
		var err error
		if text, rest, err = parameter(strings.TrimLeft(rest[end+1:], lws)); err != nil {
			return nil, fmt.Errorf("challenge: %s: %w", name, err)
		}
		switch name {
		case "realm":
			c.Realm = text
		case "domain":
			c.Domain = strings.Fields(text)
		case "nonce":
			c.Nonce = text
		case "opaque":
			c.Opaque = text
		case "stale":
			c.Stale = strings.EqualFold(text, "true")
		case "algorithm":
			c.Algorithm = text
		case "charset":
			c.Charset = text
		case "userhash":
			c.Userhash = strings.EqualFold(text, "true")
		case "qop":
			for word := range strings.SplitSeq(text, ",") {
				if word = strings.ToLower(strings.Trim(word, lws)); word != "" {
					c.QOP = append(c.QOP, word)
				}
			}
		}
	}
}

// lws is white space, also where a line was folded.
const lws = " \t\r\n"

// parameter reads a quoted or bare value up to the next element of the list.
func parameter(text string) (value, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexByte(text, ',')
		if end < 0 {
			end = len(text)
		}
		return strings.Trim(text[:end], lws), text[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case text[i] == '"':
			rest = strings.TrimLeft(text[i+1:], lws)
			if rest != "" && rest[0] != ',' {
				return "", "", fmt.Errorf("%q after the quotes", rest)
			}
			return b.String(), rest, nil
		default:
			b.WriteByte(text[i])
		}
	}
	return "", "", errors.New("quotes are not closed")
}
