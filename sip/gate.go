package sip

import (
	"context"
	"sync"

	"hotdeskd/sip/call"
)

// kind is what somebody in the gate does.
type kind int

const (
	chore     kind = iota // asks a phone something, writes something down
	ordinary              // a call
	emergency             // an emergency call
	kinds
)

// gate counts the goroutines of calls by kind, so that the server can let them finish.
// Unlike a WaitGroup it may be entered while somebody waits: until that kind is shut.
type gate struct {
	mu    sync.Mutex
	n     [kinds]int
	shut  [kinds]bool
	empty [kinds]chan struct{} // made by who waits; closed when nobody is in
}

func newGate() *gate { return &gate{} }

// enter counts one in; false when the gate is shut for its kind.
func (g *gate) enter(k kind) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut[k] {
		return false
	}
	g.n[k]++
	return true
}

func (g *gate) leave(k kind) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n[k]--; g.n[k] == 0 && g.empty[k] != nil {
		close(g.empty[k])
		g.empty[k] = nil
	}
}

// close shuts the gate for a kind.
func (g *gate) close(k kind) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut[k] = true
}

// count is how many of a kind are in.
func (g *gate) count(k kind) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n[k]
}

// wait returns true when nobody of a kind is in, or false when ctx has ended before.
func (g *gate) wait(ctx context.Context, k kind) bool {
	g.mu.Lock()
	if g.n[k] == 0 {
		g.mu.Unlock()
		return true
	}
	if g.empty[k] == nil {
		g.empty[k] = make(chan struct{})
	}
	empty := g.empty[k]
	g.mu.Unlock()
	select {
	case <-empty:
		return true
	case <-ctx.Done():
		return false
	}
}

// Drain lets the calls that are up come to their end, before the server stops: it
// returns when there is none, or their time is over, or ctx has ended. New ordinary
// calls are told to come again (503); after Options.DrainCalls those that are up are
// hung up. Emergency calls are taken and left alone for Options.DrainEmergency; one
// that is up still then gets no BYE when Serve ends: phone and rescue centre go on
// talking without us. Registrations are served all the while.
func (e *Edge) Drain(ctx context.Context) {
	e.calls.close(ordinary)
	if n, sos := e.calls.count(ordinary), e.calls.count(emergency); n+sos > 0 {
		e.Log.Info("stopping: calls that are up come to their end first", "calls", n, "for", e.DrainCalls.String(), "emergency_calls", sos, "for_emergency", e.DrainEmergency.String())
	}
	rescue, cancel := context.WithTimeout(ctx, e.DrainEmergency)
	defer cancel()
	talk, cancel := context.WithTimeout(ctx, e.DrainCalls)
	defer cancel()
	if !e.calls.wait(talk, ordinary) {
		e.endOrdinary()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*call.ByeWait)
		defer cancel()
		e.calls.wait(end, ordinary)
	}
	if n := e.calls.count(emergency); n > 0 {
		e.Log.Warn("stopping: an emergency call is up and is not cut", "emergency_calls", n, "at_most", e.DrainEmergency.String())
	}
	if !e.calls.wait(rescue, emergency) {
		e.Log.Warn("an emergency call is up still; the server stops and does not hang up", "emergency_calls", e.calls.count(emergency))
	}
}
