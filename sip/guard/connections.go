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
	strangers map[netip.Addr]*crowd // of those without a registration, by source
	unknown   int                   // how many they are
	peak      int                   // most that were open since the maps were made
}

// crowd is the strangers of one source, each list with the oldest first.
type crowd struct {
	silent []*conn // have sent no whole message yet
	spoken []*conn
}

func (c *crowd) size() int {
	if c == nil {
		return 0
	}
	return len(c.silent) + len(c.spoken)
}

// oldest is who has to go for a newcomer: whoever means to speak does so at once.
func (c *crowd) oldest() *conn {
	if len(c.silent) > 0 {
		return c.silent[0]
	}
	return c.spoken[0]
}

// add counts a connection in; false when there are too many. One that comes from
// the address of another has taken its place: that one is gone, whatever we have
// heard of it yet. Where there are too many strangers, the newcomer takes the place of
// leave, which the caller closes: to refuse it would let whoever sits at the same
// address, or at many others, keep all phones out that have to register anew.
func (c *connections) add(w *conn, stranger bool) (leave *conn, ok bool) {
	c.mu.Lock()
	old := c.open[w.flow]
	c.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= maxConns {
		return nil, false
	}
	if stranger {
		leave = c.admit(w)
	}
	c.open[w.flow] = w
	c.peak = max(c.peak, len(c.open))
	return leave, true
}

// admit puts a stranger into its crowd, and takes out who has to go for it. The
// caller holds the lock.
func (c *connections) admit(w *conn) (leave *conn) {
	from := source(w.flow.remote.Addr())
	switch {
	case c.strangers[from].size() >= maxPerSource:
		leave = c.strangers[from].oldest()
	case c.unknown >= maxStrangers:
		var fullest *crowd
		for _, x := range c.strangers {
			if x.size() > fullest.size() {
				fullest = x
			}
		}
		leave = fullest.oldest()
	}
	if leave != nil {
		c.settle(leave)
	}
	if c.strangers[from] == nil {
		c.strangers[from] = &crowd{}
	}
	c.strangers[from].silent = append(c.strangers[from].silent, w)
	w.stranger = true
	c.unknown++
	return leave
}

// heard notes that a connection has sent a whole message.
func (c *connections) heard(w *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.strangers[source(w.flow.remote.Addr())]; w.stranger {
		x.silent = without(x.silent, w)
		x.spoken = append(x.spoken, w)
	}
}

func without(list []*conn, w *conn) []*conn {
	if i := slices.Index(list, w); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
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
	x := c.strangers[from]
	x.silent, x.spoken = without(x.silent, w), without(x.spoken, w)
	if x.size() == 0 {
		delete(c.strangers, from)
	}
}

// remove counts a connection out.
func (c *connections) remove(w *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(w)
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
