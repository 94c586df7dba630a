package sip

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// panicDesk panics where it is told to.
type panicDesk struct {
	Desk
	broken atomic.Bool
}

func (d *panicDesk) Credentials(id hotdesk.DeviceID) ([]hotdesk.Credential, bool, bool) {
	if d.broken.Load() {
		panic("broken")
	}
	return d.Desk.Credentials(id)
}

// A panic in a handler answers 500 to that request; the next one is served.
func TestPanicInHandler(t *testing.T) {
	inOffice(t, func(o *office) {
		d := &panicDesk{Desk: o.edge.Desk}
		o.edge.Desk = d
		d.broken.Store(true)
		p := o.phone(1)
		if res := p.tryRegister(registration{}); res.StatusCode != 500 {
			t.Errorf("got %d, want 500", res.StatusCode)
		}
		d.broken.Store(false)
		p.register()
	})
}

// Methods that we do not have get 405 with those that we have, subscriptions
// 489, and OPTIONS 200 to anybody.
func TestOtherMethods(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		for _, c := range []struct{ method, headers, want string }{
			{"OPTIONS", "", "200 OPTIONS"},
			{"PUBLISH", "", "405 PUBLISH"},
			{"FOO", "", "405 FOO"},
			{"REFER", "", "481 REFER"},
			{"MESSAGE", "", "481 MESSAGE"},
			{"NOTIFY", "", "481 NOTIFY"},
			{"SUBSCRIBE", "Event: x\r\n", "401 SUBSCRIBE"},
		} {
			d := &leg{p: p, callID: c.method, local: "<sip:a@b>;tag=1", remote: "<sip:c@d>", target: "sip:192.0.2.1", cseq: 1}
			d.do(c.method, c.headers, "")
			res := p.response(c.want)
			if allow := res.GetHeader("Allow"); res.StatusCode == 405 && (allow == nil || !strings.Contains(allow.Value(), "INVITE")) {
				t.Errorf("405 without Allow:\n%s", res)
			}
		}
		for headers, want := range map[string]string{"Event: message-summary\r\n": "489 SUBSCRIBE", "": "400 SUBSCRIBE"} {
			d := &leg{p: p, callID: "s" + want, local: "<sip:a@b>;tag=1", remote: "<sip:c@d>", target: "sip:192.0.2.1", cseq: 1}
			d.do("SUBSCRIBE", headers, "")
			auth := p.sign(p.response("401 SUBSCRIBE").GetHeader("WWW-Authenticate").Value(), "SUBSCRIBE", "sip:192.0.2.1")
			d.do("SUBSCRIBE", headers+auth, "")
			p.expect(want)
		}
	})
}

// Shutdown hangs up calls on both sides, ends conversations and ringing phones,
// and leaves no goroutine behind (the bubble would not end).
func TestShutdown(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, _, _ := up(o)
		three, four := o.phone(3), o.desk(4, "102")
		v := three.invite("*77*", "v=0")
		v.answered("")
		r := bob.dial("102", "v=0", "")
		r.answerChallenge()
		d := four.ring()
		bob.drop()
		done := make(chan struct{})
		go func() { defer close(done); o.closeEdge() }()
		anna.ok("BYE")
		bob.drop() // its BYE and the refusal of its second call, in any order
		three.ok("BYE")
		four.ok("CANCEL")
		d.reply(487, "Request Terminated", "")
		four.expect("ACK")
		timer := time.NewTimer(10 * time.Second)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			t.Error("the edge does not stop within 10 seconds")
		}
		if seen := strings.Join(bob.seen, "\n"); !strings.Contains(seen, "< BYE") || !strings.Contains(seen, "< 480 INVITE") {
			t.Errorf("bob saw\n%s", seen)
		}
		for _, c := range o.records() {
			if c.Ended == nil {
				t.Errorf("no end: %+v", c)
			}
		}
		o.idle()
	})
}

