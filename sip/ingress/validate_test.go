package ingress

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// message is a request as text, well formed but for what a test changes.
func message(method string, changes ...string) string {
	text := method + ` sip:100@192.0.2.1 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK776asdhds
Max-Forwards: 70
To: <sip:100@192.0.2.1>
From: "Anna" <sip:HD0001@192.0.2.1>;tag=1928301774
Call-ID: a84b4c76e66710@192.0.2.7
CSeq: 1 ` + method + `
Contact: <sip:HD0001@192.0.2.7:5060>
Content-Length: 0
`
	for i := 0; i+1 < len(changes); i += 2 {
		text = strings.Replace(text, changes[i], changes[i+1], 1)
	}
	return strings.ReplaceAll(text, "\n", "\r\n") + "\r\n"
}

func parse(tb testing.TB, text string) *sip.Request {
	tb.Helper()
	msg, err := Parser().ParseSIP([]byte(text))
	if err != nil {
		tb.Fatalf("%v in:\n%s", err, text)
	}
	return msg.(*sip.Request)
}

func status(r *Refusal) int {
	if r == nil {
		return 0
	}
	return r.Status
}

// What is well formed passes; each breach of RFC 3261 gets the status that the
// RFC names for it.
func TestValidate(t *testing.T) {
	sdpBody := "Content-Length: 4\nContent-Type: application/sdp\n\nv=0"
	for _, c := range []struct {
		name, method string
		change       []string
		want         int
	}{
		{"plain INVITE", "INVITE", nil, 0},
		{"plain REGISTER", "REGISTER", nil, 0},
		{"any method", "FOO", nil, 0},
		{"tel URI", "INVITE", []string{"sip:100@192.0.2.1 SIP", "tel:+390612 SIP"}, 0},
		{"emergency URN", "INVITE", []string{"sip:100@192.0.2.1 SIP", "urn:service:sos.police SIP"}, 0},
		{"scheme in upper case", "INVITE", []string{"sip:100@192.0.2.1 SIP", "SIP:100@192.0.2.1 SIP"}, 0},
		{"unknown scheme", "INVITE", []string{"sip:100@192.0.2.1 SIP", "http:100@192.0.2.1 SIP"}, 416},
		{"version 7", "INVITE", []string{"SIP/2.0\n", "SIP/7.0\n"}, 505},
		{"no To", "INVITE", []string{"To: <sip:100@192.0.2.1>\n", ""}, 400},
		{"no From", "INVITE", []string{"From:", "X:"}, 400},
		{"no Call-ID", "INVITE", []string{"Call-ID:", "X:"}, 400},
		{"no CSeq", "INVITE", []string{"CSeq:", "X:"}, 400},
		{"no Via", "INVITE", []string{"Via:", "X:"}, 400},
		{"two Call-IDs", "INVITE", []string{"Max-Forwards: 70\n", "Call-ID: b\n"}, 400},
		{"two CSeqs", "INVITE", []string{"Max-Forwards: 70\n", "CSeq: 1 INVITE\n"}, 400},
		{"compact second To", "INVITE", []string{"Max-Forwards: 70\n", "t: <sip:x@y>\n"}, 400},
		{"CSeq of another method", "INVITE", []string{"CSeq: 1 INVITE", "CSeq: 1 OPTIONS"}, 400},
		{"CSeq too large", "INVITE", []string{"CSeq: 1 ", "CSeq: 2147483648 "}, 400},
		{"CSeq no number", "INVITE", []string{"CSeq: 1 ", "CSeq: one "}, 400},
		{"From without tag", "INVITE", []string{";tag=1928301774", ""}, 400},
		{"From with an empty tag", "INVITE", []string{";tag=1928301774", ";tag="}, 400},
		{"tag in upper case", "INVITE", []string{";tag=1928301774", ";TAG=1928301774"}, 0},
		{"tag with white space", "INVITE", []string{";tag=1928301774", " ; tag = 1928301774"}, 0},
		{"branch is only the cookie", "INVITE", []string{"z9hG4bK776asdhds", "z9hG4bK"}, 400},
		{"URI headers in the Request-URI", "INVITE", []string{"sip:100@192.0.2.1 SIP", "sip:100@192.0.2.1?Route=x SIP"}, 400},
		{"open quote in From", "INVITE", []string{`"Anna"`, `"Anna`}, 400},
		{"unreadable To", "INVITE", []string{"To: <sip:100@192.0.2.1>", "To: <sip:100@192.0.2.1"}, 400},
		{"unreadable Contact", "INVITE", []string{"Contact: <sip:HD0001@192.0.2.7:5060>", "Contact: <"}, 400},
		{"Contact with a bare question mark", "REGISTER", []string{"Contact: <sip:HD0001@192.0.2.7:5060>", "m: sip:a@b?Route=c"}, 400},
		{"Contact with escaped headers in brackets", "REGISTER", []string{"Contact: <sip:HD0001@192.0.2.7:5060>", "Contact: <sip:a@b?Route=c>"}, 0},
		{"several Contacts", "REGISTER", []string{"Contact: <sip:HD0001@192.0.2.7:5060>", "Contact: <sip:a@b>;expires=0, <sip:c@d>"}, 0},
		{"Contact *", "REGISTER", []string{"Contact: <sip:HD0001@192.0.2.7:5060>", "Contact: *"}, 0},
		{"REGISTER of a tel URI", "REGISTER", []string{"To: <sip:100@192.0.2.1>", "To: <tel:+390612>"}, 400},
		{"negative Content-Length", "OPTIONS", []string{"Content-Length: 0", "l: -999"}, 400},
		{"Max-Forwards no number", "OPTIONS", []string{"Max-Forwards: 70", "Max-Forwards: many"}, 400},
		{"no hop left for a call", "INVITE", []string{"Max-Forwards: 70", "Max-Forwards: 0"}, 483},
		{"no hop left for a MESSAGE", "MESSAGE", []string{"Max-Forwards: 70", "Max-Forwards: 0"}, 483},
		{"no hop left, but it ends here", "OPTIONS", []string{"Max-Forwards: 70", "Max-Forwards: 0"}, 0},
		{"no hop left for a registration", "REGISTER", []string{"Max-Forwards: 70", "Max-Forwards: 0"}, 0},
		{"no hop left for a BYE", "BYE", []string{"Max-Forwards: 70", "Max-Forwards: 0"}, 0},
		{"unknown extension", "OPTIONS", []string{"Max-Forwards: 70", "Require: nothingSupportsThis"}, 420},
		{"unknown extension of a CANCEL", "CANCEL", []string{"Max-Forwards: 70", "Require: nothingSupportsThis"}, 0},
		{"SDP", "INVITE", []string{"Content-Length: 0\n", sdpBody}, 0},
		{"unknown body", "INVITE", []string{"Content-Length: 0\n", strings.Replace(sdpBody, "sdp", "unknown", 1)}, 415},
		{"unknown body of a MESSAGE", "MESSAGE", []string{"Content-Length: 0\n", strings.Replace(sdpBody, "sdp", "unknown", 1)}, 0},
		{"several parts", "INVITE", []string{"Content-Length: 0\n", strings.Replace(sdpBody, "application/sdp", "multipart/mixed;boundary=x", 1)}, 0},
		{"takes no SDP", "INVITE", []string{"Max-Forwards: 70", "Accept: text/nobodyKnowsThis"}, 406},
		{"takes anything", "INVITE", []string{"Max-Forwards: 70", "Accept: text/plain, */*;q=0.1"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Validate(parse(t, message(c.method, c.change...)))
			if status(r) != c.want {
				t.Errorf("got %+v, want status %d", r, c.want)
			}
		})
	}
}

