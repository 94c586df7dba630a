package ingress

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Mend makes a request usable that Validate refuses, for calls that must not be
// refused: what is missing or cannot be read is replaced by what can be known of it,
// what asks for more than we have is passed over. It returns false when nothing helps:
// without CSeq no answer can be matched.
func Mend(req *sip.Request) bool {
	if req.Via() == nil || req.CSeq() == nil {
		return false
	}
	req.SipVersion = "SIP/2.0"
	req.Recipient.Headers = nil
	if req.To() == nil {
		to := &sip.ToHeader{Address: *req.Recipient.Clone(), Params: sip.NewParams()}
		salvage(req, "To", &to.Address)
		req.AppendHeader(to)
	}
	if req.From() == nil {
		from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}, Params: sip.NewParams()}
		salvage(req, "From", &from.Address)
		from.Params.Add("tag", sip.GenerateTagN(16))
		req.AppendHeader(from)
	}
	if id := req.CallID(); id == nil || id.Value() == "" {
		salvage(req, "Call-ID", nil)
		made := sip.CallIDHeader(sip.GenerateTagN(32))
		req.AppendHeader(&made)
	}
	salvage(req, "Contact", nil)
	if kind := mediaType(req); len(req.Body()) > 0 && kind != sdp && !strings.HasPrefix(kind, "multipart/") {
		for req.RemoveHeader("Content-Type") {
		}
		if !bytes.HasPrefix(bytes.TrimSpace(req.Body()), []byte("v=")) {
			req.SetBody(nil) // the answer brings an offer
		}
	}
	return true
}

// Repair writes a message anew that cannot be read: with one Content-Length, which is that
// of the body that came, and without lines that are no headers; nil when there is no end
// of the headers. It is for calls that must not be refused.
func Repair(data []byte) []byte {
	head, body, ok := bytes.Cut(data, []byte("\r\n\r\n"))
	if !ok {
		return nil
	}
	var out []byte
	for i, line := range bytes.Split(head, []byte("\r\n")) {
		name, _, header := bytes.Cut(line, []byte(":"))
		name = bytes.ToLower(bytes.TrimSpace(name))
		if i > 0 && (!header || len(name) == 0 || string(name) == "content-length" || string(name) == "l") {
			continue
		}
		out = append(append(out, line...), "\r\n"...)
	}
	return append(append(out, "Content-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"...), body...)
}

var anyURI = regexp.MustCompile(`(?i)sips?:[^@<>"\s]*@[^<>;"\s]+`)

// salvage takes out what Parser kept of a header as text, and the URI from it.
func salvage(req *sip.Request, name string, uri *sip.Uri) {
	for _, h := range req.GetHeaders(name) {
		if _, bare := unread(h); !bare {
			continue
		}
		req.RemoveHeader(h.Name())
		var found sip.Uri
		if text := anyURI.FindString(h.Value()); uri != nil && text != "" && sip.ParseUri(text, &found) == nil {
			*uri = found
		}
		return
	}
}