// The edge stops also when phones do not answer any more.
func TestShutdownWithDeadPhones(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob, _, _ := up(o)
		_, _ = anna.conn.Close(), bob.conn.Close()
		start := time.Now()
		o.closeEdge()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A listener that breaks ends Serve with an error, also with a call that is up:
// whoever supervises it must learn of it.
func TestListenerBreaks(t *testing.T) {
	inOffice(t, func(o *office) {
		o.closeEdge()
		o.buildEdge()
		conn, err := o.net.ListenPacket(server)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- o.edge.Serve(context.Background(), Listeners{UDP: conn}) }()
		<-o.edge.Ready()
		up(o)
		_ = conn.Close()
		timer := time.NewTimer(20 * time.Second)
		defer timer.Stop()
		select {
		case err := <-done:
			if err == nil {
				t.Error("Serve ended without an error")
			}
		case <-timer.C:
			t.Fatal("Serve does not end")
		}
	})
}

// A response that lacks the headers of every response is nobody's answer: it
// ends no server.
func TestResponseWithoutTo(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, bob := o.desk(1, "100"), o.desk(2, "101")
		a := anna.invite("101", "v=0")
		inv := bob.request("INVITE")
		for _, status := range []string{"180 Ringing", "200 OK"} {
			bob.send("SIP/2.0 " + status + "\r\nVia: " + inv.Via().Value() + "\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n")
		}
		sleep(40 * time.Second)
		anna.drop()
		bob.drop()
		_ = a
		bob.register()
	})
}

// New refuses to build an edge that lacks something.
func TestNewNeedsAll(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("built without anything")
	}
}

// tortureDir is where the library keeps the messages of RFC 4475.
func tortureDir(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/emiago/sipgo").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "sip", "testdata", "torture")
}

// tortureWant is the status that a message of RFC 4475 is answered with; empty is
// no answer. On streams what cannot be read ends the connection besides.
func tortureWant(name string) (status string, ok bool) {
	status, ok = map[string]string{
		"badvers": "505", "unkscm": "416", "unksm2": "400", "bext01": "420", "escruri": "400", "regbadct": "400", "ncl": "400",
		"zeromf": "200", "lwsdisp": "200", "semiuri": "200", "transports": "200", "regaut01": "401", "cparam01": "401", "escnull": "401", "intmeth": "405",
		"esc02": "405", "mpart01": "481", "longreq": "401", "wsinv": "481", "sdp01": "406", "invut": "415", "mcl01": "400", "insuf": "400",
		"badinv01": "400", "clerr": "400", "scalar02": "400", "quotbal": "400", "ltgtruri": "400", "lwsruri": "400", "lwsstart": "400", "trws": "400",
		"badaspec": "400", "baddn": "400", "mismatch01": "400", "mismatch02": "400", "badbranch": "400", "multi01": "400", "esc01": "401",
		"unreason": "", "noreason": "", "scalarlg": "", "bigcode": "", "bcast": "",
	}[name]
	return status, ok
}

// statusOf reads the answer to a message; empty when none comes.
func statusOf(t *testing.T, name string, conn net.PacketConn, within time.Duration) string {
	t.Helper()
	buf := make([]byte, 1<<16)
	_ = conn.SetReadDeadline(time.Now().Add(within))
	k, _, err := conn.ReadFrom(buf)
	if err != nil {
		return ""
	}
	found := regexp.MustCompile(`^SIP/2\.0 (\d{3}) `).FindSubmatch(buf[:k])
	if found == nil {
		t.Fatalf("%s is answered with\n%s", name, buf[:k])
	}
	return string(found[1])
}

// The torture messages of RFC 4475 get the answers that the RFC asks for on a
// socket too: a phone registers after them as before.
func TestTorture(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(tortureDir(t), "*", "*.dat"))
	if err != nil || len(files) != 50 {
		t.Fatalf("%d messages, %v", len(files), err)
	}
	inOffice(t, func(o *office) {
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			port := "5060" // answers go to the port of the Via
			if m := regexp.MustCompile(`(?m)^Via:[^;]*:(\d+);`).FindSubmatch(text); m != nil {
				port = string(m[1])
			}
			p := o.plug("198.51.100.7:" + port)
			if _, err := p.conn.WriteTo(text, net.UDPAddrFromAddrPort(server)); err != nil {
				t.Fatal(err)
			}
			base := strings.TrimSuffix(filepath.Base(file), ".dat")
			status := statusOf(t, base, p.conn, 300*time.Millisecond)
			if w, ok := tortureWant(base); ok && status != w {
				t.Errorf("%s: answered %q, want %s", base, status, w)
			}
			_ = p.conn.Close()
			sleep(40 * time.Second) // several share their branch
		}
		o.phone(1).register()
	})
}
