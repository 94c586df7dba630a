package trunk

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// The registration whose answer is the first word of a PBX after a silence counts as
// made since its return, on a clock that never stands still.
func TestFirstWordAfterASilence(t *testing.T) {
	now := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	r := New(Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: func() time.Time {
		now = now.Add(time.Nanosecond)
		return now
	}})
	p := &peer{pbx: hotdesk.PBX{Name: "main"}, misses: pingMisses}
	a := &account{id: accountID{pbx: "main", user: "100"}, wanted: true}
	r.accounts[a.id] = a
	r.take(p, a, 60, outcome{status: 200, ours: 60})
	if !p.confirmed(a) {
		t.Errorf("registered at %s is told as not registered since %s", a.said, p.back)
	}
}
