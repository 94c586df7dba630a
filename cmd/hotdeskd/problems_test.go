package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
	"hotdeskd/internal/certs"
)

// problem tells whether a device's problems have one with these words.
func problem(d admin.Device, words string) bool {
	return strings.Contains(strings.Join(d.Problems, "\n"), words)
}

// What keeps a device from being used is told with the way out: a phone that was
// reset, an emergency hold, a lock after wrong PINs.
func TestProblemsAreTold(t *testing.T) {
	t.Parallel()
	peer := startTrunk(t)
	s := startServer(t)
	s.apply(office(peer.addr))
	p := s.phone(0, nil)
	s.must("registration", p.Registered(s.context()))
	if d := s.device("HD0001"); len(d.Problems) != 0 {
		t.Fatalf("problems of a phone that is well: %q", d.Problems)
	}
	if _, status := s.fetch(s.enrolment() + phoneMAC(0) + ".cfg"); status != 401 {
		t.Fatalf("a phone that was reset got %d", status)
	}
	if d := s.device("HD0001"); problem(d, "re-claim") {
		t.Errorf("told at once, though every phone asks once without its password: %q", d.Problems)
	}
	s.clock.move(11 * time.Second)
	if d := s.device("HD0001"); !problem(d, "hotdeskd device approve HD0001") {
		t.Errorf("a phone that was reset: %q", d.Problems)
	}
	s.mustFetch(s.device("HD0001").ProvisioningURL + phoneMAC(0) + ".cfg")
	s.awaitDevice("HD0001", "well again, as it was served", func(d admin.Device) bool { return !problem(d, "re-claim") })

	c := s.dial(p, "112")
	s.must("hang up", c.HangUp(s.context()))
	s.awaitDevice("HD0001", "emergency hold, the call over", func(d admin.Device) bool { return !d.InCall && problem(d, "emergency hold until") })
	err := s.api.Post(s.context(), "/devices/HD0001/block", nil, nil)
	var refused *admin.Problem
	if !errors.As(err, &refused) || refused.Code != "emergency_hold" || !strings.Contains(refused.Detail, "until") {
		t.Errorf("block in the hold: %v", err)
	}

	for n := range 10 {
		ext := []hotdesk.Extension{"100", "101"}[n%2]
		if _, err := s.app.desk.Login(s.context(), hotdesk.LoginRequest{Device: "HD0002", User: ext, PIN: "9999", By: hotdesk.ByIVR}); !errors.Is(err, hotdesk.ErrNoMatch) {
			t.Fatal(err)
		}
	}
	if d := s.device("HD0002"); !problem(d, "locked: too many wrong PINs") {
		t.Errorf("a locked phone: %q", d.Problems)
	}
}

// A simulated phone that is not let in says so and ends with an error, instead of
// trying for ever.
func TestSimPhoneGivesUp(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	url := s.enrolment()
	run := func(args ...string) (string, error) {
		root := newRoot()
		out := &logBuffer{}
		root.SetOut(out)
		root.SetArgs(append([]string{"sim", "phone", "--provision", url, "--model", "yealink-t46u", "--stay", "1ms"}, args...))
		err := root.ExecuteContext(s.context())
		return out.String(), err
	}
	if out, err := run("--mac", phoneMAC(0)); err != nil || !strings.Contains(out, "registered") {
		t.Fatalf("the first time: %v\n%s", err, out)
	}
	if out, err := run("--mac", phoneMAC(0), "--wait", "300ms"); err == nil || !strings.Contains(err.Error(), "release") {
		t.Errorf("started again without its password: %v\n%s", err, out)
	}
	if _, err := run("--mac", "nonsense"); !errors.Is(err, errUsage) {
		t.Errorf("a MAC that is none: %v", err)
	}
}

// SIGHUP takes over the log level of the file and the certificates; a broken file
// changes nothing.
func TestReloadOnHangup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "tls")
	giveCertificates(t, filepath.Dir(dir))
	pair, err := certs.Open(dir, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	level, log := &slog.LevelVar{}, &logBuffer{}
	defer reloadOnHangup(file, level, pair, slog.New(slog.NewTextHandler(log, nil)))()
	until := func(what string, holds func() bool) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		look := time.NewTicker(5 * time.Millisecond)
		defer look.Stop()
		for !holds() {
			select {
			case <-look.C:
			case <-ctx.Done():
				t.Fatalf("after SIGHUP: no %s; log:\n%s", what, log.String())
			}
		}
	}
	write("log: {level: error}\n")
	until("new level", func() bool { return level.Level() == slog.LevelError })
	write("log: {level: loud}\n")
	until("word of the broken file", func() bool { return strings.Contains(log.String(), "not reloaded") })
	if level.Level() != slog.LevelError {
		t.Errorf("a broken file set the level to %v", level.Level())
	}
	write("log: {level: error}\n")
	if err := os.WriteFile(filepath.Join(dir, "rsa.crt"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	until("word of the broken certificate", func() bool {
		return strings.Contains(log.String(), "certificates not reloaded") && strings.Contains(log.String(), "rsa.crt")
	})
}
