package sip

import (
	"strings"
	"testing"
	"time"
)

// An emergency call is refused for nothing that is wrong with its headers or its body, as long as
// an answer to it could be matched: without a CSeq none can.
func TestAttack_BrokenEmergencyCall(t *testing.T) {
	const good = "INVITE sip:112@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.11:5060;rport;branch=z9hG4bKq\r\nMax-Forwards: 70\r\n" +
		"From: <sip:100@192.0.2.1>;tag=x\r\nTo: <sip:112@192.0.2.1>\r\nCall-ID: q\r\nCSeq: 1 INVITE\r\nContact: <sip:100@192.0.2.11:5060>\r\n" +
		"Content-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0"
	for what, c := range map[string][2]string{
		"length too large":     {"Content-Length: 3", "Content-Length: 30"},
		"length too small":     {"Content-Length: 3", "Content-Length: 2"},
		"length no number":     {"Content-Length: 3", "Content-Length: three"},
		"length negative":      {"Content-Length: 3", "Content-Length: -3"},
		"length huge":          {"Content-Length: 3", "Content-Length: 99999999999999999999"},
		"length twice":         {"Content-Length: 3", "Content-Length: 3\r\nContent-Length: 4"},
		"line without colon":   {"Max-Forwards: 70", "Max-Forwards: 70\r\nnonsense"},
		"header without name":  {"Max-Forwards: 70", "Max-Forwards: 70\r\n: nonsense"},
		"bare line feeds":      {"Max-Forwards: 70\r\n", "Max-Forwards: 70\n"},
		"hops no number":       {"Max-Forwards: 70", "Max-Forwards: x"},
		"hops negative":        {"Max-Forwards: 70", "Max-Forwards: -1"},
		"CSeq other method":    {"CSeq: 1 INVITE", "CSeq: 1 REGISTER"},
		"lower case method":    {"CSeq: 1 INVITE", "CSeq: 1 invite"},
		"no From tag":          {";tag=x", ""},
		"no From":              {"From: <sip:100@192.0.2.1>;tag=x\r\n", ""},
		"From unreadable":      {"<sip:100@192.0.2.1>;tag=x", "<<<sip:100@192.0.2.1;tag=x"},
		"From twice":           {"Max-Forwards: 70", "Max-Forwards: 70\r\nFrom: <sip:101@192.0.2.1>;tag=y"},
		"To unreadable":        {"To: <sip:112@192.0.2.1>", "To: \"x <sip:112@192.0.2.1>"},
		"To empty tag":         {"To: <sip:112@192.0.2.1>", "To: <sip:112@192.0.2.1>;tag="},
		"no To":                {"To: <sip:112@192.0.2.1>\r\n", ""},
		"no Call-ID":           {"Call-ID: q\r\n", ""},
		"empty Call-ID":        {"Call-ID: q\r\n", "Call-ID: \r\n"},
		"Contact unreadable":   {"<sip:100@192.0.2.11:5060>", "<<sip:100@@192.0.2.11:x"},
		"Contact *":            {"<sip:100@192.0.2.11:5060>", "*"},
		"no Contact":           {"Contact: <sip:100@192.0.2.11:5060>\r\n", ""},
		"Route unreadable":     {"Max-Forwards: 70", "Max-Forwards: 70\r\nRoute: <<x"},
		"Route elsewhere":      {"Max-Forwards: 70", "Max-Forwards: 70\r\nRoute: <sip:elsewhere.example;lr>"},
		"Record-Route bad":     {"Max-Forwards: 70", "Max-Forwards: 70\r\nRecord-Route: x"},
		"headers in the URI":   {"sip:112@192.0.2.1 SIP", "sip:112@192.0.2.1?x=y SIP"},
		"SIP version":          {"192.0.2.1 SIP/2.0\r\nVia", "192.0.2.1 SIP/2.1\r\nVia"},
		"no branch":            {";branch=z9hG4bKq", ""},
		"empty branch":         {";branch=z9hG4bKq", ";branch=z9hG4bK"},
		"old branch":           {";branch=z9hG4bKq", ";branch=1"},
		"body of another kind": {"application/sdp", "application/pidf+xml"},
		"broken multipart":     {"application/sdp", "multipart/mixed"},
		"content type":         {"application/sdp", ";;;"},
		"session brief":        {"Max-Forwards: 70", "Max-Forwards: 70\r\nSession-Expires: 1\r\nSupported: timer"},
		"session unreadable":   {"Max-Forwards: 70", "Max-Forwards: 70\r\nSession-Expires: x\r\nRequire: timer"},
		"everything required":  {"Max-Forwards: 70", "Max-Forwards: 70\r\nRequire: a,b\r\nProxy-Require: c"},
		"replaces":             {"Max-Forwards: 70", "Max-Forwards: 70\r\nReplaces: x;to-tag=1;from-tag=2\r\nRequire: replaces"},
		"accepts nothing":      {"Max-Forwards: 70", "Max-Forwards: 70\r\nAccept: text/plain"},
		"Expires 0":            {"Max-Forwards: 70", "Max-Forwards: 70\r\nExpires: 0"},
		"diversions":           {"Max-Forwards: 70", "Max-Forwards: 70" + strings.Repeat("\r\nDiversion: <sip:1@x>", 9)},
		"many Vias":            {"Max-Forwards: 70", "Max-Forwards: 70" + strings.Repeat("\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK9", 30)},
		"credentials broken":   {"Max-Forwards: 70", "Max-Forwards: 70\r\nAuthorization: Digest realm=\"hotdeskd\", username=\"HD0001\", username=\"HD0002\""},
		"credentials of other": {"Max-Forwards: 70", "Max-Forwards: 70\r\nAuthorization: Digest realm=\"hotdeskd\", username=\"HD0001\", nonce=\"x\", uri=\"sip:112@192.0.2.1\", response=\"x\""},
		"trailing rubbish":     {"\r\n\r\nv=0", "\r\n\r\nv=0\x00\x00\x00"},
	} {
		t.Run(what, func(t *testing.T) {
			inOffice(t, func(o *office) {
				anna, main := o.desk(1, "100"), o.trunk()
				text := strings.Replace(good, c[0], c[1], 1)
				if text == good {
					t.Fatal("nothing was changed")
				}
				anna.send(text)
				buf := make([]byte, 1<<16)
				_ = main.conn.SetReadDeadline(time.Now().Add(time.Second))
				if n, _, err := main.conn.ReadFrom(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "INVITE sip:112@") {
					_ = anna.conn.SetReadDeadline(time.Now().Add(time.Second))
					got, _, _ := anna.conn.ReadFrom(buf)
					t.Errorf("the trunk gets nothing, the phone %q", firstLine(string(buf[:got])))
				}
				sleep(time.Second)
			})
		})
	}
}
