package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
)

// How much a client may send and how long it may take: nobody holds a connection
// or the server's memory by being slow. What streams has limits of its own (stream,
// steady).
const (
	maxForm    = 16 << 10 // bytes of a form of the console
	maxBody    = 1 << 20  // bytes of an operation's body, but for those in bulk
	bodyTime   = 15 * time.Second
	bulkTime   = 2 * time.Minute // for up to maxImport bytes
	answerTime = time.Minute     // to take an answer, from when it is there
)

// limits are the size and the time of the body of an operation.
func limits(path string) (bytes int64, within time.Duration) {
	if path == "/apply" || strings.HasSuffix(path, "/import") {
		return maxImport, bulkTime
	}
	return maxBody, bodyTime
}

// admit lets those in who have the right, before anything of the body is read:
// whoever may not do a thing hears that, and not what is wrong with the request.
func (s *Server) admit(r right) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		c := humagin.Unwrap(hc)
		if err := r.check(who(hc.Context())); err != nil {
			s.refuse(c, err)
			return
		}
		next(huma.WithValue(hc, clockKey{}, clock{http.NewResponseController(c.Writer)}))
	}
}

// clock is the time that a client has to take what is written to it. net/http sets
// it when a request begins; it is set anew when there is an answer, because an import
// may hash PINs for minutes.
type clock struct{ *http.ResponseController }

type clockKey struct{}

// clockOf is the clock of an operation's request.
func clockOf(ctx context.Context) clock {
	c, _ := ctx.Value(clockKey{}).(clock)
	return c
}

// give gives the client so much time from now on. Where there is no connection, as
// in tests, there is no deadline to move, and the error says no more than that.
func (c clock) give(d time.Duration) { _ = c.SetWriteDeadline(time.Now().Add(d)) }

// steady is an answer that may take long in all, but not stand still: a reader that
// does not take one write within the patience is dropped.
type steady struct {
	w        http.ResponseWriter
	clock    clock
	patience time.Duration
}

func (s steady) Write(b []byte) (int, error) {
	s.clock.give(s.patience)
	return s.w.Write(b)
}
