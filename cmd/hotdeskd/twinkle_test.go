package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hotdeskd/internal/phonefile"
)

// twinkle is a third real phone that nobody here wrote, driven by the commands of its
// console.
type twinkle struct {
	t   *testing.T
	in  io.Writer
	out *logBuffer
}

// startTwinkle runs twinkle over UDP with the account that a phone's file holds; it
// registers by itself.
func startTwinkle(t *testing.T, f *phonefile.File) *twinkle {
	t.Helper()
	needPeer(t, "twinkle-console")
	home := t.TempDir()
	port := freePorts(t, 1)[0]
	get := f.Value
	server := get("account.1.sip_server.1.address") + ":" + get("account.1.sip_server.1.port")
	profile := fmt.Sprintf("user_name=%s\nuser_domain=%s\nuser_display=%s\nauth_name=%s\nauth_pass=%s\noutbound_proxy=%[2]s\nregistrar=%[2]s\nregister_at_startup=yes\nregistration_time=120\nsip_transport=udp\ncodecs=g711a,g711u\nzrtp_enabled=no\n",
		get("account.1.user_name"), server, get("account.1.display_name"), get("account.1.auth_name"), get("account.1.password"))
	system := fmt.Sprintf("sip_port=%d\nrtp_port=%d\ndev_ringtone=alsa:null\ndev_speaker=alsa:null\ndev_mic=alsa:null\nvalidate_audio_dev=no\nstart_user_profile=twinkle\nplay_ringtone=no\nplay_ringback=no\n", port, 26000+port%1000*2)
	dir := filepath.Join(home, ".twinkle")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"twinkle.cfg": profile, "twinkle.sys": system} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("twinkle-console")
	cmd.Dir, cmd.Env = home, append(os.Environ(), "HOME="+home, "TERM=dumb", "LC_ALL=C")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &twinkle{t: t, in: in, out: &logBuffer{}}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	var once sync.Once
	t.Cleanup(func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			<-exited
		})
		if t.Failed() && testing.Verbose() {
			log, _ := os.ReadFile(filepath.Join(dir, "twinkle.log"))
			t.Logf("twinkle:\n%.8000s\n%.20000s", p.out.String(), log)
		}
	})
	return p
}

// command runs one command of the console.
func (p *twinkle) command(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("twinkle is gone: %v", err)
	}
}

// says waits until twinkle has said something n times.
func (p *twinkle) says(s *server, words string, n int) {
	p.t.Helper()
	s.await("twinkle: "+words, func() bool { return strings.Count(p.out.String(), words) >= n })
}

// Twinkle does what a phone does over UDP: it registers with the served credentials, is
// called by Baresip and calls it, either hangs up, and it gives a call up that rings.
func TestPeerTwinkle(t *testing.T) {
	needPeer(t, "twinkle-console")
	needPeer(t, "baresip")
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	s.mustFetch(s.enrolment() + phoneMAC(0) + ".cfg")
	s.must("login", s.api.Post(s.context(), "/devices/HD0001/login", map[string]string{"user": "100"}, nil))
	anna := startTwinkle(t, s.mustFetch(s.device("HD0001").ProvisioningURL+phoneMAC(0)+".cfg"))
	s.awaitDevice("HD0001", "registered", registered)
	mario := seat(t, s, 1, "101", "manual")

	mario.command("dial", "sip:100@"+s.app.ready.SIP.UDP)
	mario.await(s, "CALL_RINGING", 0)
	anna.command("answer")
	mario.await(s, "CALL_ESTABLISHED", 0)
	anna.command("bye")
	mario.await(s, "CALL_CLOSED", 0)

	anna.command("call 101")
	if in := mario.await(s, "CALL_INCOMING", 0); !strings.HasPrefix(in.Peer, "sip:100@") {
		t.Errorf("101 sees %q", in.Peer)
	}
	mario.command("accept", "")
	mario.await(s, "CALL_ESTABLISHED", 1)
	mario.command("hangup", "")
	for n, c := range s.awaitCalls(2) {
		if c.Result != "answered" || c.Reason != "" {
			t.Errorf("call %d is recorded as %+v", n+1, c)
		}
	}
	anna.says(s, "far end ended call", 1)

	// Its line is not free at once, and until then it drops the command without a word.
	again := time.NewTicker(time.Second)
	defer again.Stop()
	anna.command("call 101")
	s.await("third call", func() bool {
		_, rings := mario.seen("CALL_INCOMING", 1)
		select {
		case <-again.C:
			if !rings {
				anna.command("call 101")
			}
		default:
		}
		return rings
	})
	anna.command("bye") // before it is answered
	mario.await(s, "CALL_CLOSED", 2)
	if c := s.awaitCalls(3)[2]; c.Result != "cancelled" {
		t.Errorf("call 3 is recorded as %+v", c)
	}
}
