package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"hotdeskd/hotdesk"
)

// heartbeat is how often a quiet stream says that it is alive: proxies close
// what says nothing for a minute.
const heartbeat = 15 * time.Second

// events is the stream of what happens, as server-sent events. A reader that
// was away gives the last id it saw. It ends when the reader's rights do.
func (s *Server) events(c *gin.Context) {
	if err := look().check(who(c.Request.Context())); err != nil {
		s.refuse(c, err)
		return
	}
	after := s.Live.LastEvent()
	if text := c.GetHeader("Last-Event-ID"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 {
			n = 1 // an id we never gave: answered with "reset"
		}
		after = n
	}
	c.Header("Content-Type", "text/event-stream")
	c.Header("Cache-Control", "no-store")
	c.Header("X-Accel-Buffering", "no")
	c.Status(http.StatusOK)
	c.Writer.WriteHeaderNow()
	if _, err := c.Writer.WriteString(": hotdeskd events\n\n"); err != nil {
		return
	}
	c.Writer.Flush()

	ctx, stop := context.WithCancel(c.Request.Context())
	defer stop()
	queue := make(chan hotdesk.Event)
	go func() {
		defer close(queue)
		for ev := range s.Live.Events(ctx, after) {
			select {
			case queue <- ev:
			case <-ctx.Done():
				return
			}
		}
	}()
	alive := time.NewTicker(heartbeat)
	defer alive.Stop()
	for {
		select {
		case ev, ok := <-queue:
			if !ok || s.writeEvent(c, ev) != nil {
				return
			}
		case <-alive.C:
			if !s.still(c.Request) {
				return
			}
			if _, err := c.Writer.WriteString(": alive\n\n"); err != nil {
				return
			}
		}
		c.Writer.Flush()
	}
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

// writeEvent writes one event for those who may see its device's site.
func (s *Server) writeEvent(c *gin.Context, ev hotdesk.Event) error {
	ctx := c.Request.Context()
	if ev.Name == hotdesk.EventFree || ev.Name != "reset" && !s.seesEvent(ctx, ev) {
		return nil
	}
	data := map[string]any{"time": ev.Time, "device": string(ev.Device), "user": string(ev.User)}
	for k, v := range ev.Data {
		data[k] = v
	}
	text, err := json.Marshal(data)
	if err != nil {
		s.Log.Error("event cannot be written", "event", ev.Name, "err", err)
		return nil
	}
	_, err = fmt.Fprintf(c.Writer, "event: %s\nid: %d\ndata: %s\n\n", ev.Name, ev.ID, text)
	return err
}

// seesEvent: an event belongs to its device's site or, before there is a device,
// to the site it names; one of neither is for those who see everything.
func (s *Server) seesEvent(ctx context.Context, ev hotdesk.Event) bool {
	if site, ok := ev.Data["site"].(string); ok && ev.Device == "" {
		return who(ctx).Sees(site)
	}
	return s.sees(ctx, ev.Device)
}

// refuse answers a request that is no huma operation.
func (s *Server) refuse(c *gin.Context, err error) {
	p, ok := s.problem(err).(*Problem)
	if !ok {
		return
	}
	c.Header("Content-Type", "application/problem+json")
	c.JSON(p.Status, p)
}
