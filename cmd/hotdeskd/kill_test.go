package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hotdeskd/admin"
	"hotdeskd/internal/simphone"
)

// rounds is how often a random test is repeated: few by default, as many as
// HOTDESKD_ROUNDS says when somebody wants to be sure.
func rounds(t *testing.T, few int) int {
	t.Helper()
	return asked(t, "HOTDESKD_ROUNDS", few)
}

// asked is a number from the environment, few by default.
func asked(t *testing.T, name string, few int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// process is a server in a process of its own, which can be killed.
type process struct {
	cmd   *exec.Cmd
	ready readyFile
	api   *admin.Client
}

// startProcess runs "hotdeskd serve" from the binary that HOTDESKD_BIN names, or
// else from this test binary.
func startProcess(t *testing.T, dir, sip, http string) *process {
	t.Helper()
	binary, err := os.Executable()
	if named := os.Getenv("HOTDESKD_BIN"); named != "" {
		binary, err = filepath.Abs(named)
	}
	if err != nil {
		t.Fatal(err)
	}
	ready := filepath.Join(dir, "ready.json")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(binary, "serve", "--data-dir", filepath.Join(dir, "data"), "--ready-file", ready)}
	p.cmd.Env = append(plainEnviron(), "HOTDESKD_SIP_UDP="+sip, "HOTDESKD_PROVISIONING_HTTP="+http,
		"HOTDESKD_PROVISIONING_HTTPS=", "HOTDESKD_SIP_TCP=", "HOTDESKD_SIP_TLS=", "HOTDESKD_CONSOLE_LISTEN=", asMain+"=1")
	out := &logBuffer{}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; <-look.C {
		if text, err := os.ReadFile(ready); err == nil {
			if err := json.Unmarshal(text, &p.ready); err != nil {
				t.Fatal(err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server did not start:\n%s", out.String())
		}
	}
	p.api = admin.Local(p.ready.Socket)
	return p
}

// plainEnviron is the environment without what only tests understand.
func plainEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "HOTDESKD_") })
}

// kill is SIGKILL, and waits until the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// A server that is killed just after a login was acknowledged has not lost it,
// and after the restart the phone, which is still where it registered before,
// gets its check-sync and becomes current.
func TestKilledServerLosesNoLogin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ports := freePorts(t, 2)
	sip, http := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])), net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[1]))
	p := startProcess(t, dir, sip, http)
	s := &server{t: t, api: p.api}
	s.apply(office("127.0.0.1:9"))
	steps := &logBuffer{}
	phone := s.phone(0, func(c *simphone.Config) { c.Step = printSteps(steps, false) })
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the phone's steps:\n%s", steps.String())
		}
	})
	s.must("registration", phone.Registered(s.context()))
	s.awaitDevice("HD0001", "current", current)
	s.await("saved location", func() bool { // within a second of the registration
		saved, err := os.ReadFile(filepath.Join(dir, "data", locationFile))
		return err == nil && strings.Contains(string(saved), "HD0001")
	})
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for round := range rounds(t, 3) {
		user := strconv.Itoa(100 + round%2)
		call := s.dial(phone, "*77*"+user+"*")
		s.must("press", call.Press(s.context(), "4071#"))
		s.awaitDevice("HD0001", "in use by "+user, inUseBy(user))
		pause := time.NewTimer(time.Duration(rng.IntN(50_000)) * time.Microsecond)
		<-pause.C
		p.kill()
		p = startProcess(t, dir, sip, http)
		s.api = p.api
		d := s.device("HD0001")
		if !inUseBy(user)(d) {
			t.Fatalf("round %d: the login of %s is lost: %+v", round, user, d)
		}
		// The old call is unknown to the new server; the phone hangs up.
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		var refused *simphone.Refused
		if err := call.HangUp(ctx); err != nil && !errors.As(err, &refused) && ctx.Err() == nil {
			t.Logf("round %d: hang up: %v", round, err)
		}
		cancel()
		s.must("new screen", phone.WaitLabel(s.context(), user+" User "+user))
		s.awaitDevice("HD0001", "current", current)
	}
	rows, err := admin.Get[admin.Verified](s.context(), s.api, "/audit/verify")
	if err != nil || rows.Rows == 0 {
		t.Errorf("audit log after all that: %+v, %v", rows, err)
	}
}
