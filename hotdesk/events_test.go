package hotdesk_test

import (
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// A listener that is as far behind as events are kept gets all of them, once and
// in order; one that is further behind is told to begin anew with the newest.
func TestEventsBehind(t *testing.T) {
	const kept = hotdesk.KeptEvents
	live := hotdesk.NewLive(func() time.Time { return time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC) })
	first := live.LastEvent() + 1
	for _, published := range []uint64{1, kept - 1, kept, kept + 1, 3*kept + 7} {
		for live.LastEvent()+1 < first+published {
			live.Publish("n", "", "", nil)
		}
		last := live.LastEvent()
		want := last + 1 - min(published, kept)
		for ev := range live.Events(t.Context(), want-1) {
			if ev.Name != "n" || ev.ID != want {
				t.Fatalf("%d events, from the oldest kept on: %s %d, want id %d", published, ev.Name, ev.ID, want)
			}
			if want++; ev.ID == last {
				break
			}
		}
		if published <= kept {
			continue
		}
		for ev := range live.Events(t.Context(), last-kept-1) {
			if ev.Name != "reset" || ev.ID != last {
				t.Errorf("%d events, from before the oldest kept on: %s %d, want reset %d", published, ev.Name, ev.ID, last)
			}
			break
		}
	}
}

// What telling one event costs when nobody listens.
func BenchmarkPublish(b *testing.B) {
	live := hotdesk.NewLive(time.Now)
	b.ReportAllocs()
	for b.Loop() {
		live.Publish("device.registered", "HD0001", "", map[string]any{"contact": "sip:HD0001@192.0.2.1", "source": "192.0.2.1:5060"})
	}
}
