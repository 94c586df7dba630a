package ivr

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
)

// Every flow says and does exactly what its transcript says.
func TestTranscripts(t *testing.T) {
	const loggedIn = "hear logged_in ext_is d1 d0 d0f wait_update goodbye | hang up"
	tests := []struct {
		name, dialed, reason string
		desk                 func(*fakeDesk)
		transcript           string
		calls                []string
	}{
		{
			name: "login with the extension dialled", dialed: "*77*100*",
			transcript: "hear ext_is d1 d0 d0f enter_pin | wait 2s | press 4071# | " + loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "a PIN that was dialled with the code is taken once", dialed: "*77*100*4071",
			transcript: loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "a wrong PIN that was dialled with the code is the first try", dialed: "*77*100*9999",
			transcript: "hear no_match try_again enter_pin | press 4071# | " + loggedIn,
			calls:      []string{"refuse 100", "login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "login that asks for the extension", dialed: "*77",
			transcript: "hear enter_ext | press 100# | hear enter_pin | press 4071# | " + loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "the first key silences the prompt", dialed: "*77*100*",
			transcript: "hear ext_is d1 | press 4 | quiet 2s | press 071# | " + loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "keys typed before anything was said are the answers", dialed: "*77",
			transcript: "type 100#4071# | " + loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "an entry of enough digits ends by four seconds of silence", dialed: "*77*100*",
			transcript: "hear ext_is | press 4071 | quiet 3.8s | " + loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "a PIN is never taken early: its length is not told", dialed: "*77*104*",
			transcript: "hear ext_is | press 1234 | quiet 3.5s | press 5678# | hear logged_in ext_is d1 d0 d4f wait_update goodbye | hang up",
			calls:      []string{"login 104 at HD0012 by ivr in call-1"},
		},
		{
			name: "a '#' that comes late belongs to the entry before", dialed: "*77",
			transcript: "hear enter_ext | press 100 | quiet 3.8s | hear enter_pin | press # | wait 2s | press 4071# | " + loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "star erases and asks again", dialed: "*77*100*",
			transcript: "hear ext_is d1 d0 d0f enter_pin | press 40* | hear enter_pin | press 4071# | " + loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "star without digits cancels", dialed: "*77*100*",
			transcript: "hear ext_is d1 d0 d0f enter_pin | press * | hear cancelled goodbye | hang up",
		},
		{
			name: "hash without digits explains once, then counts as silence", dialed: "*77*100*",
			transcript: "hear ext_is d1 d0 d0f enter_pin | press # | hear help enter_pin | press # | hear enter_pin | press # | hear no_entry goodbye | hang up",
		},
		{
			name: "no key: asked again after seven seconds, then goodbye", dialed: "*77*100*",
			transcript: "hear ext_is d1 d0 d0f enter_pin | quiet 7.9s | hear enter_pin | quiet 7.9s | hear no_entry goodbye | hang up",
		},
		{
			name: "too few digits are no entry", dialed: "*77*100*",
			transcript: "hear ext_is | press 407 | quiet 3.8s | hear enter_pin | press 4071# | " + loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "a wrong PIN may be tried again, with the same extension if it was dialled", dialed: "*77*100*",
			transcript: "hear ext_is | press 9999# | hear no_match try_again enter_pin | press 4071# | " + loggedIn,
			calls:      []string{"refuse 100", "login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "and from the extension on if it was typed", dialed: "*77",
			transcript: "hear enter_ext | type 101#4071# | hear no_match try_again enter_ext | press 100# | hear enter_pin | press 4071# | " + loggedIn,
			calls:      []string{"refuse 101", "login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "three wrong PINs are all", dialed: "*77*100*",
			transcript: "hear ext_is | press 1111# | hear no_match | press 2222# | hear no_match | press 3333# | hear no_match goodbye | hang up",
			calls:      []string{"refuse 100", "refuse 100", "refuse 100"},
		},
		{
			name: "what was typed ahead of the bad news is dropped", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.takes = 300 * time.Millisecond },
			transcript: "hear ext_is | type 9999#4071# | hear no_match try_again enter_pin | press 4071# | " + loggedIn,
			calls:      []string{"refuse 100", "login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "too many digits are wrong, never cut to fit", dialed: "*77*200*",
			desk:       func(f *fakeDesk) { f.pins["200"] = "1234567890123456" },
			transcript: "hear ext_is | press 12345678901234567# | hear no_match try_again enter_pin | press 1234567890123456# | hear logged_in ext_is d2 d0 d0f wait_update goodbye | hang up",
			calls:      []string{"refuse 200", "login 200 at HD0012 by ivr in call-1"},
		},
		{
			name: "the letters of a sixteen-key phone are ignored", dialed: "*77*100*",
			transcript: "hear ext_is d1 d0 d0f enter_pin | press A40B71# | " + loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "the other phone was logged out", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.moved = []hotdesk.DeviceID{"HD0002"} },
			transcript: "hear ext_is | press 4071# | hear logged_in ext_is d1 d0 d0f moved wait_update goodbye | hang up",
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "already here", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.already = true },
			transcript: "hear ext_is | press 4071# | hear already_here goodbye | hang up",
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "a locked device says so before it asks", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.locked = true },
			transcript: "hear locked goodbye | hang up",
		},
		{
			name: "a fixed phone", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.phone.Device.Type = hotdesk.Fixed },
			transcript: "hear not_hotdesk_phone goodbye | hang up",
		},
		{
			name: "after a right PIN: not enabled", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.refused["100"] = hotdesk.ErrNotHotDesk },
			transcript: "hear ext_is | press 4071# | hear not_enabled goodbye | hang up",
			calls:      []string{"refuse 100"},
		},
		{
			name: "after a right PIN: logged in elsewhere", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.refused["100"] = hotdesk.ErrSecondPhoneRefused },
			transcript: "hear ext_is | press 4071# | hear elsewhere_refused goodbye | hang up",
			calls:      []string{"refuse 100"},
		},
		{
			name: "after a right PIN: another call is up", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.refused["100"] = fmt.Errorf("login: %w", hotdesk.ErrDeviceInCall) },
			transcript: "hear ext_is | press 4071# | hear end_call_first goodbye | hang up",
			calls:      []string{"refuse 100"},
		},
		{
			name: "the store is down", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.refused["100"] = errors.New("store unavailable") },
			transcript: "hear ext_is | press 4071# | hear error goodbye | hang up",
			calls:      []string{"refuse 100"},
		},
		{
			name: "the PIN check queue is full", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.wrong = hotdesk.ErrBusy },
			transcript: "hear ext_is | press 9999# | hear error goodbye | hang up",
			calls:      []string{"refuse 100"},
		},
		{
			name: "logout", dialed: "*77*5*",
			transcript: "hear logged_out wait_update goodbye | hang up",
			calls:      []string{"logout HD0012 everywhere=false in call-1"},
		},
		{
			name: "logout everywhere", dialed: "*77*6*",
			transcript: "hear logged_out wait_update goodbye | hang up",
			calls:      []string{"logout HD0012 everywhere=true in call-1"},
		},
		{
			name: "logout of nobody", dialed: "*77*5*",
			desk:       func(f *fakeDesk) { f.logout = hotdesk.ErrNobody },
			transcript: "hear nobody_here goodbye | hang up",
		},
		{
			name: "logout of a fixed phone", dialed: "*77*5*",
			desk:       func(f *fakeDesk) { f.logout = hotdesk.ErrFixedDevice },
			transcript: "hear not_hotdesk_phone goodbye | hang up",
		},
		{
			name: "logout during another call", dialed: "*77*5*",
			desk:       func(f *fakeDesk) { f.logout = hotdesk.ErrDeviceInCall },
			transcript: "hear end_call_first goodbye | hang up",
		},
		{
			name: "change of the PIN of who sits here", dialed: "*77*8*",
			desk:       func(f *fakeDesk) { f.sitting("100") },
			transcript: "hear enter_pin | press 4071# | hear new_pin | press 8264# | hear repeat_pin | press 8264# | hear pin_changed goodbye | hang up",
			calls:      []string{"pin of 100 is 8264"},
		},
		{
			name: "change of the PIN of somebody at an idle phone", dialed: "*77*8*",
			transcript: "hear enter_ext | press 100# | hear enter_pin | press 4071# | hear new_pin | press 8264# | hear repeat_pin | press 8264# | hear pin_changed goodbye | hang up",
			calls:      []string{"pin of 100 is 8264"},
		},
		{
			name: "the new PINs differ, then one is weak, then it is good", dialed: "*77*8*",
			desk: func(f *fakeDesk) { f.sitting("100"); f.weak = "1234" },
			transcript: "hear enter_pin | press 4071# | hear new_pin | press 8264# | hear repeat_pin | press 8265# | hear pin_mismatch new_pin | press 1234# | hear repeat_pin | press 1234# |" +
				"hear pin_weak new_pin | press 8264# | hear repeat_pin | press 8264# | hear pin_changed goodbye | hang up",
			calls: []string{"pin of 100 is 8264"},
		},
		{
			name: "three unfit new PINs are all", dialed: "*77*8*",
			desk: func(f *fakeDesk) { f.sitting("100"); f.weak = "1234" },
			transcript: "hear enter_pin | press 4071# | hear new_pin | type 1234#1234# | hear pin_weak | type 1234#1234# | hear pin_weak | type 1234#1234# |" +
				"hear pin_weak goodbye | hang up",
		},
		{
			name: "change of the PIN with a wrong old one, three times", dialed: "*77*8*",
			desk: func(f *fakeDesk) { f.sitting("100") },
			transcript: "hear enter_pin | type 1111#8264#8264# | hear no_match try_again enter_pin | type 1112#8264#8264# | hear no_match try_again enter_pin |" +
				"type 1113#8264#8264# | hear no_match goodbye | hang up",
		},
		{
			name: "which phone is this, idle", dialed: "*77*9*",
			transcript: "hear this_phone_is hd d0 d0 d1 d2f goodbye | hang up",
		},
		{
			name: "which phone is this, in use", dialed: "*77*9*",
			desk:       func(f *fakeDesk) { f.sitting("100") },
			transcript: "hear this_phone_is hd d0 d0 d1 d2f ext_is d1 d0 d0f goodbye | hang up",
		},
		{
			name: "a number that an idle phone may not call", dialed: "0039061234", reason: "idle",
			transcript: "hear idle_blocked goodbye | hang up",
		},
		{
			name: "outside, without a PBX", dialed: "0039061234", reason: "no_pbx",
			transcript: "hear no_outside goodbye | hang up",
		},
		{
			name: "a number that does not exist", dialed: "0039061234", reason: "not_found",
			transcript: "hear no_such_number goodbye | hang up",
		},
		{
			name: "somebody who sits nowhere", dialed: "0039061234", reason: "off_desk",
			transcript: "hear not_at_a_desk goodbye | hang up",
		},
		{
			name: "from a blocked phone", dialed: "0039061234", reason: "blocked",
			transcript: "hear blocked goodbye | hang up",
		},
		{
			name: "a number refused for another reason", dialed: "0039061234", reason: "pbx_failed",
			transcript: "hear not_allowed goodbye | hang up",
		},
		{
			name: "a code that nobody knows", dialed: "*99",
			transcript: "hear error goodbye | hang up",
		},
		{
			name: "a device that is gone", dialed: "*77",
			desk:       func(f *fakeDesk) { f.phone.Device.ID = "HD0001" },
			transcript: "hear error goodbye | hang up",
		},
		{
			name: "keys do not cut the last words", dialed: "*77*5*",
			transcript: "hear logged_out | press ## | hear wait_update goodbye | hang up",
			calls:      []string{"logout HD0012 everywhere=false in call-1"},
		},
		{
			name: "a hold stops prompts and timers", dialed: "*77*100*",
			transcript: "hear ext_is | hold | quiet 20s | resume | hear d1 d0 d0f enter_pin | quiet 5s | hold | quiet 9s | resume | quiet 2.8s | hear enter_pin | press 4071# | " + loggedIn,
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "thirty seconds of hold are all", dialed: "*77*100*",
			transcript: "hear ext_is | hold | quiet 30.1s | hang up",
		},
		{
			name: "also in pieces", dialed: "*77*100*",
			transcript: "hear ext_is | hold | quiet 20s | resume | hear d1 | hold | quiet 10.1s | hang up",
		},
		{
			name: "the caller hangs up before the PIN is complete", dialed: "*77*100*",
			transcript: "hear ext_is | press 4071 | caller hangs up",
		},
		{
			name: "the caller hangs up right after the PIN: the login stands", dialed: "*77*100*",
			desk:       func(f *fakeDesk) { f.takes = time.Second },
			transcript: "hear ext_is | type 4071# | wait 10ms | caller hangs up",
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
		{
			name: "even if we have not read it yet", dialed: "*77",
			transcript: "type 100#4071# | caller hangs up",
			calls:      []string{"login 100 at HD0012 by ivr in call-1"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				desk := newFakeDesk()
				if test.desk != nil {
					test.desk(desk)
				}
				c := start(t, desk, test.dialed, test.reason)
				c.play(t, test.transcript)
				c.hangUp()
				<-c.ended
				if !slices.Equal(desk.calls, test.calls) {
					t.Errorf("the rules were asked for %q, want %q", desk.calls, test.calls)
				}
			})
		})
	}
}

