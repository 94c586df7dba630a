package call

import (
	"context"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/sip/dialog"
	"hotdeskd/sip/ingress"
)

// identity is who a side is, as the other side is told with a message of it: the word of
// a PBX (RFC 3325), unless it is private; of a phone, what we know of it.
func (s *side) identity(msg sip.Message) (headers []sip.Header) {
	if !s.trusted {
		if s.self.URI.User == "" {
			return nil
		}
		return []sip.Header{sip.NewHeader("P-Asserted-Identity", NameAddr(s.self))}
	}
	if s.other.trusted || s.hidden || Private(msg) {
		return nil
	}
	for _, h := range msg.GetHeaders("P-Asserted-Identity") {
		if text, ok := ingress.Whole(h.Value()); ok {
			headers = append(headers, sip.NewHeader("P-Asserted-Identity", text))
		}
	}
	return headers
}

// tellIdentity tells the other side who it talks to now, when a PBX says so in an UPDATE
// without a body (RFC 4916 does it so), and the phone takes one.
func (s *side) tellIdentity(req *sip.Request) {
	headers := s.identity(req)
	to := s.other.dialog()
	if !s.trusted || len(headers) == 0 || to == nil || !to.Allows(sip.UPDATE) {
		return
	}
	out := to.Request(sip.UPDATE)
	for _, h := range headers {
		out.AppendHeader(h)
	}
	go func() {
		ctx, cancel := context.WithTimeout(s.call.life, refreshWait)
		defer cancel()
		if _, err := to.Do(ctx, out); err != nil {
			s.call.Log.Debug("identity not told", "err", err)
		}
	}()
}

// Private tells whether a message asks that its sender's identity be kept from the other
// party (RFC 3323 section 4.2, RFC 3325 section 9.3).
func Private(msg sip.Message) bool {
	for _, h := range msg.GetHeaders("Privacy") {
		for value := range strings.SplitSeq(strings.ToLower(h.Value()), ";") {
			switch strings.TrimSpace(value) {
			case "id", "user", "header":
				return true
			}
		}
	}
	return false
}

// alerts are the headers that a PBX says with a call how it is to be shown, heard and
// answered, and how it came (RFC 3261 sections 20.4, 20.9 and 20.26, RFC 5373, RFC 5806,
// RFC 7044). A phone may not say them to another.
var alerts = []string{"Alert-Info", "Call-Info", "Answer-Mode", "Priv-Answer-Mode", "Diversion", "History-Info", "Priority", "Record", "Reason"}

// Alerts takes them from a PBX's INVITE, for the phones.
func Alerts(req *sip.Request) (headers []sip.Header) {
	for _, name := range alerts {
		for _, h := range req.GetHeaders(name) {
			if text, ok := ingress.Whole(h.Value()); ok {
				headers = append(headers, sip.NewHeader(name, text))
			}
		}
	}
	return headers
}

// passed takes headers of a message over that goes from a side to the other one: between
// a PBX and a phone, never from phone to phone, unless they say what the body is.
func passed(s *side, msg sip.Message, names ...string) (headers []sip.Header) {
	for _, name := range names {
		if !s.trusted && !s.other.trusted && name != "Info-Package" {
			continue
		}
		if !s.trusted && (name == "Alert-Info" || name == "Call-Info") {
			continue
		}
		for _, h := range msg.GetHeaders(name) {
			if text, ok := ingress.Whole(h.Value()); ok {
				headers = append(headers, sip.NewHeader(name, text))
			}
		}
	}
	return headers
}

// NameAddr writes a party as a header value, with the quoting that a display
// name needs (RFC 3261 section 25.1).
func NameAddr(p dialog.Party) string {
	addr := "<" + p.URI.String() + ">"
	if p.Name == "" {
		return addr
	}
	return `"` + dialog.Quoted(p.Name) + `" ` + addr
}

// warning says why an offer cannot be taken (RFC 3261 section 20.43).
func warning(code int, text string) sip.Header {
	return sip.NewHeader("Warning", fmt.Sprintf(`%d hotdeskd "%s"`, code, dialog.Quoted(ingress.Clean(text))))
}
