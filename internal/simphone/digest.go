package simphone

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// errNoChallenge: a 401 or 407 without a challenge that this phone can answer.
var errNoChallenge = errors.New("no digest challenge that the phone can answer")

// credentials answer challenges as one account. The last nonce is used again
// with a rising count, as phones do, so that most requests are let in at once.
type credentials struct {
	user, password string

	mu        sync.Mutex
	challenge *digest.Challenge
	header    string // Authorization or Proxy-Authorization
	count     int    // uses of the nonce
}

// exchange sends what build makes, answering challenges: the first one always, a
// second one only when it says that the nonce was stale (RFC 3261 section 22.3).
// build is called for each try, because CSeq must rise.
func (c *credentials) exchange(build func() *sip.Request, send func(*sip.Request) (*sip.Response, error)) (*sip.Response, error) {
	answered, again := false, false
	for {
		req := build()
		if err := c.sign(req); err != nil {
			return nil, err
		}
		res, err := send(req)
		if err != nil || res.StatusCode != 401 && res.StatusCode != 407 {
			return res, err
		}
		stale, err := c.take(res)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", req.Method, err)
		}
		if answered && (!stale || again) {
			c.forget()
			return res, nil
		}
		answered, again = true, answered
	}
}

// sign adds credentials for the last challenge, if there was one.
func (c *credentials) sign(req *sip.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.challenge == nil {
		return nil
	}
	c.count++
	cred, err := digest.Digest(c.challenge, digest.Options{
		Method: string(req.Method), URI: req.Recipient.String(), Username: c.user, Password: c.password, Count: c.count,
	})
	if err != nil {
		return fmt.Errorf("answer the challenge: %w", err)
	}
	req.AppendHeader(sip.NewHeader(c.header, cred.String()))
	return nil
}

// take keeps the challenge of a 401 or 407. Of several it takes the first that
// is MD5, which is what desk phones have.
func (c *credentials) take(res *sip.Response) (stale bool, err error) {
	from, header := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		from, header = "Proxy-Authenticate", "Proxy-Authorization"
	}
	for _, h := range res.GetHeaders(from) {
		challenge, err := digest.ParseChallenge(h.Value())
		if err != nil || !digest.CanDigest(challenge) || challenge.Algorithm != "" && !strings.EqualFold(challenge.Algorithm, "MD5") {
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.challenge, c.header, c.count = challenge, header, 0
		return challenge.Stale, nil
	}
	return false, errNoChallenge
}

func (c *credentials) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.challenge = nil
}
