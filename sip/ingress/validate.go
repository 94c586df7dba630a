package ingress

import (
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Refusal is the answer to a request that cannot be served.
type Refusal struct {
	Status int
	Reason string
	Header []sip.Header
}

// schemes that a Request-URI may have here.
var schemes = []string{"sip", "sips", "tel", "urn"}

// Validate checks what sipgo's parser lets pass. It returns nil when the request
// can be handled.
func Validate(req *sip.Request) *Refusal {
	if req.SipVersion != "SIP/2.0" {
		return &Refusal{505, "Version Not Supported", nil}
	}
	if r := mandatory(req); r != nil {
		return r
	}
	scheme := strings.ToLower(req.Recipient.Scheme)
	if scheme == "" {
		scheme = "sip"
	}
	if !contains(schemes, scheme) {
		return &Refusal{416, "Unsupported URI Scheme", nil}
	}
	if len(req.Recipient.Headers) > 0 {
		return bad("URI headers are not allowed in a Request-URI")
	}
	if req.Method == sip.REGISTER {
		if s := strings.ToLower(req.To().Address.Scheme); s != "sip" && s != "sips" {
			return bad("To must be a SIP URI")
		}
	}
	if unsupported := required(req); unsupported != "" {
		return &Refusal{420, "Bad Extension", []sip.Header{sip.NewHeader("Unsupported", unsupported)}}
	}
	return content(req)
}

func bad(reason string) *Refusal { return &Refusal{400, reason, nil} }

// mandatory checks the headers without which no answer can be matched
// (RFC 3261 section 8.1.1) and that none of them comes twice.
func mandatory(req *sip.Request) *Refusal {
	for _, name := range []string{"To", "From", "Call-ID", "CSeq", "Max-Forwards", "Content-Length"} {
		if len(req.GetHeaders(name)) > 1 {
			return bad(name + " comes twice")
		}
	}
	for _, h := range req.Headers() {
		if name, ok := unread(h); ok {
			return bad(name + " cannot be read")
		}
	}
	via, cseq := req.Via(), req.CSeq()
	switch {
	case via == nil:
		return bad("Via is missing")
	case req.To() == nil:
		return bad("To is missing")
	case req.From() == nil:
		return bad("From is missing")
	case req.CallID() == nil || req.CallID().Value() == "":
		return bad("Call-ID is missing")
	case cseq == nil:
		return bad("CSeq is missing")
	case !strings.EqualFold(string(cseq.MethodName), string(req.Method)):
		return bad("CSeq has another method")
	case cseq.SeqNo >= 1<<31:
		return bad("CSeq is too large")
	}
	if branch, _ := via.Params.Get("branch"); branch == "z9hG4bK" {
		return bad("Via branch is empty")
	}
	if hops := req.MaxForwards(); hops != nil && hops.Val() == 0 && !contains(endsHere, string(req.Method)) {
		return &Refusal{483, "Too Many Hops", nil}
	}
	if tag, ok := param(req.From().Params, "tag"); (!ok || tag == "") && !req.IsCancel() {
		return bad("From has no tag")
	}
	return nil
}

// endsHere lists the methods that go no further than this server, or that end
// what is there: no hop is left to be counted.
var endsHere = []string{"OPTIONS", "REGISTER", "ACK", "CANCEL", "BYE"}

// unread tells whether Parser could not read a header that matters, and which.
func unread(h sip.Header) (string, bool) {
	switch h.(type) {
	case *sip.ToHeader, *sip.FromHeader, *sip.CallIDHeader, *sip.CSeqHeader, *sip.MaxForwardsHeader, *sip.ContentLengthHeader,
		*sip.ContactHeader, *sip.ContentTypeHeader, *sip.RouteHeader, *sip.RecordRouteHeader:
		return "", false
	}
	name := h.Name()
	for _, known := range []string{"To", "From", "Call-ID", "CSeq", "Max-Forwards", "Content-Length", "Contact", "Content-Type", "Route", "Record-Route"} {
		if strings.EqualFold(name, known) {
			return known, true
		}
	}
	return "", false
}

// extensions are those that a request may require: session timers (RFC 4028) and
// reliable provisional responses (RFC 3262).
var extensions = []string{"timer", "100rel"}

// required lists the extensions that a request insists on and we do not have.
func required(req *sip.Request) string {
	if req.IsAck() || req.IsCancel() {
		return ""
	}
	var all []string
	for _, name := range []string{"Require", "Proxy-Require"} {
		for _, h := range req.GetHeaders(name) {
			for v := range strings.SplitSeq(h.Value(), ",") {
				if v = strings.TrimSpace(v); v != "" && !(name == "Require" && contains(extensions, strings.ToLower(v))) {
					all = append(all, v)
				}
			}
		}
	}
	return clean(strings.Join(all, ", "))
}

// clean takes out what could begin a new header line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// Clean makes text safe to be sent in a header: no control characters, at most
// 200 bytes.
func Clean(s string) string {
	s = clean(s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return s
}

// maxHeader is the longest header that is passed on.
const maxHeader = 1024

// Whole makes the value of a header safe to be passed on: without control characters.
// false when it is too long; cut, it might be one that nobody can read.
func Whole(s string) (string, bool) {
	s = clean(s)
	return s, len(s) <= maxHeader
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// param finds a parameter by its name in any case; the library leaves white
// space around '=' in place.
func param(params sip.HeaderParams, name string) (string, bool) {
	for _, p := range params {
		if strings.EqualFold(strings.TrimSpace(p.K), name) {
			return strings.TrimSpace(p.V), true
		}
	}
	return "", false
}
