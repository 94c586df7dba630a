package guard

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Rate is a token bucket: so many messages a second, and so many at once after a
// pause.
type Rate struct{ PerSecond, Burst float64 }

// bucket is one token bucket. Zero is a full one that was never used.
type bucket struct {
	spent float32 // tokens that are missing
	at    int64   // when that was true, nanoseconds
}

// take pays for one message; otherwise it tells how long to wait for a token.
func (b *bucket) take(r Rate, now int64) (wait time.Duration) {
	missing := float64(b.spent) - float64(now-b.at)*r.PerSecond/1e9
	if missing < 0 {
		missing = 0
	}
	b.at = now
	if missing+1 > r.Burst {
		b.spent = float32(missing)
		return time.Duration((missing + 1 - r.Burst) / r.PerSecond * 1e9)
	}
	b.spent = float32(missing + 1)
	return 0
}

// shared is a bucket for several goroutines.
type shared struct {
	mu sync.Mutex
	b  bucket
}

func (s *shared) take(r Rate, now int64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.take(r, now)
}

// The table of strangers is as large as this, whoever sends.
const (
	tableSets = 8192
	tableWays = 4
	tableLock = 64
)

// table has a bucket for each source that was heard lately: a hash table of fixed
// size, in which the source that was quiet for longest makes room. Who floods from
// more addresses than fit gets a fresh bucket for each of them, and meets the
// budget of all strangers together instead.
type table struct {
	seed  maphash.Seed
	locks [tableLock]sync.Mutex
	sets  [tableSets][tableWays]entry
}

type entry struct {
	id uint64 // hash of the source; 0 is free
	b  bucket
}

func newTable() *table { return &table{seed: maphash.MakeSeed()} }

func (t *table) take(source netip.Addr, r Rate, now int64) time.Duration {
	id := maphash.Comparable(t.seed, source) | 1
	n := (id >> 16) % tableSets
	lock := &t.locks[n%tableLock]
	lock.Lock()
	defer lock.Unlock()
	set := &t.sets[n]
	oldest := 0
	for i := range set {
		if set[i].id == id {
			return set[i].b.take(r, now)
		}
		if set[i].b.at < set[oldest].b.at {
			oldest = i
		}
	}
	set[oldest] = entry{id: id}
	return set[oldest].b.take(r, now)
}

// source is the address that a budget belongs to: all of an IPv6 network, of
// which one sender has as many addresses as it likes.
func source(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
