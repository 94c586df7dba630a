package paced

import (
	"log/slog"
	"sync"
	"time"
)

// every is how often a failure that goes on is told.
const every = time.Minute

// Failure is one thing that may fail again and again. The zero value is ready. All
// methods may be called from any goroutine.
type Failure struct {
	mu    sync.Mutex
	told  time.Time // zero: it works
	times int       // since it was told
}

// Failed counts a failure and, when it is the first or a minute has passed, logs it
// with how often it was since.
func (f *Failure) Failed(log *slog.Logger, text string, err error, args ...any) {
	f.mu.Lock()
	f.times++
	now := time.Now()
	if !f.told.IsZero() && now.Sub(f.told) < every {
		f.mu.Unlock()
		return
	}
	times := f.times
	f.told, f.times = now, 0
	f.mu.Unlock()
	log.Error(text, append([]any{"err", err, "times", times}, args...)...)
}

// Worked logs the end of the failure, once.
func (f *Failure) Worked(log *slog.Logger, text string, args ...any) {
	f.mu.Lock()
	failing := !f.told.IsZero()
	f.told, f.times = time.Time{}, 0
	f.mu.Unlock()
	if failing {
		log.Info(text, args...)
	}
}
