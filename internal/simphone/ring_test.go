package simphone

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// attend lets f deal with every call that rings.
func attend(o *office, p *Phone, f func(*Call)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case c := <-p.Incoming():
				f(c)
			case <-ctx.Done():
				return
			}
		}
	}()
	o.t.Cleanup(func() { stop(); <-done })
}

// An incoming call must ring, show who calls, be answered by a 200 that is
// repeated until the ACK comes, and carry audio.
func TestIncoming(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(func(c *Config) { c.Speak = true })
		audio := o.listen()
		calls := make(chan *Call, 1)
		answered := make(chan error, 1)
		attend(o, p, func(c *Call) {
			o.pass(2 * time.Second)
			calls <- c
			answered <- c.Answer(o.soon())
		})
		start := time.Now()
		f, res := o.ring(p, farSDP(), func(req *sip.Request) {
			req.AppendHeader(sip.NewHeader("P-Asserted-Identity", "<sip:555@192.0.2.1>"))
		})
		if res.StatusCode != 200 || time.Since(start) != 2*time.Second {
			t.Fatalf("status %d after %v", res.StatusCode, time.Since(start))
		}
		call := <-calls
		if got := call.Caller(); got != (Caller{"Anna", "101", "555"}) {
			t.Errorf("the display shows %+v", got)
		}
		o.pass(2 * time.Second) // the ACK is lost: 0.5 and 1 s later the 200 comes again
		o.mu.Lock()
		repeated := o.repeated
		o.mu.Unlock()
		if repeated != 2 {
			t.Errorf("the 200 was repeated %d times in 2 s, want 2", repeated)
		}
		f.ack(res, nil)
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
		got := o.packets(audio, time.Second)
		if len(got) < 45 || !voiced(got[0].PayloadType, got[0].Payload) || got[0].PayloadType != pcma {
			t.Errorf("%d packets in a second", len(got))
		}
		if err := call.Answer(o.soon()); !errors.Is(err, ErrNotRinging) {
			t.Errorf("answered twice: %v", err)
		}
		if _, busy := o.ring(p, farSDP(), nil); busy.StatusCode != 486 {
			t.Errorf("a second call got %d", busy.StatusCode)
		}
		if err := call.HangUp(o.soon()); err != nil {
			t.Fatal(err)
		}
		if byes := o.came("BYE"); len(byes) != 1 || byes[0].Recipient.User != "server" {
			t.Errorf("BYEs %v", byes)
		}
		o.told("incoming", "answered", "ended")
	})
}

// A call must be answered or refused as the phone was told, with one To tag in
// all responses.
func TestIncomingDecided(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		attend func(*Call)
		to     string
		status int
		after  time.Duration
	}{
		{"auto answer", func(c *Config) { c.AutoAnswer = true }, nil, "", 200, 0},
		{"auto answer after ringing", func(c *Config) { c.AutoAnswer, c.RingFor = true, 3*time.Second }, nil, "", 200, 3 * time.Second},
		{"busy", func(c *Config) { c.RejectWith = 486 }, nil, "", 486, 0},
		{"declined after ringing", func(c *Config) { c.RejectWith, c.RingFor = 603, time.Second }, nil, "", 603, time.Second},
		{"declined by hand", nil, func(c *Call) { _ = c.HangUp(context.Background()) }, "", 603, 0},
		{"for somebody else", func(c *Config) { c.AutoAnswer = true }, nil, "100", 404, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				p, _ := o.ready(c.change)
				if c.attend != nil {
					attend(o, p, c.attend)
				}
				start := time.Now()
				f, res := o.ring(p, farSDP(), func(req *sip.Request) {
					if c.to != "" {
						req.Recipient.User = c.to
					}
				})
				if res.StatusCode != c.status || time.Since(start) != c.after {
					t.Errorf("status %d after %v, want %d after %v", res.StatusCode, time.Since(start), c.status, c.after)
				}
				if res.IsSuccess() {
					f.ack(res, nil)
					synctest.Wait()
					f.send(sip.BYE, nil)
				}
				o.wait("the call is over", func() bool { return p.State().Calls == 0 })
			})
		})
	}
}

