package sip

import (
	"errors"
	"net"
	"syscall"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/sip/guard"
	"hotdeskd/sip/leg"
)

// maxTransactions is how many requests may be answered at once, counted for as long
// as the library remembers them; some 10 KB each.
const maxTransactions = 20_000

// full tells the guard that strangers' datagrams are to be dropped.
func (e *Edge) full() bool { return e.open.Load() >= maxTransactions }

// admit counts a request in until its transaction ends. Over the limit it is
// refused, except an emergency call from a registered phone.
func (e *Edge) admit(req *sip.Request, tx sip.ServerTransaction) bool {
	if req.IsAck() {
		return true
	}
	if e.full() && (req.Method != sip.INVITE || !e.isEmergency(req)) {
		return false
	}
	e.open.Add(1)
	if !tx.OnTerminate(func(string, error) { e.open.Add(-1) }) {
		e.open.Add(-1) // it has ended already
	}
	return true
}

func (e *Edge) isEmergency(req *sip.Request) bool {
	_, ok := e.emergencyCaller(req, req.Recipient.String())
	return ok
}

// forget ends the transaction of a stranger that has been answered: what a stranger
// is told is not worth remembering, and repeating it is cheap (RFC 3261 section
// 8.2.7). A flood of requests that are all refused must not fill the memory with
// transactions that wait for their retransmissions.
func (e *Edge) forget(req *sip.Request, tx sip.ServerTransaction) {
	if !req.IsAck() && !e.guard.Known(leg.FlowOf(req).Transport, req.Source()) {
		tx.Terminate()
	}
}

// inspect is what the guard asks about each message.
func (e *Edge) inspect(data []byte, broken bool) guard.Verdict {
	answer, port, ok := e.triage.Look(data, broken)
	return guard.Verdict{Drop: !ok && answer == nil, Answer: answer, Port: port}
}

// flowGone takes out what was registered on a connection that has ended. Its
// device's calls have some time to come back on another one.
func (e *Edge) flowGone(network, remote string) {
	if e.ctx.Err() != nil {
		return // all are closed, and nobody has gone
	}
	f := leg.Flow{Transport: network, Remote: remote}
	if id, ok := e.locations.lost(f, e.Now()); ok {
		e.Log.Info("phone's connection ended", "device", string(id), "flow", f.String())
		e.Live.Unregistered(id)
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
