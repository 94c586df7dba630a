package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
)

// The demo tells every step with an id, and afterwards the calls are exactly
// those that it told.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	c, err := demoConfig(defaultConfig(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out, done := &logBuffer{}, make(chan error, 1)
	go func() { done <- runDemo(ctx, c, out, "", slog.New(slog.DiscardHandler)) }()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(out.String(), "[done]"); <-look.C {
		select {
		case err := <-done:
			t.Fatalf("the demo ended with %v after\n%s", err, out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the demo did not come to its end:\n%s", out.String())
		}
	}
	if n := strings.Count(out.String(), "[event "); n < 20 {
		t.Errorf("only %d lines carry an event's id:\n%s", n, out.String())
	}
	api := admin.Local(filepath.Join(dir, socketFile))
	var got []string
	for deadline := time.Now().Add(patience); len(got) < 7 && time.Now().Before(deadline); <-look.C {
		calls, err := admin.List[hotdesk.Call](ctx, api, "/calls")
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, c := range calls {
			if c.Ended == nil {
				continue
			}
			got = append(got, fmt.Sprintf("%s %s %s", c.FromDevice, c.To, c.Result))
		}
	}
	slices.Reverse(got)
	want := []string{
		"HD0001 0612345678 refused", "HD0001 112 answered", "HD0001 *77*100* answered", "HD0002 *77*101* answered",
		"HD0001 101 answered", "HD0003 *77*100* answered", "HD0003 *77*5* answered",
	}
	if !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the demo ended with %v", err)
	}
	if _, err := demoConfig(defaultConfig(), dir); err == nil {
		t.Error("the demo would run in a data directory that is in use")
	}
}

// A demo in which a step does not happen ends with an error that names the step,
// which is exit status 1. Here the attendant has no audio port.
func TestDemoFails(t *testing.T) {
	t.Parallel()
	c, err := demoConfig(defaultConfig(), filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.LocalAddr().(*net.UDPAddr).Port &^ 1 // the even one of the pair
	c.RTP.Ports = fmt.Sprintf("%d-%d", port, port+1)
	out := &logBuffer{}
	err = runDemo(context.Background(), c, out, "", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), `step "refused"`) {
		t.Errorf("the demo ended with %v after\n%s", err, out.String())
	}
	if strings.Contains(out.String(), "[done]") {
		t.Error("it says that it is done")
	}
}
