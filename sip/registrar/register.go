package registrar

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/ingress"
)

// Registration times in seconds: what is granted at most, and the least that may
// be asked for (423 below it).
const (
	grantedExpiry = 300
	NATExpiry     = 180 // behind a NAT, which forgets
	MinExpiry     = 60
)

// Answer is what a REGISTER gets.
type Answer struct {
	Status int
	Reason string
	Header []sip.Header
}

// Register carries out a REGISTER (RFC 3261 section 10.3). The binding belongs to the
// device that the digest has proven, whatever the To header says.
func (r *Registrar) Register(id hotdesk.DeviceID, req *sip.Request) Answer {
	contact, seconds, refusal := contactOf(req)
	switch {
	case refusal != nil:
		return Answer{refusal.Status, refusal.Reason, refusal.Header}
	case contact == nil && seconds < 0: // a question
	case seconds == 0:
		r.unregister(id, req, contact)
	default:
		r.register(id, req, contact, seconds)
	}
	return r.answer(id)
}

// contactOf reads the one Contact and its expiry: -1 asks only, 0 removes;
// contact is nil for "*".
func contactOf(req *sip.Request) (contact *sip.ContactHeader, seconds int, refusal *ingress.Refusal) {
	seconds = grantedExpiry
	if h := req.GetHeader("Expires"); h != nil {
		n, err := strconv.ParseUint(strings.TrimSpace(h.Value()), 10, 32)
		if err == nil {
			seconds = int(min(n, grantedExpiry))
		}
	}
	var all []*sip.ContactHeader
	for _, h := range req.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok {
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return nil, -1, nil
	}
	if all[0].Address.Wildcard {
		if seconds != 0 || len(all) > 1 {
			return nil, 0, &ingress.Refusal{Status: 400, Reason: "Contact * needs Expires: 0 and nothing else"}
		}
		return nil, 0, nil
	}
	// Of the Contacts that stay the one with the highest q is the phone's (RFC 3261
	// section 10.2.1.2), and of equals the last; the others are what it removes.
	common, best := seconds, -1.0
	for _, c := range all {
		s := common
		if text, ok := dialog.Param(c.Params, "expires"); ok {
			if n, err := strconv.ParseUint(text, 10, 32); err == nil {
				s = int(min(n, grantedExpiry))
			}
		}
		q := 1.0
		if text, ok := dialog.Param(c.Params, "q"); ok {
			if n, err := strconv.ParseFloat(text, 64); err == nil {
				q = n
			}
		}
		if contact == nil || s > 0 && q >= best {
			contact, seconds = c, s
			if s > 0 {
				best = q
			}
		}
	}
	if seconds > 0 && seconds < MinExpiry {
		return nil, 0, &ingress.Refusal{Status: 423, Reason: "Interval Too Brief", Header: []sip.Header{sip.NewHeader("Min-Expires", strconv.Itoa(MinExpiry))}}
	}
	return contact, seconds, nil
}

// register stores the location. A CSeq below the last one is no reason to refuse it,
// or to say 200 and keep the old Contact: its digest has proven that it is the newest
// of this phone, which may keep its Call-ID over a start (an older one that was
// overtaken on the way has a nonce count that was used). Expiry is shortened by up to a tenth, so that
// phones that came at once after a power cut spread out.
func (r *Registrar) register(id hotdesk.DeviceID, req *sip.Request, contact *sip.ContactHeader, seconds int) {
	old, known := r.table.last(id) // also of a phone whose connection has ended
	nat := behindNAT(req, contact)
	if nat {
		seconds = min(seconds, NATExpiry)
	}
	seconds = max(MinExpiry, seconds-rand.IntN(seconds/10+1))
	now := r.Now()
	agent := ""
	if h := req.GetHeader("User-Agent"); h != nil {
		agent = ingress.Clean(h.Value())
	}
	l := Location{
		Device: id, AOR: req.To().Address.String(), CallID: req.CallID().Value(), CSeq: req.CSeq().SeqNo,
		Contact: contact.Address.String(), Flow: dialog.FlowOf(req), UserAgent: agent,
		Expires: now.Add(time.Duration(seconds) * time.Second), NAT: nat,
	}
	if l.Path = pathOf(req); !nat && len(l.Path) == 0 {
		l.Reach = listensElsewhere(req, contact)
	}
	if other, yes := r.table.cloned(id, old, l, now); known && yes {
		r.Log.Warn("two phones register as one device: its configuration was copied, or its MAC", "device", string(id), "one", l.Flow.Remote, "other", other)
		r.Live.Publish("device.cloned", id, "", map[string]any{"source": l.Flow.String(), "other": other,
			"words": "two phones register as this device: find the one that is not at its desk, reset it, and give the device new secrets: hotdeskd device release " + string(id)})
	}
	r.table.put(l, now)
	if old.Flow != l.Flow && r.Live.Legs(id) > 0 {
		r.Moved(id, l.Flow)
	}
	r.Live.Registered(id, hotdesk.Registration{
		Contact: l.Contact, Source: l.Flow.String(), UserAgent: agent, Since: now, Expires: l.Expires,
	})
	if !r.line.Net.Alive(l.Flow) { // it ended while we looked
		r.Gone(l.Flow)
	}
	if known && (old.CallID != l.CallID || l.CSeq < old.CSeq) {
		r.Away(id) // started anew, or another account: its calls may be gone
	}
}

