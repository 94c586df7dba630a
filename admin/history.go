package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"hotdeskd/hotdesk"
)

// keptHistory is how many rows a list shows when no limit is given.
const keptHistory = 500

func (s *Server) history() {
	route(s, http.MethodGet, "/sessions", "Who sits where, and who sat there", 200, s.sessions)
	route(s, http.MethodGet, "/calls", "Call records, newest first", 200, func(_ context.Context, in *struct {
		User   string `query:"user"`
		Device string `query:"device"`
		Limit  int    `query:"limit" minimum:"0" maximum:"10000"`
	}) (*body[list[hotdesk.Call]], error) {
		device := hotdesk.DeviceID(in.Device)
		if in.Device != "" {
			p, err := s.Desk.FindDevice(in.Device)
			if err != nil {
				return nil, err
			}
			device = p.Device.ID
		}
		calls, err := s.Journal.Calls(hotdesk.Extension(in.User), device, limit(in.Limit))
		if err != nil {
			return nil, err
		}
		return listOf(calls), nil
	})
	route(s, http.MethodGet, "/audit", "The audit log, newest first", 200, func(_ context.Context, in *struct {
		Limit int `query:"limit" minimum:"0" maximum:"10000"`
	}) (*body[list[hotdesk.AuditRow]], error) {
		rows, err := s.Journal.Audit(limit(in.Limit))
		if err != nil {
			return nil, err
		}
		return listOf(rows), nil
	})
	route(s, http.MethodGet, "/audit/verify", "Check the chain of the audit log", 200, func(context.Context, *none) (*body[Verified], error) {
		rows, err := s.Journal.Verify()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", hotdesk.ErrConflict, err)
		}
		return &body[Verified]{Verified{rows}}, nil
	})
}

// Verified says how many rows of the audit log were checked and found whole.
type Verified struct {
	Rows int `json:"rows"`
}

func limit(n int) int {
	if n == 0 {
		return keptHistory
	}
	return n
}

// sessions lists those that last and, from the audit log, those that ended.
func (s *Server) sessions(_ context.Context, in *struct {
	Limit int `query:"limit" minimum:"0" maximum:"10000"`
}) (*body[list[hotdesk.Session]], error) {
	rows, err := s.Journal.Audit(10000)
	if err != nil {
		return nil, err
	}
	all := s.Desk.Sessions()
	for _, row := range rows {
		if row.Action != "session.ended" {
			continue
		}
		since, err := time.Parse(time.RFC3339Nano, row.Detail["since"])
		if err != nil {
			continue // a row of a later version
		}
		until := row.Time
		all = append(all, hotdesk.Session{
			ID: row.Detail["session"], Device: row.Device, User: row.User, Since: since,
			By: hotdesk.Actor(row.Detail["began_by"]), Until: &until,
		})
	}
	slices.SortStableFunc(all, func(a, b hotdesk.Session) int { return b.Since.Compare(a.Since) })
	return listOf(all[:min(len(all), limit(in.Limit))]), nil
}

// events is the stream of what happens, as server-sent events. A reader that
// was away gives the last id it saw.
func (s *Server) events(c *gin.Context) {
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
	for ev := range s.Live.Events(c.Request.Context(), after) {
		if ev.Name == hotdesk.EventFree {
			continue
		}
		data := map[string]any{"time": ev.Time, "device": string(ev.Device), "user": string(ev.User)}
		for k, v := range ev.Data {
			data[k] = v
		}
		text, err := json.Marshal(data)
		if err != nil {
			s.Log.Error("event cannot be written", "event", ev.Name, "err", err)
			continue
		}
		if _, err := fmt.Fprintf(c.Writer, "event: %s\nid: %d\ndata: %s\n\n", ev.Name, ev.ID, text); err != nil {
			return
		}
		c.Writer.Flush()
	}
}
