package sip

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/call"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/guard"
	"hotdeskd/sip/trunk"
)

// contactKey is what the contacts at PBXes are named with.
func contactKey(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("pbx contact"))
	return mac.Sum(nil)
}

// connectWait is how long a connection to a PBX may take.
const connectWait = 2500 * time.Millisecond

// connector opens connections to PBXes, and to nobody else: a phone's connection is
// the phone's to open. What it opens comes in by the listeners, like the others.
func (e *Edge) connector(tcp, secure *guard.Listener) func(dialog.Flow) error {
	var mu sync.Mutex
	turns := map[dialog.Flow]chan struct{}{}
	turn := func(f dialog.Flow) chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		if turns[f] == nil {
			turns[f] = make(chan struct{}, 1)
		}
		return turns[f]
	}
	return func(f dialog.Flow) error {
		name, ok := e.pbx.Known(f)
		if !ok {
			name, ok = e.far.known(f)
		}
		if !ok {
			return fmt.Errorf("%w: %s", dialog.ErrFlowGone, f)
		}
		if e.ourselves(f) {
			return fmt.Errorf("%w: %s", trunk.ErrLoop, f)
		}
		ctx, cancel := context.WithTimeout(e.ctx, connectWait)
		defer cancel()
		select { // one at a time to each: the second finds the connection of the first
		case turn(f) <- struct{}{}:
			defer func() { <-turn(f) }()
		case <-ctx.Done():
			return ctx.Err()
		}
		if e.net.Alive(f) {
			return nil
		}
		conn, err := e.Dial(ctx, "tcp", f.Remote)
		if err != nil {
			return fmt.Errorf("connect to the PBX: %w", err)
		}
		if f.Transport == "TCP" {
			return tcp.Bring(ctx, conn)
		}
		client := tls.Client(conn, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12})
		if err := client.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return fmt.Errorf("connect to the PBX: %w", err)
		}
		return secure.Bring(ctx, net.Conn(client))
	}
}

// ourselves tells whether a flow leads to a listener of ours: a connection to oneself
// is no use to anybody. What leads here by other ways is known by its mark.
func (e *Edge) ourselves(f dialog.Flow) bool {
	at, err := netip.ParseAddrPort(f.Remote)
	own, ok := e.net.Local[f.Transport]
	if err != nil || !ok || int(at.Port()) != own.Port {
		return false
	}
	local, _ := netip.AddrFromSlice(own.IP)
	told, _ := netip.ParseAddr(strings.Trim(e.name, "[]")) // invalid when it is a name
	return at.Addr() == local.Unmap() || at.Addr() == told.Unmap()
}

// knowPBXs tells the guard where the PBXes are.
func (e *Edge) knowPBXs() {
	var peers []guard.Peer
	for _, from := range e.pbx.Sources() {
		peers = append(peers, guard.Peer{Network: from.Network, Prefix: from.Prefix})
	}
	e.guard.Peers(peers)
}

// TestPBX tries a PBX and tells in words what happened.
func (e *Edge) TestPBX(ctx context.Context, name string) (hotdesk.PBXTest, error) {
	for _, p := range e.Desk.PBXs() {
		if p.Name == name {
			return e.pbx.Test(ctx, p), nil
		}
	}
	return hotdesk.PBXTest{}, fmt.Errorf("%w: pbx %s", hotdesk.ErrNotFound, name)
}

// RetryPBX tries all that waits at a PBX at once.
func (e *Edge) RetryPBX(_ context.Context, name string) error {
	for _, p := range e.Desk.PBXs() {
		if p.Name == name {
			e.pbx.Retry(name)
			return nil
		}
	}
	return fmt.Errorf("%w: pbx %s", hotdesk.ErrNotFound, name)
}

// quickly is how long an address of a PBX may give no sign of life while it has another.
const quickly = 2500 * time.Millisecond

