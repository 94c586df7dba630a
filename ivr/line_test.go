package ivr

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
)

// fakeDesk is the rules as one test wants them: users with PINs, and errors that
// a right PIN meets.
type fakeDesk struct {
	mu      sync.Mutex
	phone   hotdesk.Phone
	codes   map[string]hotdesk.Code
	pins    map[hotdesk.Extension]string
	refused map[hotdesk.Extension]error // after a right PIN
	wrong   error                       // for a wrong PIN; ErrNoMatch if nil
	locked  bool
	logout  error
	weak    string // a new PIN that is refused
	moved   []hotdesk.DeviceID
	already bool
	takes   time.Duration // of every Login
	calls   []string      // what was done, and with which context
}

func (f *fakeDesk) Phone(id hotdesk.DeviceID) (hotdesk.Phone, error) {
	if id != f.phone.Device.ID {
		return hotdesk.Phone{}, hotdesk.ErrNotFound
	}
	return f.phone, nil
}

func (f *fakeDesk) Code(_ hotdesk.DeviceID, dialed string) (hotdesk.Code, bool) {
	c, ok := f.codes[dialed]
	return c, ok
}

func (f *fakeDesk) Locked(hotdesk.DeviceID) bool { return f.locked }

func (f *fakeDesk) match(user hotdesk.Extension, pin hotdesk.Secret) error {
	if want, ok := f.pins[user]; !ok || want != pin.Reveal() {
		if f.wrong != nil {
			return f.wrong
		}
		return hotdesk.ErrNoMatch
	}
	return f.refused[user]
}

func (f *fakeDesk) did(ctx context.Context, format string, args ...any) {
	if ctx.Err() != nil {
		format += " too late"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fakeDesk) Login(ctx context.Context, r hotdesk.LoginRequest) (hotdesk.LoginResult, error) {
	time.Sleep(f.takes)
	if err := f.match(r.User, r.PIN); err != nil {
		f.did(ctx, "refuse %s", r.User)
		return hotdesk.LoginResult{}, err
	}
	f.did(ctx, "login %s at %s by %s in %s", r.User, r.Device, r.By, r.Call)
	return hotdesk.LoginResult{Moved: f.moved, Already: f.already}, nil
}

func (f *fakeDesk) Logout(ctx context.Context, r hotdesk.LogoutRequest) (hotdesk.LogoutResult, error) {
	if f.logout != nil {
		return hotdesk.LogoutResult{}, f.logout
	}
	f.did(ctx, "logout %s everywhere=%t in %s", r.Device, r.Everywhere, r.Call)
	return hotdesk.LogoutResult{}, nil
}

func (f *fakeDesk) ChangePIN(ctx context.Context, r hotdesk.ChangePINRequest) error {
	if err := f.match(r.User, r.Old); err != nil {
		return err
	}
	if r.New.Reveal() == f.weak {
		return hotdesk.ErrWeakPIN
	}
	f.did(ctx, "pin of %s is %s", r.User, r.New.Reveal())
	return nil
}

func newFakeDesk() *fakeDesk {
	return &fakeDesk{
		phone: hotdesk.Phone{Device: hotdesk.Device{ID: "HD0012", Type: hotdesk.HotDesk}},
		codes: map[string]hotdesk.Code{
			"*77*100*":     {Action: hotdesk.CodeLogin, Extension: "100"},
			"*77*100*4071": {Action: hotdesk.CodeLogin, Extension: "100", PIN: "4071"}, "*77*100*9999": {Action: hotdesk.CodeLogin, Extension: "100", PIN: "9999"},
			"*77*104*": {Action: hotdesk.CodeLogin, Extension: "104"},
			"*77*200*": {Action: hotdesk.CodeLogin, Extension: "200"},
			"*77":      {Action: hotdesk.CodeLogin},
			"*77*5*":   {Action: hotdesk.CodeLogout},
			"*77*6*":   {Action: hotdesk.CodeLogoutAll},
			"*77*8*":   {Action: hotdesk.CodeChangePIN},
			"*77*9*":   {Action: hotdesk.CodeWho},
		},
		pins:    map[hotdesk.Extension]string{"100": "4071", "104": "12345678", "7": "2580"},
		refused: map[hotdesk.Extension]error{},
	}
}

// sitting puts a user at the phone.
func (f *fakeDesk) sitting(ext hotdesk.Extension) {
	f.phone.User = &hotdesk.User{Extension: ext}
	f.phone.Session = &hotdesk.Session{Device: "HD0012", User: ext}
}

// wordTime is how long every prompt takes on a fake line.
const wordTime = time.Second

// fakeLine is a telephone line without audio: it notes when each word begins.
type fakeLine struct {
	*keypad
	mu       sync.Mutex
	speech   []string
	left     time.Duration // of speech[0]
	done     chan struct{}
	hold     bool
	heard    []string
	times    []time.Duration
	began    time.Time
	listener chan struct{}
}

func newFakeLine() *fakeLine {
	return &fakeLine{keypad: newKeypad(), began: time.Now(), listener: make(chan struct{})}
}

func (l *fakeLine) say(_ string, words []word) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hush()
	for _, w := range words {
		l.speech = append(l.speech, w.key)
	}
	l.done = make(chan struct{})
	return l.done
}

