package paced

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A failure of every second is told at once and then once a minute with its count;
// its end is told once, and the next failure at once again.
func TestField_TlFailuresArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		var f Failure
		f.Worked(log, "never failed")
		for range 150 {
			f.Failed(log, "not saved", errors.New("no space left on device"), "file", "x")
			time.Sleep(time.Second) // of the bubble's clock
		}
		f.Worked(log, "saved again")
		f.Worked(log, "saved again")
		f.Failed(log, "not saved", errors.New("input/output error"))
		want := []string{
			`level=ERROR msg="not saved" err="no space left on device" times=1 file=x`,
			`level=ERROR msg="not saved" err="no space left on device" times=60 file=x`,
			`level=ERROR msg="not saved" err="no space left on device" times=60 file=x`,
			`level=INFO msg="saved again"`,
			`level=ERROR msg="not saved" err="input/output error" times=1`,
		}
		if got := strings.TrimSpace(out.String()); got != strings.Join(want, "\n") {
			t.Errorf("told\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	})
}
