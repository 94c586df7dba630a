package call

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// reliable sends the provisional responses to a caller that requires them to be
// reliable (RFC 3262 section 3): with a number, again and again until it is
// acknowledged, and one at a time. Other callers get them as they are.
type reliable struct {
	bench  *Bench
	wanted bool

	mu     sync.Mutex
	rseq   uint32
	acked  chan struct{} // of the one that is under way; nil: none is
	queued func()        // what comes after it, the newest only
}

// send sends one provisional response.
func (r *reliable) send(req *sip.Request, tx sip.ServerTransaction, status int, reason string, body []byte, headers []sip.Header) {
	if !r.wanted {
		r.bench.Respond(req, tx, status, reason, body, headers...)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.acked != nil {
		r.queued = func() { r.send(req, tx, status, reason, body, headers) }
		return
	}
	r.rseq++
	acked := make(chan struct{})
	r.acked = acked
	headers = append(headers, sip.NewHeader("Require", "100rel"), sip.NewHeader("RSeq", strconv.FormatUint(uint64(r.rseq), 10)))
	r.bench.Respond(req, tx, status, reason, body, headers...)
	go func() {
		pause := t1
		again, enough := time.NewTimer(pause), time.NewTimer(ackWait)
		defer again.Stop()
		defer enough.Stop()
		for {
			select {
			case <-acked:
				return
			case <-again.C:
				r.bench.Respond(req, tx, status, reason, body, headers...)
				pause *= 2
				again.Reset(pause)
			case <-enough.C:
				return
			case <-tx.Done():
				return
			}
		}
	}()
}

// acknowledge takes a PRACK (section 3): false when it is for no response of ours that
// is under way.
func (r *reliable) acknowledge(prack *sip.Request, cseq uint32) bool {
	h := prack.GetHeader("RAck")
	if h == nil {
		return false
	}
	var rseq, of uint32
	var method string
	if n, err := fmt.Sscan(h.Value(), &rseq, &of, &method); n != 3 || err != nil || method != "INVITE" || of != cseq {
		return false
	}
	r.mu.Lock()
	if rseq == 0 || rseq > r.rseq {
		r.mu.Unlock()
		return false
	}
	if r.acked == nil || rseq < r.rseq { // once more: our answer was lost, or it crossed our 200
		r.mu.Unlock()
		return true
	}
	close(r.acked)
	r.acked = nil
	next := r.queued
	r.queued = nil
	r.mu.Unlock()
	if next != nil {
		next()
	}
	return true
}

// prackWait is how long the answer of a call waits for the last PRACK, and
// prackWaitEmergency that of an emergency call.
const (
	prackWait          = 4 * time.Second
	prackWaitEmergency = t1
)

// wait waits until what was sent is acknowledged: a 2xx must not overtake it. It ends
// when the caller gives up or the callee leaves.
func (r *reliable) wait(ctx context.Context, atMost time.Duration, gaveUp, left <-chan struct{}) {
	r.mu.Lock()
	acked := r.acked
	r.queued = nil
	r.mu.Unlock()
	if acked == nil {
		return
	}
	enough := time.NewTimer(atMost)
	defer enough.Stop()
	select {
	case <-acked:
	case <-enough.C:
	case <-gaveUp:
	case <-left:
	case <-ctx.Done():
	}
}
