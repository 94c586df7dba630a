package ivr

import (
	"sync"
	"time"
)

// origin is the way by which keys reach us, in rising order of trust.
type origin int

const (
	fromAudio origin = iota + 1 // tones in the audio
	fromINFO                    // SIP INFO
	fromRTP                     // RFC 4733
)

// String is the word for the log.
func (o origin) String() string {
	return [...]string{"none", "audio", "info", "rtp"}[o]
}

// Many phones can be set to send every key in both ways. samePress is how far
// apart the two reports of one press may arrive.
const samePress = 500 * time.Millisecond

// maxKeys is how many keys may be typed ahead; more are dropped.
const maxKeys = 64

// keypad buffers what was pressed until the dialogue asks for it, and decides
// between the ways: the first that delivers owns the call until a more trusted
// one delivers. Keys stay in one array and are overwritten when taken.
type keypad struct {
	mu     sync.Mutex
	owner  origin
	last   byte // the owner's last key, to recognise its second report
	lastAt time.Time
	keys   [maxKeys]byte
	head   int
	n      int
	wake   chan struct{} // one token: a key came, or the hold state changed
}

func newKeypad() *keypad { return &keypad{wake: make(chan struct{}, 1)} }

// press reports one key from one way.
func (k *keypad) press(key byte, from origin) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	repeated := false
	switch {
	case from < k.owner:
		return
	case from > k.owner:
		repeated = key == k.last && now.Sub(k.lastAt) < samePress
		k.owner = from
	}
	k.last, k.lastAt = key, now
	if from == fromRTP {
		k.last = 0 // nothing can take over from here, so nothing need be remembered
	}
	if repeated || k.n == maxKeys {
		return
	}
	k.keys[(k.head+k.n)%maxKeys] = key
	k.n++
	k.poke()
}

// way is how keys came, as far as any did.
func (k *keypad) way() origin {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.owner
}

// take returns the oldest key that was not taken yet.
func (k *keypad) take() (key byte, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n == 0 {
		return 0, false
	}
	key = k.keys[k.head]
	k.keys[k.head] = 0
	k.head = (k.head + 1) % maxKeys
	k.n--
	return key, true
}

// clear forgets every key that was typed ahead.
func (k *keypad) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.head, k.n = [maxKeys]byte{}, 0, 0
}

// poke wakes the dialogue without a key. It never blocks.
func (k *keypad) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}
