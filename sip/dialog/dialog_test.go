package dialog

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// Names survive the way into a header and out of it, and no name can end the
// quotes or the line it stands in.
func TestQuoted(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"Anna", "Anna"},
		{`Bob "B"`, `Bob \"B\"`},
		{`back\slash`, `back\\slash`},
		{"line\r\nX: y", "lineX: y"},
		{"Zoë", "Zoë"},
		{"", ""},
	} {
		got := Quoted(c.name)
		if got != c.want {
			t.Errorf("Quoted(%q) = %q, want %q", c.name, got, c.want)
		}
		if back := Unquoted(got); !strings.ContainsAny(c.name, "\r\n") && back != c.name {
			t.Errorf("%q came back as %q", c.name, back)
		}
	}
}

// FuzzQuoted: whatever the name, the header that holds it is read as one with
// that name.
func FuzzQuoted(f *testing.F) {
	f.Add(`a"b\`)
	f.Add(`\"`)
	f.Fuzz(func(t *testing.T, name string) {
		h := sip.FromHeader{DisplayName: Quoted(name), Address: sip.Uri{Scheme: "sip", User: "100", Host: "h"}, Params: sip.NewParams()}
		var uri sip.Uri
		params := sip.NewParams()
		back, err := sip.ParseAddressValue(h.Value(), &uri, &params)
		if err != nil || uri.User != "100" || Quoted(Unquoted(back)) != Quoted(name) {
			t.Errorf("%q is read as %q, user %q, %v", h.Value(), back, uri.User, err)
		}
	})
}

// Parameters are found in any case and with white space around.
func TestParam(t *testing.T) {
	for text, want := range map[string]string{"tag": "x", "TAG": "x", " tag ": "x", "tags": "", "": ""} {
		params := sip.HeaderParams{{K: "other", V: "y"}, {K: text, V: " x "}}
		if got, ok := Param(params, "tag"); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", text, got, ok, want)
		}
	}
}

func invite(t *testing.T, lines ...string) *sip.Request {
	t.Helper()
	msg, err := sip.ParseMessage([]byte("INVITE sip:101@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:100@192.0.2.7>;tag=f\r\nTo: <sip:101@h>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n" +
		strings.Join(lines, "\r\n") + "\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return msg.(*sip.Request)
}

// A dialog's requests go to the caller's Contact by way of its proxies, with the
// two ends changed over; headers that hide in the Contact go nowhere.
func TestDialogRequest(t *testing.T) {
	req := invite(t, "Contact: <sip:100@192.0.2.7:5062?Replaces=x>", "Record-Route: <sip:p1;lr>", "Record-Route: <sip:p2;lr>")
	l := NewUAS(&Net{Agent: "test"}, Peer{}, req, "ours", sip.Uri{Scheme: "sip", Host: "me"})
	bye := l.Request(sip.BYE)
	if got := bye.Recipient.String(); got != "sip:100@192.0.2.7:5062" {
		t.Errorf("to %s", got)
	}
	text := bye.String()
	if first, second := strings.Index(text, "sip:p1"), strings.Index(text, "sip:p2"); first < 0 || second < first {
		t.Errorf("routes in\n%s", text)
	}
	if bye.From().Value() != "<sip:101@h>;tag=ours" || bye.To().Value() != "<sip:100@192.0.2.7>;tag=f" || bye.CallID().Value() != "c" {
		t.Errorf("sent\n%s", text)
	}
	if next := l.Request(sip.BYE); next.CSeq().SeqNo != bye.CSeq().SeqNo+1 {
		t.Errorf("CSeq %d after %d", next.CSeq().SeqNo, bye.CSeq().SeqNo)
	}
}

// A caller that tells no Contact is reached by its From.
func TestDialogWithoutContact(t *testing.T) {
	l := NewUAS(&Net{}, Peer{}, invite(t), "ours", sip.Uri{})
	if got := l.Request(sip.BYE).Recipient.String(); got != "sip:100@192.0.2.7" {
		t.Errorf("to %s", got)
	}
}

// Requests of the other side count upwards; the same number again is a
// retransmission that sipgo did not see.
func TestInOrder(t *testing.T) {
	l := NewUAS(&Net{}, Peer{}, invite(t), "ours", sip.Uri{})
	for _, step := range []struct {
		cseq uint32
		want bool
	}{{7, true}, {6, false}, {9, true}, {8, false}, {9, true}} {
		req := sip.NewRequest(sip.INFO, sip.Uri{})
		req.AppendHeader(&sip.CSeqHeader{SeqNo: step.cseq, MethodName: sip.INFO})
		if got := l.InOrder(req); got != step.want {
			t.Errorf("CSeq %d: %v, want %v", step.cseq, got, step.want)
		}
	}
}
