package ivr

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
)

// A person dials the code, types the PIN and hears that it worked, in both laws.
func TestLoginByPhone(t *testing.T) {
	for _, aLaw := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			o := newOffice(t, Options{})
			p := newPhone(t, o.net, phoneAt)
			c := o.attend(t, "*77*100*")
			if aLaw {
				p.offer(t, c, "m=audio 4000 RTP/AVP 8 0 101", plainEvents)
			} else {
				p.offer(t, c, plainAudio, plainEvents)
			}
			_, wait := run(t, c)
			time.Sleep(6 * time.Second)
			if !p.said(t, o.set, aLaw, "ext_is", "d1", "d0", "d0f", "enter_pin") {
				t.Fatal("the PIN was not asked for")
			}
			p.press(t, "4071#")
			if err := wait(); err != nil {
				t.Fatalf("Run returned %v, want nil: the server hangs up", err)
			}
			if !p.said(t, o.set, aLaw, "logged_in", "ext_is", "d1", "d0", "d0f", "wait_update", "goodbye") {
				t.Error("success was not told")
			}
			if want := []string{"login 100 at HD0012 by ivr in call-1"}; !slices.Equal(o.desk.calls, want) {
				t.Errorf("the rules were asked for %q, want %q", o.desk.calls, want)
			}
			if strings.Contains(o.log.String(), "4071") {
				t.Errorf("the PIN is in the log: %s", o.log)
			}
			if !strings.Contains(o.log.String(), "outcome=logged_in") {
				t.Errorf("the log does not say how it ended: %s", o.log)
			}
		})
	}
}

// After the third wrong PIN the server hangs up within six seconds, with the real
// lengths of the prompts.
func TestThirdWrongPIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{})
		o.desk.takes = 500 * time.Millisecond
		p := newPhone(t, o.net, phoneAt)
		c := o.attend(t, "*77*100*")
		p.offer(t, c, plainAudio, plainEvents)
		_, wait := run(t, c)
		for _, pin := range []string{"1111#", "2222#", "3333#"} {
			time.Sleep(3 * time.Second)
			p.press(t, pin)
		}
		last := time.Now()
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(last); took > 6*time.Second {
			t.Errorf("hung up %v after the third wrong PIN, want at most 6 s", took)
		}
		if !p.said(t, o.set, false, "no_match", "goodbye") {
			t.Error("the end was not told")
		}
		if got := len(o.desk.calls); got != 3 {
			t.Errorf("the rules were asked %d times, want 3", got)
		}
	})
}

// The first word follows the first packet of the phone, not the longest wait.
func TestSpeaksWhenHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{})
		p := newPhone(t, o.net, phoneAt)
		c := o.attend(t, "*77")
		p.offer(t, c, plainAudio, plainEvents)
		run(t, c)
		p.audio(t)
		time.Sleep(startAfter - frameTime)
		if p.listen(t); !slices.ContainsFunc(p.heard, func(p rtp.Packet) bool { return !quiet(p) }) {
			t.Error("nothing was said although the phone was heard")
		}
	})
}

// A key silences the prompt within one frame.
func TestBargeIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{})
		p := newPhone(t, o.net, phoneAt)
		c := o.attend(t, "*77")
		p.offer(t, c, plainAudio, plainEvents)
		hangUp, wait := run(t, c)
		time.Sleep(time.Second + time.Millisecond)
		p.listen(t)
		before := len(p.heard)
		if quiet(p.heard[before-1]) {
			t.Fatal("the prompt was not speaking")
		}
		p.press(t, "1")
		p.listen(t)
		for i, packet := range p.heard[before+1:] {
			if !quiet(packet) {
				t.Fatalf("frame %d after the key is not silence", i+1)
			}
		}
		hangUp()
		if err := wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v, want the context's error: they hung up", err)
		}
	})
}

func quiet(p rtp.Packet) bool {
	return bytes.Equal(p.Payload, bytes.Repeat([]byte{muLawSilence}, frameSize))
}

