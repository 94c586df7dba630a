package admin

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// What is sent to apply or an import is refused with its line and the limit before it
// is parsed, in a second and 64 MB, and nothing is changed.
func TestField_TeHostileUploads(t *testing.T) {
	d := newDesk(t)
	d.office()
	for name, c := range map[string]struct{ path, text, want string }{
		"nested lists":    {"/apply", "users: " + strings.Repeat("[", 20_000), "line 1: nested deeper than 32 levels"},
		"nested mappings": {"/apply", "users:\n  " + strings.Repeat("{a: ", 5_000), "line 2: nested deeper than 32 levels"},
		"a long text":     {"/apply", "users:\n  - name: " + strings.Repeat("x", 100_000), "line 2: a text of more than 65536 bytes"},
		"many keys":       {"/apply", "parameters:\n  - values:\n" + strings.Repeat("      a: 1\n", 20_000), "line 1003: a mapping with more than 1000 keys"},
		"wide header":     {"/users/import", strings.Repeat("a;", 200_000) + "\n", "line 1: more than 200 columns"},
		"wide row":        {"/devices/import", "mac,model\n" + strings.Repeat(",", 200_000), "line 2: more than 200 columns"},
	} {
		users := len(d.Users())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		w := d.ask("POST", c.path, c.text)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		if w.Code != 422 || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %.300s, want %s", name, w.Code, w.Body, c.want)
		}
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb >= 64 || took > time.Second {
			t.Errorf("%s: %d MB and %v", name, mb, took)
		}
		if n := len(d.Users()); n != users {
			t.Errorf("%s: %d users", name, n)
		}
	}
}