// An unknown extension, a wrong PIN, a disabled user and a locked one sound the
// same at the same times, so that a thief learns nothing from us.
func TestRefusalsSoundAlike(t *testing.T) {
	refusals := map[string]error{
		"unknown":  hotdesk.ErrNoMatch,
		"disabled": fmt.Errorf("user 100 is disabled: %w", hotdesk.ErrNoMatch),
		"locked":   fmt.Errorf("user 100: %w", hotdesk.ErrLocked),
	}
	var want string
	for name, refusal := range refusals {
		synctest.Test(t, func(t *testing.T) {
			desk := newFakeDesk()
			desk.wrong = refusal
			c := start(t, desk, "*77*100*", "")
			c.play(t, "hear ext_is | press 1111# | hear no_match try_again enter_pin | press 2222# | hear no_match try_again enter_pin | press 3333# | hear no_match goodbye | hang up")
			got := fmt.Sprint(c.line.words(), c.line.times, c.shown)
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("%s sounds different:\n%s\nwant\n%s", name, got, want)
			}
		})
	}
}

// A call lasts 90 seconds at most without its holds, then goodbye is said.
func TestCallLimit(t *testing.T) {
	const hold = 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		c := start(t, newFakeDesk(), "*77*100*", "")
		c.line.setHold(true)
		time.Sleep(hold)
		c.line.setHold(false)
		for range 60 { // keeps erasing
			c.line.press('1', fromRTP)
			c.line.press('*', fromRTP)
			select {
			case <-c.ended:
			case <-time.After(2 * time.Second):
			}
		}
		<-c.ended
		words := c.line.words()
		if got := words[len(words)-1]; got != "goodbye" {
			t.Errorf("last word is %s, want goodbye", got)
		}
		if took := c.line.times[len(words)-1]; took < callLimit+hold || took > callLimit+hold+time.Second {
			t.Errorf("goodbye came after %v, want %v", took, callLimit+hold)
		}
	})
}