// A refusal for unknown extensions names all of them and nothing else.
func TestUnsupportedIsNamed(t *testing.T) {
	r := Validate(parse(t, message("OPTIONS", "Max-Forwards: 70", "Require: a, b\nProxy-Require: c")))
	if r == nil || len(r.Header) != 1 || r.Header[0].Name() != "Unsupported" || r.Header[0].Value() != "a, b, c" {
		t.Errorf("got %+v", r)
	}
}

// torture says for each message of RFC 4475 what becomes of it: the status that
// it is refused with, 0 for one that is let in, unreadable for one that the
// library drops by itself, response for an answer that belongs to no request.
var torture = map[string]int{
	// section 3.1.1, all of them well formed
	"wsinv": 0, "intmeth": 0, "esc01": 0, "escnull": 0, "esc02": 0, "lwsdisp": 0, "longreq": 0, "dblreq": 0, "semiuri": 0,
	"transports": 0, "mpart01": 0, "unreason": response, "noreason": response,
	// section 3.1.2
	"badinv01": unreadable, "clerr": unreadable, "ncl": 400, "scalar02": 400, "scalarlg": response, "quotbal": 400,
	"ltgtruri": unreadable, "lwsruri": unreadable, "lwsstart": unreadable, "trws": unreadable, "escruri": 400,
	"baddate": 0, "regbadct": 400, "badaspec": 400, "baddn": unreadable, "badvers": 505, "mismatch01": 400,
	"mismatch02": 400, "bigcode": unreadable,
	// sections 3.2 to 3.4; inv2543 is RFC 2543, which no phone of today speaks
	"badbranch": 400, "insuf": 400, "unkscm": 416, "novelsc": unreadable, "unksm2": 400, "bext01": 420, "invut": 415,
	"regaut01": 0, "multi01": 400, "mcl01": 400, "bcast": response, "zeromf": 0, "cparam01": 0, "cparam02": 0,
	"regescrt": 0, "sdp01": 406, "inv2543": 400,
	"test": unreadable, // not of the RFC
}

