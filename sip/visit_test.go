package sip

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/call"
)

// visitor is an idle phone in a conversation with the attendant.
func visitor(o *office, c *talk) (p *peer, d *leg) {
	o.attend = func(context.Context, Visit) (Conversation, error) { return c, nil }
	p = o.phone(1)
	p.register()
	d = p.invite("*77*100*", "v=0 phone")
	d.answered("")
	sleep(10 * time.Millisecond)
	return p, d
}

// A hot-desk code reaches the attendant with all it needs to know; when it has
// said what it has to say, it hangs up.
func TestVisit(t *testing.T) {
	inOffice(t, func(o *office) {
		var seen Visit
		c := &talk{run: func(context.Context) error { return nil }}
		o.attend = func(_ context.Context, v Visit) (Conversation, error) { seen = v; return c, nil }
		p := o.phone(1)
		p.register()
		d := p.invite("*77*100*", "v=0 phone")
		if res := d.answered(""); string(res.Body()) != "v=0 attendant" {
			t.Errorf("answer %q", res.Body())
		}
		p.ok("BYE")
		if seen.Device != "HD0001" || seen.CallID != d.callID || !strings.HasPrefix(seen.Dialed, "*77*100") || seen.Reason != "" || seen.Secure ||
			seen.Source.String() != "192.0.2.11" || seen.Local.String() != "192.0.2.1" || seen.Show == nil {
			t.Errorf("visit %+v", seen)
		}
		o.recorded("answered", "")
		o.idle()
		if c.closed != 1 {
			t.Errorf("closed %d times", c.closed)
		}
	})
}

// The visitor who hangs up ends the conversation's context.
func TestVisitorHangsUp(t *testing.T) {
	inOffice(t, func(o *office) {
		c := &talk{}
		p, d := visitor(o, c)
		d.bye()
		o.recorded("answered", "")
		o.idle()
		if c.closed != 1 {
			t.Errorf("closed %d times", c.closed)
		}
		p.silent(5 * time.Second)
	})
}

// Digits by SIP INFO reach the attendant in every form that phones write, and
// other content is refused.
func TestInfoDigits(t *testing.T) {
	inOffice(t, func(o *office) {
		c := &talk{}
		p, d := visitor(o, c)
		for _, step := range []struct{ kind, body, want string }{
			{"application/dtmf-relay", "Signal=4\r\nDuration=160\r\n", "200 INFO"},
			{"application/dtmf-relay", "Signal= 0\nDuration=160\n", "200 INFO"},
			{"Application/DTMF-Relay; x=y", "Signal=*", "200 INFO"},
			{"application/dtmf-relay", "Signal=11\r\n", "200 INFO"},
			{"application/dtmf", "7", "200 INFO"},
			{"application/dtmf", "10", "200 INFO"},
			{"audio/telephone-event", "1", "200 INFO"},
			{"application/dtmf-relay", "Duration=160\r\n", "200 INFO"},
			{"application/dtmf-relay", "Signal=A\r\n", "200 INFO"},
			{"application/media_control+xml", "<x/>", "415 INFO"},
		} {
			d.do("INFO", "Content-Type: "+step.kind+"\r\n", step.body)
			p.expect(step.want)
		}
		d.do("INFO", "", "") // some phones ask in this way whether we are there
		p.expect("200 INFO")
		d.bye()
		c.mu.Lock()
		defer c.mu.Unlock()
		if got := string(c.pressed); got != "40*#7*1" {
			t.Errorf("pressed %q, want 40*#7*1", got)
		}
	})
}

// Hold and other changes are answered by the conversation; an offer it cannot
// take is refused and the call goes on.
func TestVisitChanges(t *testing.T) {
	inOffice(t, func(o *office) {
		c := &talk{describe: func(offer []byte) ([]byte, error) {
			if strings.Contains(string(offer), "bad") {
				return nil, errors.New("bad offer")
			}
			return fmt.Appendf(nil, "v=0 answer to %q", offer), nil
		}}
		p, d := visitor(o, c)
		d.do("INVITE", sdp, "v=0 hold")
		if res := d.answered(""); string(res.Body()) != `v=0 answer to "v=0 hold"` {
			t.Errorf("answer %q", res.Body())
		}
		d.do("UPDATE", sdp, "v=0 update")
		if res := p.response("200 UPDATE"); string(res.Body()) != `v=0 answer to "v=0 update"` {
			t.Errorf("answer %q", res.Body())
		}
		d.do("UPDATE", "", "")
		if res := p.response("200 UPDATE"); len(res.Body()) != 0 {
			t.Errorf("an UPDATE without an offer is answered with %q", res.Body())
		}
		d.do("INVITE", "", "")
		d.answered("v=0 late answer")
		sleep(10 * time.Millisecond)
		if c.accepted != "v=0 late answer" {
			t.Errorf("accepted %q", c.accepted)
		}
		d.do("INVITE", sdp, "v=0 bad")
		d.refused("488 INVITE")
		d.do("INVITE", sdp, "v=0 never acknowledged")
		p.expect("200 INVITE")
		d.bye()
		p.drop()
		p.silent(35 * time.Second)
		o.idle()
	})
}

