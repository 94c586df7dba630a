package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hotdeskd/internal/simphone"
)

// block is one fenced block of the tutorial.
type block struct {
	kind  string
	lines []string
}

func readTutorial(t *testing.T) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile("../../docs/tutorials/first-desk.md")
	if err != nil {
		t.Fatal(err)
	}
	var open *block
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch kind, fence := strings.CutPrefix(line, "```"); {
		case fence && open == nil:
			open = &block{kind: kind}
		case fence:
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.lines = append(open.lines, line)
		}
	}
	return blocks
}

// varying is what differs from run to run, and what it is called.
var varying = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`/p/[a-z0-9]{20,}/`), "/p/TOKEN/"},
	{regexp.MustCompile(`/setup/[a-z0-9]+`), "/setup/CODE"},
	{regexp.MustCompile(`(https?://)[0-9.]+:\d+`), "${1}HOST"},
	{regexp.MustCompile(`(\[::\]|127\.0\.0\.1):\d+`), "HOST"},
	{regexp.MustCompile(`/\S+/hotdeskd\.sock`), "SOCKET"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`), "UUID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`^\s*\d+\.\d{3}s`), "SINCE"},
	{regexp.MustCompile(`bytes=\d+`), "bytes=N"},
	{regexp.MustCompile(`expires=\d+`), "expires=N"},
	{regexp.MustCompile(`call=\S+`), "call=ID"},
	{regexp.MustCompile(`\d+ things`), "N things"},
	{regexp.MustCompile(`\s+`), " "},
}

func normal(line string) string {
	for _, v := range varying {
		line = v.pattern.ReplaceAllString(line, v.name)
	}
	return strings.TrimSpace(line)
}

// matches tells whether the output is what the page shows; a line … stands for any
// number of lines. With open, more may follow.
func matches(shown []string, output string, open bool) bool {
	var got []string
	for line := range strings.Lines(output) {
		got = append(got, normal(line))
	}
	return matchLines(shown, got, open)
}

func matchLines(shown, got []string, open bool) bool {
	for i, want := range shown {
		if want == "…" {
			for skip := range len(got) + 1 {
				if matchLines(shown[i+1:], got[skip:], open) {
					return true
				}
			}
			return false
		}
		if len(got) == 0 || got[0] != normal(want) {
			return false
		}
		got = got[1:]
	}
	return open || len(got) == 0
}

// terminal is a program that goes on while others are run.
type terminal struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
}

func (p *terminal) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *terminal) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// tutorial runs the page's commands as a reader would.
type tutorial struct {
	t     *testing.T
	dir   string
	url   string // option 66, as this run's server says
	phone *terminal
}

func (r *tutorial) start(args []string) *terminal {
	r.t.Helper()
	p := &terminal{cmd: r.command(context.WithoutCancel(r.t.Context()), args)} // end ends it
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.end(p) })
	return p
}

// end interrupts a program, as ctrl-C does, and waits for it.
func (r *tutorial) end(p *terminal) {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	if err := p.cmd.Wait(); err != nil {
		r.t.Errorf("%v: %v\n%s", p.cmd.Args[1:], err, p.text())
	}
}

func (r *tutorial) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	cmd.Dir = r.dir
	cmd.Env = append(plainEnviron(), asMain+"=1",
		"HOTDESKD_SIP_UDP=127.0.0.1:0", "HOTDESKD_SIP_TCP=127.0.0.1:0", "HOTDESKD_SIP_TLS=127.0.0.1:0",
		"HOTDESKD_PROVISIONING_HTTP=127.0.0.1:0", "HOTDESKD_PROVISIONING_HTTPS=127.0.0.1:0", "HOTDESKD_CONSOLE_LISTEN=127.0.0.1:0")
	return cmd
}

// until waits for lines on a terminal.
func (r *tutorial) until(p *terminal, shown []string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 4*patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !matches(shown, p.text(), true) {
		select {
		case <-ctx.Done():
			r.t.Fatalf("the page shows\n%s\nand this came\n%s", strings.Join(shown, "\n"), p.text())
		case <-tick.C:
		}
	}
}

// run does one command of the page and compares what it prints.
func (r *tutorial) run(line string, shown []string) {
	r.t.Helper()
	args := words(line)
	for i, arg := range args {
		if strings.Contains(arg, "/p/") {
			args[i] = r.url
		}
	}
	if args[0] != "hotdeskd" {
		r.t.Fatalf("not a command of ours: %s", line)
	}
	args = args[1:]
	switch {
	case args[0] == "serve":
		r.until(r.start(args), shown)
	case args[0] == "sim" && shown[len(shown)-1] == "^C":
		p := r.start(args)
		r.until(p, shown[:len(shown)-1])
		r.end(p)
	case args[0] == "sim":
		r.phone = r.start(args)
		r.until(r.phone, shown)
	default:
		r.now(args, line, shown)
	}
}

// now runs a command that ends by itself. What it shows may take a moment to become
// true, such as a row of the audit log, so a wrong picture is looked at again.
func (r *tutorial) now(args []string, line string, shown []string) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		out, err := r.command(r.t.Context(), args).CombinedOutput()
		if found := regexp.MustCompile(`http://[0-9.:]+/p/[a-z0-9]+/`).Find(out); found != nil {
			r.url = string(found)
		}
		if err == nil && matches(shown, string(out), false) {
			return
		}
		listing := strings.HasSuffix(line, " list") || strings.HasSuffix(line, " doctor")
		if !listing || time.Now().After(deadline) {
			r.t.Fatalf("$ %s\n%sthe page shows\n%s\n%v", line, out, strings.Join(shown, "\n"), err)
		}
	}
}

