package ivr

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"hotdeskd/hotdesk"
)

// The times of a conversation, for people who have to look for the keys.
const (
	startAfter    = 400 * time.Millisecond // speak then even if the phone sends nothing
	firstKey      = 7 * time.Second        // after the end of a question
	nextKey       = 4 * time.Second        // between keys; then the entry counts as finished
	trailingHash  = time.Second            // a '#' this soon after that belongs to the entry before
	callLimit     = 90 * time.Second
	lastWords     = 30 * time.Second // more than any closing words take
	holdLimit     = 30 * time.Second // all holds of a call together
	deskTimeout   = 10 * time.Second // for one question to the rules
	maxTries      = 3                // wrong PINs a call
	maxRewrites   = 2                // new PINs refused a call
	afterLast     = 200 * time.Millisecond
	betweenDigits = 40 * time.Millisecond // with the clips' own edges it makes 120 ms
	afterGroup    = 200 * time.Millisecond
)

// Lengths of what is typed. The shortest and longest allowed PIN only tell when
// an entry may end by silence and how much is kept: '#' always ends it, so that
// nobody learns a PIN's length from us.
const (
	minPIN, maxPIN = 4, 16
	minExt, maxExt = 1, 15
)

var (
	errHungUp = errors.New("the caller hung up")
	errTimeUp = errors.New("the call has lasted too long")
	errHeld   = errors.New("on hold for too long")
	errEnd    = errors.New("the end was told") // no fault: the last words were said, and now we hang up
)

// word is one prompt and the silence after it.
type word struct {
	key   string
	pause time.Duration
}

// line is what the dialogue needs of the telephone line. In tests it is a list
// of what was heard.
type line interface {
	say(lang string, words []word) <-chan struct{} // replaces what is being said; closed when it was said or replaced
	stop()                                         // falls silent within a frame
	key() (byte, bool)                             // next key that was pressed
	forget()                                       // drops the keys that were pressed
	wake() <-chan struct{}                         // a key was pressed, or the hold state changed
	held() bool                                    // nobody listens: say makes no progress
	present() <-chan struct{}                      // closed when the phone was heard
}

// dialogue is the state machine of one call. It has no socket and no lock, and no
// time but that of package time.
type dialogue struct {
	desk  Desk
	line  line
	visit Visit
	log   *slog.Logger

	lang     string
	action   string    // of the call, for the log
	outcome  string    // prompt that told how it ended, for the log
	end      time.Time // callLimit, moved on by holds
	holdLeft time.Duration
	byTime   time.Time // when an entry last ended by silence
}

// run holds the conversation. The outcome is the key of the prompt that told it,
// or what kept us from telling.
func (d *dialogue) run(ctx context.Context) (outcome string) {
	d.end, d.holdLeft = time.Now().Add(callLimit), holdLimit
	// Without this wait the first syllable is lost in phones that open their
	// audio only after our 200 has arrived. Its error shows up again in talk.
	_, _, _ = d.wait(ctx, d.line.present(), startAfter, false)
	err := d.talk(ctx)
	if errors.Is(err, errTimeUp) {
		err = d.bye(ctx, "goodbye")
	}
	switch {
	case errors.Is(err, errHungUp):
		return "hung_up"
	case errors.Is(err, errHeld):
		return "held"
	}
	return d.outcome
}

// talk finds out what the call is about.
func (d *dialogue) talk(ctx context.Context) error {
	d.lang = "en"
	phone, err := d.desk.Phone(d.visit.Device)
	if err != nil {
		d.log.Error("hot-desk conversation without a device", slog.Any("err", err))
		return d.bye(ctx, "error")
	}
	d.lang = phone.Language()
	if d.visit.Reason != "" {
		d.action = "refused"
		return d.bye(ctx, refusal(d.visit.Reason))
	}
	code, ok := d.desk.Code(d.visit.Device, d.visit.Dialed)
	if !ok {
		return d.bye(ctx, "error")
	}
	d.action = string(code.Action)
	switch code.Action {
	case hotdesk.CodeLogin:
		return d.login(ctx, phone, code.Extension, code.PIN)
	case hotdesk.CodeLogout:
		return d.logout(ctx, false)
	case hotdesk.CodeLogoutAll:
		return d.logout(ctx, true)
	case hotdesk.CodeChangePIN:
		return d.changePIN(ctx, phone)
	case hotdesk.CodeWho:
		return d.who(ctx, phone)
	}
	return d.bye(ctx, "error")
}

// bye says how it ended, then goodbye. The first key names the outcome.
func (d *dialogue) bye(ctx context.Context, key string, more ...word) error {
	d.outcome = key
	d.show(key)
	words := append([]word{{key: key}}, more...)
	if key != "goodbye" {
		words = append(words, word{key: "goodbye"})
	}
	words[len(words)-1].pause = afterLast
	d.tell(ctx, words)
	return errEnd
}

// tell says the last words of a call. Keys do not cut it short: the '#' that
// people add to an entry must not swallow its result.
func (d *dialogue) tell(ctx context.Context, words []word) {
	d.end = time.Now().Add(lastWords)
	said := d.line.say(d.lang, words)
	for {
		what, _, err := d.wait(ctx, said, 0, false)
		if err != nil || what == spoken {
			return
		}
	}
}

// event is what ended a wait.
type event int

const (
	pressed event = iota
	spoken
	expired
)

// wait returns at a key, at the end of what is being said, or after limit, if
// that is not zero. Keys come first, even after the caller hung up: a PIN that was
// typed in full still counts. When keys is false they stay where they are. Errors
// are errHungUp, errTimeUp and errHeld.
func (d *dialogue) wait(ctx context.Context, said <-chan struct{}, limit time.Duration, keys bool) (event, byte, error) {
	var deadline time.Time
	if limit > 0 {
		deadline = time.Now().Add(limit)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if keys {
			if key, ok := d.line.key(); ok {
				return pressed, key, nil
			}
		}
		if ctx.Err() != nil {
			return 0, 0, errHungUp
		}
		if d.line.held() {
			if err := d.sitOut(ctx, &deadline); err != nil {
				return 0, 0, err
			}
			continue
		}
		until := d.end
		if !deadline.IsZero() && deadline.Before(until) {
			until = deadline
		}
		timer.Reset(time.Until(until))
		select {
		case <-ctx.Done():
		case <-said:
			return spoken, 0, nil
		case <-d.line.wake():
		case <-timer.C:
			if until == deadline {
				return expired, 0, nil
			}
			return 0, 0, errTimeUp
		}
	}
}

// sitOut waits for the end of a hold and moves the deadlines on by it.
func (d *dialogue) sitOut(ctx context.Context, deadline *time.Time) error {
	began := time.Now()
	timer := time.NewTimer(d.holdLeft)
	defer timer.Stop()
	for d.line.held() {
		select {
		case <-ctx.Done():
			return errHungUp
		case <-timer.C:
			return errHeld
		case <-d.line.wake():
		}
	}
	passed := time.Since(began)
	d.holdLeft -= passed
	d.end = d.end.Add(passed)
	if !deadline.IsZero() {
		*deadline = deadline.Add(passed)
	}
	return nil
}
