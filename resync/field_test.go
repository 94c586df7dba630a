package resync

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// sentTo lists when check-syncs went to a device.
func (h *house) sentTo(id hotdesk.DeviceID) (at []time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range h.sent {
		if f := strings.Fields(line); f[0] == string(id) {
			d, err := time.ParseDuration(f[1])
			if err != nil {
				h.t.Fatal(err)
			}
			at = append(at, d)
		}
	}
	return at
}

// silently is a login whose event nobody hears.
func (h *house) silently(id hotdesk.DeviceID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := &h.phones[id].Device
	d.Wanted, d.Generation, d.Digest = d.Wanted+1, d.Generation+1, ""
}

// change gives every device another file.
func (h *house) change() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.digest {
		h.digest[id] = "b"
	}
}

// A login's check-sync is sent within half a second while a look at thousands of
// slow devices goes on, whatever began it.
func TestField_V14PersonAtADeskFirst(t *testing.T) {
	const phones, slow = 3000, 40 * time.Millisecond // one look takes two minutes and more
	for name, c := range map[string]struct {
		before func(*house)
		begin  func(*house)
	}{
		"the start":            {before: (*house).undigested},
		"a changed site":       {begin: func(h *house) { h.change(); h.live.Publish("site.saved", "", "", nil) }},
		"a changed parameter":  {begin: func(h *house) { h.change(); h.live.Publish("parameter.saved", "", "", nil) }},
		"nothing that changed": {begin: func(h *house) { h.live.Publish("settings.saved", "", "", nil) }},
		"lost events":          {begin: func(h *house) { h.change(); h.live.Publish("reset", "", "", nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			before := func(h *house) {
				h.slow = slow
				if c.before != nil {
					c.before(h)
				}
			}
			inHouseAfter(t, phones, before, func(h *house) {
				if c.begin != nil {
					c.begin(h)
				}
				for n, wait := range []time.Duration{time.Second, 10 * time.Second, 40 * time.Second} {
					h.after(wait)
					id := device(phones - n) // the last ones in the queue, if it is one
					was := len(h.sentTo(id))
					at := time.Since(h.start)
					h.bind(id)
					h.after(500 * time.Millisecond)
					if got := h.sentTo(id); len(got) != was+1 || got[was] < at {
						t.Errorf("a login at %v: check-syncs at %v; want one within half a second", at, got)
					}
				}
			})
		})
	}
}

// undigested makes all phones of a house such that each must be rendered once.
func (h *house) undigested() {
	for _, p := range h.phones {
		p.Device.Digest = ""
	}
}

// The look ends: every device was rendered and told, and those who waited at a desk
// were not forgotten by it.
func TestField_V14TheWideLookGoesOn(t *testing.T) {
	inHouseAfter(t, 300, func(h *house) { h.slow = 10 * time.Millisecond }, func(h *house) {
		h.after(10 * time.Second)
		h.change()
		h.live.Publish("site.saved", "", "", nil)
		h.after(time.Second)
		h.bind(device(300))
		h.after(30 * time.Second)
		for n := range 300 {
			if len(h.sentTo(device(n+1))) == 0 {
				t.Errorf("%s was never told", device(n+1))
			}
		}
	})
}

// Somebody whose login nobody heard of, because events were lost, is still a person:
// found by the state, and told before those of the wide change.
func TestField_V15ALostLoginIsNoBulkJob(t *testing.T) {
	inHouse(t, 2000, func(h *house) {
		h.change()
		h.live.Publish("site.saved", "", "", nil)
		h.after(time.Second)
		id := h.untold()
		h.silently(id)
		at := time.Since(h.start)
		h.live.Publish("reset", "", "", nil)
		h.after(100 * time.Millisecond)
		if got := h.sentTo(id); len(got) != 1 || got[0] != at {
			t.Errorf("told at %v, want %v", got, at)
		}
		other := h.untold()
		h.silently(other)
		h.after(lookAgain)
		if got := h.sentTo(other); len(got) == 0 || got[len(got)-1] > lookAgain {
			t.Errorf("without any event told at %v, want no later than the next look at the state, %v", got, lookAgain)
		}
	})
}

// A wide change is told to one phone every 50 ms, 20 a second, and never to two at
// once.
func TestField_F9BulkPace(t *testing.T) {
	inHouse(t, 100, func(h *house) {
		h.change()
		h.live.Publish("site.saved", "", "", nil)
		h.after(8 * time.Second)
		var at []time.Duration
		for n := range 100 {
			at = append(at, h.sentTo(device(n + 1))[0])
		}
		slices.Sort(at)
		for n := 1; n < len(at); n++ {
			if gap := at[n] - at[n-1]; gap != 50*time.Millisecond {
				t.Fatalf("check-sync %d came %v after the one before, want 50ms", n, gap)
			}
		}
	})
}

// A login that replaces a job while its NOTIFY is under way is told as soon as that
// is over: the old job, whose next try would be in an hour, neither delays nor ends
// it, nor makes its phone stale.
func TestField_F9AReplacedJobIsOver(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.ladder = h.ladder[:1]
		h.bind("HD0001")
		h.after(100 * time.Second) // the fourth try is the first of the hourly ones
		h.mu.Lock()
		h.sent, h.answers = nil, 4*time.Second
		h.mu.Unlock()
		h.after(time.Hour + time.Second)
		at := time.Since(h.start) - time.Second
		h.want(fmt.Sprintf("HD0001 %v gentle", at))
		h.live.Stale("HD0001", false)
		h.bind("HD0001")
		h.after(2 * time.Second)
		h.want()
		h.after(2 * time.Second) // the answer, and at once the next
		h.want(fmt.Sprintf("HD0001 %v gentle", at+4*time.Second))
		if h.live.IsStale("HD0001") {
			t.Error("the old job made the new one's phone stale")
		}
		h.after(14 * time.Second)
		h.want(fmt.Sprintf("HD0001 %v gentle", at+18*time.Second))
	})
}

// A version that a new digest has made wanted is not forgotten because memory does
// not show it yet: the phone is told as soon as it can fetch it, and not before.
func TestField_V13ALateVersionIsTold(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.mu.Lock()
		h.lag, h.digest["HD0001"] = 3*time.Second, "b"
		h.mu.Unlock()
		h.live.Publish("site.saved", "", "", nil)
		h.after(2900 * time.Millisecond)
		h.want()
		h.after(time.Second)
		if got := h.sentTo("HD0001"); len(got) != 1 || got[0] > 3500*time.Millisecond {
			t.Errorf("told at %v, want once, within half a second after it can be fetched", got)
		}
	})
}

// A login that comes while its device is being looked at is not ended by what that
// look has read before: its tries go on in their own time.
func TestField_V14AnOldLookEndsNoNewJob(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.mu.Lock()
		h.slow = 3 * time.Second
		h.mu.Unlock()
		h.live.Publish("site.saved", "", "", nil)
		h.after(time.Second)
		h.mu.Lock()
		h.slow = 0
		h.mu.Unlock()
		h.bind("HD0001")
		h.want("HD0001 1s gentle")
		h.after(9 * time.Second)
		h.want()
		h.after(2 * time.Second)
		h.want("HD0001 11s gentle")
		if n := h.count("device.config_current"); n != 0 {
			t.Error("told to be current, by the state before the login")
		}
	})
}