// trunks makes the targets of a call through PBXes, to be tried in order: a group for
// each address of each PBX. Addresses that have failed of late come last. A call of no
// user, and every emergency call, is the PBX's own account's.
func (e *Edge) trunks(device hotdesk.DeviceID, r hotdesk.Route) [][]dialog.Target {
	if len(r.PBX) > 0 {
		e.knowPBXs() // a PBX of a moment ago must be heard in any flood
	}
	var all, last [][]dialog.Target
	for _, p := range r.PBX {
		flows := e.pbx.Targets(p)
		if len(flows) == 0 {
			e.Log.Error("call cannot go to the PBX: its address is not known", "pbx", p.Name)
			continue
		}
		user := r.Caller.User
		if r.Kind == hotdesk.RouteEmergency || p.Mode == "trunk" {
			user = ""
		}
		account, ok := e.Desk.PBXAccountOf(p.Name, user)
		if !ok && p.Mode == "register" {
			e.Log.Error("call cannot go to the PBX: there is no account for it", "pbx", p.Name, "user", string(user))
			continue
		}
		secret, err := e.Desk.PBXAccountSecret(account)
		if err != nil {
			e.Log.Error("secret of an account at the PBX cannot be opened", "pbx", p.Name, "user", string(user), "err", err)
		}
		caller := dialog.Party{Name: r.Caller.Name, URI: sip.Uri{User: r.Caller.Number}}
		if p.Mode == "register" && caller.URI.User == string(device) {
			caller.URI.User = "" // a device is nobody at the PBX
		}
		t := trunk.Target(p, trunk.Call{Number: r.Number, Caller: caller, Account: account, Secret: secret})
		t.Headers = append(append(e.pbx.Routes(account), t.Headers...), e.pbx.Mark(p, t.URI))
		t.Peer = dialog.Peer{Owner: t.Label, Far: true}
		for i, f := range flows {
			t.Flow, t.Contact, t.Told = f, e.contact(f), e.pbx.Told(account, f)
			if p.Mode == "register" {
				t.Contact = e.pbx.Contact(account, t.Contact)
			}
			if t.DeadAfter = quickly; i == len(flows)-1 {
				t.DeadAfter = 0
			}
			if e.pbx.Failed(f) {
				last = append(last, []dialog.Target{t})
			} else {
				all = append(all, []dialog.Target{t})
			}
		}
	}
	all = append(all, last...)
	for i := 1; i < len(all); i++ {
		all[i][0].Alternate = all[i][0].Label == all[i-1][0].Label
	}
	return all
}

// upstream tells whether a request comes from a PBX, and for which user: by the
// name of the contact that we registered for it, or else by where it comes from. Where
// phones share the address of a PBX, what is written as they write is not the PBX's
// unless it comes from the port where that listens.
func (e *Edge) upstream(req *sip.Request) (p hotdesk.PBX, user hotdesk.Extension, ok bool) {
	if p, user, ok = e.pbx.Called(req.Recipient.User); ok {
		return p, user, true
	}
	f := dialog.FlowOf(req)
	if e.registrar.Count(f) > 0 {
		return p, "", false
	}
	p, ok = e.pbx.Sender(f)
	if _, listens := e.pbx.Known(f); ok && f.Transport == "UDP" && !listens && e.likePhone(req, f) {
		return p, "", false
	}
	return p, "", ok
}

// likePhone tells whether a request names a device of ours, or fits a phone that was
// heard from its address.
func (e *Edge) likePhone(req *sip.Request, f dialog.Flow) bool {
	if _, _, device := e.Desk.Credentials(deviceID(req.From().Address.User)); device {
		return true
	}
	return slices.ContainsFunc(e.registrar.At(dialog.HostOf(f.Remote)), func(id hotdesk.DeviceID) bool {
		l, ok := e.registrar.Last(id)
		return ok && fits(req, l)
	})
}

// selves are calls through a PBX to the caller's own number, as one calls one's own
// mailbox. The phone that does so must not ring when the PBX sends the call back.
type selves struct {
	mu    sync.Mutex
	calls map[hotdesk.DeviceID]*call.Record
}

// begin notes such a call; end ends it.
func (s *selves) begin(id hotdesk.DeviceID, rec *call.Record) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[id] = rec
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.calls[id] == rec {
			delete(s.calls, id)
		}
	}
}

// calling tells whether a device calls its own user and nobody has answered yet.
func (s *selves) calling(id hotdesk.DeviceID) bool {
	s.mu.Lock()
	rec := s.calls[id]
	s.mu.Unlock()
	return rec != nil && rec.Unanswered()
}
