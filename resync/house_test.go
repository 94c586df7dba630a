package resync

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
)

// house is phones, files and rules that do what a test says, and notes when each
// check-sync came, in a bubble of fake time.
type house struct {
	*Resync
	t     *testing.T
	start time.Time

	mu      sync.Mutex
	phones  map[hotdesk.DeviceID]*hotdesk.Phone
	digest  map[hotdesk.DeviceID]string
	held    map[hotdesk.DeviceID]bool
	ladder  []hotdesk.CheckSync
	broken  error         // of Prepare
	answers time.Duration // how long phones take to answer a NOTIFY
	storing time.Duration // how long the next digest takes to be stored
	lag     time.Duration // how long what is stored then takes to be seen
	renders int           // calls of Prepare
	slow    time.Duration // how long each of them takes
	sent    []string      // "HD0001 0.5s check-sync"
	events  []string
}

const applyWithin = 60 * time.Second

// inHouse runs a test with n phones that are current, registered and idle, since long.
func inHouse(t *testing.T, n int, do func(*house)) {
	t.Helper()
	inHouseAfter(t, n, func(*house) {}, do)
}

// inHouseAfter is inHouse with something done before Serve begins.
func inHouseAfter(t *testing.T, n int, before, do func(*house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{
			t: t, start: time.Now(), phones: map[hotdesk.DeviceID]*hotdesk.Phone{}, digest: map[hotdesk.DeviceID]string{}, held: map[hotdesk.DeviceID]bool{},
			ladder: []hotdesk.CheckSync{{Event: "gentle", ApplyWithin: applyWithin}, {Event: "reboot", Reboot: true, ApplyWithin: 5 * time.Minute}},
		}
		live := hotdesk.NewLive(time.Now)
		for i := range n {
			id := device(i + 1)
			p := &hotdesk.Phone{Device: hotdesk.Device{ID: id, Claimed: true, Wanted: 1, Generation: 1, Digest: "a"}, Fetched: hotdesk.Fetched{Version: 1, Proven: 1}}
			h.phones[id], h.digest[id] = p, "a"
			live.Registered(id, hotdesk.Registration{Contact: "sip:x", Since: time.Now().Add(-time.Hour)})
		}
		var err error
		if h.Resync, err = New(h, live, h, h, time.Now, nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ev := range live.Events(ctx, 0) {
				h.mu.Lock()
				h.events = append(h.events, ev.Name)
				h.mu.Unlock()
			}
		})
		serve := func() {
			wg.Go(func() {
				if err := h.Serve(ctx); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		before(h)
		serve()
		do(h)
		cancel()
		wg.Wait()
	})
}

func device(n int) hotdesk.DeviceID { return hotdesk.DeviceID(fmt.Sprintf("HD%04d", n)) }

func (h *house) Phone(id hotdesk.DeviceID) (hotdesk.Phone, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.phones[id]; p != nil {
		return *p, nil
	}
	return hotdesk.Phone{}, hotdesk.ErrNotFound
}

func (h *house) Phones() []hotdesk.Phone {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []hotdesk.Phone
	for _, p := range h.phones {
		all = append(all, *p)
	}
	return all
}

func (h *house) User(ext hotdesk.Extension) (hotdesk.UserView, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := hotdesk.UserView{User: hotdesk.User{Extension: ext}}
	for id, p := range h.phones {
		if p.User != nil && p.User.Extension == ext {
			v.Devices = append(v.Devices, id)
		}
	}
	return v, nil
}

func (h *house) Behind() []hotdesk.DeviceID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []hotdesk.DeviceID
	for id, p := range h.phones {
		if !p.Current() {
			ids = append(ids, id)
		}
	}
	return ids
}

func (h *house) MayDisturb(id hotdesk.DeviceID) error {
	if busy, _ := h.live.InCall(id, ""); busy {
		return hotdesk.ErrDeviceInCall
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[id] {
		return hotdesk.ErrEmergencyHold
	}
	return nil
}

func (h *house) Prepare(_ context.Context, id hotdesk.DeviceID) (string, []hotdesk.CheckSync, error) {
	h.mu.Lock()
	slow := h.slow
	h.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renders++
	return h.digest[id], h.ladder, h.broken
}

func (h *house) Prepared(_ context.Context, was hotdesk.Device, digest string) (hotdesk.Device, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.phones[was.ID]
	if p == nil || was.Digest == digest {
		return was, nil
	}
	if wait := h.storing; wait > 0 {
		h.storing = 0
		h.mu.Unlock()
		time.Sleep(wait)
		h.mu.Lock()
	}
	if p.Device.Wanted != was.Wanted || p.Device.Digest == digest {
		return p.Device, nil
	}
	now := p.Device
	if now.Digest != "" {
		now.Wanted++
	}
	now.Digest = digest
	if h.lag > 0 {
		time.AfterFunc(h.lag, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			p.Device = now
		})
		return now, nil
	}
	p.Device = now
	return now, nil
}

func (h *house) CheckSync(ctx context.Context, id hotdesk.DeviceID, cs hotdesk.CheckSync) error {
	h.mu.Lock()
	h.sent = append(h.sent, fmt.Sprintf("%s %v %s", id, time.Since(h.start), cs.Event))
	answers := h.answers
	h.mu.Unlock()
	timer := time.NewTimer(answers)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// after lets time pass.
func (h *house) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// bind is a login: a new version and a new secret, and the event of it.
func (h *house) bind(id hotdesk.DeviceID) {
	h.mu.Lock()
	d := &h.phones[id].Device
	d.Wanted, d.Generation, d.Digest = d.Wanted+1, d.Generation+1, ""
	h.mu.Unlock()
	h.live.Publish("session.started", id, "100", nil)
	synctest.Wait()
}

// fetch is the phone's GET of the present file.
func (h *house) fetch(id hotdesk.DeviceID) {
	h.mu.Lock()
	version := h.phones[id].Device.Wanted
	h.phones[id].Fetched.Version = version
	h.mu.Unlock()
	h.fetched(id, version)
	synctest.Wait()
}

// fetched is the event of a GET.
func (h *house) fetched(id hotdesk.DeviceID, version uint64) {
	h.live.Publish("device.fetched", id, "", map[string]any{"version": version})
	synctest.Wait()
}

// register is a REGISTER with the secret of this generation.
func (h *house) register(id hotdesk.DeviceID, generation uint64) {
	h.mu.Lock()
	p := h.phones[id]
	p.Fetched.Proven = max(p.Fetched.Proven, generation)
	h.mu.Unlock()
	h.live.Registered(id, hotdesk.Registration{Contact: "sip:x", Since: time.Now()})
	synctest.Wait()
}

// want fails unless exactly these check-syncs were sent since the last call.
func (h *house) want(lines ...string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.sent, lines) {
		h.t.Errorf("at %v sent\n  %s\nwant\n  %s", time.Since(h.start), strings.Join(h.sent, "\n  "), strings.Join(lines, "\n  "))
	}
	h.sent = nil
}

func (h *house) count(event string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range h.events {
		if name == event {
			n++
		}
	}
	return n
}

// untold is some phone that was sent nothing yet.
func (h *house) untold() hotdesk.DeviceID {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.phones {
		if !slices.ContainsFunc(h.sent, func(s string) bool { return strings.HasPrefix(s, string(id)) }) {
			return id
		}
	}
	h.t.Fatal("everybody was told")
	return ""
}
