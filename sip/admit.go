package sip

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/sip/dialog"
	"hotdeskd/sip/guard"
	"hotdeskd/sip/ingress"
)

// How many requests may be open, counted for as long as the library remembers their
// transactions; some 10 KB each. Whoever is not proven is answered without being
// remembered, so strangers count only while they are being answered. The total is a
// bound of memory and not of rate: nothing but calls, and what happens in them, stays
// for the 32 seconds of a transaction.
const (
	maxTransactions = 100_000
	maxStrangers    = 8192 // of those who are not proven, together
	maxPerDevice    = 128  // of one device; a flow may have as many for each device on it
)

// load counts the open requests.
type load struct {
	mu        sync.Mutex
	total     int
	strangers int
	flows     map[dialog.Flow]int // of registered phones
}

func newLoad() *load { return &load{flows: map[dialog.Flow]int{}} }

// ticket is one request's place in the count.
type ticket struct {
	load     *load
	flow     dialog.Flow
	stranger bool
	counted  bool
}

// enter counts a request in. share is how many its flow may have, 0 for a stranger's;
// a PBX's is bounded by the total alone (share below 0). force counts it in whatever
// the limits say.
func (l *load) enter(f dialog.Flow, share int, force bool) (*ticket, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.total >= maxTransactions ||
		share == 0 && l.strangers >= maxStrangers ||
		share > 0 && l.flows[f] >= share
	if full && !force {
		return nil, false
	}
	l.total++
	t := &ticket{load: l, flow: f, stranger: share == 0}
	switch {
	case t.stranger:
		l.strangers++
	case share > 0:
		l.flows[f]++
		t.counted = true
	}
	return t, true
}

// prove takes a request out of the strangers': its sender is known now. What comes of
// it is bounded by the device's other limits.
func (t *ticket) prove() {
	t.load.mu.Lock()
	defer t.load.mu.Unlock()
	if t.stranger {
		t.stranger = false
		t.load.strangers--
	}
}

func (t *ticket) leave() {
	t.prove()
	t.load.mu.Lock()
	defer t.load.mu.Unlock()
	t.load.total--
	if t.counted {
		if t.load.flows[t.flow]--; t.load.flows[t.flow] <= 0 {
			delete(t.load.flows, t.flow)
		}
	}
}

// crowded tells whether no stranger's request can be taken now.
func (l *load) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.strangers >= maxStrangers || l.total >= maxTransactions
}

// open is how many requests are open now.
func (l *load) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// admit counts a request in until its transaction ends. Over a limit it is refused,
// unless it is an emergency call.
func (e *Edge) admit(req *sip.Request, tx sip.ServerTransaction) (*ticket, bool) {
	f := dialog.FlowOf(req)
	share := maxPerDevice * e.registrar.Count(f)
	if _, pbx := e.pbx.Sender(f); pbx && share == 0 {
		share = -1
	}
	t, ok := e.load.enter(f, share, e.mayBeEmergency(req))
	if ok && !tx.OnTerminate(func(string, error) { t.leave() }) {
		t.leave() // it has ended already
	}
	return t, ok
}

// invites are the INVITEs that are open: who sent them may take them back. A CANCEL
// names one by nothing but its branch (RFC 3261 section 9.2), which others may have
// overheard.
type invites struct {
	mu   sync.Mutex
	from map[string]netip.Addr // by inviteKey
}

func (i *invites) begin(req *sip.Request) (end func()) {
	key, from := inviteKey(req), dialog.HostOf(req.Source())
	i.mu.Lock()
	defer i.mu.Unlock()
	i.from[key] = from
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.from, key)
	}
}

// strange tells whether a CANCEL comes from elsewhere than its INVITE.
func (i *invites) strange(cancel *sip.Request, from netip.Addr) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	sent, known := i.from[inviteKey(cancel)]
	return known && sent != from.Unmap()
}

