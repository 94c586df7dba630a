package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"hotdeskd/hotdesk"
)

// events is the stream of what happens, as server-sent events. A reader that
// was away gives the last id it saw. It ends when the reader's rights do.
func (s *Server) events(c *gin.Context) {
	if err := look().check(who(c.Request.Context())); err != nil {
		s.refuse(c, err)
		return
	}
	if _, err := readQuery(c.Request.URL.RawQuery, nil); err != nil {
		s.refuse(c, err) // a filter that does not exist would show everything
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
	out := s.openStream(c, "hotdeskd events")
	if out == nil {
		return
	}
	defer out.close()
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
	alive, check := time.NewTicker(heartbeat), time.NewTicker(s.recheck)
	defer alive.Stop()
	defer check.Stop()
	for {
		text := ": alive\n\n"
		select {
		case ev, ok := <-queue:
			if !ok {
				return
			}
			text = s.eventText(ctx, ev)
		case <-check.C:
			if !s.still(c.Request) {
				return
			}
			text = ""
		case <-alive.C:
		}
		if text != "" && out.send(text) != nil {
			return
		}
	}
}

// eventText is one event as it is sent, without what lies beyond the reader's
// sight; empty when all of it does.
func (s *Server) eventText(ctx context.Context, ev hotdesk.Event) string {
	if ev.Name == hotdesk.EventFree || ev.Name != "reset" && !s.seesEvent(ctx, ev) {
		return ""
	}
	data := map[string]any{"time": ev.Time, "device": string(ev.Device), "user": string(ev.User)}
	for k, v := range ev.Data {
		if v = s.within(ctx, k, v); v != nil {
			data[k] = v
		}
	}
	text, err := json.Marshal(data)
	if err != nil {
		s.Log.Error("event cannot be written", "event", ev.Name, "err", err)
		return ""
	}
	return fmt.Sprintf("event: %s\nid: %d\ndata: %s\n\n", ev.Name, ev.ID, text)
}

// deviceID finds devices in the facts of an event: "moved" is "HD0002 HD0003".
var deviceID = regexp.MustCompile(`\bHD\d{4,}\b`)

// within is one fact of an event without the sites and devices that who asks may
// not see; nil when nothing is left. What happens here may touch a phone elsewhere:
// a login moves somebody, a call goes there.
func (s *Server) within(ctx context.Context, key string, fact any) any {
	text, ok := fact.(string)
	if !ok || who(ctx).Site == "" {
		return fact
	}
	if key == "site" && !who(ctx).Sees(text) {
		return nil
	}
	if !deviceID.MatchString(text) {
		return fact
	}
	seen := slices.DeleteFunc(strings.Fields(text), func(word string) bool {
		return slices.ContainsFunc(deviceID.FindAllString(word, -1), func(id string) bool { return !s.sees(ctx, hotdesk.DeviceID(id)) })
	})
	if len(seen) == 0 {
		return nil
	}
	return strings.Join(seen, " ")
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