// tortureDir is where the library keeps the messages of RFC 4475.
func tortureDir(tb testing.TB) string {
	tb.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/emiago/sipgo").Output()
	if err != nil {
		tb.Fatalf("where is the library? %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "sip", "testdata", "torture")
}

const (
	unreadable = -1
	response   = -2
)

// The torture messages of RFC 4475 get the reaction that the RFC asks for.
func TestRFC4475(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(tortureDir(t), "*", "*.dat"))
	if err != nil || len(files) != len(torture) {
		t.Fatalf("%d messages, want %d (%v)", len(files), len(torture), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".dat")
		t.Run(name, func(t *testing.T) {
			want, known := torture[name]
			if !known {
				t.Fatal("no line in the table")
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, why := unreadable, ""
			msg, err := Parser().ParseSIP(text)
			if err != nil {
				why = err.Error()
			} else if req, ok := msg.(*sip.Request); ok {
				r := Validate(req)
				got, why = status(r), fmt.Sprintf("%+v", r)
			} else {
				got = response
			}
			if got == unreadable && want == response {
				return // a broken response is dropped either way
			}
			if got != want {
				t.Errorf("got %d (%s), want %d", got, why, want)
			}
		})
	}
}

// Names that the messages hide in escapes stay as they are: a method is not
// unescaped, and %00 does not cut a name off.
func TestEscapesAreNotResolved(t *testing.T) {
	req := parse(t, message("INVITE", "INVITE sip:100@", "RE%47IST%45R sip:null-%00-null@", "1 INVITE", "1 RE%47IST%45R"))
	if req.Method != "RE%47IST%45R" {
		t.Errorf("method %q", req.Method)
	}
	if got := req.Recipient.User; got != "null-%00-null" && got != "null-\x00-null" {
		t.Errorf("user %q", got)
	}
}

// The session description is found alone and among several parts, and what is
// none is not taken for one.
func TestSDP(t *testing.T) {
	parts := func(kind string) string {
		return "--b\nContent-Type: application/pidf+xml\n\n<where/>\n--b\nContent-Type: " + kind + "\n\nv=0\n--b--\n"
	}
	for _, c := range []struct{ name, kind, body, want string }{
		{"none", "", "", ""},
		{"alone", "application/sdp", "v=0", "v=0"},
		{"upper case, with a parameter", "Application/SDP; charset=utf-8", "v=0", "v=0"},
		{"no content type", "", "v=0", "v=0"},
		{"one of two parts", "multipart/mixed; boundary=b", parts("application/sdp"), "v=0"},
		{"no part", "multipart/mixed; boundary=b", parts("text/plain"), ""},
		{"no boundary", "multipart/mixed", parts("application/sdp"), ""},
		{"cut off", "multipart/mixed; boundary=b", "--b\nContent-Type: application/sdp\n\nv=0", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := strings.ReplaceAll(c.body, "\n", "\r\n")
			req := parse(t, message("INVITE"))
			if c.kind != "" {
				req.AppendHeader((*sip.ContentTypeHeader)(&c.kind))
			}
			req.SetBody([]byte(body))
			if got := string(SDP(req)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Text for a header has no control characters and an end, also inside a rune.
func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"a\r\nb: c\x00\x7f", "ab: c"},
		{strings.Repeat("x", 300), strings.Repeat("x", 200)},
		{strings.Repeat("x", 199) + "è", strings.Repeat("x", 199)},
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// FuzzValidate: no message that can be parsed may bring Validate or SDP down.
func FuzzValidate(f *testing.F) {
	f.Add(message("INVITE"))
	f.Add(message("REGISTER", "Contact: <sip:HD0001@192.0.2.7:5060>", "m: *"))
	f.Fuzz(func(t *testing.T, text string) {
		msg, err := Parser().ParseSIP([]byte(text))
		if err != nil {
			return
		}
		if req, ok := msg.(*sip.Request); ok {
			if r := Validate(req); r != nil && (r.Status < 400 || r.Reason == "") {
				t.Errorf("refusal %+v", r)
			}
			SDP(req)
		}
	})
}
