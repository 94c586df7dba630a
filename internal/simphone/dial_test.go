package simphone

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// Dialling must send an INVITE as a phone does, acknowledge the answer, carry
// audio and keys, and end when the other side hangs up.
func TestDial(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		up := make(chan *far, 1)
		o.calls(func(f *far) {
			f.say(180, nil)
			o.pass(2 * time.Second)
			f.say(200, farSDP(), sip.NewHeader("P-Asserted-Identity", `"Anna" <sip:101@192.0.2.1>`))
			up <- f
		}, nil)
		start := time.Now()
		call, err := p.Dial(o.soon(), "*77*100#")
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("answered after %v", took)
		}
		f := <-up
		req := f.req
		if got, want := req.Recipient.String(), "sip:*77*100%23@192.0.2.1:5060"; got != want {
			t.Errorf("Request-URI %s, want %s", got, want)
		}
		if got := req.From().DisplayName + " " + req.From().Address.User; got != "Name HD0001 HD0001" {
			t.Errorf("From %q", got)
		}
		if got := req.GetHeader("User-Agent").Value(); got != "Yealink SIP-T46U 108.86.0.20" {
			t.Errorf("User-Agent %q", got)
		}
		if got := req.Contact().Address.String(); !strings.HasPrefix(got, "sip:HD0001@"+phoneIP+":") || !strings.HasSuffix(got, req.Source()[len(phoneIP):]) {
			t.Errorf("Contact %s, sent from %s", got, req.Source())
		}
		if got := call.Caller(); got != (Caller{"Anna", "*77*100#", "101"}) {
			t.Errorf("the display shows %+v", got)
		}
		synctest.Wait()
		acks := o.came("ACK")
		if len(acks) != 1 || acks[0].Recipient.User != "server" || acks[0].CSeq().SeqNo != req.CSeq().SeqNo {
			t.Fatalf("ACKs %v", acks)
		}
		if n := p.State().Calls; n != 1 {
			t.Errorf("%d calls", n)
		}

		sent := make(chan error, 1)
		go func() { sent <- call.Press(o.soon(), "4071#") }()
		keys, audio := map[uint32]byte{}, 0
		for _, p := range f.packets(2 * time.Second) {
			if p.PayloadType == 101 {
				keys[p.Timestamp] = p.Payload[0]
			} else {
				audio++
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if len(keys) != 5 || audio < 60 {
			t.Errorf("%d keys and %d packets of audio in 2 s", len(keys), audio)
		}

		if h := call.Heard(); h.Voiced != 0 || !h.First.IsZero() {
			t.Errorf("heard %+v of nothing", h)
		}
		waited := make(chan error, 1)
		go func() { waited <- call.WaitHeard(o.soon(), 10) }()
		f.tone(20)
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
		if h := call.Heard(); h.Voiced != 20 || h.Packets != 20 || h.First.IsZero() || h.Hash == 0 {
			t.Errorf("heard %+v of 20 packets", h)
		}

		if res := f.send(sip.BYE, nil, sip.NewHeader("Reason", `SIP;cause=200;text="done"`)); res.StatusCode != 200 {
			t.Errorf("BYE: %d", res.StatusCode)
		}
		end, err := call.Wait(o.soon())
		if err != nil || end != (Ended{By: "them", Reason: `SIP;cause=200;text="done"`}) {
			t.Errorf("ended %+v, %v", end, err)
		}
		if n := p.State().Calls; n != 0 {
			t.Errorf("%d calls after the end", n)
		}
		for name, err := range map[string]error{
			"press": call.Press(o.soon(), "1"), "hold": call.Hold(o.soon()), "hear": call.WaitHeard(o.soon(), 1000),
		} {
			if !errors.Is(err, ErrOver) {
				t.Errorf("%s after the end: %v", name, err)
			}
		}
		if err := call.HangUp(o.soon()); err != nil {
			t.Errorf("hang up after the end: %v", err)
		}
		o.told("dialing", "ringing", "answered", "pressed", "heard", "ended")
	})
}

