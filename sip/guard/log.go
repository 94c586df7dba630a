package guard

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Logger makes the library's log fit to be kept: its messages about single
// packets come at most ten a second, and their raw data, which holds
// credentials, never does.
func Logger(log *slog.Logger) *slog.Logger {
	return slog.New(&handler{Handler: log.Handler(), budget: &budget{}})
}

type handler struct {
	slog.Handler
	budget *budget
}

// Handle drops what is over the budget and keeps only harmless attributes. The
// library reports every unreadable packet as an error; to an administrator it
// is background noise, so it is written at debug level.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn || !h.Handler.Enabled(ctx, slog.LevelDebug) || !h.budget.take(r.Time) {
		return nil
	}
	kept := slog.NewRecord(r.Time, slog.LevelDebug, "sip library: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "error", "network", "addr", "laddr", "raddr", "status":
			kept.AddAttrs(a)
		}
		return true
	})
	return h.Handler.Handle(ctx, kept)
}

// Enabled lets warnings and errors come as far as Handle.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h *handler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *handler) WithGroup(string) slog.Handler      { return h }

// budget lets ten records through a second.
type budget struct {
	mu     sync.Mutex
	second int64
	taken  int
}

func (b *budget) take(t time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := t.Unix(); s != b.second {
		b.second, b.taken = s, 0
	}
	b.taken++
	return b.taken <= 10
}
