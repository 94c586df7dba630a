package dialog

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
)

// Party is a name and a URI, as in From and To.
type Party struct {
	Name string // as people read it
	URI  sip.Uri
}

// Quoted writes a name as it stands between the quotes of a header (RFC 3261
// section 25.1); sipgo writes names as they are. Control characters are left out.
func Quoted(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r < ' ' || r == 0x7f {
			continue
		}
		if r == '"' || r == '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Unquoted reads a name that stood between the quotes of a header.
func Unquoted(text string) string {
	var b strings.Builder
	escaped := false
	for _, r := range text {
		if r == '\\' && !escaped {
			escaped = true
			continue
		}
		b.WriteRune(r)
		escaped = false
	}
	return b.String()
}

// Dialog is one dialog. Its methods may be called from any goroutine.
type Dialog struct {
	CallID    string
	LocalTag  string
	RemoteTag string

	net           *Net
	local, remote Party // names as they stand in headers
	contact       sip.Uri
	mu            sync.Mutex
	flow          Flow // where the party is
	target        sip.Uri
	routes        []sip.Uri
	cseq          uint32 // of our last request
	heard         uint32 // CSeq of their last request
}

// NewUAS makes the leg of a caller from the INVITE. tag is our To tag, contact
// our address in this dialog.
func NewUAS(n *Net, req *sip.Request, tag string, contact sip.Uri) *Dialog {
	l := &Dialog{
		CallID: req.CallID().Value(), LocalTag: tag, flow: FlowOf(req), net: n, contact: contact,
		local:  Party{req.To().DisplayName, req.To().Address},
		remote: Party{req.From().DisplayName, req.From().Address},
		cseq:   1, heard: req.CSeq().SeqNo,
	}
	l.RemoteTag, _ = Param(req.From().Params, "tag")
	l.target = req.From().Address // of a caller that tells no Contact
	l.retarget(req.Contact())
	for _, h := range req.GetHeaders("Record-Route") {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			l.routes = append(l.routes, rr.Address)
		}
	}
	return l
}

// newUAC makes the leg of a called party from our INVITE and its 2xx.
func newUAC(n *Net, f Flow, req *sip.Request, res *sip.Response, contact sip.Uri) *Dialog {
	l := &Dialog{
		CallID: req.CallID().Value(), flow: f, net: n, contact: contact,
		local:  Party{req.From().DisplayName, req.From().Address},
		remote: Party{res.To().DisplayName, res.To().Address},
		cseq:   req.CSeq().SeqNo,
	}
	l.LocalTag, _ = Param(req.From().Params, "tag")
	l.RemoteTag, _ = Param(res.To().Params, "tag")
	l.target = req.Recipient
	l.retarget(res.Contact())
	for _, h := range res.GetHeaders("Record-Route") {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			l.routes = append(l.routes, rr.Address)
		}
	}
	slices.Reverse(l.routes)
	return l
}

// retarget follows a Contact (RFC 3261 section 12.2.1.2).
func (l *Dialog) retarget(c *sip.ContactHeader) {
	if c != nil && c.Address.Host != "" {
		l.target = *c.Address.Clone()
		l.target.Headers = nil // never executed, never sent on
	}
}

// Refresh takes the target of a re-INVITE or UPDATE and its 2xx.
func (l *Dialog) Refresh(c *sip.ContactHeader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retarget(c)
}

// Flow is where the party is.
func (l *Dialog) Flow() Flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flow
}

// Move follows a party that has been heard on another flow: its connection was
// broken, or its NAT has given it another port.
func (l *Dialog) Move(f Flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flow = f
}

// InOrder notes the CSeq of a request inside the dialog; false means that it is
// older than one that came before (RFC 3261 section 12.2.2).
func (l *Dialog) InOrder(req *sip.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq := req.CSeq().SeqNo; seq >= l.heard {
		l.heard = seq
		return true
	}
	return false
}

// Request builds the next request inside the dialog.
func (l *Dialog) Request(method sip.RequestMethod) *sip.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cseq++
	return l.build(method, l.cseq)
}

// build writes a request with a given CSeq. The caller holds the lock.
func (l *Dialog) build(method sip.RequestMethod, cseq uint32) *sip.Request {
	req := sip.NewRequest(method, *l.target.Clone())
	for _, r := range l.routes {
		req.AppendHeader(&sip.RouteHeader{Address: r})
	}
	from := &sip.FromHeader{DisplayName: l.local.Name, Address: l.local.URI, Params: sip.NewParams()}
	from.Params.Add("tag", l.LocalTag)
	to := &sip.ToHeader{DisplayName: l.remote.Name, Address: l.remote.URI, Params: sip.NewParams()}
	if l.RemoteTag != "" {
		to.Params.Add("tag", l.RemoteTag)
	}
	id, hops := sip.CallIDHeader(l.CallID), sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(from)
	req.AppendHeader(to)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
	req.AppendHeader(&sip.ContactHeader{Address: l.contact})
	req.AppendHeader(sip.NewHeader("User-Agent", l.net.Agent))
	return req
}

// Do sends a request of Request and waits for the final response.
func (l *Dialog) Do(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	return l.net.Do(ctx, req, l.Flow())
}

// Start sends a re-INVITE; the caller drains its responses and calls Ack.
func (l *Dialog) Start(ctx context.Context, req *sip.Request) (sip.ClientTransaction, error) {
	return l.net.Start(ctx, req, l.Flow())
}

// Ack sends the ACK to a 2xx of the INVITE with this CSeq (RFC 3261 section
// 13.2.2.4). body is the answer of a late offer; nil sends none.
func (l *Dialog) Ack(invite uint32, body []byte) error {
	l.mu.Lock()
	req := l.build(sip.ACK, invite)
	l.mu.Unlock()
	SetSDP(req, body)
	return l.net.Write(req, l.Flow())
}

// Contact is our own address in this dialog.
func (l *Dialog) Contact() sip.Uri { return l.contact }

// SetSDP gives a message a session description; nil or empty gives none.
func SetSDP(msg sip.Message, body []byte) {
	if len(body) > 0 {
		ct := sip.ContentTypeHeader("application/sdp")
		msg.AppendHeader(&ct)
	}
	msg.SetBody(body)
}

// Param finds a parameter by its lower-case name; sipgo compares exactly and
// leaves white space around '=' in place.
func Param(params sip.HeaderParams, name string) (string, bool) {
	for _, p := range params {
		if strings.EqualFold(strings.TrimSpace(p.K), name) {
			return strings.TrimSpace(p.V), true
		}
	}
	return "", false
}
