package guard

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Budgets in messages. A stranger's is wide enough for an office of some hundred
// phones behind one address that come back after a power cut.
var (
	strangerRate  = Rate{1000, 1500} // one address
	strangersRate = Rate{2000, 2000} // all of them together
	flowRate      = Rate{300, 2000}  // the flow of one registered phone
	peerRate      = Rate{4000, 8000} // the address of one PBX
	answerRate    = Rate{5, 20}      // answers to what cannot be read, to one address
	answersRate   = Rate{100, 100}   // and to all
)

// Verdict is what Inspect makes of one message.
type Verdict struct {
	Drop bool
	// Data is the message as it is to be read, when that is not as it came.
	Data []byte
	// Answer is sent instead of the message being handled; Port says where when it
	// is not the port that the message came from (RFC 3261 section 18.2.2).
	Answer []byte
	Port   uint16
}

// Options of New; all may be left out.
type Options struct {
	// Inspect looks at a message that its sender could pay for; network is UDP, TCP or
	// TLS, and broken tells that its end is not where it says.
	Inspect func(network string, from netip.AddrPort, data []byte, broken bool) Verdict
	// Full tells that no stranger's request can be taken now.
	Full func() bool
	// Gone is told that a connection has ended, before another one can come from
	// the same address.
	Gone func(network, remote string)
	Log  *slog.Logger
}

// Guard is the budgets, and what all sockets share. Its methods may be called
// from any goroutine.
type Guard struct {
	Options
	strangers *table
	together  shared
	answers   *table
	answered  shared

	mu    sync.RWMutex
	flows map[flow]*known
	peers map[Peer]*shared

	conns connections
	Stats Stats
}

// Stats counts what was not let in, since the start.
type Stats struct {
	Dropped  atomic.Uint64 // datagrams over a budget
	Unread   atomic.Uint64 // messages that cannot be read
	Refused  atomic.Uint64 // connections over a limit
	TimedOut atomic.Uint64 // connections that took too long
}

// flow is one way to a party.
type flow struct {
	network string // UDP, TCP, TLS
	remote  netip.AddrPort
}

// known is a flow with a budget of its own; users says how often it was made known.
type known struct {
	shared
	users int
}

// New makes a guard.
func New(o Options) *Guard {
	if o.Inspect == nil {
		o.Inspect = func(string, netip.AddrPort, []byte, bool) Verdict { return Verdict{} }
	}
	if o.Full == nil {
		o.Full = func() bool { return false }
	}
	if o.Gone == nil {
		o.Gone = func(string, string) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Guard{
		Options: o, strangers: newTable(), answers: newTable(), flows: map[flow]*known{}, peers: map[Peer]*shared{},
		conns: connections{open: map[flow]*conn{}, strangers: map[netip.Addr]*crowd{}},
	}
}

func flowOf(network, remote string) (flow, bool) {
	at, err := netip.ParseAddrPort(remote)
	return flow{network, netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}, err == nil
}

// Know gives a flow its own budget until Forget was called as often.
func (g *Guard) Know(network, remote string) {
	f, ok := flowOf(network, remote)
	if !ok {
		return
	}
	g.mu.Lock()
	k := g.flows[f]
	if k == nil {
		k = &known{}
		g.flows[f] = k
	}
	k.users++
	g.mu.Unlock()
	g.conns.know(f)
}

// Forget makes a stranger of the flow again.
func (g *Guard) Forget(network, remote string) {
	f, ok := flowOf(network, remote)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if k := g.flows[f]; k != nil {
		if k.users--; k.users <= 0 {
			delete(g.flows, f)
		}
	}
}

// Peer is where a PBX sends from: any port of an address or network.
type Peer struct {
	Network string // UDP, TCP or TLS
	Prefix  netip.Prefix
}

// Peers sets where the PBXes are; each has a budget.
func (g *Guard) Peers(peers []Peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.peers
	g.peers = make(map[Peer]*shared, len(peers))
	for _, p := range peers {
		p.Prefix = p.Prefix.Masked()
		if g.peers[p] = old[p]; g.peers[p] == nil {
			g.peers[p] = &shared{}
		}
	}
}

// peerOf is the budget of the PBX that a flow is one of; nil: of none. The caller
// holds the lock.
func (g *Guard) peerOf(f flow) *shared {
	if p := g.peers[Peer{f.network, netip.PrefixFrom(f.remote.Addr(), f.remote.Addr().BitLen())}]; p != nil {
		return p
	}
	for p, budget := range g.peers {
		if p.Network == f.network && p.Prefix.Contains(f.remote.Addr()) {
			return budget
		}
	}
	return nil
}

// Known tells whether a flow is a registered phone's or a PBX's.
func (g *Guard) Known(network, remote string) bool {
	f, ok := flowOf(network, remote)
	return ok && g.isKnown(f)
}

func (g *Guard) isKnown(f flow) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.flows[f] != nil || g.peerOf(f) != nil
}

// pay pays for one message; a wait above zero says that it is too early, and how
// much. A stranger pays twice: for itself, and into the purse of all.
func (g *Guard) pay(f flow, now int64) (wait time.Duration, stranger bool) {
	g.mu.RLock()
	k, p := g.flows[f], g.peerOf(f)
	g.mu.RUnlock()
	switch {
	case k != nil:
		return k.take(flowRate, now), false
	case p != nil:
		return p.take(peerRate, now), false
	}
	if wait = g.strangers.take(source(f.remote.Addr()), strangerRate, now); wait > 0 {
		return wait, true
	}
	return g.together.take(strangersRate, now), true
}

// mayAnswer tells whether one more answer may go to somebody whose message cannot
// be read: we reflect nothing worth having.
func (g *Guard) mayAnswer(a netip.Addr, now int64) bool {
	g.Stats.Unread.Add(1)
	return g.answers.take(source(a), answerRate, now) == 0 && g.answered.take(answersRate, now) == 0
}

// addrPort reads a socket's address.
func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		at := a.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	case *net.TCPAddr:
		at := a.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	f, _ := flowOf("", a.String())
	return f.remote
}
