package sip

import "sync"

// gate counts the goroutines of calls, so that the server can let them finish.
// Unlike a WaitGroup it may be entered while somebody waits: then it is shut.
type gate struct {
	mu    sync.Mutex
	n     int
	shut  bool
	empty chan struct{}
}

func newGate() *gate { return &gate{empty: make(chan struct{})} }

// enter counts one in; false when the gate is shut.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.n++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.shut {
		close(g.empty)
	}
}

// wait shuts the gate and returns when everybody has left.
func (g *gate) wait() {
	g.mu.Lock()
	g.shut = true
	if g.n == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	<-g.empty
}
