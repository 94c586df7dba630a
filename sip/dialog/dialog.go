package dialog

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
)

// Account answers the digest challenges to our requests; empty answers none.
type Account struct{ User, Password string }

// Peer is who is on the other end of a dialog, as far as sending goes.
type Peer struct {
	// Owner is the owner's name for the party, such as the device.
	Owner string
	// Account answers the party's challenges inside the dialog (RFC 3261 section 22.2);
	// nil: none can be answered.
	Account func() Account
	// Spare is where a phone can be reached when the dialog's own connection has ended:
	// the flow on which it is registered. Nil: nowhere.
	Spare func() (Flow, bool)
	// Reach is where a phone listens that sends from another port than it takes requests
	// on, for the flow on which it was heard; nil: there.
	Reach func(Flow) Flow
	// Far: requests go where the route set and the remote target say (RFC 3261 section
	// 12.2.1.1), which is right towards a PBX. A phone is reached on its flow alone.
	Far bool
}

// Dialog is one side of a call: what two user agents know of each other (RFC 3261
// section 12), early or confirmed. Its methods may be called from any goroutine.
type Dialog struct {
	CallID    string
	LocalTag  string
	RemoteTag string
	Peer      Peer

	net           *Net
	local, remote Party // names as they stand in headers
	contact       sip.Uri

	mu        sync.Mutex
	flow      Flow // where the party was heard last
	target    sip.Uri
	routes    []sip.Uri
	cseq      uint32 // of our last request
	heard     uint32 // CSeq of their last request
	methods   []string
	listed    bool     // they have told their methods
	supported []string // options that they have told
	sent      []byte   // the last session description of ours
}

// NewUAS makes the dialog with a caller from its INVITE. tag is our To tag, contact
// our address in this dialog.
func NewUAS(n *Net, peer Peer, req *sip.Request, tag string, contact sip.Uri) *Dialog {
	d := &Dialog{
		CallID: req.CallID().Value(), LocalTag: tag, Peer: peer, flow: FlowOf(req), net: n, contact: contact,
		local:  Party{req.To().DisplayName, req.To().Address},
		remote: Party{req.From().DisplayName, req.From().Address},
		cseq:   1, heard: req.CSeq().SeqNo,
	}
	d.RemoteTag, _ = Param(req.From().Params, "tag")
	d.target = req.From().Address // of a caller that tells no Contact
	d.retarget(req.Contact())
	d.routes = recorded(req)
	d.Learn(req)
	return d
}

// newUAC makes the dialog with a called party from our INVITE and a response with a To
// tag: an early one from a 1xx, a confirmed one from a 2xx.
func newUAC(n *Net, peer Peer, f Flow, req *sip.Request, res *sip.Response, contact sip.Uri) *Dialog {
	d := &Dialog{
		CallID: req.CallID().Value(), Peer: peer, flow: f, net: n, contact: contact,
		local:  Party{req.From().DisplayName, req.From().Address},
		remote: Party{res.To().DisplayName, res.To().Address},
		cseq:   req.CSeq().SeqNo,
	}
	d.LocalTag, _ = Param(req.From().Params, "tag")
	d.RemoteTag, _ = Param(res.To().Params, "tag")
	d.target = req.Recipient
	d.update(res)
	return d
}

// update takes over what a response to our INVITE says: the route set is that of the
// last one, and the 2xx has the last word (RFC 3261 section 13.2.2.4).
func (d *Dialog) update(res *sip.Response) {
	d.mu.Lock()
	d.retarget(res.Contact())
	d.routes = recorded(res)
	slices.Reverse(d.routes)
	d.mu.Unlock()
	d.Learn(res)
}

func recorded(msg sip.Message) (routes []sip.Uri) {
	for _, h := range msg.GetHeaders("Record-Route") {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			routes = append(routes, rr.Address)
		}
	}
	return routes
}

// retarget follows a Contact (RFC 3261 section 12.2.1.2). The caller holds the lock,
// or is the only one who knows the dialog.
func (d *Dialog) retarget(c *sip.ContactHeader) {
	if c != nil && c.Address.Host != "" {
		d.target = *c.Address.Clone()
		d.target.Headers = nil // never executed, never sent on
	}
}

// Refresh takes the target of a re-INVITE or UPDATE and its 2xx, and what they tell of
// the party's abilities.
func (d *Dialog) Refresh(msg sip.Message) {
	if msg == nil {
		return
	}
	d.mu.Lock()
	for _, h := range msg.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok {
			d.retarget(c)
		}
	}
	d.mu.Unlock()
	d.Learn(msg)
}

// Learn notes the methods and extensions that a message of the party lists.
func (d *Dialog) Learn(msg sip.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if methods, ok := tokens(msg, "Allow"); ok {
		d.methods, d.listed = methods, true
	}
	supported, ok := tokens(msg, "Supported", "k")
	if required, also := tokens(msg, "Require"); ok || also {
		d.supported = append(supported, required...)
	}
}

// tokens lists the values of comma separated headers in lower case.
func tokens(msg sip.Message, names ...string) (all []string, ok bool) {
	for _, name := range names {
		for _, h := range msg.GetHeaders(name) {
			ok = true
			for text := range strings.SplitSeq(h.Value(), ",") {
				if text = strings.ToLower(strings.TrimSpace(text)); text != "" {
					all = append(all, text)
				}
			}
		}
	}
	return all, ok
}

