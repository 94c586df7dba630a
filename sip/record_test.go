package sip

import (
	"testing"

	"hotdeskd/hotdesk"
)

// A call is written down when it is answered and again at its end, under one id and
// in this order, so that a kill in between loses only the end.
func TestField_ThRecordAtAnswer(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, _, _, b := up(o)
		if n := len(o.records()); n != 0 {
			t.Errorf("%d calls have ended", n)
		}
		first := o.newest(t, 1)
		if first.Answered == nil || first.Ended != nil || first.FromDevice != "HD0001" || first.ToDevice != "HD0002" || first.Kind != hotdesk.CallInternal {
			t.Errorf("while it is up: %+v", first)
		}
		b.bye()
		anna.ok("BYE")
		if last := o.newest(t, 2); last.ID != first.ID || last.Ended == nil || last.Result != "answered" || !last.Answered.Equal(*first.Answered) {
			t.Errorf("at the end: %+v after %+v", last, first)
		}
		o.idle()
	})
}

// newest is the newest of exactly n recordings.
func (o *office) newest(t *testing.T, n int) hotdesk.Call {
	t.Helper()
	o.records() // waits until the edge has nothing to do
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.recordings) != n {
		t.Fatalf("%d recordings, want %d: %+v", len(o.recordings), n, o.recordings)
	}
	return o.recordings[n-1]
}

// An emergency call is written down as it begins, before anybody answers.
func TestField_ThEmergencyRecordAtStart(t *testing.T) {
	inOffice(t, func(o *office) {
		anna, trunk := o.phone(1), o.trunk()
		anna.register()
		a := anna.dial("112", "v=0 help", "")
		b := trunk.ring()
		anna.expect("180 INVITE")
		if c := o.newest(t, 1); c.Kind != hotdesk.CallEmergency || c.Answered != nil || c.Ended != nil || c.To != "112" || c.FromDevice != "HD0001" {
			t.Errorf("while it rings: %+v", c)
		}
		b.reply(200, "OK", "v=0")
		trunk.expect("ACK")
		a.answered("")
		if c := o.newest(t, 2); c.Answered == nil || c.Ended != nil {
			t.Errorf("while it is up: %+v", c)
		}
		a.bye()
		trunk.ok("BYE")
		if c := o.newest(t, 3); c.Ended == nil || c.Result != "answered" {
			t.Errorf("at the end: %+v", c)
		}
	})
}
