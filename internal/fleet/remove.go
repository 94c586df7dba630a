package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"
)

const (
	removing   = 2 * time.Minute // may removing take in all; a call may go on for 90 s
	mostSilent = 10              // questions without an answer
)

// Remove deletes what the fleet of a name made: its people are logged out, then
// devices, users and the site go. was says what there was, left what is still there
// after an error. When anything else stands in the site, sits at its phones or is
// used by its people, it deletes nothing and fails with ErrNotOurs, which names that.
func Remove(ctx context.Context, api API, name string) (was, left string, err error) {
	if err := checkName(name); err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, removing)
	defer cancel()
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	var refusal error // the server's last; the end of our own time is none
	for silent := 0; ; {
		all, err := read(ctx, api)
		if err != nil {
			silent++
		} else {
			silent = 0
			mine, foreign := all.of(name)
			left = mine.String()
			was = cmp.Or(was, left)
			switch {
			case left == "":
				return was, "", nil
			case foreign != "":
				return was, left, fmt.Errorf("%w: %s of %s: %w: %s; take that out of the way, or remove by hand what is the fleet's", ErrLeft, left, name, ErrNotOurs, foreign)
			}
			if err = mine.remove(ctx, api); err == nil {
				continue // look whether all is gone
			}
		}
		if ctx.Err() == nil || refusal == nil {
			refusal = err
		}
		select {
		case <-pause.C: // a call may still be ending
		case <-ctx.Done():
		}
		if ctx.Err() != nil || silent == mostSilent {
			return was, left, fmt.Errorf("%w: %s of %s (%w); later: hotdeskd sim fleet --remove %s", ErrLeft, cmp.Or(left, "what there is"), name, refusal, name)
		}
	}
}

// remove makes one pass over everything.
func (h holdings) remove(ctx context.Context, api API) error {
	var calls []func() error
	for _, u := range h.users {
		path := "/users/" + url.PathEscape(u.Extension)
		if len(u.Devices) > 0 {
			calls = append(calls, func() error { return api.Post(ctx, path+"/logout", nil, nil) })
		}
	}
	err := together(calls)
	calls = nil
	for _, d := range h.devices {
		calls = append(calls, func() error { return api.Delete(ctx, "/devices/"+d.MAC) })
	}
	for _, u := range h.users {
		calls = append(calls, func() error { return api.Delete(ctx, "/users/"+url.PathEscape(u.Extension)) })
	}
	if err = errors.Join(err, together(calls)); err != nil {
		return err
	}
	for _, s := range h.sites {
		err = errors.Join(err, api.Delete(ctx, "/sites/"+url.PathEscape(s.Name)))
	}
	return err
}

// workers is how many requests are sent at once.
const workers = 16

// together makes calls, some at once, and returns the first error.
func together(calls []func() error) (first error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	next := make(chan func() error)
	for range workers {
		all.Go(func() {
			for call := range next {
				if err := call(); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	for _, call := range calls {
		next <- call
	}
	close(next)
	all.Wait()
	return first
}
