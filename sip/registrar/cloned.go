package registrar

import (
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// cloneWindow is how long two phones may take to show that they are two.
const cloneWindow = 10 * time.Minute

// swap is how a device's registration went from one phone to another: which two they are,
// by Call-ID and address, and how often it has gone back and forth.
type swap struct {
	from, to phoneID
	back     int
	since    time.Time
}

type phoneID struct{ callID, host string }

// cloned notes that a device is registered from somewhere else than before. It tells
// whether two phones have the device's credentials: two Call-IDs from different addresses
// that follow one another A, B, A, B within ten minutes. A phone that was started anew, or
// got another address, never comes back as the one it was. The caller does not hold the
// lock.
func (t *table) cloned(id hotdesk.DeviceID, old, now Location, at time.Time) (other string, yes bool) {
	a := phoneID{old.CallID, dialog.HostOf(old.Flow.Remote).String()}
	b := phoneID{now.CallID, dialog.HostOf(now.Flow.Remote).String()}
	if a.callID == b.callID || a.host == b.host {
		return "", false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.swaps[id]
	if !ok || at.Sub(s.since) > cloneWindow || s.from != b || s.to != a {
		t.swaps[id] = swap{from: a, to: b, since: at}
		return "", false
	}
	s.from, s.to = a, b
	s.back++
	t.swaps[id] = s
	return a.host, s.back == 2 // A B, B A, A B; told once
}
