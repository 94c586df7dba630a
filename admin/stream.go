package admin

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"hotdeskd/hotdesk"
)

const (
	// heartbeat is how often a quiet stream says that it is alive: proxies close
	// what says nothing for a minute.
	heartbeat = 15 * time.Second
	// recheck is how long a stream outlives the right to read it.
	recheck = time.Second
	// patience is how long a reader may not take what is written to it.
	patience = 30 * time.Second
)

// maxStreams may be open in all, and maxStreamsOfOne for one token or person: every
// one holds a connection, and phones and calls need some too.
const (
	maxStreams      = 256
	maxStreamsOfOne = 16
)

// streams counts the open streams.
type streams struct {
	mu  sync.Mutex
	all int
	of  map[hotdesk.Principal]int
}

// enter counts one more, or refuses it with hotdesk.ErrBusy.
func (s *streams) enter(p hotdesk.Principal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.of[p] >= maxStreamsOfOne:
		return fmt.Errorf("%w: %s has %d event streams open, which is all one may have; close one first", hotdesk.ErrBusy, p.Name, s.of[p])
	case s.all >= maxStreams:
		return fmt.Errorf("%w: %d event streams are open, which is all this server has; close one first", hotdesk.ErrBusy, s.all)
	}
	s.all++
	s.of[p]++
	return nil
}

func (s *streams) leave(p hotdesk.Principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[p]--; s.of[p] == 0 {
		delete(s.of, p)
	}
}

// stream is an answer without an end, of server-sent events.
type stream struct {
	c     *gin.Context
	out   steady
	leave func()
}

// openStream begins an answer without an end, with a comment; nil when it was
// refused or nobody takes it. The caller closes it.
func (s *Server) openStream(c *gin.Context, comment string) *stream {
	p := who(c.Request.Context())
	if err := s.streams.enter(p); err != nil {
		s.refuse(c, err)
		return nil
	}
	c.Header("Content-Type", "text/event-stream")
	c.Header("Cache-Control", "no-store")
	c.Header("X-Accel-Buffering", "no")
	c.Status(http.StatusOK)
	clock := clock{http.NewResponseController(c.Writer)}
	st := &stream{c, steady{c.Writer, clock, s.patience}, func() { s.streams.leave(p) }}
	if st.send(": "+comment+"\n\n") != nil {
		st.close()
		return nil
	}
	return st
}

// send writes and flushes. A reader that does not take it is dropped: then the
// context of its request ends.
func (st *stream) send(text string) error {
	if _, err := st.out.Write([]byte(text)); err != nil {
		return err
	}
	st.c.Writer.Flush()
	return st.c.Request.Context().Err()
}

func (st *stream) close() {
	st.out.clock.give(answerTime) // for the end of the answer
	st.leave()
}

// still tells whether who opened a stream may still read it: a token can be
// revoked and a session ended meanwhile. The command socket needs neither.
func (s *Server) still(r *http.Request) bool {
	if who(r.Context()).By == hotdesk.ByAdmin && r.Header.Get("Cookie") == "" {
		return true
	}
	p, err := s.identify(r)
	return err == nil && p == who(r.Context())
}