// Allows tells whether the party takes a method. One that has listed none takes those
// of RFC 3261 and INFO, which is as old; UPDATE and the others must be listed
// (RFC 3311 section 5.1).
func (d *Dialog) Allows(method sip.RequestMethod) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listed {
		return slices.Contains(d.methods, strings.ToLower(string(method)))
	}
	return slices.Contains([]sip.RequestMethod{sip.INVITE, sip.ACK, sip.BYE, sip.CANCEL, sip.OPTIONS, sip.INFO}, method)
}

// Supports tells whether the party has told that it knows an extension.
func (d *Dialog) Supports(option string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.supported, option)
}

// Sent notes the session description that we sent last, which a refresh repeats.
func (d *Dialog) Sent(sdp []byte) {
	if len(sdp) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent = sdp
}

// LastSDP is the session description that we sent last; nil when there was none.
func (d *Dialog) LastSDP() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sent
}

// Flow is where the party was heard last.
func (d *Dialog) Flow() Flow {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flow
}

// move follows a party that has been heard on another flow.
func (d *Dialog) move(f Flow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flow = f
}

// InOrder notes the CSeq of a request inside the dialog; false means that it is
// older than one that came before (RFC 3261 section 12.2.2).
func (d *Dialog) InOrder(req *sip.Request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if seq := req.CSeq().SeqNo; seq >= d.heard {
		d.heard = seq
		return true
	}
	return false
}

// Request builds the next request inside the dialog.
func (d *Dialog) Request(method sip.RequestMethod) *sip.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cseq++
	return d.build(method, d.cseq)
}

// build writes a request with a given CSeq. The caller holds the lock.
func (d *Dialog) build(method sip.RequestMethod, cseq uint32) *sip.Request {
	req := sip.NewRequest(method, *d.target.Clone())
	for _, r := range d.routes {
		req.AppendHeader(&sip.RouteHeader{Address: r})
	}
	from := &sip.FromHeader{DisplayName: d.local.Name, Address: d.local.URI, Params: sip.NewParams()}
	from.Params.Add("tag", d.LocalTag)
	to := &sip.ToHeader{DisplayName: d.remote.Name, Address: d.remote.URI, Params: sip.NewParams()}
	if d.RemoteTag != "" {
		to.Params.Add("tag", d.RemoteTag)
	}
	id, hops := sip.CallIDHeader(d.CallID), sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(from)
	req.AppendHeader(to)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
	req.AppendHeader(&sip.ContactHeader{Address: d.contact})
	req.AppendHeader(sip.NewHeader("User-Agent", d.net.Agent))
	return req
}

// way is where the next request goes.
func (d *Dialog) way() Flow {
	d.mu.Lock()
	flow, next := d.flow, d.target
	if len(d.routes) > 0 {
		next = d.routes[0]
	}
	d.mu.Unlock()
	if d.Peer.Far {
		if d.net.Follow != nil {
			return d.net.Follow(flow, next)
		}
		return flow
	}
	if d.Peer.Spare != nil && !d.net.Alive(flow) {
		if spare, ok := d.Peer.Spare(); ok {
			d.move(spare)
			flow = spare
		}
	}
	if d.Peer.Reach != nil {
		flow = d.Peer.Reach(flow)
	}
	return flow
}

// Do sends a request of Request and waits for the final response. A challenge is
// answered once with the peer's account.
func (d *Dialog) Do(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	res, err := d.net.Do(ctx, req, d.way())
	if err != nil {
		return nil, err
	}
	if again, ok := d.authorise(req, res); ok {
		return d.net.Do(ctx, again, d.way())
	}
	return res, nil
}

// authorise makes the request anew that answers a challenge.
func (d *Dialog) authorise(req *sip.Request, res *sip.Response) (*sip.Request, bool) {
	if res.StatusCode != 401 && res.StatusCode != 407 || d.Peer.Account == nil {
		return nil, false
	}
	account := d.Peer.Account()
	if account.User == "" {
		return nil, false
	}
	credentials, err := Credentials(res, req, account.User, account.Password)
	if err != nil {
		return nil, false
	}
	again := d.Request(req.Method)
	own := []string{"Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "User-Agent", "Route", "Content-Length"}
	for _, h := range req.Headers() {
		if !slices.Contains(own, h.Name()) {
			again.AppendHeader(sip.HeaderClone(h))
		}
	}
	again.SetBody(req.Body())
	again.AppendHeader(credentials)
	return again, true
}

// Ack sends the ACK to a 2xx of the INVITE with this CSeq (RFC 3261 section
// 13.2.2.4). body is the answer of a late offer; nil sends none.
func (d *Dialog) Ack(invite uint32, body []byte) error {
	d.mu.Lock()
	req := d.build(sip.ACK, invite)
	d.mu.Unlock()
	SetSDP(req, body)
	d.Sent(body)
	return d.net.Write(req, d.way())
}

// Contact is our own address in this dialog.
func (d *Dialog) Contact() sip.Uri { return d.contact }

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
