package ivr

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// holds are the ways to put a call on hold: directions (RFC 3264 section 8.4), the null
// address of RFC 2543 in both families, and a stream that is switched off (section 8.2).
var holds = map[string][]string{
	"sendonly":               {plainAudio, plainEvents, "a=sendonly"},
	"inactive":               {plainAudio, plainEvents, "a=inactive"},
	"inactive session":       {"a=inactive", plainAudio, plainEvents},
	"null address":           {plainAudio, "c=IN IP4 0.0.0.0", plainEvents},
	"null address of IPv6":   {plainAudio, "c=IN IP6 ::", plainEvents},
	"null address, sendonly": {plainAudio, "c=IN IP4 0.0.0.0", plainEvents, "a=sendonly"},
	"port 0":                 {"m=audio 0 RTP/AVP 0 8 101", plainEvents},
}

// hold puts the call on hold or takes it back.
func (p *phone) reinvite(t *testing.T, c *Conversation, lines ...string) string {
	t.Helper()
	body, err := c.Describe(offerOf(lines...))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// A hold in the middle of a prompt: nothing is sent, no timer runs, and afterwards the
// prompt goes on where it was, its first packet marked (RFC 3551 section 4.1); a hold
// while a key is awaited does not use up the person's time.
func TestField_HoldPauses(t *testing.T) {
	for name, hold := range holds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOffice(t, Options{})
				p := newPhone(t, o.net, phoneAt)
				c := o.attend(t, "*77*100*")
				p.offer(t, c, plainAudio, plainEvents)
				_, wait := run(t, c)
				p.audio(t)
				time.Sleep(1501 * time.Millisecond) // in the middle of "extension one zero zero"

				answer := p.reinvite(t, c, hold...)
				if strings.Contains(answer, "a=sendrecv") || strings.Contains(answer, "a=sendonly") {
					t.Errorf("the answer to a hold is\n%s", answer)
				}
				p.listen(t)
				before := len(p.heard)
				time.Sleep(12 * time.Second)
				if p.listen(t); len(p.heard) != before {
					t.Errorf("%d packets came during the hold", len(p.heard)-before)
				}
				if answer := p.reinvite(t, c, plainAudio, plainEvents); !strings.Contains(answer, "a=sendrecv") {
					t.Errorf("the answer to the end of the hold is\n%s", answer)
				}
				time.Sleep(5 * time.Second) // the question is over, the first key awaited
				if !p.said(t, o.set, false, "ext_is", "d1", "d0", "d0f", "enter_pin") {
					t.Error("the prompt was not heard whole")
				}
				if first := p.heard[before]; !first.Marker || first.Timestamp-p.heard[before-1].Timestamp < 12*8000 {
					t.Errorf("after the hold comes %+v after %+v", first.Header, p.heard[before-1].Header)
				}
				p.reinvite(t, c, hold...)
				time.Sleep(15 * time.Second)
				p.reinvite(t, c, plainAudio, plainEvents)
				time.Sleep(time.Second)
				p.press(t, "4071#")
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				if want := []string{"login 100 at HD0012 by ivr in call-1"}; !slices.Equal(o.desk.calls, want) {
					t.Errorf("the rules were asked for %q, want %q; %s", o.desk.calls, want, o.log)
				}
			})
		})
	}
}

