package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stream reads server-sent events from a real connection.
func (d *desk) stream(ctx context.Context, lastID string) func() (name string, id uint64, data map[string]any) {
	d.t.Helper()
	srv := httptest.NewServer(d.api.Handler())
	d.t.Cleanup(srv.Close)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/api/v1/events", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = res.Body.Close() })
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		d.t.Errorf("content type %s", ct)
	}
	lines := bufio.NewScanner(res.Body)
	return func() (name string, id uint64, data map[string]any) {
		d.t.Helper()
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case key == "event":
				name = value
			case key == "id":
				id, _ = strconv.ParseUint(value, 10, 64)
			case key == "data":
				if err := json.Unmarshal([]byte(value), &data); err != nil {
					d.t.Fatal(err)
				}
			case lines.Text() == "" && name != "":
				return name, id, data
			}
		}
		d.t.Fatal("the stream ended: ", lines.Err())
		return
	}
}

// Events come in order with increasing ids, without the internal ones; a reader
// that was away goes on after the last it saw, and one that gives an id that we
// do not know is told to begin anew.
func TestEvents(t *testing.T) {
	d := newDesk(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	next := d.stream(ctx, "")
	d.live.Publish("one", "HD0001", "100", map[string]any{"x": 1})
	d.live.LegUp("HD0001", "c")
	d.live.LegDown("HD0001", "c") // publishes what only resync needs
	d.live.Publish("two", "", "", nil)
	name, first, data := next()
	if name != "one" || data["device"] != "HD0001" || data["user"] != "100" || data["x"] != 1.0 || data["time"] == nil {
		t.Errorf("%s %v", name, data)
	}
	name, second, _ := next()
	if name != "two" || second <= first {
		t.Errorf("%s, id %d after %d", name, second, first)
	}
	d.live.Publish("three", "", "", nil)
	again := d.stream(ctx, fmt.Sprint(first))
	for _, want := range []string{"two", "three"} {
		if name, _, _ := again(); name != want {
			t.Errorf("%s, want %s", name, want)
		}
	}
	for _, unknown := range []string{"0", "1", "nonsense", "18446744073709551615", fmt.Sprint(second + 1000)} {
		reset := d.stream(ctx, unknown)
		name, id, _ := reset()
		if name != "reset" || id <= second {
			t.Errorf("Last-Event-ID %s: %s, id %d", unknown, name, id)
		}
	}
}