// What keeps the attendant from answering is told as it should be.
func TestVisitRefused(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("lines: %w", ErrBusy), "503 INVITE"}, {ErrNotAcceptable, "488 INVITE"}, {ErrBadOffer, "400 INVITE"}, {errors.New("broken"), "500 INVITE"},
	} {
		for _, early := range []bool{true, false} {
			inOffice(t, func(o *office) {
				conv := &talk{describe: func([]byte) ([]byte, error) { return nil, c.err }}
				o.attend = func(context.Context, Visit) (Conversation, error) {
					if early {
						return nil, c.err
					}
					return conv, nil
				}
				p := o.phone(1)
				res := p.invite("*77*", "v=0").refused(c.want)
				if h := res.GetHeader("Retry-After"); errors.Is(c.err, ErrBusy) && h == nil {
					t.Error("503 without Retry-After")
				}
				o.recorded("failed", "")
				o.idle()
				if !early && conv.closed != 1 {
					t.Errorf("closed %d times", conv.closed)
				}
			})
		}
	}
}

// A refused call is answered, the reason spoken and the call hung up; the fourth
// within a minute gets a bare 403.
func TestSpokenRefusal(t *testing.T) {
	inOffice(t, func(o *office) {
		var reasons []string
		o.attend = func(_ context.Context, v Visit) (Conversation, error) {
			reasons = append(reasons, v.Reason)
			return &talk{run: func(context.Context) error { return nil }}, nil
		}
		p := o.phone(1)
		for range 3 {
			d := p.invite("0612345", "v=0")
			d.answered("")
			p.ok("BYE")
			o.recorded("refused", hotdesk.ReasonIdle)
		}
		p.invite("0612345", "v=0").refused("403 INVITE")
		o.recorded("refused", hotdesk.ReasonIdle)
		sleep(time.Minute)
		p.invite("0612345", "v=0").answered("")
		p.ok("BYE")
		if got := strings.Join(reasons, " "); got != "idle idle idle idle" {
			t.Errorf("spoken: %s", got)
		}
	})
}

// A visitor who cancels, or never acknowledges, is not talked to.
func TestVisitNeverSetUp(t *testing.T) {
	inOffice(t, func(o *office) {
		c := &talk{run: func(context.Context) error { t.Error("talks to nobody"); return nil }}
		answer := make(chan struct{})
		o.attend = func(context.Context, Visit) (Conversation, error) { <-answer; return c, nil }
		p := o.phone(1)
		d := p.invite("*77*", "v=0")
		sleep(10 * time.Millisecond)
		d.cancel()
		p.expect("200 CANCEL")
		d.refused("487 INVITE")
		close(answer)
		o.recorded("cancelled", "")
		o.idle()
		p.invite("*77*", "v=0")
		p.expect("200 INVITE")
		msg := p.read(time.Minute)
		for name(msg) == "200 INVITE" {
			msg = p.read(time.Minute)
		}
		p.reply(p.asRequest(msg), 200, "OK", "", "")
		if name(msg) != "BYE" {
			t.Fatalf("got %s, want BYE", name(msg))
		}
		o.idle()
		if c.closed != 2 {
			t.Errorf("closed %d times, want 2", c.closed)
		}
	})
}

// An attendant that panics in its talk costs that call, which is hung up, and
// nothing else.
func TestAttendantPanics(t *testing.T) {
	inOffice(t, func(o *office) {
		p, _ := visitor(o, &talk{run: func(context.Context) error { panic("prompt missing") }})
		p.ok("BYE")
		o.idle()
		o.attend = func(context.Context, Visit) (Conversation, error) { panic("no lines") }
		p.invite("*77*", "v=0").refused("500 INVITE")
		o.attend = nil
		d := p.invite("*77*", "v=0")
		d.answered("")
		d.bye()
		o.idle()
	})
}

// One phone that dials by itself gets a few of the attendant's lines, not all.
func TestOnePhoneTakesNotAllLines(t *testing.T) {
	inOffice(t, func(o *office) {
		o.attend = func(context.Context, Visit) (Conversation, error) { return &talk{}, nil }
		p := o.phone(1)
		p.register()
		var up []*leg
		for range call.MaxVisits {
			d := p.invite("*77*", "v=0")
			d.answered("")
			up = append(up, d)
		}
		p.invite("*77*", "v=0").refused("486 INVITE")
		o.recorded("busy", "")
		other := o.phone(2)
		other.register()
		other.invite("*77*", "v=0").answered("")
		up[0].bye()
		sleep(10 * time.Millisecond)
		p.invite("*77*", "v=0").answered("")
	})
}

// notTaken is an attendant's refusal that says why.
type notTaken struct{}

func (notTaken) Error() string          { return "no" }
func (notTaken) Unwrap() error          { return ErrNotAcceptable }
func (notTaken) Warning() (int, string) { return 305, `no "codec" of ours` }

// A refused offer says why in a Warning (RFC 3261 sections 20.43 and 21.4.26), and a body
// of several parts in a re-INVITE is read as in an INVITE (L13).
func TestField_L13WarningsAndParts(t *testing.T) {
	inOffice(t, func(o *office) {
		var offers []string
		o.attend = func(context.Context, Visit) (Conversation, error) {
			return &talk{describe: func(offer []byte) ([]byte, error) {
				if offers = append(offers, string(offer)); len(offers) == 2 {
					return nil, notTaken{}
				}
				return []byte("v=0 attendant"), nil
			}}, nil
		}
		p := o.phone(1)
		p.register()
		a := p.invite("*77*", "v=0")
		a.answered("")
		a.do("INVITE", "Content-Type: multipart/mixed;boundary=b\r\n", "--b\r\nContent-Type: application/sdp\r\n\r\nv=0 part\r\n--b--\r\n")
		res := a.refused("488 INVITE")
		if got := value(res, "Warning"); got != `305 hotdeskd "no \"codec\" of ours"` {
			t.Errorf("Warning: %s", got)
		}
		if len(offers) != 2 || offers[1] != "v=0 part" {
			t.Errorf("offers %q", offers)
		}
	})
}