// A phone behind NAT is still known after a hold: audio goes to where it was heard from
// at once, and its first packet counts.
func TestField_HoldKeepsTheLatch(t *testing.T) {
	public := netip.MustParseAddrPort("198.51.100.7:6000")
	for name, hold := range holds {
		c := calling(t, "198.51.100.7", "192.0.2.1", false)
		s := c.session
		describe := func(lines ...string) {
			if _, err := c.Describe([]byte(strings.ReplaceAll(string(offerOf(lines...)), "192.0.2.20", "192.168.1.20"))); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		describe(plainAudio, plainEvents)
		for seq := range uint16(5) {
			s.receive(public, tone{seq: seq, ssrc: 7}.wire(0))
		}
		describe(hold...)
		describe(plainAudio, plainEvents)
		if s.peer != public {
			t.Errorf("%s: after the hold audio goes to %s, want %s", name, s.peer, public)
		}
		s.receive(public, eventPacket('5', 9))
		if got := taken(s.keys); got != "5" {
			t.Errorf("%s: the first key after the hold was lost", name)
		}
	}
}

// Music that comes during a hold presses no key, though it have key tones in it.
func TestField_HoldMusic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{})
		p := newPhone(t, o.net, phoneAt)
		c := o.attend(t, "*77*100*")
		p.offer(t, c, "m=audio 4000 RTP/AVP 0")
		_, wait := run(t, c)
		time.Sleep(time.Second)
		p.reinvite(t, c, "m=audio 4000 RTP/AVP 0", "a=sendonly")
		k := keypadTone{-10, 1, 0, 120, 120}
		p.play(t, k.play("9999#"), nil)
		p.reinvite(t, c, "m=audio 4000 RTP/AVP 0")
		p.play(t, k.play("4071#"), nil)
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		if len(o.desk.calls) != 1 {
			t.Errorf("the rules were asked for %q", o.desk.calls)
		}
	})
}

// A re-INVITE in the middle of an entry that moves the phone to another port, host or
// payload type, or changes the codec, loses and doubles no key.
func TestField_ReinviteMidEntry(t *testing.T) {
	for _, test := range []struct {
		name  string
		at    string // the phone's new address
		lines []string
		pt    uint8 // of its events then
	}{
		{"another port", "192.0.2.20:4100", []string{"m=audio 4100 RTP/AVP 0 8 101", plainEvents}, 101},
		{"another host", "192.0.2.99:4000", []string{plainAudio, "c=IN IP4 192.0.2.99", plainEvents}, 101},
		{"other payload types", phoneAt, []string{"m=audio 4000 RTP/AVP 112 97", "a=rtpmap:112 PCMA/8000", "a=rtpmap:97 telephone-event/8000"}, 97},
		{"another codec", phoneAt, []string{"m=audio 4000 RTP/AVP 8 101", plainEvents}, 101},
		{"video as well", phoneAt, []string{plainAudio, plainEvents, "m=video 5000 RTP/AVP 99"}, 101},
		{"the old type although another was agreed on", phoneAt, []string{"m=audio 4000 RTP/AVP 0 97", "a=rtpmap:97 telephone-event/8000"}, 101},
		{"refused", phoneAt, []string{"m=video 5000 RTP/AVP 99"}, 101},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOffice(t, Options{})
				p := newPhone(t, o.net, phoneAt)
				c := o.attend(t, "*77*100*")
				p.offer(t, c, plainAudio, plainEvents)
				_, wait := run(t, c)
				time.Sleep(time.Second)
				p.press(t, "40")
				if _, err := c.Describe(offerOf(test.lines...)); err != nil && test.name != "refused" || err != nil && !errors.Is(err, ErrNotAcceptable) {
					t.Fatal(err)
				}
				heard := p.heard
				if test.at != phoneAt {
					p.listen(t)
					heard = p.heard
					moved := newPhone(t, o.net, test.at)
					moved.server, moved.header = p.server, p.header
					p = moved
				}
				p.eventType = test.pt
				p.press(t, "71#")
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				if want := []string{"login 100 at HD0012 by ivr in call-1"}; !slices.Equal(o.desk.calls, want) {
					t.Errorf("the rules were asked for %q, want %q", o.desk.calls, want)
				}
				p.listen(t)
				last := p.heard[len(p.heard)-1]
				if want := map[string]uint8{"other payload types": 112, "another codec": 8}[test.name]; last.PayloadType != want {
					t.Errorf("audio of type %d, want %d", last.PayloadType, want)
				}
				if len(heard) > 0 && test.at != phoneAt && last.SSRC != heard[0].SSRC {
					t.Error("our stream is another")
				}
			})
		})
	}
}