// A caller that gives up must get 487, and the phone must stop ringing.
func TestIncomingCancelled(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		f := &far{o: o, dialog: o.dialogTo(p)}
		req := f.dialog.next(sip.INVITE, "server")
		setBody(req, farSDP(), "application/sdp")
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var tags []string
		res, err := o.agent.udp.invite(ctx, req, "", func(r *sip.Response) { tags = append(tags, param(r.To().Params, "tag")) }, func(*sip.Response) {})
		if err != nil || res.StatusCode != 487 {
			t.Fatalf("%v, %v", res, err)
		}
		if len(tags) == 0 || tags[0] != param(res.To().Params, "tag") {
			t.Errorf("180 with tag %q, 487 with %q", tags, param(res.To().Params, "tag"))
		}
		call := <-p.Incoming()
		if end, err := call.Wait(o.soon()); err != nil || end.By != "them" || end.Status != 487 {
			t.Errorf("ended %+v, %v", end, err)
		}
		if err := call.Answer(o.soon()); err == nil {
			t.Error("a cancelled call was answered")
		}
	})
}

// An answer that is never acknowledged must be given up with a BYE after 32 s.
func TestIncomingNoACK(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(func(c *Config) { c.AutoAnswer = true })
		start := time.Now()
		if _, res := o.ring(p, farSDP(), nil); res.StatusCode != 200 {
			t.Fatalf("status %d", res.StatusCode)
		}
		if err := p.Until(o.soon(), func(s State) bool { return s.Calls == 0 }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != ackWait {
			t.Errorf("given up after %v", took)
		}
		synctest.Wait()
		if n := len(o.came("BYE")); n != 1 {
			t.Errorf("%d BYEs", n)
		}
	})
}

// A call without an offer must be answered with one, and the ACK's answer used.
func TestLateOffer(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(func(c *Config) { c.AutoAnswer = true })
		audio := o.listen()
		f, res := o.ring(p, nil, nil)
		if directionOf(res.Body()) != sendrecv {
			t.Fatalf("offered %q", res.Body())
		}
		f.ack(res, farSDP())
		if n := len(o.packets(audio, time.Second)); n < 45 {
			t.Errorf("%d packets in a second", n)
		}
	})
}

// What the other side changes inside a call must be answered, and followed.
func TestModified(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(func(c *Config) { c.AutoAnswer = true })
		audio := o.listen()
		f, res := o.ring(p, farSDP(), nil)
		f.ack(res, nil)
		synctest.Wait()
		for _, c := range []struct {
			method  sip.RequestMethod
			theirs  string
			want    string
			packets bool
		}{
			{sip.INVITE, sendonly, recvonly, false},
			{sip.INVITE, sendrecv, sendrecv, true},
			{sip.UPDATE, inactive, inactive, false},
			{sip.UPDATE, recvonly, sendonly, true},
		} {
			res := f.send(c.method, farSDP("a="+c.theirs))
			if c.method == sip.INVITE {
				f.ack(res, nil)
			}
			if got := directionOf(res.Body()); res.StatusCode != 200 || got != c.want {
				t.Errorf("%s %s: %d %s, want %s", c.method, c.theirs, res.StatusCode, got, c.want)
			}
			if n := len(o.packets(audio, time.Second)); (n > 45) != c.packets {
				t.Errorf("%s %s: %d packets in a second", c.method, c.theirs, n)
			}
		}
		for _, c := range []struct {
			method sip.RequestMethod
			body   []byte
			want   int
		}{
			{sip.OPTIONS, nil, 200}, {sip.INFO, nil, 200}, {sip.REFER, nil, 405},
			{sip.UPDATE, sdp("v=0", "c=IN IP4 192.0.2.1", "m=audio 7000 RTP/AVP 9"), 488},
		} {
			if got := f.send(c.method, c.body).StatusCode; got != c.want {
				t.Errorf("%s: %d, want %d", c.method, got, c.want)
			}
		}
		f.dialog.cseq = 0 // an old request that comes late
		if got := f.send(sip.OPTIONS, nil).StatusCode; got != 500 {
			t.Errorf("an old CSeq: %d", got)
		}
	})
}

// Requests for dialogs that do not exist must get 481, methods the phone does not
// have 405.
func TestUnknown(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		for method, want := range map[sip.RequestMethod]int{sip.BYE: 481, sip.OPTIONS: 200, sip.MESSAGE: 405, sip.REFER: 405} {
			res, err := o.agent.udp.do(o.soon(), o.dialogTo(p).next(method, "server"), "")
			if err != nil || res.StatusCode != want {
				t.Errorf("%s: %v, %v, want %d", method, res, err, want)
			}
		}
		d := o.dialogTo(p)
		d.remote.tag = "unknown"
		res, err := o.agent.udp.do(o.soon(), d.next(sip.NOTIFY, "server"), "")
		if err != nil || res.StatusCode != 481 {
			t.Errorf("NOTIFY inside an unknown dialog: %v, %v", res, err)
		}
	})
}
