package trunk

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

// loopHeader marks what we send to a PBX, so that we know it when it comes back.
const loopHeader = "Hotdeskd-Loop"

// ErrLoop: what is sent to a PBX comes to ourselves.
var ErrLoop = errors.New("the address of the PBX is our own")

// loopSeen is how long it counts that a request to a PBX has come back.
const loopSeen = 32 * time.Second

// loopKey is secret to this process: nobody can make a mark, and another server's is
// none of ours.
func loopKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (Go 1.24)
	return key
}

// mark is the header of a request to a PBX. It goes with the Request-URI: what a PBX
// sends on to one of our contacts has another one and is a spiral, which is legal, and
// no loop (RFC 3261 section 16.3, RFC 5393 section 4.2).
func (r *Registrar) mark(pbx string, to sip.Uri) sip.Header {
	return sip.NewHeader(loopHeader, r.markOf(pbx, to))
}

func (r *Registrar) markOf(pbx string, to sip.Uri) string {
	mac := hmac.New(sha256.New, r.loop)
	mac.Write([]byte(pbx + "\x00" + to.User + "\x00" + strings.ToLower(to.Host)))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// Mark marks a call to a PBX.
func (r *Registrar) Mark(p hotdesk.PBX, to sip.Uri) sip.Header { return r.mark(p.Name, to) }

// Looped tells whether a request is one that we have sent to a PBX ourselves; the
// PBX's address is then our own. It is to be answered 482.
func (r *Registrar) Looped(req *sip.Request) bool {
	h := req.GetHeader(loopHeader)
	if h == nil {
		return false
	}
	for _, p := range r.Desk.PBXs() {
		if p.Mode == "none" || !hmac.Equal([]byte(h.Value()), []byte(r.markOf(p.Name, req.Recipient))) {
			continue
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if pe := r.peers[p.Name]; pe != nil {
			pe.looped = r.Now()
		}
		return true
	}
	return false
}

// cameBack tells whether a 482 is our own.
func (r *Registrar) cameBack(pbx string, res *sip.Response) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	pe := r.peers[pbx]
	return res.StatusCode == 482 && pe != nil && !pe.looped.IsZero() && r.Now().Sub(pe.looped) < loopSeen
}
