package resync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
)

// Phones that are current are left in peace.
func TestCurrentPhones(t *testing.T) {
	inHouse(t, 3, func(h *house) {
		h.after(2 * time.Hour)
		h.want()
	})
}

// After a login the phone is told at once, and no more when it has fetched its
// file and proven its secret.
func TestLogin(t *testing.T) {
	inHouse(t, 2, func(h *house) {
		h.bind("HD0001")
		h.want("HD0001 0s gentle")
		h.after(2 * time.Second)
		h.fetch("HD0001")
		h.after(time.Second)
		h.register("HD0001", 2)
		h.after(2 * time.Hour)
		h.want()
		if u, c := h.count("device.config_updating"), h.count("device.config_current"); u != 1 || c != 1 {
			t.Errorf("%d times updating, %d times current; want one of each", u, c)
		}
	})
}

// A login made in a call is told 500 ms after the device's last leg has ended.
func TestAfterCall(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.live.LegUp("HD0001", "one")
		h.live.LegUp("HD0001", "two")
		h.bind("HD0001")
		h.after(5 * time.Second)
		h.live.LegDown("HD0001", "one")
		h.after(5 * time.Second)
		h.want()
		h.live.LegDown("HD0001", "two")
		h.after(499 * time.Millisecond)
		h.want()
		h.after(time.Millisecond)
		h.want("HD0001 10.5s gentle")
		h.live.LegUp("HD0001", "three") // the repeat waits too
		h.after(20 * time.Second)
		h.want()
		h.live.LegDown("HD0001", "three")
		h.after(time.Second)
		h.want("HD0001 31s gentle")
	})
}

// A phone that does nothing is told again after 10 and 30 seconds, rebooted once
// when it had time to apply, and then told every hour and shown as stale.
func TestLadder(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.bind("HD0001")
		h.after(40 * time.Second)
		h.want("HD0001 0s gentle", "HD0001 10s gentle", "HD0001 40s gentle")
		h.after(59 * time.Second)
		h.want()
		h.after(time.Second)
		h.want("HD0001 1m40s reboot")
		if h.live.IsStale("HD0001") {
			t.Error("stale before it had time to restart")
		}
		h.after(5 * time.Minute)
		h.want("HD0001 6m40s gentle")
		if !h.live.IsStale("HD0001") {
			t.Error("not stale")
		}
		h.after(2 * time.Hour)
		h.want("HD0001 1h6m40s gentle", "HD0001 2h6m40s gentle")
		if n := h.count("device.config_stale"); n != 1 {
			t.Errorf("%d stale events", n)
		}
		h.fetch("HD0001")
		h.register("HD0001", 2)
		h.after(2 * time.Hour)
		h.want()
		if h.live.IsStale("HD0001") {
			t.Error("still stale")
		}
	})
}

// A new version begins the ladder anew, with one reboot of its own.
func TestNewVersionBeginsAnew(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.bind("HD0001")
		h.after(10 * time.Minute)
		h.want("HD0001 0s gentle", "HD0001 10s gentle", "HD0001 40s gentle", "HD0001 1m40s reboot", "HD0001 6m40s gentle")
		h.bind("HD0001")
		if h.live.IsStale("HD0001") {
			t.Error("the new version is stale at once")
		}
		h.after(10 * time.Minute)
		h.want("HD0001 10m0s gentle", "HD0001 10m10s gentle", "HD0001 10m40s gentle", "HD0001 11m40s reboot", "HD0001 16m40s gentle")
	})
}

// A login while the last NOTIFY is still unanswered is told as soon as that one
// is over, and never forgotten.
func TestLoginWhileBusy(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.answers = 3 * time.Second
		h.bind("HD0001")
		h.after(time.Second)
		h.bind("HD0001")
		h.after(30 * time.Second)
		h.want("HD0001 0s gentle", "HD0001 3s gentle", "HD0001 16s gentle")
	})
}

// A phone that does not answer the NOTIFY is given up after 8 seconds and told
// again later.
func TestUnansweredNotify(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.answers = time.Hour
		h.bind("HD0001")
		h.after(20 * time.Second)
		h.want("HD0001 0s gentle", "HD0001 18s gentle")
	})
}

// Each new REGISTER of a phone that was told brings the next try forward to half
// a second later; a stale one has to come anew for it.
func TestRegisterBringsForward(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.bind("HD0001")
		h.after(2 * time.Second)
		h.register("HD0001", 1)
		h.after(time.Second)
		h.want("HD0001 0s gentle", "HD0001 2.5s gentle")
		h.after(20 * time.Minute)
		h.sent = nil
		for range 5 { // refreshes
			h.register("HD0001", 1)
			h.after(5 * time.Minute)
		}
		h.want()
		h.live.Unregistered("HD0001")
		h.after(time.Second)
		h.register("HD0001", 1)
		h.after(time.Second)
		h.want("HD0001 45m4.5s gentle")
	})
}

