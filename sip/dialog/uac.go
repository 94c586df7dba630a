package dialog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"
)

// ErrDead: a branch gave no sign of life in time.
var ErrDead = errors.New("no answer")

// deadAfter is how long a branch may stay without any response.
const deadAfter = 4 * time.Second

// cancelWait is how long a cancelled branch may take to say so.
const cancelWait = 32 * time.Second

// Target is somebody to ring.
type Target struct {
	Label    string // the owner's name for the branch, such as the device
	URI      sip.Uri
	Flow     Flow
	From, To Party
	Contact  sip.Uri
	Headers  []sip.Header
	Body     []byte // SDP offer; nil: the 2xx brings one
	// User and Password answer one digest challenge; empty: a challenge fails the branch.
	User, Password string
	// Peer is who is there, for the dialogs that come of it; its Account is the above.
	Peer Peer
	// DeadAfter is how long the branch may stay without any response; 0 is 4 s.
	DeadAfter time.Duration
	// Alternate: the same party as the target before, on another flow: to be tried when
	// that one gave no answer, or 503 (RFC 3263 section 4.3), and not otherwise.
	Alternate bool
	// Told is told every response and what ended the branch; nil: nobody is.
	Told func(*sip.Response, error)
}

// Progress is what a branch tells its owner: a response that is not 100, or the
// error that ended it.
type Progress struct {
	Branch   *Branch
	Response *sip.Response
	Dialog   *Dialog // of a response with a To tag that makes one
	Err      error
}

// Branch is one INVITE on its way to one party.
type Branch struct {
	Label  string
	net    *Net
	target Target
	out    chan<- Progress
	owner  <-chan struct{} // closed when nobody listens to out any more

	unwanted chan struct{} // closed when the owner wants no answer any more

	mu        sync.Mutex
	req       *sip.Request
	heard     bool     // a 1xx came
	cancelled bool     // unwanted is closed
	sent      bool     // CANCEL is out
	reasons   []string // Reason headers of the CANCEL
	taken     *Dialog  // of the 2xx that was taken
	lateBody  []byte   // the ACK's body, for retransmitted 2xx
	acked     bool
	ended     map[string]*Dialog // dialogs of 2xx that nobody wanted, by the party's tag
	early     map[string]*Dialog // by the party's tag
	rseq      map[string]uint32  // of the last reliable response in each (RFC 3262)
}

// Ring sends the INVITE and reports on out until owner is closed or the branch
// has ended. It does not block.
func (n *Net) Ring(ctx context.Context, t Target, out chan<- Progress, owner <-chan struct{}) *Branch {
	b := &Branch{Label: t.Label, net: n, target: t, out: out, owner: owner, unwanted: make(chan struct{}), ended: map[string]*Dialog{}, early: map[string]*Dialog{}, rseq: map[string]uint32{}}
	if user, password := t.User, t.Password; user != "" {
		b.target.Peer.Account = func() Account { return Account{user, password} }
	}
	b.req = b.invite(uuid.NewString(), sip.GenerateTagN(16), 1)
	go b.run(ctx)
	return b
}

func (b *Branch) invite(callID, tag string, cseq uint32) *sip.Request {
	t := b.target
	req := sip.NewRequest(sip.INVITE, *t.URI.Clone())
	from := &sip.FromHeader{DisplayName: Quoted(t.From.Name), Address: t.From.URI, Params: sip.NewParams()}
	from.Params.Add("tag", tag)
	id, hops := sip.CallIDHeader(callID), sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(from)
	req.AppendHeader(&sip.ToHeader{DisplayName: Quoted(t.To.Name), Address: t.To.URI, Params: sip.NewParams()})
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: sip.INVITE})
	req.AppendHeader(&sip.ContactHeader{Address: t.Contact})
	req.AppendHeader(sip.NewHeader("User-Agent", b.net.Agent))
	req.AppendHeader(sip.NewHeader("Allow", Allow))
	options := "timer"
	if len(t.Body) > 0 { // a reliable response to an INVITE without an offer would bring one
		options = "timer, 100rel"
	}
	req.AppendHeader(sip.NewHeader("Supported", options))
	for _, h := range t.Headers {
		req.AppendHeader(sip.HeaderClone(h))
	}
	SetSDP(req, t.Body)
	return req
}

