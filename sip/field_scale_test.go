package sip

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

// size is how much a test does: HOTDESKD_SCALE=full is what docs/reference/performance.md
// has the figures of.
func size(few, full int) int {
	if os.Getenv("HOTDESKD_SCALE") == "full" {
		return full
	}
	if n, err := strconv.Atoi(os.Getenv("HOTDESKD_SCALE")); err == nil {
		return n
	}
	return few
}

// Two users with three devices each; every call rings all three of the called user's, and
// they answer within the same few milliseconds. Each time exactly one answer reaches the
// caller, every phone whose answer was not taken is hung up or cancelled, no leg is left,
// and there is one record.
func TestForkRace(t *testing.T) {
	calls := size(150, 10_000)
	inOffice(t, func(o *office) {
		var spec hotdesk.Desired
		for n := 4; n < 6; n++ {
			spec.Devices = append(spec.Devices, hotdesk.DeviceSpec{MAC: mac(n).String(), Model: ptr("yealink-t46u"), Site: ptr("roma"), Desk: ptr(fmt.Sprint("2-", n))})
		}
		if _, err := o.Apply(context.Background(), spec, hotdesk.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		for n := 4; n < 6; n++ {
			if _, err := o.Claim(context.Background(), mac(n), "roma", "test"); err != nil {
				t.Fatal(err)
			}
		}
		var phones []*peer
		for n := range 6 {
			phones = append(phones, o.desk(n+1, hotdesk.Extension(fmt.Sprint(100+n/3))))
		}
		lot := rand.New(rand.NewPCG(7, 7))
		for n := range calls {
			if n%200 == 199 { // their time goes by, too
				for _, p := range phones {
					p.seen = nil
					p.register()
				}
			}
			from := lot.IntN(6)
			caller, users := phones[from], []string{"101", "100"}
			callees := phones[3:]
			if from >= 3 {
				callees = phones[:3]
			}
			a := caller.invite(users[from/3], "v=0")
			var legs []*leg
			for _, p := range callees {
				legs = append(legs, p.incoming(p.request("INVITE")))
			}
			var wg sync.WaitGroup
			for _, b := range legs {
				pause := time.Duration(lot.IntN(3)) * time.Millisecond
				wg.Go(func() {
					<-time.NewTimer(pause).C
					b.reply(200, "OK", "v=0")
				})
			}
			wg.Wait()
			answers, won := 0, 0
			for answers == 0 {
				switch msg := caller.read(5 * time.Second); name(msg) {
				case "200 INVITE":
					answers++
					a.confirm(caller.asResponse(msg), "")
				case "100 INVITE", "180 INVITE":
				default:
					t.Fatalf("the caller gets %s", name(msg))
				}
			}
			for _, b := range legs { // whoever lost is told within its ACK
				lost := false
				for msg := b.p.read(20 * time.Millisecond); msg != nil; msg = b.p.read(20 * time.Millisecond) {
					switch name(msg) {
					case "BYE", "CANCEL":
						lost = true
						b.p.reply(b.p.asRequest(msg), 200, "OK", "", "")
					case "ACK":
					default:
						t.Fatalf("a called phone gets %s", name(msg))
					}
				}
				if !lost {
					won++
				}
			}
			if won != 1 {
				t.Fatalf("%d phones are in the call", won)
			}
			a.bye()
			for _, b := range legs {
				for msg := b.p.read(20 * time.Millisecond); msg != nil; msg = b.p.read(20 * time.Millisecond) {
					if name(msg) == "BYE" {
						b.p.reply(b.p.asRequest(msg), 200, "OK", "", "")
					}
				}
			}
		}
		o.idle()
		if got := len(o.records()); got != calls {
			t.Errorf("%d records of %d calls", got, calls)
		}
	})
}

// mutate changes a message in a few places.
func mutate(lot *rand.Rand, seeds []string) string {
	text := []byte(seeds[lot.IntN(len(seeds))])
	for range 1 + lot.IntN(6) {
		if len(text) == 0 {
			break
		}
		at := lot.IntN(len(text))
		switch lot.IntN(6) {
		case 0:
			text[at] = byte(lot.IntN(256))
		case 1:
			text = append(text[:at], text[min(len(text), at+1+lot.IntN(8)):]...)
		case 2:
			other := seeds[lot.IntN(len(seeds))]
			from := lot.IntN(len(other))
			text = append(text[:at:at], append([]byte(other[from:min(len(other), from+lot.IntN(80))]), text[at:]...)...)
		case 3:
			text = append(text[:at:at], append([]byte("\r\n"), text[at:]...)...)
		case 4:
			lines := strings.Split(string(text), "\r\n")
			i, j := lot.IntN(len(lines)), lot.IntN(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
			text = []byte(strings.Join(lines, "\r\n"))
		case 5:
			lines := strings.Split(string(text), "\r\n")
			i := lot.IntN(len(lines))
			lines = append(lines, lines[i])
			text = []byte(strings.Join(lines, "\r\n"))
		}
	}
	return string(text)
}

// Mutated messages of every kind, from strangers and from the host of a phone in a call,
// bring nothing down: no handler panics, the call and the registrations survive, and when
// it is over nothing is left.
func TestMutatedMessages(t *testing.T) {
	count := size(5_000, 1_000_000)
	inOffice(t, func(o *office) {
		var mu sync.Mutex
		var panics []string
		o.edge.Log = slog.New(panicWatch{func(text string) {
			mu.Lock()
			defer mu.Unlock()
			panics = append(panics, text)
		}})
		anna, bob, a, b := up(o)
		anna.deaf, bob.deaf = true, true
		stranger, neighbour := o.plug("203.0.113.9:5060"), o.plug("192.0.2.11:6060")
		seeds := []string{
			a.text("INFO", "z9hG4bKm1", 7, a.target, "Content-Type: application/dtmf-relay\r\n", "Signal=5\r\n"),
			a.text("UPDATE", "z9hG4bKm2", 8, a.target, "Session-Expires: 90;refresher=uac\r\nSupported: timer\r\n", ""),
			a.text("PRACK", "z9hG4bKm3", 9, a.target, "RAck: 1 2 INVITE\r\n", ""),
			b.text("NOTIFY", "z9hG4bKm4", 7, b.target, "Event: talk\r\nSubscription-State: active\r\n", ""),
			a.text("CANCEL", a.branch, a.cseq, a.uri, "Reason: SIP;cause=200\r\n", ""),
			"REGISTER sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.11:5060;branch=z9hG4bKm5\r\nFrom: <sip:100@h>;tag=1\r\nTo: <sip:100@h>\r\nCall-ID: m\r\nCSeq: 1 REGISTER\r\nContact: <sip:100@192.0.2.11>;q=0.5;expires=60\r\nPath: <sip:p;lr>\r\n" +
				"Authorization: Digest username=\"HD0001\", realm=\"hotdeskd\", nonce=\"x\", uri=\"sip:h\", response=\"y\", qop=auth, nc=00000001, cnonce=\"z\"\r\nContent-Length: 0\r\n\r\n",
			"INVITE sip:112@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bKm6\r\nFrom: \"A\" <sip:HD0003@h>;tag=1\r\nTo: <sip:112@h>\r\nCall-ID: m6\r\nCSeq: 1 INVITE\r\nContact: <sip:x@203.0.113.9>\r\nRequire: timer, 100rel\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0",
			"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: " + b.callID + "\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
		}
		lot := rand.New(rand.NewPCG(4, 2))
		for n := range count {
			p := []*peer{stranger, neighbour}[lot.IntN(2)]
			p.seen = nil
			text := mutate(lot, seeds)
			if hostile := strings.HasPrefix(text, "BYE"); hostile && p == neighbour {
				continue // the phone's own host may hang up
			}
			if p == neighbour && strings.Contains(text, "Session-Expires") {
				continue // or agree on a session that nobody refreshes
			}
			p.send(text)
			if n%20 == 0 { // so that budgets let most of it in
				sleep(25 * time.Millisecond)
			}
			if n%1000 == 0 {
				flush(stranger)
				flush(neighbour)
				answerAll(anna)
				answerAll(bob)
			}
			if n%10_000 == 9_999 { // their time goes by, too
				for _, p := range []*peer{anna, bob} {
					sleep(100 * time.Millisecond)
					flush(p) // answers to what named its port
					p.seen, p.kept = nil, nil
					p.register()
				}
			}
		}
		sleep(time.Second)
		flush(stranger)
		answerAll(anna)
		answerAll(bob)
		for _, id := range []hotdesk.DeviceID{"HD0001", "HD0002"} {
			if busy, _ := o.live.InCall(id, ""); !busy {
				t.Errorf("%s is not in its call any more", id)
			}
			if _, ok := o.edge.registrar.Get(id); !ok {
				t.Errorf("%s is not registered any more", id)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, text := range panics {
			t.Error(text)
		}
	})
}

// answerAll answers what has come to a phone with 200.
func answerAll(p *peer) {
	buf := make([]byte, 1<<16)
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		n, _, err := p.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		msg, err := sip.ParseMessage(append([]byte(nil), buf[:n]...))
		if req, ok := msg.(*sip.Request); err == nil && ok && !req.IsAck() {
			p.seen = nil
			p.reply(req, 200, "OK", "", "")
		}
	}
}

// panicWatch is a log that keeps what says that a handler has failed.
type panicWatch struct{ tell func(string) }

func (w panicWatch) Enabled(context.Context, slog.Level) bool { return true }
func (w panicWatch) WithAttrs([]slog.Attr) slog.Handler       { return w }
func (w panicWatch) WithGroup(string) slog.Handler            { return w }
func (w panicWatch) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "SIP handler failed" {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		w.tell(text)
	}
	return nil
}