// Any GET gives the phone its time to apply the file, counted from the last one,
// and a REGISTER meanwhile does not cut it short.
func TestFetchPauses(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.bind("HD0001")
		h.after(5 * time.Second)
		h.want("HD0001 0s gentle")
		h.fetch("HD0001")
		h.after(30 * time.Second)
		h.fetch("HD0001")
		h.after(10 * time.Second)
		h.register("HD0001", 1) // with the old secret, before it restarts its account
		h.after(49 * time.Second)
		h.want()
		h.after(2 * time.Second)
		h.want("HD0001 1m35s gentle")
	})
}

// The fetch of an older file, told late, does not hold back the check-sync of a
// newer one.
func TestLateFetch(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.live.LegUp("HD0001", "c")
		h.bind("HD0001")
		h.fetched("HD0001", 1) // the version before the login
		h.live.LegDown("HD0001", "c")
		h.after(time.Second)
		h.want("HD0001 500ms gentle")
		h.fetched("HD0001", 1) // nor does it hold back the repeat
		h.after(10 * time.Second)
		h.want("HD0001 10.5s gentle")
	})
}

// A phone that was current before anybody could look is told to be current, once;
// and one that only shows itself has no file rendered for it.
func TestFastPhone(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.mu.Lock()
		p := h.phones["HD0001"]
		p.Device.Wanted, p.Fetched.Version = 2, 2
		h.renders = 0
		h.mu.Unlock()
		for range 3 {
			h.fetched("HD0001", 2)
			h.register("HD0001", 1)
		}
		if c, u := h.count("device.config_current"), h.count("device.config_updating"); c != 1 || u != 0 {
			t.Errorf("%d times current, %d times updating; want once and never", c, u)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.renders != 0 {
			t.Errorf("%d files rendered for a phone that only shows itself", h.renders)
		}
	})
}

// In an emergency hold a changed site or parameter does not reach the phone, a login
// at the desk does; when the hold ends, what has waited follows.
func TestHeldPhoneIsLeftInPeace(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.mu.Lock()
		h.held["HD0001"], h.digest["HD0001"] = true, "b"
		h.mu.Unlock()
		h.live.Publish("site.saved", "", "", nil)
		h.after(10 * time.Minute)
		h.want()
		h.bind("HD0001")
		h.after(time.Second)
		if h.mu.Lock(); len(h.sent) != 1 || !strings.HasSuffix(h.sent[0], "gentle") {
			t.Errorf("sent %v, want the check-sync of the login", h.sent)
		}
		h.sent = nil
		h.mu.Unlock()
		h.fetch("HD0001")
		h.register("HD0001", 2)
		h.mu.Lock()
		h.digest["HD0001"] = "c"
		h.mu.Unlock()
		h.live.Publish("parameter.saved", "", "", nil)
		h.after(10 * time.Minute)
		h.want()
		h.mu.Lock()
		h.held["HD0001"] = false
		h.mu.Unlock()
		h.after(time.Minute)
		if h.mu.Lock(); len(h.sent) == 0 {
			t.Error("the hold is over and nothing was sent")
		}
		h.mu.Unlock()
	})
}

// The reboot waits for a minute without a leg and for the end of an emergency
// hold; the gentle form does not.
func TestRebootWaits(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.held["HD0001"] = true
		h.bind("HD0001")
		h.after(10 * time.Minute)
		h.want("HD0001 0s gentle", "HD0001 10s gentle", "HD0001 40s gentle")
		h.mu.Lock()
		h.held["HD0001"] = false
		h.mu.Unlock()
		h.live.LegUp("HD0001", "c")
		h.after(5 * time.Second)
		h.live.LegDown("HD0001", "c")
		h.after(59 * time.Second)
		h.want()
		h.after(2 * time.Minute)
		if h.mu.Lock(); len(h.sent) != 1 || !strings.HasSuffix(h.sent[0], "reboot") {
			t.Errorf("sent %v, want one reboot", h.sent)
		}
		h.mu.Unlock()
	})
}

// A vendor without a reboot form is told every hour.
func TestNoRebootForm(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.ladder = h.ladder[:1]
		h.bind("HD0001")
		h.after(2 * time.Hour)
		h.want("HD0001 0s gentle", "HD0001 10s gentle", "HD0001 40s gentle", "HD0001 1m40s gentle", "HD0001 1h1m40s gentle")
		if !h.live.IsStale("HD0001") {
			t.Error("not stale")
		}
	})
}

// A wide change is paced at 20 phones a second whatever happens meanwhile, and
// somebody who logs in then does not wait for it.
func TestBulkIsPaced(t *testing.T) {
	inHouse(t, 200, func(h *house) {
		h.mu.Lock()
		for id := range h.digest {
			h.digest[id] = "b"
		}
		h.mu.Unlock()
		h.live.Publish("site.saved", "", "", nil)
		h.after(time.Second)
		h.mu.Lock()
		first := len(h.sent)
		h.mu.Unlock()
		if first < 20 || first > 21 {
			t.Errorf("%d check-syncs in the first second, want 20", first)
		}
		id := h.untold()
		at := time.Since(h.start)
		h.bind(id)
		h.mu.Lock()
		if line := fmt.Sprintf("%s %v gentle", id, at); !slices.Contains(h.sent, line) {
			t.Errorf("the login of %s at %v waits", id, at)
		}
		h.mu.Unlock()
		h.after(500 * time.Millisecond)
		h.live.Publish("device.pending", "", "", nil) // any event wakes the loop
		h.after(9*time.Second - time.Since(h.start))
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := len(h.sent); n < 170 || n > 185 {
			t.Errorf("%d check-syncs in 9 seconds, want about 180", n)
		}
	})
}