// listensElsewhere is where a phone on UDP takes requests that sends from another port:
// it does not ask for answers to where it sends from (RFC 3581), names its own address,
// and another port there. Cisco's enterprise phones do so.
func listensElsewhere(req *sip.Request, contact *sip.ContactHeader) dialog.Flow {
	via := req.Via()
	if req.Transport() != "UDP" || via == nil {
		return dialog.Flow{}
	}
	if _, ok := dialog.Param(via.Params, "rport"); ok {
		return dialog.Flow{}
	}
	host, err := netip.ParseAddr(strings.Trim(contact.Address.Host, "[]"))
	source, port := dialog.HostOf(req.Source()), contact.Address.Port
	if port == 0 {
		port = 5060
	}
	if err != nil || host.Unmap() != source || port < 1 || port > 65535 {
		return dialog.Flow{}
	}
	reach := dialog.Flow{Transport: "UDP", Remote: netip.AddrPortFrom(source, uint16(port)).String()}
	if reach.Remote == req.Source() {
		return dialog.Flow{}
	}
	return reach
}

// maxPath is how many proxies may stand between.
const maxPath = 8

// pathOf reads the Path of a REGISTER: an SBC's or outbound proxy's way back to the phone,
// by which it tells the phones apart that share its flow.
func pathOf(req *sip.Request) (path []string) {
	for _, h := range req.GetHeaders("Path") {
		for _, text := range strings.Split(h.Value(), ",") {
			var u sip.Uri
			params := sip.NewParams()
			if _, err := sip.ParseAddressValue(strings.TrimSpace(text), &u, &params); err == nil && u.Host != "" && len(path) < maxPath {
				path = append(path, u.String())
			}
		}
	}
	return path
}

// behindNAT tells whether a phone on UDP is somewhere else than it thinks.
func behindNAT(req *sip.Request, contact *sip.ContactHeader) bool {
	told, err := netip.ParseAddr(strings.Trim(contact.Address.Host, "[]"))
	return err == nil && req.Transport() == "UDP" && told.Unmap() != dialog.HostOf(req.Source())
}

// unregister removes the location only when it is the one meant: the same AOR
// with the same Call-ID or exactly this Contact. A phone that has logged
// in takes back its old AOR, which must not cost it the new one.
func (r *Registrar) unregister(id hotdesk.DeviceID, req *sip.Request, contact *sip.ContactHeader) {
	aor := req.To().Address.String()
	removed := r.table.removeIf(id, func(l Location) bool {
		if l.AOR != aor {
			return false // the AOR of before the login
		}
		if l.CallID == req.CallID().Value() {
			return req.CSeq().SeqNo >= l.CSeq && (contact == nil || contact.Address.String() == l.Contact)
		}
		return contact != nil && contact.Address.String() == l.Contact
	})
	if removed {
		r.Live.Unregistered(id)
	}
}

// answer lists this device's Contact, if any, and nobody else's.
func (r *Registrar) answer(id hotdesk.DeviceID) Answer {
	a := Answer{Status: 200, Reason: "OK"}
	if l, ok := r.table.get(id); ok {
		c := &sip.ContactHeader{Address: URI(l.Contact), Params: sip.NewParams()}
		left := max(1, int(l.Expires.Sub(r.Now()).Round(time.Second)/time.Second))
		c.Params.Add("expires", strconv.Itoa(left))
		a.Header = append(a.Header, c)
		for _, text := range l.Path { // back to who asked for it (RFC 3327 section 5.3)
			a.Header = append(a.Header, sip.NewHeader("Path", "<"+text+">"))
		}
	}
	return a
}