// A refusal must come back with its status; a challenge must be answered, by
// either header.
func TestDialRefused(t *testing.T) {
	for _, c := range []struct {
		name      string
		challenge int
		password  string
		want      int // status of the refusal, 0 for none
	}{
		{"busy", 0, "", 486},
		{"challenged", 401, "secret", 0},
		{"challenged by a proxy", 407, "secret", 0},
		{"wrong password", 407, "other", 407},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				p, _ := o.ready(nil)
				o.calls(func(f *far) {
					if c.challenge == 0 {
						f.say(c.want, nil)
						return
					}
					header, answer := "WWW-Authenticate", "Authorization"
					if c.challenge == 407 {
						header, answer = "Proxy-Authenticate", "Proxy-Authorization"
					}
					if h := f.req.GetHeader(answer); h != nil {
						cred, err := digest.ParseCredentials(h.Value())
						if err == nil && cred.Realm == "calls" {
							want, _ := digest.Digest(&digest.Challenge{Realm: "calls", Nonce: "x", QOP: []string{"auth"}}, digest.Options{
								Method: "INVITE", URI: f.req.Recipient.String(), Username: "HD0001", Password: c.password, Count: cred.Nc, Cnonce: cred.Cnonce,
							})
							if want.Response == cred.Response {
								f.take()
								return
							}
						}
					}
					f.say(c.challenge, nil, sip.NewHeader(header, `Digest realm="calls", nonce="x", algorithm=MD5, qop="auth"`))
				}, nil)
				call, err := p.Dial(o.soon(), "101")
				var refused *Refused
				switch {
				case c.want == 0 && err != nil:
					t.Errorf("not answered: %v", err)
				case c.want == 0:
					if err := call.HangUp(o.soon()); err != nil {
						t.Errorf("hang up: %v", err)
					}
					if n := len(o.came("BYE")); n != 1 {
						t.Errorf("%d BYEs", n)
					}
				case !errors.As(err, &refused) || refused.Status != c.want:
					t.Errorf("error %v, want %d", err, c.want)
				}
				if n := p.State().Calls; n != 0 {
					t.Errorf("%d calls left", n)
				}
				o.told("dialing", "ended")
			})
		})
	}
}

// A caller that gives up must CANCEL, but not before the other side has said
// something; an answer that crosses it must be acknowledged and hung up.
func TestDialCancelled(t *testing.T) {
	for _, c := range []struct {
		name      string
		far       func(*far)
		cancels   int
		byes      int
		cancelled time.Duration // when the CANCEL came, after the INVITE
	}{
		{"while it rings", func(f *far) { f.o.mute.Store(false); f.say(180, nil); <-f.tx.Done() }, 1, 0, 3 * time.Second},
		{"before anything is said", func(f *far) {
			f.o.pass(4 * time.Second)
			f.o.mute.Store(false)
			f.say(180, nil)
			<-f.tx.Done()
		}, 1, 0, 4 * time.Second},
		{"never answered at all", func(f *far) { <-f.o.soon().Done() }, 0, 0, 0},
		{"crossed by the answer", func(f *far) {
			f.o.pass(4 * time.Second)
			f.o.mute.Store(false)
			f.take()
		}, 0, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				p, _ := o.ready(nil)
				cancelledAt := make(chan time.Time, 1)
				o.calls(func(f *far) {
					f.tx.OnCancel(func(*sip.Request) { cancelledAt <- time.Now() })
					c.far(f)
				}, nil)
				o.mute.Store(true)
				start := time.Now()
				ctx, cancel := context.WithTimeout(o.soon(), 3*time.Second)
				defer cancel()
				if _, err := p.Dial(ctx, "101"); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				if took := time.Since(start); took > 3*time.Second+cancelWait {
					t.Errorf("gave up after %v", took)
				}
				synctest.Wait()
				if n := len(cancelledAt); n != c.cancels {
					t.Fatalf("%d CANCELs, want %d", n, c.cancels)
				}
				if c.cancels > 0 {
					if at := (<-cancelledAt).Sub(start).Round(time.Second); at != c.cancelled {
						t.Errorf("CANCEL after %v, want %v", at, c.cancelled)
					}
				}
				if n := len(o.came("BYE")); n != c.byes {
					t.Errorf("%d BYEs, want %d", n, c.byes)
				}
				if n := p.State().Calls; n != 0 {
					t.Errorf("%d calls left", n)
				}
			})
		})
	}
}

// Every repetition of a 200 must be acknowledged; the 200 of a second phone must
// be hung up.
func TestRepeated200(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		o.calls(func(f *far) {
			for range 3 {
				f.take()
				o.pass(time.Second)
			}
			f.req.To().Params.Add("tag", "another-phone")
			f.take()
			o.pass(time.Second)
		}, nil)
		call, err := p.Dial(o.soon(), "101")
		if err != nil {
			t.Fatal(err)
		}
		o.pass(5 * time.Second)
		ours, others := 0, 0
		for _, a := range o.came("ACK") {
			if param(a.To().Params, "tag") == "another-phone" {
				others++
			} else {
				ours++
			}
		}
		if ours != 3 || others != 1 {
			t.Errorf("%d ACKs for 3 answers, %d for the other phone's", ours, others)
		}
		byes := o.came("BYE")
		if len(byes) != 1 || param(byes[0].To().Params, "tag") != "another-phone" {
			t.Errorf("BYEs %v", byes)
		}
		if call.isOver() {
			t.Error("the call is over")
		}
	})
}

