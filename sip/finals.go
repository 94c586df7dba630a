package sip

import (
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/sip/dialog"
)

// finals remembers the first refusal of each of our requests to a PBX for as long as
// its transaction can last: a server may answer one request twice, and the library
// hands responses up in any order. Two generations keep it small.
type finals struct {
	mu       sync.Mutex
	now, old map[string]int // status by branch and method
	turn     time.Time
}

// maxFinals bounds a generation.
const maxFinals = 1 << 16

// finalsFor is how long a transaction may last (timer B and F, 64*T1).
const finalsFor = 32 * time.Second

// other tells whether another refusal came first.
func (f *finals) other(key string, status int, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.turn) >= finalsFor {
		f.now, f.old, f.turn = map[string]int{}, f.now, now
	}
	first, ok := f.now[key]
	if !ok {
		first, ok = f.old[key]
	}
	if !ok {
		if len(f.now) >= maxFinals { // whoever can write a PBX's address can fill it
			clear(f.now)
		}
		f.now[key] = status
		return false
	}
	return first != status
}

// foreign tells whether a response comes from elsewhere than its request went: from
// somebody who has overheard it. A PBX may answer from any of its addresses.
func (e *Edge) foreign(res *sip.Response, f dialog.Flow) bool {
	via := res.Via()
	if via == nil {
		return false
	}
	if branch, _ := via.Params.Get("branch"); e.net == nil || e.net.SentTo(branch, f) {
		return false
	}
	_, pbx := e.pbx.Sender(f)
	return !pbx
}

// secondFinal tells whether a response of a PBX comes after another final one to the
// same request, which counts (RFC 3261 section 17.1.2.2). The first one repeated is
// none, and a 2xx to an INVITE is never too late for its ACK.
func (e *Edge) secondFinal(res *sip.Response, f dialog.Flow) bool {
	if res.StatusCode < 300 || res.Via() == nil || res.CSeq() == nil {
		return false
	}
	if _, ok := e.pbx.Sender(f); !ok {
		return false
	}
	branch, _ := dialog.Param(res.Via().Params, "branch")
	return e.finals.other(branch+" "+string(res.CSeq().MethodName), res.StatusCode, e.Now())
}