// Allow lists the methods we take inside a dialog.
const Allow = "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, NOTIFY"

// AllowFor lists the methods we take inside a dialog whose requests go on to another:
// not those that the party there does not take. UPDATE is ours to answer, whatever
// the other one has.
func AllowFor(other *Dialog) string {
	all := "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE"
	for _, method := range []sip.RequestMethod{sip.INFO, sip.MESSAGE, sip.NOTIFY} {
		if other.Allows(method) {
			all += ", " + string(method)
		}
	}
	return all
}

// tell reports to the owner; false when nobody listens any more.
func (b *Branch) tell(p Progress) bool {
	p.Branch = b
	if b.target.Told != nil {
		b.target.Told(p.Response, p.Err)
	}
	select {
	case <-b.owner:
		return false
	default:
	}
	select {
	case b.out <- p:
		return true
	case <-b.owner:
		return false
	}
}

// run drives the branch through at most two transactions: the second one answers
// a challenge. It always drains a transaction, which would block sipgo otherwise.
func (b *Branch) run(ctx context.Context) {
	for try := range 2 {
		res, err := b.transaction(ctx)
		switch {
		case err != nil:
			b.tell(Progress{Err: err})
			return
		case res == nil: // cancelled, or taken and finished
			return
		case try == 0 && (res.StatusCode == 401 || res.StatusCode == 407) && b.target.User != "":
			if err := b.authorise(res); err != nil {
				b.tell(Progress{Response: res})
				return
			}
			if b.isCancelled() {
				return
			}
		default:
			b.tell(Progress{Response: res})
			return
		}
	}
}

// transaction sends the INVITE once and returns its final response unless that
// was a 2xx, which is told and kept alive here.
func (b *Branch) transaction(ctx context.Context) (*sip.Response, error) {
	tx, err := b.net.Start(context.WithoutCancel(ctx), b.req, b.target.Flow)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	dead := time.NewTimer(cmp.Or(b.target.DeadAfter, deadAfter))
	defer dead.Stop()
	unwanted := b.unwanted
	for {
		select {
		case res := <-tx.Responses():
			if res.To() == nil || res.From() == nil || res.CallID() == nil {
				continue // nobody's: no dialog can be made of it
			}
			if !b.isCancelled() {
				dead.Stop()
			}
			switch {
			case res.IsProvisional():
				b.provisional(res)
			case res.IsSuccess():
				b.success(res)
				tx.OnRetransmission(func(r *sip.Response) { go b.again(r) }) // never under sipgo's lock
				b.linger(tx)
				return nil, nil
			case b.isCancelled():
				return nil, nil
			default:
				return res, nil
			}
		case <-dead.C:
			if b.isCancelled() {
				return nil, nil
			}
			// A phone that answers later is told that it is too late.
			b.tell(Progress{Err: fmt.Errorf("%w: %s", ErrDead, b.target.Flow)})
			b.Cancel()
			dead.Reset(cancelWait)
		case <-unwanted: // a phone that is gone would never say 487
			unwanted = nil
			dead.Reset(cancelWait)
		case <-tx.Done():
			if b.isCancelled() {
				return nil, nil
			}
			return nil, fmt.Errorf("INVITE to %s: %w", b.target.Flow, tx.Err())
		}
	}
}

func (b *Branch) provisional(res *sip.Response) {
	b.mu.Lock()
	b.heard = true
	cancel := b.cancelled
	b.mu.Unlock()
	if cancel {
		b.sendCancel()
		return
	}
	if res.StatusCode == 100 {
		return
	}
	if b.crowded(res) {
		return
	}
	d := b.dialogOf(res)
	if d != nil && !b.reliable(d, res) {
		return // it came before
	}
	b.tell(Progress{Response: res, Dialog: d})
}

