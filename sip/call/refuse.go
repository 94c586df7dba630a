package call

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/ingress"
)

// fail answers a caller whom nobody took. Nothing of a challenge is passed on.
func (s *setup) fail() {
	if s.isCancelled() { // sipgo has answered 487, but not for a BYE
		s.refuseCancelled()
		s.rec.End("cancelled", "")
		return
	}
	status, reason, result := 480, "Temporarily Unavailable", "no-answer"
	var headers []sip.Header
	if s.final != nil {
		status, result = refusal(s.final.StatusCode)
		if s.final.StatusCode == 503 && s.rec.Kind() == hotdesk.CallEmergency {
			status = 503 // let the phone try whatever else it has
		}
		reason = cmp.Or(phrases[status], phrase(s.final))
		if s.refuser != s.in.PBX { // between a PBX and a phone
			for _, text := range reasonsOf(s.final) {
				headers = append(headers, sip.NewHeader("Reason", text))
			}
		}
	} else if !s.rang && (s.trunk || s.in.Device != "" && s.rec.Kind() != hotdesk.CallInternal) {
		// A caller from outside is told that we work and the phone does not: to a
		// PBX, 503 would mean that its trunk is down.
		status, reason, result = 503, "Service Unavailable", "failed"
	}
	s.Respond(s.in.Req, s.in.Tx, status, reason, nil, headers...)
	why := ""
	switch {
	case result == "failed" && s.trunk:
		why = hotdesk.ReasonPBXDown
	case result == "failed" && s.rec.Kind() != hotdesk.CallInternal:
		why = hotdesk.ReasonNoRoute
	}
	if s.rec.Kind() == hotdesk.CallEmergency {
		s.Log.Error("emergency call not taken", "device", string(s.in.Device), "number", s.rec.call.To, "result", result, "reason", why)
	}
	s.rec.End(result, why)
}

// refusal is what a caller is told of a refusal, and what the record says (RFC 3261
// section 16.7). A challenge, and what was wrong between the two of us alone, is not the
// caller's; a 503 would make its phone keep away from us, so it is a 500 here.
func refusal(code int) (status int, result string) {
	switch code {
	case 486, 600, 603:
		return 486, "busy"
	case 404, 604:
		return 404, "refused"
	case 402, 403, 410, 433, 484, 485, 488, 606:
		return code, "refused"
	case 406, 415:
		return 488, "refused"
	case 408, 480, 487:
		return cmp.Or(map[int]int{408: 408}[code], 480), "no-answer"
	case 482, 483:
		return code, "failed"
	case 401, 407:
		return 503, "failed"
	case 503:
		return 500, "failed"
	}
	switch {
	case code >= 500 && code < 600:
		return code, "failed"
	case code >= 600:
		return 480, "refused"
	case code >= 400:
		return 480, "refused"
	}
	return 480, "no-answer"
}

// phrases are the reason phrases of the statuses that are passed on (RFC 3261 section
// 21); nobody's own words are.
var phrases = map[int]string{
	402: "Payment Required", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout", 410: "Gone", 433: "Anonymity Disallowed",
	480: "Temporarily Unavailable", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete", 485: "Ambiguous",
	486: "Busy Here", 488: "Not Acceptable Here", 500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway",
	503: "Service Unavailable", 504: "Server Time-out", 606: "Not Acceptable",
	200: "OK", 202: "Accepted", 400: "Bad Request", 405: "Method Not Allowed", 415: "Unsupported Media Type", 469: "Bad Info Package", 481: "Call/Transaction Does Not Exist",
	489: "Bad Event", 491: "Request Pending", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress", 199: "Early Dialog Terminated",
}

// phrase is the reason phrase of a response that is passed on; what somebody writes
// there of its own may be anything.
func phrase(res *sip.Response) string {
	return cmp.Or(phrases[res.StatusCode], "Unknown")
}

// reasonsOf lists the values of a message's Reason headers (RFC 3326).
func reasonsOf(msg sip.Message) (all []string) {
	for _, h := range msg.GetHeaders("Reason") {
		if text, ok := ingress.Whole(h.Value()); ok {
			all = append(all, text)
		}
	}
	return all
}

// contactsOf lists the Contacts of a 3xx, the highest q first (RFC 3261 section
// 8.1.3.4).
func contactsOf(res *sip.Response) (all []sip.Uri) {
	type ranked struct {
		uri sip.Uri
		q   float64
	}
	var list []ranked
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.Wildcard {
			continue
		}
		q := 1.0
		if text, ok := dialog.Param(c.Params, "q"); ok {
			if n, err := strconv.ParseFloat(text, 64); err == nil {
				q = n
			}
		}
		list = append(list, ranked{c.Address, q})
	}
	slices.SortStableFunc(list, func(a, b ranked) int { return cmp.Compare(b.q, a.q) })
	for _, r := range list {
		all = append(all, r.uri)
	}
	return all
}