// The first words wait for the phone's audio, but not longer than 400 ms.
func TestStart(t *testing.T) {
	for _, test := range []struct{ present, want time.Duration }{
		{present: 100 * time.Millisecond, want: 100 * time.Millisecond},
		{present: time.Hour, want: startAfter},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := start(t, newFakeDesk(), "*77*9*", "")
			timer := time.AfterFunc(test.present, func() { close(c.line.listener) })
			defer timer.Stop()
			c.play(t, "hear this_phone_is")
			if got := c.line.times[0]; got < test.want || got > test.want+frameTime {
				t.Errorf("first word after %v, want %v", got, test.want)
			}
		})
	}
}

// The phone's display follows the states, and never shows a digit of a PIN.
func TestShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, newFakeDesk(), "*77*100*", "")
		c.play(t, "hear ext_is | press 9999# | hear no_match | press 4071# | hear logged_in ext_is d1 d0 d0f wait_update goodbye | hang up")
		want := []string{"Enter PIN and #", "Wrong extension or PIN", "Enter PIN and #", "Logged in: 100"}
		if !slices.Equal(c.shown, want) {
			t.Errorf("shown %q, want %q", c.shown, want)
		}
	})
}

// Numbers are read in groups, the last digit falling.
func TestReadBack(t *testing.T) {
	for number, want := range map[string]string{
		"7":       "d7f",
		"100":     "d1 d0 d0f",
		"1234":    "d1 d2 d3 d4f",
		"12345":   "d1 d2, d3 d4 d5f",
		"123456":  "d1 d2 d3, d4 d5 d6f",
		"1234567": "d1 d2 d3, d4 d5 d6, d7f",
	} {
		var got []string
		for _, w := range readBack(number) {
			key := w.key
			if w.pause == afterGroup {
				key += ","
			}
			got = append(got, key)
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s is read %q, want %q", number, got, want)
		}
	}
}