// Keys by SIP INFO do it alone; a phone that sends both ways counts once; once
// events have come in the audio, INFO is ignored.
func TestINFO(t *testing.T) {
	for _, test := range []struct {
		name string
		dial func(t *testing.T, p *phone, c *Conversation)
	}{
		{"INFO only", func(_ *testing.T, _ *phone, c *Conversation) {
			for _, key := range []byte("4071#") {
				c.Press(key)
				time.Sleep(100 * time.Millisecond)
			}
		}},
		{"both, INFO last", func(t *testing.T, p *phone, c *Conversation) {
			for _, key := range []byte("4071#") {
				p.press(t, string(key))
				c.Press(key)
			}
		}},
		{"both, INFO first", func(t *testing.T, p *phone, c *Conversation) {
			for _, key := range []byte("4071#") {
				c.Press(key)
				p.press(t, string(key))
			}
		}},
		{"INFO with nonsense", func(_ *testing.T, _ *phone, c *Conversation) {
			for _, key := range []byte("4\x000x71\n#") {
				c.Press(key)
			}
		}},
		{"INFO first, then only events", func(t *testing.T, p *phone, c *Conversation) {
			c.Press('4')
			time.Sleep(time.Second)
			p.press(t, "07")
			c.Press('9')
			p.press(t, "1#")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOffice(t, Options{})
				p := newPhone(t, o.net, phoneAt)
				c := o.attend(t, "*77*100*")
				p.offer(t, c, plainAudio, plainEvents)
				_, wait := run(t, c)
				time.Sleep(time.Second)
				test.dial(t, p, c)
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				if want := []string{"login 100 at HD0012 by ivr in call-1"}; !slices.Equal(o.desk.calls, want) {
					t.Errorf("the rules were asked for %q, want %q", o.desk.calls, want)
				}
			})
		})
	}
}

// A stranger neither hears the call nor types into it, not even after the call's
// own phone has been silent for long.
func TestStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{})
		p, stranger := newPhone(t, o.net, phoneAt), newPhone(t, o.net, "192.0.2.66:4000")
		c := o.attend(t, "*77*100*")
		p.offer(t, c, plainAudio, plainEvents)
		stranger.server = p.server
		hangUp, wait := run(t, c)
		for range 10 {
			stranger.audio(t)
		}
		stranger.press(t, "4071#")
		p.audio(t)
		time.Sleep(2 * time.Second)
		stranger.press(t, "4071#")
		stranger.listen(t)
		if len(stranger.heard) != 0 {
			t.Errorf("the stranger heard %d packets", len(stranger.heard))
		}
		if len(o.desk.calls) != 0 {
			t.Errorf("the stranger's keys led to %q", o.desk.calls)
		}
		hangUp()
		_ = wait()
		if !strings.Contains(o.log.String(), "rtp_foreign=80") {
			t.Errorf("the log does not count the stranger's 80 packets: %s", o.log)
		}
	})
}

// A phone behind NAT names a private address; audio and keys go by the address
// that its packets come from.
func TestNAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{})
		p := newPhone(t, o.net, "192.0.2.20:61000")
		c := o.attend(t, "*77*100*")
		p.offer(t, c, plainAudio, plainEvents, "c=IN IP4 10.0.0.7")
		_, wait := run(t, c)
		for range 5 {
			p.audio(t)
		}
		time.Sleep(6 * time.Second)
		p.press(t, "4071#")
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		if !p.said(t, o.set, false, "enter_pin", "logged_in", "goodbye") {
			t.Error("the phone did not hear the call")
		}
	})
}

// While the phone holds the call nothing is sent; afterwards the prompt goes on
// where it was.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{})
		p := newPhone(t, o.net, phoneAt)
		c := o.attend(t, "*77*9*")
		p.offer(t, c, plainAudio, plainEvents)
		_, wait := run(t, c)
		time.Sleep(time.Second)
		p.offer(t, c, plainAudio, plainEvents, "a=sendonly")
		p.listen(t)
		before := len(p.heard)
		time.Sleep(20 * time.Second)
		if p.listen(t); len(p.heard) > before+1 {
			t.Errorf("%d packets were sent during the hold", len(p.heard)-before)
		}
		p.offer(t, c, plainAudio, plainEvents)
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		if !p.said(t, o.set, false, "this_phone_is", "hd", "d0", "d0", "d1", "d2f", "goodbye") {
			t.Error("the prompts were not heard whole")
		}
	})
}

// An INVITE without a description: we offer, the ACK answers; keys may come under
// the number that we named.
func TestLateOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{})
		p := newPhone(t, o.net, phoneAt)
		c := o.attend(t, "*77*100*")
		offer, err := c.Describe(nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := settle(offer, terms{})
		if err != nil || m.events != ownEvents {
			t.Fatalf("our own offer: events %d, error %v\n%s", m.events, err, offer)
		}
		p.server = m.remote
		if err := c.Accept(offerOf("m=audio 4000 RTP/AVP 8")); err != nil {
			t.Fatal(err)
		}
		_, wait := run(t, c)
		time.Sleep(time.Second)
		p.press(t, "4071#")
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		if !p.said(t, o.set, true, "logged_in", "goodbye") {
			t.Error("success was not told")
		}
		if err := c.Accept([]byte("junk")); !errors.Is(err, ErrBadOffer) {
			t.Errorf("Accept of junk: %v, want ErrBadOffer", err)
		}
	})
}
