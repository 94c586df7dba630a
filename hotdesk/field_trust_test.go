package hotdesk

import (
	"fmt"
	"testing"
	"time"
)

// Whoever guesses a user's PIN from any number of phones gets at most a hundred
// comparisons in any day, however long it goes on (trust T-o): the user's own lock grows.
func TestField_ToAHundredGuessesADay(t *testing.T) {
	var record Throttle
	start := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	var compared []time.Time
	for now := start; now.Before(start.Add(10 * 24 * time.Hour)); now = now.Add(10 * time.Second) {
		if record.locked(now) {
			continue
		}
		record, _ = userRule.charge(record, now)
		compared = append(compared, now)
	}
	for i := range compared {
		if i >= 100 && compared[i].Sub(compared[i-100]) < 24*time.Hour {
			t.Fatalf("101 guesses between %v and %v", compared[i-100], compared[i])
		}
	}
	if len(compared) < 100 {
		t.Errorf("only %d guesses in ten days: somebody who mistypes is locked out for good", len(compared))
	}
}

// Somebody who invents MACs in one network pushes out what that network has brought
// before, and nobody else's phones (trust T-k); of IPv6 a /64 is one sender.
func TestField_TkThePendingListIsShared(t *testing.T) {
	for name, source := range map[string]func(n int) string{
		"forty addresses of one network": func(n int) string { return fmt.Sprintf("203.0.113.%d:1", n%40+1) },
		"one IPv6 network":               func(n int) string { return fmt.Sprintf("[2001:db8::%x]:1", n+1) },
	} {
		t.Run(name, func(t *testing.T) {
			at := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
			live := NewLive(func() time.Time { return at })
			honest := MAC{0x80, 0x5e, 0xc0, 0, 0, 1}
			if !live.SeePending(Pending{MAC: honest, Source: "198.51.100.7:1", Seen: at}) {
				t.Fatal("an honest phone is not listed")
			}
			for n := range 2400 {
				at = at.Add(2 * time.Second) // within what one address may bring
				live.SeePending(Pending{MAC: MAC{0, 1, 2, 3, byte(n >> 8), byte(n)}, Source: source(n), Seen: at})
			}
			if _, ok := live.PendingPhone(honest); !ok {
				t.Error("the honest phone, which came first, was pushed out")
			}
			if n := len(live.Pending()); n > maxPending {
				t.Errorf("%d phones wait", n)
			}
		})
	}
}