// Hold must be offered as sendonly and stop our audio, Resume bring it back; an
// offer that crosses another one is tried again, a refused one changes nothing.
func TestHold(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		up := make(chan *far, 1)
		status := []int{200, 491, 200, 488}
		var offers [][]byte
		o.calls(func(f *far) { f.take(); up <- f }, func(f *far) {
			o.mu.Lock()
			offers = append(offers, f.req.Body())
			now := status[0]
			status = status[1:]
			o.mu.Unlock()
			answer := "a=" + answerDirection(directionOf(f.req.Body()), false)
			if now == 200 {
				f.say(now, farSDP(answer))
			} else {
				f.say(now, nil)
			}
		})
		call, err := p.Dial(o.soon(), "101")
		if err != nil {
			t.Fatal(err)
		}
		f := <-up
		if err := call.Hold(o.soon()); err != nil {
			t.Fatal(err)
		}
		if n := len(f.packets(time.Second)); n != 0 {
			t.Errorf("%d packets while held", n)
		}
		if err := call.Resume(o.soon()); err != nil { // the first try meets 491
			t.Fatal(err)
		}
		if n := len(f.packets(time.Second)); n < 45 {
			t.Errorf("%d packets in a second after it was resumed", n)
		}
		var refused *Refused
		if err := call.Hold(o.soon()); !errors.As(err, &refused) || refused.Status != 488 {
			t.Errorf("error %v, want 488", err)
		}
		if n := len(f.packets(time.Second)); n < 45 {
			t.Errorf("%d packets in a second after a refused hold", n)
		}
		last := version(f.req.Body())
		for i, want := range []string{sendonly, sendrecv, sendrecv, sendonly} {
			if got := directionOf(offers[i]); got != want {
				t.Errorf("offer %d is %s, want %s", i, got, want)
			}
			if v := version(offers[i]); v <= last {
				t.Errorf("offer %d has version %d after %d", i, v, last)
			} else {
				last = v
			}
		}
	})
}

// Keys must go by SIP INFO when the file says so.
func TestInfo(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.give("HD0001", "secret", "account.1.dtmf.type = 2")
		p, _ := o.phone(nil)
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		o.calls(func(f *far) { f.take() }, nil)
		call, err := p.Dial(o.soon(), "101")
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Press(o.soon(), "5#"); err != nil {
			t.Fatal(err)
		}
		got := o.came("INFO")
		if len(got) != 2 || string(got[1].Body()) != "Signal=#\r\nDuration=160\r\n" || got[0].ContentType().Value() != "application/dtmf-relay" {
			t.Errorf("INFOs %v", got)
		}
		if err := call.Info(o.soon(), 'x'); !errors.Is(err, ErrKeys) {
			t.Errorf("a wrong key: %v", err)
		}
	})
}

// A check-sync that comes during a call must be obeyed after it.
func TestCheckSyncDuringCall(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		p, _ := o.ready(nil)
		o.calls(func(f *far) { f.take() }, nil)
		call, err := p.Dial(o.soon(), "101")
		if err != nil {
			t.Fatal(err)
		}
		o.give("100", "secret")
		if status := o.notify(p, "check-sync;reboot=true", nil); status != 200 {
			t.Errorf("status %d", status)
		}
		o.pass(10 * time.Second)
		if label := p.State().Label; label != "Desk HD0001" {
			t.Errorf("during the call the display shows %q", label)
		}
		if err := call.HangUp(o.soon()); err != nil {
			t.Fatal(err)
		}
		if err := p.WaitLabel(o.soon(), "Desk 100"); err != nil {
			t.Fatal(err)
		}
		o.told("check-sync", "ended", "rebooting", "config")
	})
}

// A phone that is told to say goodbye must hang up when it is switched off; one
// that is not goes silent. Either way its calls are over.
func TestOffDuringCall(t *testing.T) {
	for _, goodbye := range []bool{false, true} {
		inOffice(t, func(t *testing.T, o *office) {
			p, off := o.ready(func(c *Config) { c.UnregisterOnExit = goodbye })
			o.calls(func(f *far) { f.take() }, nil)
			call, err := p.Dial(o.soon(), "101")
			if err != nil {
				t.Fatal(err)
			}
			off()
			if n := len(o.came("BYE")); (n == 1) != goodbye {
				t.Errorf("goodbye %v: %d BYEs", goodbye, n)
			}
			if end, err := call.Wait(o.soon()); err != nil || end.By != "us" {
				t.Errorf("ended %+v, %v", end, err)
			}
		})
	}
}

// A line key must dial what its value says.
func TestDialKey(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.give("HD0001", "secret", "linekey.1.type = 13", "linekey.1.value = *77*")
		p, _ := o.phone(nil)
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		o.calls(func(f *far) { f.take() }, nil)
		if _, err := p.DialKey(o.soon(), 1); err != nil {
			t.Fatal(err)
		}
		if _, err := p.DialURI(o.soon(), "urn:service:sos"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.DialKey(o.soon(), 2); err == nil {
			t.Error("an empty key dialled")
		}
		var got []string
		for _, r := range o.came("INVITE") {
			got = append(got, r.Recipient.String())
		}
		if want := "sip:*77*@192.0.2.1:5060 urn:service:sos"; strings.Join(got, " ") != want {
			t.Errorf("dialled %q, want %q", got, want)
		}
	})
}
