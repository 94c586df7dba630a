package guard

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// connections are all that are open.
type connections struct {
	mu        sync.Mutex
	open      map[flow]*conn
	strangers map[netip.Addr]int // how many of them, by source
	unknown   int                // their sum
	// mute are those that have sent no whole message yet, by source, oldest first.
	mute map[netip.Addr][]*conn
	peak int // most that were open since the maps were made
}

// add counts a connection in; false when there are too many. One that comes from
// the address of another has taken its place: that one is gone, whatever we have
// heard of it yet.
func (c *connections) add(w *conn, stranger bool) bool {
	c.mu.Lock()
	old := c.open[w.flow]
	c.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	from := source(w.flow.remote.Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= maxConns || stranger && (c.unknown >= maxStrangers || c.strangers[from] >= maxPerSource) {
		return false
	}
	c.open[w.flow] = w
	c.peak = max(c.peak, len(c.open))
	if w.stranger = stranger; stranger {
		c.strangers[from]++
		c.unknown++
	}
	return true
}

// listen notes that a connection may send its first message now. It returns the one
// that has been silent for longest when its source has too many of those: it goes,
// because who means to speak does so at once, and refusing the new one would let
// whoever sits at the same address keep all others out.
func (c *connections) listen(w *conn) (oldest *conn) {
	from := source(w.flow.remote.Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mute[from] = append(c.mute[from], w); len(c.mute[from]) > maxSilent {
		oldest = c.mute[from][0]
		c.mute[from] = slices.Clone(c.mute[from][1:])
	}
	return oldest
}

// heard takes a connection off the silent ones: it has spoken, or ended.
func (c *connections) heard(w *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unmute(w)
}

// unmute is heard for who holds the lock.
func (c *connections) unmute(w *conn) {
	from := source(w.flow.remote.Addr())
	list := slices.DeleteFunc(c.mute[from], func(x *conn) bool { return x == w })
	if c.mute[from] = list; len(list) == 0 {
		delete(c.mute, from)
	}
}

// give notes that a connection is on its way to whoever accepts.
func (c *connections) give(w *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.given = true
}

// waiting lists a network's connections that nobody has been given yet.
func (c *connections) waiting(network string) (all []*conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.open {
		if w.flow.network == network && !w.given {
			all = append(all, w)
		}
	}
	return all
}

// know takes a connection out of the count of strangers.
func (c *connections) know(f flow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.open[f]; w != nil {
		c.settle(w)
	}
}

// settle ends a connection's time as a stranger. The caller holds the lock.
func (c *connections) settle(w *conn) {
	if !w.stranger {
		return
	}
	w.stranger = false
	c.unknown--
	from := source(w.flow.remote.Addr())
	if c.strangers[from]--; c.strangers[from] <= 0 {
		delete(c.strangers, from)
	}
}

// remove counts a connection out.
func (c *connections) remove(w *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(w)
	c.unmute(w)
	if c.open[w.flow] == w {
		delete(c.open, w.flow)
	}
	if c.peak > 256 && len(c.open) < c.peak/4 { // a map does not become smaller by itself
		c.open, c.strangers, c.peak = maps.Clone(c.open), maps.Clone(c.strangers), len(c.open)
	}
}

// Connections tells how many connections are open, and how many are strangers'.
func (g *Guard) Connections() (open, strangers int) {
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	return len(g.conns.open), g.conns.unknown
}