func (l *fakeLine) hush() {
	l.speech, l.left = nil, 0
	if l.done != nil {
		close(l.done)
		l.done = nil
	}
}

func (l *fakeLine) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hush()
}

// pass lets one frame of time pass.
func (l *fakeLine) pass() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hold || len(l.speech) == 0 {
		return
	}
	if l.left == 0 {
		l.heard = append(l.heard, l.speech[0])
		l.times = append(l.times, time.Since(l.began))
		l.left = wordTime
	}
	if l.left -= frameTime; l.left == 0 {
		if l.speech = l.speech[1:]; len(l.speech) == 0 {
			l.hush()
		}
	}
}

func (l *fakeLine) run(ctx context.Context) {
	time.Sleep(time.Millisecond) // never at the same instant as a timer of the dialogue
	for ctx.Err() == nil {
		l.pass()
		time.Sleep(frameTime)
	}
}

func (l *fakeLine) setHold(on bool) {
	l.mu.Lock()
	l.hold = on
	l.mu.Unlock()
	l.poke()
}

func (l *fakeLine) held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hold
}

func (l *fakeLine) key() (byte, bool)        { return l.take() }
func (l *fakeLine) forget()                  { l.clear() }
func (l *fakeLine) wake() <-chan struct{}    { return l.keypad.wake }
func (l *fakeLine) present() <-chan struct{} { return l.listener }

func (l *fakeLine) words() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.heard)
}

// call is one call in a bubble, played from a transcript.
type call struct {
	desk   *fakeDesk
	line   *fakeLine
	ended  chan struct{}
	result string
	hangUp context.CancelFunc
	shown  []string
	next   int // word that the transcript reads next
}

// start begins a call, which ends with the test.
func start(t *testing.T, desk *fakeDesk, dialed, reason string) *call {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &call{desk: desk, line: newFakeLine(), ended: make(chan struct{}), hangUp: cancel}
	d := dialogue{
		desk: desk, line: c.line, log: slog.New(slog.DiscardHandler),
		visit: Visit{
			CallID: "call-1", Device: "HD0012", Dialed: dialed, Reason: reason, Source: netip.MustParseAddr("192.0.2.1"),
			Show: func(s string) { c.shown = append(c.shown, s) },
		},
	}
	lineCtx, hangUpLine := context.WithCancel(context.WithoutCancel(ctx))
	var line sync.WaitGroup
	line.Go(func() { c.line.run(lineCtx) })
	go func() {
		c.result = d.run(ctx)
		hangUpLine()
		line.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-c.ended
	})
	return c
}

// play follows a transcript: steps divided by "|". "hear a b" wants exactly these
// words next; "press 12#" presses keys 100 ms apart; "type 12#" presses them all
// at once; "wait 3s" lets time pass; "quiet 3s" the same, and nothing may be said
// that began in it; "hold" and "resume"; "caller hangs up"; "hang up" wants the
// server to end the call.
func (c *call) play(t *testing.T, transcript string) {
	t.Helper()
	for step := range strings.SplitSeq(transcript, "|") {
		step = strings.TrimSpace(step)
		verb, rest, _ := strings.Cut(step, " ")
		switch {
		case verb == "hear":
			for _, want := range strings.Fields(rest) {
				c.hear(t, step, want)
			}
		case verb == "press":
			for i := range len(rest) {
				c.line.press(rest[i], fromRTP)
				time.Sleep(100 * time.Millisecond)
			}
		case verb == "type":
			for i := range len(rest) {
				c.line.press(rest[i], fromRTP)
			}
		case verb == "wait", verb == "quiet":
			time.Sleep(duration(t, rest))
			if heard := c.line.words(); verb == "quiet" && len(heard) > c.next {
				t.Fatalf("%q: heard %s", step, heard[c.next:])
			}
		case step == "hold", step == "resume":
			c.line.setHold(step == "hold")
		case step == "caller hangs up":
			c.hangUp()
			<-c.ended
		case step == "hang up":
			c.serverEnds(t)
		default:
			t.Fatalf("no such step: %q", step)
		}
		synctest.Wait()
	}
	if heard := c.line.words(); len(heard) > c.next {
		t.Fatalf("heard more than the transcript says: %s", heard[c.next:])
	}
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (c *call) hear(t *testing.T, step, want string) {
	t.Helper()
	for range 40 * time.Second / frameTime {
		synctest.Wait()
		if heard := c.line.words(); len(heard) > c.next {
			if heard[c.next] != want {
				t.Fatalf("%q: heard %s, want %s; all: %s", step, heard[c.next], want, heard)
			}
			c.next++
			return
		}
		time.Sleep(frameTime)
	}
	t.Fatalf("%q: waited for %s, heard only %s", step, want, c.line.words())
}

func (c *call) serverEnds(t *testing.T) {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(3 * time.Second):
		t.Fatalf("the server did not hang up; heard %s", c.line.words())
	}
}
