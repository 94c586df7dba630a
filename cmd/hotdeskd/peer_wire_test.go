package main

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"hotdeskd/internal/phonefile"
)

// wire is one UDP socket on which a test writes SIP by hand, as any number of phones.
type wire struct {
	t    *testing.T
	conn net.PacketConn
	at   string
	to   net.Addr
	mu   sync.Mutex
	got  []sip.Message
	next int // what was not looked at yet
}

// openWire listens until the test ends; server is where it sends to.
func openWire(t *testing.T, server string) *wire {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, conn: conn, at: conn.LocalAddr().String(), to: to}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 65536)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if m, err := sip.ParseMessage(b[:n]); err == nil {
				w.mu.Lock()
				w.got = append(w.got, m)
				w.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return w
}

func (w *wire) send(text string) {
	w.t.Helper()
	if _, err := w.conn.WriteTo([]byte(strings.ReplaceAll(text, "\n", "\r\n")), w.to); err != nil {
		w.t.Fatal(err)
	}
}

// request writes a request of a phone: more are its further header lines.
func (w *wire) request(method, uri, user, callID string, cseq int, more, body string) {
	w.t.Helper()
	kind := ""
	if body != "" {
		kind = "Content-Type: application/sdp\n"
	}
	w.send(fmt.Sprintf("%s %s SIP/2.0\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s%d;rport\nFrom: <sip:%s@127.0.0.1>;tag=%s\nTo: <%s>\nCall-ID: %s\nCSeq: %d %s\n"+
		"Contact: <sip:%s@%s>\nMax-Forwards: 70\n%s%sContent-Length: %d\n\n%s",
		method, uri, w.at, callID, cseq, user, callID, uri, callID, cseq, method, user, w.at, more, kind, len(strings.ReplaceAll(body, "\n", "\r\n")), body))
}

// response waits for the next final response of a call.
func (w *wire) response(callID string) *sip.Response {
	w.t.Helper()
	var res *sip.Response
	w.await("final response of "+callID, func(m sip.Message) bool {
		r, ok := m.(*sip.Response)
		res = r
		return ok && r.StatusCode >= 200 && r.CallID().Value() == callID
	})
	return res
}

// await goes on to the next message that is as wanted.
func (w *wire) await(what string, wanted func(sip.Message) bool) {
	w.t.Helper()
	within(w.t, patience, what, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for w.next < len(w.got) {
			m := w.got[w.next]
			w.next++
			if wanted(m) {
				return true
			}
		}
		return false
	})
}

// answer is the Authorization with which a phone, by its file, answers a challenge.
func (w *wire) answer(f *phonefile.File, res *sip.Response, method, uri string) string {
	w.t.Helper()
	h := res.GetHeader("WWW-Authenticate")
	if res.StatusCode != 401 || h == nil {
		w.t.Fatalf("no challenge:\n%s", res)
	}
	ch, err := digest.ParseChallenge(h.Value())
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := digest.Digest(ch, digest.Options{Method: method, URI: uri, Username: f.Value("account.1.auth_name"), Password: f.Value("account.1.password"), Count: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	return "Authorization: " + c.String() + "\n"
}

// register registers a phone as its file says; all on this wire have one address.
func (w *wire) register(f *phonefile.File) {
	w.t.Helper()
	user, uri := f.Value("account.1.user_name"), "sip:"+w.to.String()
	id := "reg" + sip.GenerateTagN(8)
	res := w.tryRegister(user, id, 1, "")
	if res = w.tryRegister(user, id, 2, w.answer(f, res, "REGISTER", uri)); res.StatusCode != 200 {
		w.t.Fatalf("registration of %s:\n%s", user, res)
	}
}

// tryRegister sends one REGISTER and returns what it is answered.
func (w *wire) tryRegister(user, id string, cseq int, auth string) *sip.Response {
	w.t.Helper()
	w.send(fmt.Sprintf("REGISTER sip:%[4]s SIP/2.0\nVia: SIP/2.0/UDP %[1]s;branch=z9hG4bK%[2]s%[3]d;rport\nFrom: <sip:%[5]s@%[4]s>;tag=%[2]s\nTo: <sip:%[5]s@%[4]s>\nCall-ID: %[2]s\nCSeq: %[3]d REGISTER\n"+
		"Contact: <sip:%[5]s@%[1]s>\nExpires: 300\nMax-Forwards: 70\n%[6]sContent-Length: 0\n\n", w.at, id, cseq, w.to, user, auth))
	return w.response(id)
}

// ack acknowledges the final response to an INVITE: a refusal on its own branch.
func (w *wire) ack(res *sip.Response, uri string) {
	w.t.Helper()
	branch, _ := res.Via().Params.Get("branch")
	if res.IsSuccess() {
		branch += "a"
		uri = res.Contact().Address.String()
	}
	w.send(fmt.Sprintf("ACK %s SIP/2.0\nVia: SIP/2.0/UDP %s;branch=%s;rport\nFrom: %s\nTo: %s\nCall-ID: %s\nCSeq: %d ACK\nMax-Forwards: 70\nContent-Length: 0\n\n",
		uri, w.at, branch, res.From().Value(), res.To().Value(), res.CallID().Value(), res.CSeq().SeqNo))
}

// hangUp ends a call that was answered with res.
func (w *wire) hangUp(res *sip.Response) {
	w.t.Helper()
	id := res.CallID().Value()
	w.send(fmt.Sprintf("BYE %s SIP/2.0\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%sbye;rport\nFrom: %s\nTo: %s\nCall-ID: %s\nCSeq: %d BYE\nMax-Forwards: 70\nContent-Length: 0\n\n",
		res.Contact().Address.String(), w.at, id, res.From().Value(), res.To().Value(), id, res.CSeq().SeqNo+1))
	if res := w.response(id); res.StatusCode != 200 {
		w.t.Errorf("BYE is answered\n%s", res)
	}
}

// offer is a session description whose audio goes to a port.
func offer(port int) string {
	return fmt.Sprintf("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio %d RTP/AVP 8\n", port)
}
