package sip

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

func parsed(text []byte) *sip.Request {
	msg, err := sip.ParseMessage(text)
	if err != nil {
		panic(err)
	}
	return msg.(*sip.Request)
}

// mutated changes a message at some places: bytes, lines and words that come twice, are
// gone, or come from another message.
func mutated(lot *rand.Rand, seeds [][]byte) []byte {
	msg := bytes.Clone(seeds[lot.IntN(len(seeds))])
	for range 1 + lot.IntN(4) {
		if len(msg) < 8 {
			return msg
		}
		at := lot.IntN(len(msg))
		switch lot.IntN(9) {
		case 0:
			msg[at] = byte(lot.IntN(256))
		case 1:
			msg = append(msg[:at:at], msg[min(len(msg), at+1+lot.IntN(20)):]...)
		case 2:
			words := []string{"\r\n", "\r\n ", ";", ",", "\"", "<", ">", ";tag=", "sip:", "\x00", "%", "=", "@", ";q=NaN", "99999999999", "\\", ":", "tel:", "*", "Digest "}
			msg = append(append(msg[:at:at], words[lot.IntN(len(words))]...), msg[at:]...)
		case 3, 4: // a line twice, or none
			lines := bytes.Split(msg, []byte("\r\n"))
			i := lot.IntN(len(lines))
			if lot.IntN(2) == 0 {
				lines = append(lines[:i:i], lines[i+1:]...)
			} else {
				lines = append(append(lines[:i:i], lines[lot.IntN(len(lines))]), lines[i:]...)
			}
			msg = bytes.Join(lines, []byte("\r\n"))
		case 5: // a line of another message
			lines, others := bytes.Split(msg, []byte("\r\n")), bytes.Split(seeds[lot.IntN(len(seeds))], []byte("\r\n"))
			lines[lot.IntN(len(lines))] = others[lot.IntN(len(others))]
			msg = bytes.Join(lines, []byte("\r\n"))
		case 6: // a strange header
			headers := []string{"Require: 100rel, timer", "Session-Expires: 1;refresher=x", "Session-Expires: ;;", "RAck: 1 1 INVITE", "RAck: -1 x", "RSeq: 4294967295", "Contact: <sip:a>;q=NaN, *", "P-Asserted-Identity: <", "P-Asserted-Identity: \"\\", "Privacy: ;;id", "Reason: SIP;cause", "Record-Route: <sip:;lr>", "Via: SIP/2.0/UDP", "Content-Type: multipart/mixed;boundary=", "Diversion: <", "Authorization: Digest realm=\"hotdeskd\", username=\"", "Content-Length: -5", "Max-Forwards: 0", "Replaces: x", "Privacy: id"}
			if i := bytes.Index(msg, []byte("\r\n")); i >= 0 {
				msg = append(append(append(msg[:i+2:i+2], headers[lot.IntN(len(headers))]...), "\r\n"...), msg[i+2:]...)
			}
		case 7:
			methods := []string{"INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "PRACK", "INFO", "REGISTER", "OPTIONS", "NOTIFY", "SUBSCRIBE", "REFER", "MESSAGE", "PUBLISH", "X"}
			msg = bytes.ReplaceAll(msg, []byte("INVITE"), []byte(methods[lot.IntN(len(methods))]))
		case 8:
			msg = bytes.Replace(msg, []byte("branch=z9hG4bK"), []byte(fmt.Sprint("branch=z9hG4bK", lot.Uint32())), 1)
		}
	}
	return msg
}

// Mutated messages, from strangers, from the phones' own hosts and from the PBX's, make
// no handler panic; a call between two phones and their registrations go on, and nothing
// is left of all that when it has gone quiet.
func TestAttack_MutatedMessages(t *testing.T) {
	count, seed := 3000, uint64(1)
	if n, err := strconv.Atoi(os.Getenv("ATTACK_MESSAGES")); err == nil {
		count = n
	}
	if n, err := strconv.Atoi(os.Getenv("ATTACK_SEED")); err == nil {
		seed = uint64(n)
	}
	inOffice(t, func(o *office) {
		o.closeEdge()
		var log lockedBuffer
		o.log = slog.New(slog.NewTextHandler(&log, nil))
		o.openEdge()
		anna, bob, a, b := up(o)
		trunk := o.trunk()
		in := func(d *leg, method, headers, body string) []byte {
			return []byte(d.text(method, "z9hG4bKin", d.cseq+5, d.target, headers, body))
		}
		other := &leg{p: anna, callID: "m", local: "<sip:100@192.0.2.1>;tag=m", remote: "<sip:112@192.0.2.1>", cseq: 1, uri: "sip:112@192.0.2.1"}
		ext := &leg{p: trunk, callID: "t", local: `"X" <sip:0612@pbx>;tag=m`, remote: "<sip:101@192.0.2.1>", cseq: 1, uri: "sip:101@192.0.2.1"}
		seeds := [][]byte{
			[]byte(other.text("INVITE", "z9hG4bKm1", 1, "sip:112@192.0.2.1", sdp, "v=0")),
			[]byte(other.text("INVITE", "z9hG4bKm2", 1, "sip:102@192.0.2.1", sdp+anna.sign(`Digest realm="hotdeskd", nonce="x", qop="auth"`, "INVITE", "sip:102@192.0.2.1"), "v=0")),
			[]byte(ext.text("INVITE", "z9hG4bKm3", 1, "sip:102@192.0.2.1", sdp+"P-Asserted-Identity: \"A\" <sip:06@pbx>\r\nPrivacy: id\r\nDiversion: <sip:1@x>\r\n", "v=0")),
			[]byte(other.text("REGISTER", "z9hG4bKm4", 1, "sip:192.0.2.1", "Expires: 300\r\n", "")),
			[]byte(other.text("OPTIONS", "z9hG4bKm5", 1, "sip:192.0.2.1", "", "")),
			in(a, "UPDATE", "Session-Expires: 90\r\nSupported: timer\r\n", ""), in(a, "INFO", "Content-Type: application/dtmf-relay\r\n", "Signal=1\r\n"),
			in(a, "PRACK", "RAck: 1 1 INVITE\r\n", ""), in(b, "INVITE", sdp, "v=0 x"), in(b, "NOTIFY", "Event: talk\r\n", ""), in(b, "REFER", "Refer-To: <sip:1@x>\r\n", ""),
			[]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK.xxxx.yyyy\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@c>;tag=2\r\nCall-ID: z\r\nCSeq: 1 INVITE\r\nContact: <sip:x@y>\r\nContent-Length: 0\r\n\r\n"),
		}
		thief := o.plug("203.0.113.9:5060")
		from := []net.PacketConn{thief.conn, thief.conn, anna.conn, bob.conn, trunk.conn}
		lot := rand.New(rand.NewPCG(seed, 7))
		var wg sync.WaitGroup
		for _, p := range []*peer{anna, bob, trunk, thief} { // each answers whatever it is asked, some of it with mutations
			mine := rand.New(rand.NewPCG(seed, uint64(len(p.at))+p.gen))
			_ = p.conn.SetReadDeadline(time.Time{})
			wg.Go(func() {
				buf := make([]byte, 1<<16)
				for {
					n, _, err := p.conn.ReadFrom(buf)
					if err != nil {
						return
					}
					head, _, _ := strings.Cut(string(buf[:n]), "\r\n\r\n")
					lines := strings.Split(head, "\r\n")
					if strings.HasPrefix(lines[0], "SIP/") || strings.HasPrefix(lines[0], "ACK") || mine.IntN(8) == 0 {
						continue
					}
					status := []int{200, 200, 200, 180, 183, 302, 401, 407, 486, 503, 491}[mine.IntN(11)]
					if strings.HasPrefix(lines[0], "BYE") || strings.HasPrefix(lines[0], "INFO") || strings.HasPrefix(lines[0], "OPTIONS") {
						status = 200
					}
					res := fmt.Sprintf("SIP/2.0 %d X\r\n", status)
					for _, line := range lines[1:] {
						key, _, _ := strings.Cut(line, ":")
						switch key {
						case "To":
							if !strings.Contains(line, "tag=") {
								line += fmt.Sprint(";tag=", mine.IntN(3))
							}
							res += line + "\r\n"
						case "Via", "From", "Call-ID", "CSeq":
							res += line + "\r\n"
						}
					}
					res += "Contact: <sip:" + p.user + "@" + p.at + ">\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"1\"\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0"
					out := []byte(res)
					if status != 200 && mine.IntN(2) == 0 {
						out = mutated(mine, [][]byte{out})
					}
					_, _ = p.conn.WriteTo(out, net.UDPAddrFromAddrPort(server))
				}
			})
		}
		for n := range count {
			msg := mutated(lot, seeds)
			by := from[lot.IntN(len(from))]
			if bytes.Contains(msg, []byte(a.callID[:6])) || bytes.Contains(msg, []byte(b.callID[:8])) {
				by = thief.conn // its own ends may end the call, and do
			}
			_, _ = by.WriteTo(msg, net.UDPAddrFromAddrPort(server))
			if n%20 == 19 {
				sleep(100 * time.Millisecond)
			}
		}
		sleep(time.Second)
		text := log.String()
		if i := strings.Index(text, "SIP handler failed"); i >= 0 {
			t.Errorf("a handler failed: %s", text[i:min(len(text), i+600)])
		}
		if i := strings.Index(text, "panic"); i >= 0 {
			t.Errorf("a panic: %s", text[max(0, i-300):min(len(text), i+300)])
		}
		t.Log("dialogs", o.edge.table.Len(), "open", o.edge.load.open(), "at", time.Now().Format("15:04:05"))
		for _, id := range []string{"HD0001", "HD0002"} {
			if _, ok := o.edge.registrar.Get(hotdesk.DeviceID(id)); !ok {
				t.Errorf("%s is not registered any more", id)
			}
		}
		if _, _, ok := o.edge.table.Find(parsed(in(a, "INFO", "", ""))); !ok {
			for _, c := range o.records() {
				if c.FromDevice == "HD0001" && c.ToDevice == "HD0002" {
					t.Logf("the call ended: %s %q after %v", c.Result, c.Reason, c.Ended.Sub(c.Started))
				}
			}
			t.Error("the call is over")
		}
		_, _ = anna.conn.WriteTo(in(a, "BYE", "", ""), net.UDPAddrFromAddrPort(server))
		sleep(8 * time.Minute)
		if n := o.edge.load.open(); n > 5 {
			t.Errorf("%d transactions left", n)
		}
		o.mu.Lock()
		open := map[string]string{}
		for _, c := range o.recordings {
			open[c.ID] = fmt.Sprint(c.Kind, " answered ", c.Answered != nil)
			if c.Ended != nil {
				delete(open, c.ID)
			}
		}
		o.mu.Unlock()
		for id, what := range open {
			if !strings.HasPrefix(what, "emergency") { // one that nobody hangs up goes on
				t.Errorf("call %s is open: %s", id, what)
			}
		}
		t.Log(len(open), "emergency calls go on; dialogs left", o.edge.table.Len(), "strangers", o.edge.load.strangers, "invites", len(o.edge.invites.from))
		for _, p := range []*peer{anna, bob, trunk, thief} {
			_ = p.conn.SetReadDeadline(time.Now())
		}
		wg.Wait()
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
