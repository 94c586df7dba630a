package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hotdeskd/internal/phonefile"
)

// baresip is a real phone that nobody here wrote, driven by its control port.
type baresip struct {
	t      *testing.T
	ctrl   net.Conn
	keys   net.Conn // one datagram of one character is one DTMF key
	mu     sync.Mutex
	events []baresipEvent
	stop   func()
}

// baresipEvent is what its ctrl_tcp module tells.
type baresipEvent struct {
	Event bool   `json:"event"`
	Type  string `json:"type"`
	Peer  string `json:"peeruri"`
	Name  string `json:"peerdisplayname"`
	Param string `json:"param"`
}

// needPeer skips the test but under "make test-peers", where a missing peer is a
// failure: real phones and a browser beside all the other tests take the machine
// away from one another.
func needPeer(t *testing.T, program string) {
	t.Helper()
	if os.Getenv("HOTDESKD_PEERS") != "required" {
		t.Skip("\"make test-peers\" runs this")
	}
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is not installed; apt-get install %s", program, program)
	}
}

// freePorts finds UDP and TCP ports that are free together.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	var held []func() error
	for len(ports) < n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l.Close)
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			continue
		}
		held = append(held, u.Close)
		ports = append(ports, port)
	}
	for _, free := range held {
		if err := free(); err != nil {
			t.Fatal(err)
		}
	}
	return ports
}

// startBaresip runs baresip with the account that a phone's file holds. answer
// is its answer mode, manual or auto.
func startBaresip(t *testing.T, f *phonefile.File, answer string) *baresip {
	t.Helper()
	dir := t.TempDir()
	ports := freePorts(t, 3)
	config := fmt.Sprintf(`sip_listen 127.0.0.1:%d
module_path /usr/lib/baresip/modules
module stdio.so
module g711.so
module aufile.so
module aubridge.so
module_tmp uuid.so
module_tmp account.so
module_app auloop.so
module_app menu.so
module_app ctrl_tcp.so
module_app cons.so
module_app debug_cmd.so
audio_source aufile,%s
audio_player aubridge,nil
audio_alert aubridge,nil
ctrl_tcp_listen 127.0.0.1:%d
cons_listen 127.0.0.1:%d
rtp_ports 30000-39999
`, ports[0], filepath.Join(dir, "silence.wav"), ports[1], ports[2])
	get := f.Value
	transport := map[string]string{"1": "tcp", "2": "tls"}[get("account.1.sip_server.1.transport_type")]
	account := fmt.Sprintf("\"%s\" <sip:%s@%s:%s;transport=%s>;auth_user=%s;auth_pass=%s;regint=60;answermode=%s;audio_codecs=pcma,pcmu;ptime=20\n",
		get("account.1.display_name"), get("account.1.user_name"), get("account.1.sip_server.1.address"), get("account.1.sip_server.1.port"), cmp.Or(transport, "udp"),
		get("account.1.auth_name"), get("account.1.password"), answer)
	for name, text := range map[string]string{"config": config, "accounts": account, "contacts": "", "silence.wav": silence()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("baresip", "-f", dir, "-v")
	out := &logBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &baresip{t: t}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	var once sync.Once
	b.stop = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			<-exited
			if b.ctrl != nil {
				_ = b.ctrl.Close()
			}
		})
	}
	t.Cleanup(func() {
		b.stop()
		if t.Failed() && testing.Verbose() {
			t.Logf("baresip:\n%s", out.String())
		}
	})
	b.connect(ports[1], ports[2])
	return b
}

// silence is two minutes of nothing, 8 kHz mono, for the microphone: baresip
// hangs up when its file ends.
func silence() string {
	const samples = 120 * 8000
	le := func(n, v int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(v >> (8 * i))
		}
		return string(b)
	}
	data := strings.Repeat("\x00", 2*samples)
	return "RIFF" + le(4, 36+len(data)) + "WAVEfmt " + le(4, 16) + le(2, 1) + le(2, 1) + le(4, 8000) + le(4, 16000) + le(2, 2) + le(2, 16) + "data" + le(4, len(data)) + data
}

// connect waits for the control port and follows the events.
func (b *baresip) connect(ctrl, keys int) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ctrl))
		if err == nil {
			b.ctrl = c
			break
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("baresip's control port: %v", err)
		}
		<-pause.C
	}
	k, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", keys))
	if err != nil {
		b.t.Fatal(err)
	}
	b.keys = k
	go b.read(b.ctrl)
}

// read takes netstrings ("12:{...},") off the control connection.
func (b *baresip) read(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		size, err := r.ReadString(':')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
		if err != nil {
			return
		}
		text := make([]byte, n+1)
		for read := 0; read < len(text); {
			m, err := r.Read(text[read:])
			if err != nil {
				return
			}
			read += m
		}
		var ev baresipEvent
		if json.Unmarshal(text[:n], &ev) == nil && ev.Event {
			b.mu.Lock()
			b.events = append(b.events, ev)
			b.mu.Unlock()
		}
	}
}

// command runs one of baresip's commands.
func (b *baresip) command(name, params string) {
	b.t.Helper()
	text, err := json.Marshal(map[string]string{"command": name, "params": params})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(b.ctrl, "%d:%s,", len(text), text); err != nil {
		b.t.Fatal(err)
	}
}

// press types DTMF keys into the call that is up.
func (b *baresip) press(keys string) {
	b.t.Helper()
	gap := time.NewTicker(250 * time.Millisecond)
	defer gap.Stop()
	for _, k := range keys {
		<-gap.C
		if _, err := b.keys.Write([]byte(string(k))); err != nil {
			b.t.Fatal(err)
		}
	}
}

// seen returns the first event of a type after the first n of that type.
func (b *baresip) seen(kind string, n int) (baresipEvent, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ev := range b.events {
		if ev.Type != kind {
			continue
		}
		if n == 0 {
			return ev, true
		}
		n--
	}
	return baresipEvent{}, false
}

// count is how many events of a type there were.
func (b *baresip) count(kind string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ev := range b.events {
		if ev.Type == kind {
			n++
		}
	}
	return n
}

// await waits for the n-th event (from 0) of a type.
func (b *baresip) await(s *server, kind string, n int) baresipEvent {
	b.t.Helper()
	var ev baresipEvent
	s.await("baresip "+kind, func() (ok bool) { ev, ok = b.seen(kind, n); return ok })
	return ev
}
