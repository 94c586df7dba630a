package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"hotdeskd/internal/simphone"
)

const (
	lookEvery  = 500 * time.Millisecond // at the devices' state
	tellEvery  = 2 * time.Second        // how it goes
	loginWait  = time.Minute            // for one login, from dialling to the end of the call
	commitWait = 5 * time.Second        // for the event of a session, after the call
	promptFor  = 10                     // packets of speech are a prompt
)

func (f *Fleet) say(format string, args ...any) { f.Say(fmt.Sprintf(format, args...)) }

func since(began time.Time) string { return time.Since(began).Round(10 * time.Millisecond).String() }

// watch follows the server's events until ctx ends.
func (f *Fleet) watch(ctx context.Context) {
	err := errors.New("the server has ended its stream of events")
	for ev, failed := range f.API.Events(ctx) {
		if failed != nil {
			err = failed
			break
		}
		if ev.Name == "reset" {
			f.eventsBroke(errors.New("the server's events came faster than they were read"))
			continue
		}
		var data struct {
			Device  string `json:"device"`
			User    string `json:"user"`
			Version uint64 `json:"version"`
		}
		if ev.Name != "session.started" && ev.Name != "device.config_current" || json.Unmarshal(ev.Data, &data) != nil {
			continue
		}
		now := time.Now()
		f.mu.Lock()
		s := f.byID[data.Device]
		f.mu.Unlock()
		if s != nil {
			s.heard(ev.Name, data.User, data.Version, now)
		}
	}
	if ctx.Err() == nil {
		f.eventsBroke(err)
	}
}

func (f *Fleet) eventsBroke(err error) {
	f.mu.Lock()
	f.broken = errors.Join(f.broken, err)
	f.mu.Unlock()
}

// boot switches all phones on at once and waits until each is registered and
// current.
func (f *Fleet) boot(ctx context.Context, r *Report) error {
	for _, s := range f.seats {
		c := simphone.Config{
			Provision: f.url, MAC: s.mac, Model: s.model, Transport: f.Transport, UnregisterOnExit: true, Step: s.step,
		}
		f.Phone(s.n, &c)
		var err error
		if s.phone, err = simphone.New(c); err != nil {
			return err
		}
	}
	on, off := context.WithCancel(context.WithoutCancel(ctx))
	f.off = off
	f.say("switch on %d phones", f.Phones)
	began := time.Now()
	for _, s := range f.seats {
		s.on = began
		f.on.Go(func() {
			if err := s.phone.Run(on); err != nil {
				s.mu.Lock()
				s.trouble = err.Error()
				s.mu.Unlock()
			}
		})
	}
	err := f.until(ctx, "current", (*seat).booted)
	switch {
	case f.Storm == Boot:
		r.boot(began, f.seats)
	case err != nil:
		for _, s := range f.seats {
			r.seat(s, s.booted())
		}
	}
	if err == nil {
		f.say("booted in %s", since(began))
	}
	return err
}

// until looks at the devices until all seats are as wanted. It gives up when
// nobody gets on any more.
func (f *Fleet) until(ctx context.Context, what string, there func(*seat) bool) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var told time.Time
	moved, progress := time.Now(), -1
	for {
		if err := f.lookAtDevices(ctx); err != nil {
			return err
		}
		n, failed, far := 0, 0, 0
		for _, s := range f.seats {
			switch {
			case there(s):
				n++
			case s.gaveUp():
				failed++
			}
			far += s.progress()
		}
		now := time.Now()
		if far != progress {
			moved, progress = now, far
		}
		f.mu.Lock()
		broken := f.broken
		f.mu.Unlock()
		switch {
		case broken != nil:
			return fmt.Errorf("events are missing, so the figures would not be true: %w", broken)
		case n == len(f.seats):
			return nil
		case n+failed == len(f.seats):
			return fmt.Errorf("%w: %d of %d phones", ErrBehind, failed, len(f.seats))
		case now.Sub(moved) > f.Patience:
			return fmt.Errorf("%w: %d of %d phones, and nothing has happened for %s", ErrBehind, len(f.seats)-n, len(f.seats), f.Patience)
		case now.Sub(told) > tellEvery:
			told = now
			f.say("%d of %d phones %s", n, len(f.seats), what)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lookAtDevices reads what the API says about all of them.
func (f *Fleet) lookAtDevices(ctx context.Context) error {
	var all list[device]
	if err := f.API.Read(ctx, "/devices?site="+url.QueryEscape(f.Name), &all); err != nil {
		return err
	}
	now := time.Now()
	for _, d := range all.Items {
		if d.ID == nil {
			continue
		}
		f.mu.Lock()
		s := f.byID[*d.ID]
		f.mu.Unlock()
		if s != nil {
			s.saw(d, now)
		}
	}
	return nil
}

// logins lets everybody log in, AtOnce at a time, and waits until every phone
// runs its user's configuration.
func (f *Fleet) logins(ctx context.Context, r *Report) error {
	for _, s := range f.seats {
		s.mu.Lock()
		s.bootVersion, s.fetches, s.registrations = s.api.Config.Wanted, 0, 0
		s.mu.Unlock()
	}
	f.say("log in %d people, %d at once", f.Phones, f.AtOnce)
	began := time.Now()
	places := make(chan struct{}, f.AtOnce)
	var all sync.WaitGroup
	talking, stop := context.WithCancel(ctx)
	defer all.Wait()
	defer stop()
	all.Go(func() {
		for _, s := range f.seats {
			select {
			case places <- struct{}{}:
			case <-talking.Done():
				return
			}
			all.Go(func() {
				defer func() { <-places }()
				if err := s.logIn(talking, f.login); err != nil {
					s.mu.Lock()
					s.failed = err
					s.mu.Unlock()
				}
			})
		}
	})
	err := f.until(ctx, "logged in and current", (*seat).seated)
	r.login(began, f.seats)
	return err
}

// logIn is one person: dial the code, wait for the prompt, type the PIN, listen
// to the end.
func (s *seat) logIn(ctx context.Context, code string) error {
	ctx, cancel := context.WithTimeout(ctx, loginWait)
	defer cancel()
	s.at(&s.dialled)
	call, err := s.phone.Dial(ctx, code+s.ext+"*")
	if err != nil {
		return err
	}
	if err := call.WaitHeard(ctx, promptFor); err != nil {
		return fmt.Errorf("no prompt: %w", err)
	}
	s.at(&s.prompted)
	if err := call.Press(ctx, s.pin); err != nil {
		return err
	}
	s.at(&s.pressed) // within 20 ms the # goes down, which ends the PIN
	if err := call.Press(ctx, "#"); err != nil {
		return err
	}
	if _, err := call.Wait(ctx); err != nil {
		_ = call.HangUp(context.WithoutCancel(ctx)) // the wait is what is told
		return fmt.Errorf("the call does not end: %w", err)
	}
	s.at(&s.ended)
	late := time.NewTimer(commitWait)
	defer late.Stop()
	select {
	case <-s.commit:
		return nil
	case <-late.C:
	case <-ctx.Done():
	}
	return errors.New("the call is over")
}

func (s *seat) at(when *time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first(when, time.Now())
}