// maxEarly is how many early dialogs one INVITE may make.
const maxEarly = 32

// crowded tells whether a response would make one more early dialog than may be.
func (b *Branch) crowded(res *sip.Response) bool {
	tag, _ := Param(res.To().Params, "tag")
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.early[tag] == nil && len(b.early) >= maxEarly
}

// dialogOf is the dialog that a response makes or belongs to; nil when it has no tag.
func (b *Branch) dialogOf(res *sip.Response) *Dialog {
	tag, _ := Param(res.To().Params, "tag")
	if tag == "" {
		return nil
	}
	b.mu.Lock()
	d, known := b.early[tag]
	if !known {
		d = newUAC(b.net, b.target.Peer, b.target.Flow, b.req, res, b.target.Contact)
		d.Sent(b.target.Body)
		b.early[tag] = d
	}
	b.mu.Unlock()
	if known {
		d.update(res)
	}
	return d
}

// reliable acknowledges a provisional response that wants to be (RFC 3262 section 4);
// false means that it is a retransmission, or comes too early.
func (b *Branch) reliable(d *Dialog, res *sip.Response) bool {
	required, _ := tokens(res, "Require")
	h := res.GetHeader("RSeq")
	if h == nil || !slices.Contains(required, "100rel") {
		return true
	}
	n, err := strconv.ParseUint(strings.TrimSpace(h.Value()), 10, 32)
	if err != nil {
		return true
	}
	b.mu.Lock()
	last, some := b.rseq[d.RemoteTag]
	if some && uint32(n) != last+1 {
		b.mu.Unlock()
		return false
	}
	b.rseq[d.RemoteTag] = uint32(n)
	b.mu.Unlock()
	req := d.Request(sip.PRACK)
	req.AppendHeader(sip.NewHeader("RAck", fmt.Sprintf("%d %d INVITE", n, res.CSeq().SeqNo)))
	done := b.net.farewell()
	go func() {
		defer done()
		ctx, cancel := context.WithTimeout(context.Background(), cancelWait)
		defer cancel()
		_, _ = d.Do(ctx, req) // without an answer the party sends its response again, and gives up by itself
	}()
	return true
}

// success hands a 2xx to the owner, or ends at once a call that nobody wants.
func (b *Branch) success(res *sip.Response) {
	if b.isCancelled() || !b.tell(Progress{Response: res, Dialog: b.dialogOf(res)}) {
		b.hangUp(res)
	}
}

// linger keeps the transaction for retransmitted 2xx until sipgo ends it.
func (b *Branch) linger(tx sip.ClientTransaction) {
	for {
		select {
		case res := <-tx.Responses():
			b.again(res)
		case <-tx.Done():
			return
		}
	}
}

// again handles a further 2xx: a retransmission is acknowledged again, the 2xx
// of another phone behind a forking proxy is hung up (RFC 3261 section 13.2.2.4).
func (b *Branch) again(res *sip.Response) {
	if res == nil || !res.IsSuccess() {
		return
	}
	b.mu.Lock()
	taken, body, acked := b.taken, b.lateBody, b.acked
	b.mu.Unlock()
	tag, _ := Param(res.To().Params, "tag")
	switch {
	case taken == nil && b.isCancelled(), taken != nil && taken.RemoteTag != tag:
		b.hangUp(res)
	case acked:
		_ = taken.Ack(res.CSeq().SeqNo, body) // lost again: the next retransmission asks again
	}
}