// inviteKey is what the library knows an INVITE by: read in any other way than it does,
// a CANCEL that is written a little differently would pass here and find its call there.
func inviteKey(req *sip.Request) string {
	invite := sip.NewRequest(sip.INVITE, req.Recipient)
	if via := req.Via(); via != nil {
		invite.AppendHeader(via)
	}
	if from := req.From(); from != nil {
		invite.AppendHeader(from)
	}
	if id := req.CallID(); id != nil {
		invite.AppendHeader(id)
	}
	if cseq := req.CSeq(); cseq != nil {
		invite.AppendHeader(&sip.CSeqHeader{SeqNo: cseq.SeqNo, MethodName: sip.INVITE})
	}
	key, _ := sip.ServerTxKeyMake(invite) // empty: the library finds nothing either
	return key
}

// branchOf is what a server transaction is known by (RFC 3261 section 17.2.3).
func branchOf(req *sip.Request) string {
	via := req.Via()
	if via == nil {
		return ""
	}
	branch, _ := dialog.Param(via.Params, "branch")
	return branch + " " + strings.ToLower(via.SentBy())
}

// inspect is what the guard asks about each message.
func (e *Edge) inspect(network string, from netip.AddrPort, raw []byte, broken bool) guard.Verdict {
	data := ingress.Normalise(network, from, raw)
	msg, answer, port := e.triage.Look(data, broken)
	if msg == nil && !broken {
		if mended := ingress.Repair(data); mended != nil {
			if req, ok := e.triage.Read(mended).(*sip.Request); ok && e.mayBeEmergency(req) {
				data, msg = mended, req
			}
		}
	}
	if msg == nil {
		return guard.Verdict{Drop: answer == nil, Answer: answer, Port: port}
	}
	if res, ok := msg.(*sip.Response); ok {
		f := dialog.Flow{Transport: network, Remote: from.String()}
		return guard.Verdict{Drop: e.foreign(res, f) || e.secondFinal(res, f)}
	}
	req, ok := msg.(*sip.Request)
	if ok && req.IsCancel() && e.invites.strange(req, from.Addr()) {
		e.Log.Warn("CANCEL refused: it does not come from where its call does", "remote", from.String())
		answer, port = ingress.Answer(data, 481, "Call/Transaction Does Not Exist")
		return guard.Verdict{Drop: answer == nil, Answer: answer, Port: port}
	}
	return guard.Verdict{Data: data}
}

// flowGone takes out who was registered on a connection that has ended.
func (e *Edge) flowGone(network, remote string) {
	if e.ctx.Err() == nil { // otherwise all are closed, and nobody has gone
		e.registrar.Gone(dialog.Flow{Transport: network, Remote: remote})
	}
}

var errNeverDialled = errors.New("connections are opened by phones, or by us to a PBX")

// streams are the library's transports for TCP and TLS. It would open a connection
// to any address that it has none to: to a phone behind NAT that fails, and a
// stranger could have taken the port. So it may open none at all.
func streams() sip.TransportsConfig {
	never := func(net.Addr) net.Dialer {
		return net.Dialer{Control: func(string, string, syscall.RawConn) error { return errNeverDialled }}
	}
	return sip.TransportsConfig{
		TCP: &sip.TransportTCP{DialerCreate: never},
		TLS: &sip.TransportTLS{TransportTCP: &sip.TransportTCP{DialerCreate: never}},
	}
}

// mayBeEmergency tells whether a request may be an emergency call of somebody here:
// it goes to an emergency number of any site. Whose it is shows later. Such a call is
// refused for no header, no body and no limit.
func (e *Edge) mayBeEmergency(req *sip.Request) bool {
	if req.Method != sip.INVITE {
		return false
	}
	if to := req.To(); to != nil {
		if tag, _ := dialog.Param(to.Params, "tag"); tag != "" {
			return false
		}
	}
	dialed := *req.Recipient.Clone()
	dialed.Headers = nil
	return e.Desk.MayBeEmergency(dialed.String())
}