// words splits a command line as a shell does, quotes and all.
func words(line string) (all []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		all = append(all, m[1]+m[2]+m[3])
	}
	return all
}

// The first hour goes as its page says: every command is run, and prints what
// stands there.
func TestTutorial(t *testing.T) {
	t.Parallel()
	pbx, err := simphone.Answer("127.0.0.1", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer pbx.Close()
	r := &tutorial{t: t, dir: t.TempDir()}
	commands := 0
	for _, b := range readTutorial(t) {
		switch b.kind {
		case "yaml":
			text := strings.ReplaceAll(strings.Join(b.lines, "\n"), "192.168.1.10:5060", pbx.Addr())
			if err := os.WriteFile(filepath.Join(r.dir, "office.yaml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		case "console-phone":
			r.until(r.phone, append([]string{"…"}, b.lines...))
		case "console":
			for len(b.lines) > 0 {
				line, isCommand := strings.CutPrefix(b.lines[0], "$ ")
				if !isCommand {
					t.Fatalf("not a command: %s", b.lines[0])
				}
				end := slices.IndexFunc(b.lines[1:], func(l string) bool { return strings.HasPrefix(l, "$ ") })
				if end < 0 {
					end = len(b.lines) - 1
				}
				r.run(line, b.lines[1:end+1])
				b.lines = b.lines[end+1:]
				commands++
			}
		default:
			t.Errorf("a block of kind %q is not checked", b.kind)
		}
	}
	if commands < 10 {
		t.Errorf("only %d commands", commands)
	}
}

// The comparison sees what differs, and not what must differ.
func TestTutorialComparison(t *testing.T) {
	for _, c := range []struct {
		shown, output string
		open, want    bool
	}{
		{"HD0001  805ec0000001  idle", "HD0001   805ec0000001   idle\n", false, true},
		{"HD0001  idle", "HD0001  in-use\n", false, false},
		{"a", "a\nb\n", false, false},
		{"a", "a\nb\n", true, true},
		{"a\nb", "a\n", true, false},
		{"…\nb", "a\nx\nb\n", false, true},
		{"a\n…\nc", "a\nb\n", true, false},
		{"   0.007s  fetched  bytes=1", "  10.123s  fetched  bytes=22\n", false, true},
		{"http://192.0.2.2:8080/p/6ectmrj26vbwt3fhceuvhzh3wu/", "http://127.0.0.1:1/p/aaaaaaaaaaaaaaaaaaaaaaaaaa/\n", false, true},
	} {
		if got := matches(strings.Split(c.shown, "\n"), c.output, c.open); got != c.want {
			t.Errorf("%q and %q: %v", c.shown, c.output, got)
		}
	}
	if got := fmt.Sprint(words(`x --name "Mario Rossi" --dial '*77*'`)); got != "[x --name Mario Rossi --dial *77*]" {
		t.Error(got)
	}
}
