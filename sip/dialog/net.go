package dialog

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// ErrFlowGone: the connection on which the party was heard is closed; only the
// party can open a new one.
var ErrFlowGone = errors.New("the phone's connection is gone")

// Flow is the way a party was heard: transport in upper case and remote address.
type Flow struct {
	Transport string // UDP, TCP or TLS
	Remote    string // host:port
}

// String writes the flow as the API shows it, "udp:127.0.0.1:5060".
func (f Flow) String() string { return strings.ToLower(f.Transport) + ":" + f.Remote }

// HostOf is the address of "host:port"; invalid when that is a name.
func HostOf(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// FlowOf returns the flow on which a request came.
func FlowOf(req *sip.Request) Flow {
	return Flow{strings.ToUpper(req.Transport()), req.Source()}
}

// Net sends requests on flows.
type Net struct {
	Client *sipgo.Client
	Layer  *sip.TransportLayer
	Agent  string // User-Agent of what we send
	// Host is what others know us by; Local are our listeners by transport (UDP,
	// TCP, TLS): all UDP leaves from its listener.
	Host  string
	Local map[string]sip.Addr
	// Connect opens a connection to a PBX; nil, or an error, when the flow is a
	// phone's, which is never dialled.
	Connect func(Flow) error
	// Follow is the way to where a PBX's route set or remote target points, for a dialog
	// whose other end was heard on a flow; nil: back on the flow.
	Follow func(from Flow, next sip.Uri) Flow

	keyed sync.Once
	key   [32]byte // of branches

	mu      sync.Mutex
	leaving int           // CANCELs and BYEs of branches that are on their way
	left    chan struct{} // closed when there is none
}

// farewell counts in a CANCEL or BYE; done counts it out.
func (n *Net) farewell() (done func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leaving++
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.leaving--; n.leaving == 0 && n.left != nil {
			close(n.left)
			n.left = nil
		}
	}
}

// Farewells waits until every party that was told to stop has said so, or ctx
// has ended: the sockets may be closed then.
func (n *Net) Farewells(ctx context.Context) {
	n.mu.Lock()
	if n.leaving == 0 {
		n.mu.Unlock()
		return
	}
	if n.left == nil {
		n.left = make(chan struct{})
	}
	left := n.left
	n.mu.Unlock()
	select {
	case <-left:
	case <-ctx.Done():
	}
}

// Do runs one non-INVITE transaction on a flow up to its final response.
func (n *Net) Do(ctx context.Context, req *sip.Request, f Flow) (*sip.Response, error) {
	if err := n.prepare(req, f); err != nil {
		return nil, err
	}
	res, err := n.Client.Do(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("%s to %s: %w", req.Method, f, err)
	}
	return res, nil
}

// Start begins a transaction on a flow.
func (n *Net) Start(ctx context.Context, req *sip.Request, f Flow) (sip.ClientTransaction, error) {
	if err := n.prepare(req, f); err != nil {
		return nil, err
	}
	tx, err := n.Client.TransactionRequest(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("%s to %s: %w", req.Method, f, err)
	}
	return tx, nil
}

// Write sends a request outside any transaction: the ACK to a 2xx.
func (n *Net) Write(req *sip.Request, f Flow) error {
	if err := n.prepare(req, f); err != nil {
		return err
	}
	if err := n.Client.WriteRequest(req); err != nil {
		return fmt.Errorf("%s to %s: %w", req.Method, f, err)
	}
	return nil
}

// prepare pins the request to its flow. UDP leaves from the listening socket;
// on streams the accepted connection must still be there, because sipgo would
// dial the phone anew, which NAT drops and a stranger could answer.
func (n *Net) prepare(req *sip.Request, f Flow) error {
	req.SetTransport(f.Transport)
	req.SetDestination(f.Remote)
	if req.Via() == nil {
		via := &sip.ViaHeader{
			ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: f.Transport, Host: n.Host, Port: n.Local[f.Transport].Port, Params: sip.NewParams(),
		}
		via.Params.Add("branch", n.branch(f))
		via.Params.Add("rport", "")
		req.PrependHeader(via)
	}
	if f.Transport == "UDP" {
		req.Laddr = n.Local["UDP"]
		return nil
	}
	if n.Alive(f) {
		return nil
	}
	if n.Connect == nil {
		return fmt.Errorf("%w: %s", ErrFlowGone, f)
	}
	return n.Connect(f)
}

// branch makes a branch that says to which host the request goes, for nobody but us.
func (n *Net) branch(f Flow) string {
	nonce := sip.GenerateBranchN(16)
	return nonce + "." + n.seal(nonce, f)
}

// SentTo tells whether the request with a branch of ours went to the host of a flow.
func (n *Net) SentTo(branch string, f Flow) bool {
	dot := strings.LastIndexByte(branch, '.')
	return dot >= 0 && hmac.Equal([]byte(n.seal(branch[:dot], f)), []byte(branch[dot+1:]))
}

func (n *Net) seal(nonce string, f Flow) string {
	n.keyed.Do(func() { _, _ = rand.Read(n.key[:]) }) // never fails (Go 1.24)
	mac := hmac.New(sha256.New, n.key[:])
	host := f.Remote
	if addr := HostOf(f.Remote); addr.IsValid() {
		host = addr.String()
	}
	mac.Write([]byte(nonce + " " + host))
	var text [16]byte // letters alone: no number of anybody's comes about by chance
	for i, b := range mac.Sum(nil)[:8] {
		text[2*i], text[2*i+1] = 'a'+b>>4, 'a'+b&15
	}
	return string(text[:])
}

// Alive tells whether a flow's connection is open; a flow without one always is.
func (n *Net) Alive(f Flow) bool {
	if f.Transport == "UDP" {
		return true
	}
	conn, err := n.Layer.GetConnection(f.Transport, f.Remote)
	if err != nil || conn == nil {
		return false
	}
	// GetConnection counts a use that the transaction counts again.
	_, err = conn.TryClose()
	return err == nil
}
