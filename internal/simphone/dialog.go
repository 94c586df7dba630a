package simphone

import (
	"slices"
	"sync"

	"github.com/emiago/sipgo/sip"
)

// party is one end of a dialog as From and To write it.
type party struct {
	name string
	uri  sip.Uri
	tag  string
}

// dialog is what two ends have in common (RFC 3261 section 12); a REGISTER, which
// makes none, uses its first half.
type dialog struct {
	callID  string
	local   party
	contact sip.Uri

	mu     sync.Mutex
	remote party
	target sip.Uri
	routes []sip.Uri
	cseq   uint32 // of our last request
	heard  uint32 // of their last request
}

// next builds the next request; its CSeq is one more than the last one's.
func (d *dialog) next(method sip.RequestMethod, agent string) *sip.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cseq++
	return d.build(method, d.cseq, agent)
}

// ack builds the ACK to the 2xx of the INVITE with this CSeq.
func (d *dialog) ack(invite uint32, agent string) *sip.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.build(sip.ACK, invite, agent)
}

// build writes a request. The caller holds the lock.
func (d *dialog) build(method sip.RequestMethod, cseq uint32, agent string) *sip.Request {
	req := sip.NewRequest(method, *d.target.Clone())
	for _, r := range d.routes {
		req.AppendHeader(&sip.RouteHeader{Address: r})
	}
	from := &sip.FromHeader{DisplayName: d.local.name, Address: *d.local.uri.Clone(), Params: sip.NewParams()}
	from.Params.Add("tag", d.local.tag)
	to := &sip.ToHeader{DisplayName: d.remote.name, Address: *d.remote.uri.Clone(), Params: sip.NewParams()}
	if d.remote.tag != "" {
		to.Params.Add("tag", d.remote.tag)
	}
	id, hops := sip.CallIDHeader(d.callID), sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(from)
	req.AppendHeader(to)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
	req.AppendHeader(&sip.ContactHeader{Address: *d.contact.Clone()})
	req.AppendHeader(sip.NewHeader("User-Agent", agent))
	if method == sip.INVITE || method == sip.REGISTER {
		req.AppendHeader(sip.NewHeader("Allow", allow))
	}
	return req
}

// answered completes the dialog of an INVITE of ours from its 2xx.
func (d *dialog) answered(res *sip.Response) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if to := res.To(); to != nil {
		d.remote.tag = param(to.Params, "tag")
	}
	d.routes = recordRoute(res.GetHeaders("Record-Route"))
	slices.Reverse(d.routes)
	d.retarget(res.Contact())
}

// invited begins the dialog of an INVITE of theirs; tag is ours.
func invited(req *sip.Request, tag string, contact sip.Uri) *dialog {
	d := &dialog{
		callID:  req.CallID().Value(),
		local:   party{req.To().DisplayName, req.To().Address, tag},
		contact: contact,
		remote:  party{req.From().DisplayName, req.From().Address, param(req.From().Params, "tag")},
		target:  req.From().Address,
		routes:  recordRoute(req.GetHeaders("Record-Route")),
		heard:   req.CSeq().SeqNo,
	}
	d.retarget(req.Contact())
	return d
}

func recordRoute(headers []sip.Header) []sip.Uri {
	var routes []sip.Uri
	for _, h := range headers {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			routes = append(routes, rr.Address)
		}
	}
	return routes
}

// retarget follows a Contact. The caller holds the lock or the only reference.
func (d *dialog) retarget(c *sip.ContactHeader) {
	if c != nil && c.Address.Host != "" {
		d.target = *c.Address.Clone()
	}
}

// refresh follows the Contact of a re-INVITE or UPDATE, or of its 2xx.
func (d *dialog) refresh(c *sip.ContactHeader) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retarget(c)
}

// relocate changes where this end is reached.
func (d *dialog) relocate(contact sip.Uri) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.contact = contact
}

// inOrder notes the CSeq of a request of theirs; false means that a later one
// came before (RFC 3261 section 12.2.2).
func (d *dialog) inOrder(req *sip.Request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	seq := req.CSeq().SeqNo
	if seq < d.heard {
		return false
	}
	d.heard = seq
	return true
}

// remoteTag is empty until the other side has answered.
func (d *dialog) remoteTag() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.remote.tag
}
