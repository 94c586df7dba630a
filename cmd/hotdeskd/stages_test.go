package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Stages start in order, each when the one before is ready, and stop in reverse, each
// when the one after it has ended: what stands on another's shoulders goes first, also
// when a stage fails. The journal outlives the telephony that writes to it.
func TestField_F9StopOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(stop context.CancelFunc, fail func())
		want []string
	}{
		{"asked to stop", func(stop context.CancelFunc, _ func()) { stop() }, []string{"+rules", "+journal", "+SIP", "-SIP", "-journal", "-rules"}},
		{"a stage fails", func(_ context.CancelFunc, fail func()) { fail() }, []string{"+rules", "+journal", "+SIP", "-journal", "-SIP", "-rules"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var got []string
			note := func(what string) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, what)
			}
			broken := errors.New("broken")
			failing := make(chan struct{})
			stages := make([]stage, 0, 3)
			for _, name := range []string{"rules", "journal", "SIP"} {
				ready := make(chan struct{})
				stages = append(stages, stage{name: name, ready: ready, serve: func(ctx context.Context) error {
					time.Sleep(time.Second) // of the bubble's clock: getting ready takes time
					note("+" + name)
					close(ready)
					if name != "journal" {
						<-ctx.Done()
						time.Sleep(time.Second) // and so does draining
						note("-" + name)
						return nil
					}
					select {
					case <-ctx.Done():
						time.Sleep(time.Second)
						note("-" + name)
						return nil
					case <-failing:
						note("-" + name)
						return broken
					}
				}})
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			err := runStages(ctx, stages, func() error {
				time.AfterFunc(time.Minute, func() { c.end(stop, func() { close(failing) }) })
				return nil
			})
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
			if failed := c.name == "a stage fails"; errors.Is(err, broken) != failed || !failed && err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		})
	}
}
