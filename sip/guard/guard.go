package guard

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// maxDatagram is the largest SIP message that is looked at.
const maxDatagram = 16 << 10

// PacketConn wraps a listening socket so that a passing error of it does not end
// the listener: sipgo stops for good at the first one (ENOBUFS, an ICMP error of
// a phone that went away). Oversized datagrams are dropped. reading is called
// once, when the socket is read for the first time: only from then on does sipgo
// know it, and send from it instead of failing to open it again.
func PacketConn(c net.PacketConn, log *slog.Logger, reading func()) net.PacketConn {
	return &packetConn{PacketConn: c, log: log, reading: reading}
}

type packetConn struct {
	net.PacketConn
	log     *slog.Logger
	once    sync.Once
	reading func()
}

// ReadFrom returns the next datagram; an error only when the socket is closed.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.once.Do(c.reading)
	pause := time.Millisecond
	for {
		n, addr, err := c.PacketConn.ReadFrom(b)
		switch {
		case err == nil && n <= maxDatagram:
			return n, addr, nil
		case err == nil:
			continue
		case errors.Is(err, net.ErrClosed):
			return 0, nil, err
		}
		c.log.Warn("SIP socket error; listening goes on", "err", err)
		timer := time.NewTimer(pause)
		<-timer.C
		pause = min(2*pause, time.Second)
	}
}

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
