package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// stage is one part of the server that runs until its context ends.
type stage struct {
	name  string
	serve func(context.Context) error
	ready <-chan struct{} // the next stage starts when it is closed; nil: at once
	// drain lets what people are doing come to its end before anything is stopped; nil:
	// nothing has to.
	drain func(context.Context)
}

// runStages starts the stages in order, each on the shoulders of those before
// it. When ctx ends it drains them, all of them still running, and then stops them in
// reverse; when one of them fails it stops them at once.
func runStages(ctx context.Context, stages []stage, up func() error) error {
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var group errgroup.Group
	stops := make([]func(), 0, len(stages))
	stopAll := func() error {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
		return group.Wait()
	}
	for _, s := range stages {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		group.Go(func() error {
			defer close(done)
			if err := s.serve(own); err != nil {
				err = fmt.Errorf("%s: %w", s.name, err)
				fail(err)
				return err
			}
			if own.Err() == nil {
				fail(fmt.Errorf("%s ended by itself", s.name))
			}
			return nil
		})
		stops = append(stops, func() { cancel(); <-done })
		if s.ready == nil {
			continue
		}
		select {
		case <-s.ready:
		case <-failed.Done():
			return stopAll()
		}
	}
	if err := up(); err != nil {
		return errors.Join(err, stopAll())
	}
	<-failed.Done()
	if ctx.Err() != nil { // an administrator's wish, not a failure
		for _, s := range stages {
			if s.drain != nil {
				s.drain(context.WithoutCancel(ctx))
			}
		}
	}
	err := stopAll()
	if err == nil && ctx.Err() == nil {
		err = context.Cause(failed)
	}
	return err
}

// drain is how long open requests may take when the server stops.
const drain = 5 * time.Second

// serveHTTP is a stage's function for an HTTP listener.
func serveHTTP(s *http.Server, l net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		stopped := make(chan error, 1)
		stop := context.AfterFunc(ctx, func() {
			limit, cancel := context.WithTimeout(context.Background(), drain)
			defer cancel()
			err := s.Shutdown(limit)
			if errors.Is(err, context.DeadlineExceeded) {
				err = s.Close() // event streams never end by themselves
			}
			stopped <- err
		})
		err := s.Serve(l)
		if !stop() {
			return <-stopped
		}
		return err
	}
}
