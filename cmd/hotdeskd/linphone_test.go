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

	"hotdeskd/admin"
	"hotdeskd/internal/phonefile"
)

// linphone is a second real phone that nobody here wrote, driven by the commands of its
// daemon.
type linphone struct {
	t    *testing.T
	in   io.Writer
	out  *logBuffer
	mu   sync.Mutex
	stop func()
}

// linphonePrompt stands before every command.
const linphonePrompt = "daemon-linphone>"

// startLinphone runs linphone with the account that a phone's file holds, and registers.
func startLinphone(t *testing.T, f *phonefile.File, transport string, args ...string) *linphone {
	t.Helper()
	needPeer(t, "linphone-daemon")
	home := t.TempDir()
	port := freePorts(t, 1)[0]
	ports := map[string]int{"udp": -1, "tcp": -1, "tls": -1}
	ports[transport] = port
	config := fmt.Sprintf("[sip]\nsip_port=%d\nsip_tcp_port=%d\nsip_tls_port=%d\nverify_server_certs=0\nverify_server_cn=0\nuse_ipv6=0\nkeepalive_period=30000\nguess_hostname=0\ncontact=sip:127.0.0.1\n"+
		"[sound]\nplayback_dev_id=ANULL: Null device\ncapture_dev_id=ANULL: Null device\nringer_dev_id=ANULL: Null device\n[rtp]\naudio_rtp_port=%d\n[video]\nenabled=0\n", ports["udp"], ports["tcp"], ports["tls"], 24000+port%2000*2)
	if err := os.MkdirAll(filepath.Join(home, ".local/share/linphone"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "rc"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("linphone-daemon", append([]string{"--config", filepath.Join(home, "rc"), "--disable-stats-events"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+filepath.Join(home, ".local/share"), "XDG_CONFIG_HOME="+filepath.Join(home, ".config"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &linphone{t: t, in: in, out: &logBuffer{}}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	var once sync.Once
	p.stop = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			<-exited
		})
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() && testing.Verbose() {
			t.Logf("linphone:\n%.8000s", p.out.String())
		}
	})
	server := "127.0.0.1:" + f.Value("account.1.sip_server.1.port")
	p.command(fmt.Sprintf("register sip:%s@%s sip:%s;transport=%s %s %s", f.Value("account.1.user_name"), server, server, transport,
		f.Value("account.1.password"), f.Value("account.1.auth_name")))
	return p
}

// command runs one command and returns what it says.
func (p *linphone) command(line string) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	from := len(p.out.String())
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("linphone is gone: %v", err)
	}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-look.C {
		if _, said, ok := strings.Cut(p.out.String()[from:], "Status:"); ok {
			if said, _, ended := strings.Cut(said, linphonePrompt); ended {
				return "Status:" + said
			}
		}
	}
	p.t.Fatalf("linphone does not answer %q:\n%s", line, p.out.String()[from:])
	return ""
}

// state waits until a call of linphone is in a state.
func (p *linphone) state(s *server, want string) {
	p.t.Helper()
	s.await("linphone in "+want, func() bool { return strings.Contains(p.command("call-status"), want) })
}

// linphoneSeat puts a user on a phone and runs linphone with what the phone gets.
func linphoneSeat(t *testing.T, s *server, n int, user, transport string, args ...string) *linphone {
	t.Helper()
	id := fmt.Sprintf("HD%04d", n+1)
	if d := s.device(id); d.Config.State == "never" {
		s.mustFetch(s.enrolment() + phoneMAC(n) + ".cfg")
	}
	if !inUseBy(user)(s.device(id)) {
		s.must("login", s.api.Post(s.context(), "/devices/"+id+"/login", map[string]string{"user": user}, nil))
	}
	p := startLinphone(t, s.mustFetch(s.device(id).ProvisioningURL+phoneMAC(n)+".cfg"), transport, args...)
	s.awaitDevice(id, "registered", registered)
	return p
}

// Linphone does what a phone does over each transport: it registers, logs in by PIN,
// calls baresip and is called by it, holds and resumes, and hangs up; after both have
// lost their power in a call and are back, neither counts as in a call.
func TestPeerLinphone(t *testing.T) {
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			needPeer(t, "linphone-daemon")
			needPeer(t, "baresip")
			t.Parallel()
			s := startServer(t)
			s.apply(office("127.0.0.1:9"))
			s.apply("sites:\n  - {name: roma, second_phone: allow, phones: {transport: " + transport + "}}\n")
			server := s.app.ready.listeners()["sip."+transport]

			// Login by code: digits as RFC 4733 events, or INFO.
			file := s.mustFetch(s.enrolment() + phoneMAC(0) + ".cfg")
			idle := startLinphone(t, file, transport)
			s.awaitDevice("HD0001", "registered", registered)
			idle.command("call sip:*77*100*@" + server + ";transport=" + transport)
			idle.state(s, "StreamsRunning")
			for _, digit := range "4071#" {
				idle.command("dtmf " + string(digit))
				<-time.NewTimer(250 * time.Millisecond).C
			}
			s.awaitDevice("HD0001", "in use by 100", inUseBy("100"))
			s.awaitDevice("HD0001", "free", func(d admin.Device) bool { return !d.InCall })
			idle.stop()

			anna := linphoneSeat(t, s, 0, "100", transport)
			mario := seat(t, s, 1, "101", "manual")
			anna.command("call sip:101@" + server + ";transport=" + transport)
			mario.await(s, "CALL_INCOMING", 0)
			mario.command("accept", "")
			anna.state(s, "StreamsRunning")
			offers := mario.count("CALL_REMOTE_SDP")
			anna.command("call-pause 1")
			mario.await(s, "CALL_REMOTE_SDP", offers)
			s.await("linphone on hold", func() bool { return strings.Contains(anna.command("call-status 1"), "CallPaused") })
			anna.command("call-resume 1")
			mario.await(s, "CALL_REMOTE_SDP", offers+1)
			anna.command("terminate 1")
			mario.await(s, "CALL_CLOSED", 0)

			mario.command("dial", "sip:100@"+server+";transport="+transport)
			anna.state(s, "IncomingReceived")
			anna.command("answer")
			mario.await(s, "CALL_ESTABLISHED", 1)
			s.await("both in a call", func() bool { return s.device("HD0001").InCall && s.device("HD0002").InCall })
			anna.stop() // the power fails
			mario.stop()
			linphoneSeat(t, s, 0, "100", transport)
			startBaresip(t, s.mustFetch(s.device("HD0002").ProvisioningURL+phoneMAC(1)+".cfg"), "manual")
			s.await("nobody in a call", func() bool { return !s.device("HD0001").InCall && !s.device("HD0002").InCall })
		})
	}
}