// hangUp acknowledges a 2xx and ends its dialog; of a retransmitted 2xx only the
// ACK was lost.
func (b *Branch) hangUp(res *sip.Response) {
	defer b.net.farewell()()
	tag, _ := Param(res.To().Params, "tag")
	b.mu.Lock()
	l, again := b.ended[tag]
	if !again {
		l = newUAC(b.net, b.target.Peer, b.target.Flow, b.req, res, b.target.Contact)
		b.ended[tag] = l
	}
	b.mu.Unlock()
	if err := l.Ack(res.CSeq().SeqNo, nil); err != nil || again {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelWait)
	defer cancel()
	_, _ = l.Do(ctx, l.Request(sip.BYE)) // nothing more can be done for a phone that does not hear
}

// Take makes the dialog of the 2xx that the owner chose the branch's.
func (b *Branch) Take(res *sip.Response) *Dialog {
	d := b.dialogOf(res)
	if d == nil { // of a party that knows no tags (RFC 2543)
		d = newUAC(b.net, b.target.Peer, b.target.Flow, b.req, res, b.target.Contact)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = d
	return d
}

// Ack acknowledges the taken 2xx, and every retransmission of it from now on.
func (b *Branch) Ack(res *sip.Response, body []byte) error {
	b.mu.Lock()
	b.lateBody, b.acked = body, true
	d := b.taken
	b.mu.Unlock()
	return d.Ack(res.CSeq().SeqNo, body)
}

// Cancel ends the branch: by CANCEL once the party has answered with a 1xx, by
// ACK and BYE if its 2xx is on the way. reasons are the values of the Reason headers
// (RFC 3326), such as `SIP;cause=200;text="Call completed elsewhere"`.
func (b *Branch) Cancel(reasons ...string) {
	b.mu.Lock()
	if !b.cancelled {
		b.cancelled, b.reasons = true, reasons
		close(b.unwanted)
	}
	now := b.heard
	b.mu.Unlock()
	if now {
		b.sendCancel()
	}
}

// ErrLeft: the party has hung up before it had answered.
var ErrLeft = errors.New("left before it answered")

// Leave ends the branch because its party has left, and tells the owner so. It does
// nothing to a party whose 2xx was taken.
func (b *Branch) Leave() {
	b.mu.Lock()
	taken := b.taken != nil
	b.mu.Unlock()
	if taken {
		return
	}
	b.Cancel()
	b.tell(Progress{Err: ErrLeft})
}

func (b *Branch) isCancelled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cancelled
}

// sendCancel sends the CANCEL, with the Via and CSeq of the INVITE, once.
func (b *Branch) sendCancel() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sent {
		return
	}
	b.sent = true
	req := sip.NewRequest(sip.CANCEL, *b.req.Recipient.Clone())
	req.AppendHeader(sip.HeaderClone(b.req.Via()))
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	for _, h := range []sip.Header{b.req.From(), b.req.To(), b.req.CallID()} {
		req.AppendHeader(sip.HeaderClone(h))
	}
	req.AppendHeader(&sip.CSeqHeader{SeqNo: b.req.CSeq().SeqNo, MethodName: sip.CANCEL})
	for _, route := range b.req.GetHeaders("Route") { // the same hops (RFC 3261 section 9.1)
		req.AppendHeader(sip.HeaderClone(route))
	}
	for _, reason := range b.reasons {
		req.AppendHeader(sip.NewHeader("Reason", reason))
	}
	done := b.net.farewell()
	go func() {
		defer done()
		ctx, cancel := context.WithTimeout(context.Background(), cancelWait)
		defer cancel()
		_, _ = b.net.Do(ctx, req, b.target.Flow) // the INVITE's own 487 is what counts
	}()
}

// authorise makes the next INVITE, which answers the challenge (RFC 3261
// section 22.2). Nothing of it ever reaches the other leg.
func (b *Branch) authorise(res *sip.Response) error {
	credentials, err := Credentials(res, b.req, b.target.User, b.target.Password)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	tag, _ := Param(b.req.From().Params, "tag")
	req := b.invite(b.req.CallID().Value(), tag, b.req.CSeq().SeqNo+1)
	req.AppendHeader(credentials)
	b.req, b.heard = req, false
	return nil
}

// Target is whom the branch rings.
func (b *Branch) Target() Target { return b.target }
