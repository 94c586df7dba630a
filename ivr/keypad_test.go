package ivr

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
)

// The rules have the shape that the conversation asks for.
var _ Desk = (*hotdesk.Service)(nil)

func taken(k *keypad) string {
	var b strings.Builder
	for {
		key, ok := k.take()
		if !ok {
			return b.String()
		}
		b.WriteByte(key)
	}
}

// The way that first brings a key owns the call; a more trusted one takes over,
// and its report of the key that was heard last by the other is no second press.
func TestKeypadOwner(t *testing.T) {
	type press struct {
		key   byte
		from  origin
		after time.Duration
	}
	for _, test := range []struct {
		name, want string
		presses    []press
	}{
		{"events only", "45", []press{{'4', fromRTP, 0}, {'5', fromRTP, 0}}},
		{"INFO only, the same key twice", "44", []press{{'4', fromINFO, 0}, {'4', fromINFO, 0}}},
		{"INFO after events is ignored, however late", "4", []press{{'4', fromRTP, 0}, {'5', fromINFO, time.Hour}}},
		{"an event repeats the INFO", "4", []press{{'4', fromINFO, 0}, {'4', fromRTP, 100 * time.Millisecond}}},
		{"and only once", "44", []press{{'4', fromINFO, 0}, {'4', fromRTP, 0}, {'4', fromRTP, 0}}},
		{"an event long after the INFO is a press", "44", []press{{'4', fromINFO, 0}, {'4', fromRTP, samePress}}},
		{"an event of another key is a press", "45", []press{{'4', fromINFO, 0}, {'5', fromRTP, 0}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newKeypad()
			for _, p := range test.presses {
				time.Sleep(p.after)
				k.press(p.key, p.from)
			}
			if got := taken(k); got != test.want {
				t.Errorf("%s: got %q, want %q", test.name, got, test.want)
			}
		})
	}
}

// Keys come out in order and leave nothing behind; more than fit are dropped.
func TestKeypadKeepsNothing(t *testing.T) {
	k := newKeypad()
	many := strings.Repeat("0123456789", 10)
	for range 3 {
		for _, key := range []byte(many) {
			k.press(key, fromRTP)
		}
		if got := taken(k); got != many[:maxKeys] {
			t.Errorf("got %q, want the first %d keys", got, maxKeys)
		}
	}
	k.press('1', fromRTP)
	k.take()
	if k.keys != [maxKeys]byte{} {
		t.Error("a key stays in memory after it was taken")
	}
	k.press('2', fromRTP)
	k.clear()
	if _, ok := k.take(); ok || k.keys != [maxKeys]byte{} || k.last != 0 {
		t.Error("keys stay in memory after they were cleared")
	}
}
