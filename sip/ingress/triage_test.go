package ingress

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// What the library could not read is answered with 400 that repeats who asked, to
// the port of the Via unless it asks for the source port; answers, ACKs, and what
// nobody could match to a request, are not.
func TestTriage(t *testing.T) {
	for _, c := range []struct {
		name, method string
		change       []string
		want         string // "ok", "drop", or a word of the answer's reason
		port         uint16
	}{
		{"well formed", "INVITE", nil, "ok", 0},
		{"folded", "INVITE", []string{"Max-Forwards: 70", "Max-Forwards:\n 70"}, "ok", 0},
		{"several Vias", "INVITE", []string{"Max-Forwards: 70", "Via: SIP/2.0/UDP a;branch=z9hG4bKa, SIP/2.0/TCP b;branch=z9hG4bKb"}, "ok", 0},
		{"longer than it says", "INVITE", []string{"Content-Length: 0\n", "Content-Length: 1\n\nv=0"}, "ok", 0},
		{"unreadable To", "INVITE", []string{"To: <sip:100@192.0.2.1>", "To: <sip:100@192.0.2.1"}, "ok", 0}, // Validate's
		{"shorter than it says", "INVITE", []string{"Content-Length: 0", "Content-Length: 9999"}, "Content-Length", 5060},
		{"with rport", "INVITE", []string{"branch", "rport;branch", "Content-Length: 0", "l: 9999"}, "Content-Length", 0},
		{"another port", "INVITE", []string{"192.0.2.7:5060;", "192.0.2.7:5080;", "Content-Length: 0", "l: 9999"}, "Content-Length", 5080},
		{"no Request-URI", "INVITE", []string{"sip:100@192.0.2.1 SIP", "SIP"}, "Bad", 5060},
		{"spaces in the Request-URI", "INVITE", []string{"sip:100@192.0.2.1 SIP", "sip:100@ 192.0.2.1 SIP"}, "Bad", 5060},
		{"no SIP", "INVITE", []string{"SIP/2.0\n", "HTTP/1.1\n"}, "Bad", 5060},
		{"no Via", "INVITE", []string{"Via:", "X:", "Content-Length: 0", "l: 9999"}, "drop", 0},
		{"one bad Via of two", "INVITE", []string{"Max-Forwards: 70", "Via: nonsense"}, "Bad", 5060},
		{"a header without a name", "INVITE", []string{"Max-Forwards: 70", "nonsense"}, "Bad", 5060},
		{"ACK", "ACK", []string{"Content-Length: 0", "Content-Length: 9999"}, "drop", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			msg, answer, port := NewTriage().Look([]byte(message(c.method, c.change...)), false)
			ok := msg != nil
			switch {
			case ok != (c.want == "ok") || (answer == nil) != (c.want == "ok" || c.want == "drop") || port != c.port:
				t.Fatalf("%v, port %d, answer:\n%s", ok, port, answer)
			case answer == nil:
				return
			}
			msg, err := sip.ParseMessage(answer)
			if err != nil {
				t.Fatalf("%v in\n%s", err, answer)
			}
			res := msg.(*sip.Response)
			if res.StatusCode != 400 || !strings.Contains(res.Reason, c.want) || res.CallID().Value() != "a84b4c76e66710@192.0.2.7" || res.CSeq().SeqNo != 1 || !res.To().Params.Has("tag") {
				t.Errorf("answer:\n%s", answer)
			}
		})
	}
	response := "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKa\r\nContent-Length: 99\r\n\r\n"
	if msg, answer, _ := NewTriage().Look([]byte(response), false); msg != nil || answer != nil {
		t.Errorf("a broken response: %v %s", msg, answer)
	}
}

// An answer is never longer than what it answers could make worth sending.
func TestTriageAnswersLittle(t *testing.T) {
	long := message("INVITE", "Content-Length: 0", "Content-Length: 9999", "Max-Forwards: 70", "Via: SIP/2.0/UDP "+strings.Repeat("a", 2000))
	if msg, answer, _ := NewTriage().Look([]byte(long), false); msg != nil || answer != nil {
		t.Errorf("%v, an answer of %d bytes", msg, len(answer))
	}
}

// FuzzTriage: whatever comes, nothing breaks, what passes can be read, and so can
// the answers.
func FuzzTriage(f *testing.F) {
	f.Add([]byte(message("INVITE")))
	f.Add([]byte(message("REGISTER", "Max-Forwards: 70", "Via: SIP/2.0/UDP a ; rport , SIP/2.0/UDP b")))
	f.Add([]byte(message("INVITE", "Max-Forwards: 70", "X:\n folded")))
	f.Add([]byte("SIP/2.0 200 OK\r\n\r\n"))
	files, err := filepath.Glob(filepath.Join(tortureDir(f), "*", "*.dat"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	triage := NewTriage()
	f.Fuzz(func(t *testing.T, data []byte) {
		msg, answer, _ := triage.Look(bytes.Clone(data), false)
		ok := msg != nil
		_, err := Parser().ParseSIP(bytes.Clone(data))
		if ok != (err == nil) {
			t.Errorf("Look says %v, the library %v", ok, err)
		}
		if answer == nil {
			return
		}
		if ok || !bytes.HasPrefix(answer, []byte("SIP/2.0 400 ")) || bytes.Index(answer, []byte("\r\n\r\n")) != len(answer)-4 || len(answer) > maxAnswer {
			t.Errorf("answer:\n%q", answer)
		}
	})
}

func BenchmarkTriage(b *testing.B) {
	triage := NewTriage()
	data := []byte(message("REGISTER"))
	b.ReportAllocs()
	for b.Loop() {
		triage.Look(data, false)
	}
}

// A request whose only Via cannot be read is answered all the same, with the Via as
// it came; one that its stream could not find the end of is, too.
func TestTriageBroken(t *testing.T) {
	text := message("INVITE", "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK776asdhds", "Via: SIP 192;;,;,,")
	if msg, answer, port := NewTriage().Look([]byte(text), false); msg != nil || port != 0 || !bytes.Contains(answer, []byte("\r\nVia: SIP 192;;,;,,\r\n")) {
		t.Errorf("%v, port %d:\n%s", msg, port, answer)
	}
	if msg, answer, _ := NewTriage().Look([]byte(message("INVITE")), true); msg != nil || !bytes.HasPrefix(answer, []byte("SIP/2.0 400 Content-Length")) {
		t.Errorf("%v:\n%s", msg, answer)
	}
}
