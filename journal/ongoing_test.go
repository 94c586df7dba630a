package journal

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"hotdeskd/hotdesk"
)

// up is the i-th call of the tests while it is up.
func up(i int) hotdesk.Call {
	c := call(i)
	c.Ended, c.Result = nil, ""
	return c
}

// told lists the calls as they are shown, newest first.
func told(t testing.TB, j *Journal, f CallFilter) string {
	t.Helper()
	found, err := j.Calls(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range found {
		out = append(out, fmt.Sprintf("%s:%s:%v", c.ID, c.Result, c.Ended != nil))
	}
	return strings.Join(out, " ")
}

// A call that is up is in the file: after a kill it stands there without an end as
// interrupted, after its end once with it, also when the end came in another month,
// and pages and filters count it once.
func TestField_ThCallRecordsSurviveAKill(t *testing.T) {
	dir, at := t.TempDir(), november()
	j := mustOpen(t, dir, Options{Now: at.now})
	flush := func() {
		t.Helper()
		if err := j.calls.flush(); err != nil {
			t.Fatal(err)
		}
	}
	j.RecordCall(call(0))
	j.RecordCall(up(1)) // an emergency call is written down at its start
	j.RecordCall(up(2))
	j.RecordCall(up(1)) // and when it is answered
	j.RecordCall(up(3))
	flush()
	at.set(time.December, 1)
	j.RecordCall(call(1)) // its end, in the next month
	j.RecordCall(call(4))
	check := func(when, want string) {
		t.Helper()
		for limit := 1; limit <= 6; limit++ {
			all := strings.Fields(want)
			if got := told(t, j, CallFilter{Limit: limit}); got != strings.Join(all[:min(limit, len(all))], " ") {
				t.Errorf("%s, %d at most: %s, want of %s", when, limit, got, want)
			}
		}
		if got := told(t, j, CallFilter{Device: "HD0001"}); got != "1:answered:true 0:answered:true" {
			t.Errorf("%s, of one device: %s", when, got)
		}
	}
	check("while they are up", "4:answered:true 1:answered:true 3:ongoing:false 2:ongoing:false 0:answered:true")
	flush()
	check("written", "4:answered:true 1:answered:true 3:ongoing:false 2:ongoing:false 0:answered:true")
	old := j // no Close: the process is gone
	j = mustOpen(t, dir, Options{Now: at.now})
	check("after the kill", "4:answered:true 1:answered:true 3:interrupted:false 2:interrupted:false 0:answered:true")
	j.RecordCall(up(5))
	j.RecordCall(call(5))
	check("later", "5:answered:true 4:answered:true 1:answered:true 3:interrupted:false 2:interrupted:false 0:answered:true")
	flush()
	if err := os.Remove(j.calls.files.path("202611")); err != nil { // retention
		t.Fatal(err)
	}
	_ = old.Close()
	j = mustOpen(t, dir, Options{Now: at.now})
	if got := told(t, j, CallFilter{}); got != "5:answered:true 4:answered:true 1:answered:true" {
		t.Errorf("without the older month: %s", got)
	}
}

// What memory does not hold is shown once as well: a call's two lines may lie on both
// sides of the boundary.
func TestField_ThOneRowBeyondMemory(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{})
	const n = 2 * callsKept
	var want []string
	for i := range n {
		j.RecordCall(up(i))
		if i >= 100 {
			j.RecordCall(call(i - 100))
		}
		if i%1000 == 0 {
			if err := j.calls.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := n - 1; i >= n-100; i-- {
		want = append(want, fmt.Sprintf("%d:answered:true %d:ongoing:false", i-100, i))
	}
	for i := n - 201; i >= 0; i-- {
		want = append(want, fmt.Sprintf("%d:answered:true", i))
	}
	if got := told(t, j, CallFilter{Limit: 2 * n}); got != strings.Join(want, " ") {
		t.Errorf("%d rows, want %d", len(strings.Fields(got)), n)
	}
}

// Records of calls that are up leave room for those of calls that have ended.
func TestField_ThOngoingCallsTakeHalfTheQueue(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{})
	for i := range callsQueued {
		j.RecordCall(up(i))
	}
	for i := range callsQueued / 2 {
		j.RecordCall(call(callsQueued/2 + i))
	}
	found, err := j.Calls(CallFilter{Limit: 2 * callsQueued})
	ended := 0
	for _, c := range found {
		if c.Ended != nil {
			ended++
		}
	}
	if err != nil || ended != callsQueued/2 || j.calls.dropped != 0 {
		t.Errorf("%d ended calls of %d, %d dropped, %v", ended, callsQueued/2, j.calls.dropped, err)
	}
}