// A change of a user's own settings reaches the phones where the user sits.
func TestUserSaved(t *testing.T) {
	inHouse(t, 2, func(h *house) {
		h.mu.Lock()
		h.phones["HD0002"].User = &hotdesk.User{Extension: "100"}
		h.digest["HD0001"], h.digest["HD0002"] = "b", "b"
		h.mu.Unlock()
		h.live.Publish("user.saved", "", "100", nil)
		h.after(time.Second)
		h.want("HD0002 0s gentle")
	})
}

// A phone that is not registered is told half a second after it comes.
func TestUnregisteredWaits(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.live.Unregistered("HD0001")
		h.bind("HD0001")
		h.after(3 * time.Hour)
		h.want()
		h.register("HD0001", 1)
		h.after(time.Second)
		h.want("HD0001 3h0m0.5s gentle")
	})
}

// A phone that registers before its fetch is written down, as every phone may that
// boots on a busy day, is not told to fetch once more.
func TestRegisteredBeforeFetchIsNoted(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.live.Unregistered("HD0001")
		h.bind("HD0001")
		h.after(time.Minute)
		h.register("HD0001", 2)
		h.after(400 * time.Millisecond)
		h.fetch("HD0001")
		h.after(2 * time.Hour)
		h.want()
	})
}

// A phone that has shown its new secret is not asked again, even when nobody has
// heard of that yet: the state is looked at right before the NOTIFY.
func TestStateAheadOfEvents(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.bind("HD0001")
		h.want("HD0001 0s gentle")
		h.after(5 * time.Second)
		h.mu.Lock()
		p := h.phones["HD0001"]
		p.Fetched = hotdesk.Fetched{Version: p.Device.Wanted, Proven: p.Device.Generation}
		h.mu.Unlock()
		h.after(2 * time.Hour)
		h.want()
		if c := h.count("device.config_current"); c != 1 {
			t.Errorf("%d times current, want once", c)
		}
	})
}

// A login that comes while the server starts, and stores what it has prepared,
// must not be forgotten, nor wait for that: the phone is told at once, and once.
func TestLoginDuringStart(t *testing.T) {
	inHouseAfter(t, 1, func(h *house) {
		h.phones["HD0001"].Device.Digest = ""
		h.storing = time.Second
	}, func(h *house) {
		h.after(500 * time.Millisecond)
		h.bind("HD0001")
		h.after(time.Second)
		h.want("HD0001 500ms gentle")
		h.fetch("HD0001")
		h.register("HD0001", 2)
		h.after(time.Hour)
		h.want()
	})
}

// An event that was lost costs half a minute: the state itself tells who is
// behind.
func TestLostEvent(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.mu.Lock()
		h.phones["HD0001"].Device.Wanted++
		h.mu.Unlock()
		h.after(lookAgain)
		h.want("HD0001 30s gentle")
	})
}

// A device that is removed or released is not told any more.
func TestRemovedDevice(t *testing.T) {
	inHouse(t, 2, func(h *house) {
		h.bind("HD0001")
		h.bind("HD0002")
		h.want("HD0001 0s gentle", "HD0002 0s gentle")
		h.mu.Lock()
		delete(h.phones, "HD0001")
		h.phones["HD0002"].Device.Claimed = false
		h.mu.Unlock()
		h.live.Publish("device.removed", "HD0001", "", nil)
		h.live.Publish("device.released", "HD0002", "", nil)
		h.after(2 * time.Hour)
		h.want()
	})
}

// A configuration that cannot be rendered is tried again and disturbs no phone.
func TestBrokenFile(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.mu.Lock()
		h.broken = errors.New("template")
		h.mu.Unlock()
		h.bind("HD0001")
		h.after(5 * time.Minute)
		h.want()
		h.mu.Lock()
		h.broken = nil
		h.mu.Unlock()
		h.after(lookAgain)
		h.want("HD0001 5m30s gentle")
	})
}

// A restart finds by itself who is behind.
func TestRestart(t *testing.T) {
	inHouse(t, 1, func(h *house) {
		h.live.Unregistered("HD0001")
		h.bind("HD0001")
		again, err := New(h, h.live, h, h, time.Now, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		h.drop("HD0001") // the first loop knows nothing any more
		go func() { done <- again.Serve(ctx) }()
		synctest.Wait()
		again.mu.Lock()
		if again.work["HD0001"] == nil {
			t.Error("the new loop does not know that HD0001 is behind")
		}
		again.mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
