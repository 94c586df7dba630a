package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tortureFiles are the messages of RFC 4475 that come with the sipgo module.
func tortureFiles(t *testing.T) []string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/emiago/sipgo").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "sip", "testdata", "torture", "*", "*.dat"))
	if err != nil || len(files) != 50 {
		t.Fatalf("%d messages of RFC 4475, %v; want 50", len(files), err)
	}
	return files
}

// After each of the messages of RFC 4475 the server answers OPTIONS within a
// second; at the end a call that was up and a registration are alive.
func TestTortureMessages(t *testing.T) {
	t.Parallel()
	peer := startTrunk(t)
	s := startServer(t)
	s.apply(office(peer.addr))
	p := s.phone(0, nil)
	s.must("registration", p.Registered(s.context()))
	call := s.dial(p, "112")
	conn, err := net.Dial("udp", s.app.ready.SIP.UDP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, file := range tortureFiles(t) {
		message, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // once more, as a retransmission
			if _, err := conn.Write(message); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		status, err := peer.options(ctx, s.app.ready.SIP.UDP)
		cancel()
		if err != nil || status != 200 {
			t.Fatalf("after %s OPTIONS got %d, %v", filepath.Base(file), status, err)
		}
	}
	if d := s.device("HD0001"); !d.Registered || !d.InCall {
		t.Errorf("at the end: %+v", d)
	}
	s.must("hang up", call.HangUp(s.context()))
	s.await("BYE at the trunk", func() bool { return peer.last("BYE") != nil })
	for _, n := range peer.dialled() {
		if n != "112" {
			t.Errorf("one of the messages called %q", n)
		}
	}
}
