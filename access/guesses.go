package access

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"hotdeskd/hotdesk"
)

// guesses bounds the trying of passwords. After five wrong ones from one address,
// or fifty of one name from wherever, the next must wait a minute, then two, up to
// fifteen. An address from which a name has signed in is a home of it: there the name
// has a count of its own and nobody else's tries hold it up, so that whoever sends
// garbage, from next door or from everywhere, keeps no owner out of the usual places.
//
// Names that nobody has are counted as the others are, so that a lock does not tell
// who exists, but in a table of their own: all tables have an end and drop what was
// not touched for the longest, and never refuse a newcomer because they are full.
type guesses struct {
	mu        sync.Mutex
	sources   map[string]*count
	known     map[string]*count  // by name
	strangers map[string]*count  // names that nobody has
	homes     map[string][]*home // by name, known ones only; the last used is first
	slot      chan struct{}      // to compare in: one at a time
}

// home is an address that a name has signed in from.
type home struct {
	source string
	count
}

// count is what was tried in vain, and until when the next must wait.
type count struct {
	tries int
	locks int
	until time.Time
	last  time.Time
}

const (
	sourceTries = 5 // also of a name at its home
	nameTries   = 50
	maxCounts   = 1024 // in one table
	maxHomes    = 4    // of one name
)

func newGuesses() guesses {
	return guesses{
		sources: map[string]*count{}, known: map[string]*count{}, strangers: map[string]*count{},
		homes: map[string][]*home{}, slot: make(chan struct{}, 1),
	}
}

// limit is a count and how many tries it allows.
type limit struct {
	*count
	most int
}

// try is one sign-in, charged before anything is compared.
type try struct {
	name, source string
	home         bool
	limits       []limit
}

// enter charges one try, or refuses it with hotdesk.ErrLocked and charges nothing.
func (g *guesses) enter(now time.Time, name, source string, known bool) (try, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := try{name: name, source: network(source)}
	if i := g.homeAt(name, t.source); known && i >= 0 {
		t.home, t.limits = true, []limit{{&g.homes[name][i].count, sourceTries}}
	} else {
		from := entry(g.sources, t.source, now)
		if err := from.locked(now); err != nil {
			return t, err // before the name takes a place in its table
		}
		names := g.strangers
		if known {
			names = g.known
		}
		t.limits = []limit{{from, sourceTries}, {entry(names, name, now), nameTries}}
	}
	for _, l := range t.limits {
		if err := l.locked(now); err != nil {
			return t, err
		}
	}
	for _, l := range t.limits {
		l.charge(now)
	}
	return t, nil
}

// right notes that the password of a try was right: it counts no more, and its
// address is the name's home. What others tried in vain stays counted, or somebody
// with an account could wipe off the guesses at another's by signing in between.
func (g *guesses) right(t try) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range t.limits {
		l.giveBack()
	}
	all := g.homes[t.name]
	if i := g.homeAt(t.name, t.source); i >= 0 {
		all = slices.Delete(all, i, i+1)
	}
	all = slices.Insert(all, 0, &home{source: t.source})
	g.homes[t.name] = all[:min(len(all), maxHomes)]
}

// back undoes a try of which nothing was compared.
func (g *guesses) back(t try) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range t.limits {
		l.giveBack()
	}
}

func (g *guesses) homeAt(name, source string) int {
	return slices.IndexFunc(g.homes[name], func(h *home) bool { return h.source == source })
}

// settle makes an address the home of a name that has signed in by a one-time link.
func (g *guesses) settle(name, source string) {
	g.right(try{name: name, source: network(source)})
}

// entry finds a key's count; a full table gives up the one untouched for the longest.
func entry(table map[string]*count, key string, now time.Time) *count {
	c := table[key]
	if c != nil && now.Sub(c.last) < 24*time.Hour {
		return c
	}
	if c == nil && len(table) >= maxCounts {
		oldest, at := "", now
		for k, v := range table {
			if !v.last.After(at) {
				oldest, at = k, v.last
			}
		}
		delete(table, oldest)
	}
	c = &count{}
	table[key] = c
	return c
}

func (c *count) locked(now time.Time) error {
	if now.Before(c.until) {
		return fmt.Errorf("%w: wait until %s", hotdesk.ErrLocked, c.until.UTC().Format("15:04:05 UTC"))
	}
	return nil
}

func (l limit) charge(now time.Time) {
	l.tries, l.last = l.tries+1, now
	if l.tries >= l.most {
		l.until = now.Add(min(time.Minute<<min(l.locks, 10), 15*time.Minute))
		l.tries, l.locks = 0, l.locks+1
	}
}

// giveBack undoes a charge, and the lock that it brought.
func (l limit) giveBack() {
	if l.tries == 0 && l.locks > 0 {
		l.until, l.locks, l.tries = time.Time{}, l.locks-1, l.most
	}
	l.tries = max(l.tries-1, 0)
}

// network is what one guesser can be told by: the address, of IPv6 its /64, of which
// every host has as many addresses as it likes.
func network(source string) string {
	addr, err := netip.ParseAddr(source)
	if err != nil {
		return source
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}
