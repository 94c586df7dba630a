package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hotdeskd/internal/phonefile"
)

// kamailio is a real registrar and proxy that nobody here wrote, as the PBX that
// an office owns: it knows users and their passwords, lets only them register and
// call, and sends 112 and 118 to a carrier.
type kamailio struct {
	t    *testing.T
	addr string
	ctl  string
}

// kamailioConfig has %[1]d for its port, %[2]s for its folder, %[3]s for the table
// of users, %[4]s for the carrier.
const kamailioConfig = `#!KAMAILIO
debug=0
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
disable_tcp=no
listen=udp:127.0.0.1:%[1]d
listen=tcp:127.0.0.1:%[1]d
mpath="%[5]s"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "auth.so"
loadmodule "ctl.so"
modparam("ctl", "binrpc", "unix:%[2]s/ctl")
modparam("registrar", "max_contacts", 1)
modparam("registrar", "default_expires", 120)
request_route {
	if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
	if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
	if (has_totag()) {
		if (loose_route()) { t_relay(); exit; }
		if (is_method("ACK")) { if (t_check_trans()) { t_relay(); } exit; }
		sl_send_reply("404", "Not Here"); exit;
	}
	if (is_method("CANCEL")) { if (t_check_trans()) { t_relay(); } exit; }
	$var(pw) = "";
%[3]s
	if (is_method("REGISTER")) {
		if ($var(pw) == "" || !pv_www_authenticate("kamailio", "$var(pw)", "0")) { www_challenge("kamailio", "0"); exit; }
		if ($au != $tU) { sl_send_reply("403", "Not Yours"); exit; }
		save("location"); exit;
	}
	if (!is_method("INVITE")) { sl_send_reply("405", "Method Not Allowed"); exit; }
	if ($var(pw) == "" || !pv_proxy_authenticate("kamailio", "$var(pw)", "0")) { proxy_challenge("kamailio", "0"); exit; }
	if ($au != $fU) { sl_send_reply("403", "Not Yours"); exit; }
	consume_credentials();
	record_route();
	if ($rU == "112" || $rU == "118") { $du = "sip:%[4]s"; t_relay(); exit; }
	if (!lookup("location")) { sl_send_reply("404", "Not Found"); exit; }
	t_relay(); exit;
}
`

// startKamailio runs it until the test ends; users are names with passwords.
func startKamailio(t *testing.T, carrier string, users map[string]string) *kamailio {
	t.Helper()
	needPeer(t, "kamailio")
	needPeer(t, "kamcmd")
	dir := t.TempDir()
	var table strings.Builder
	for name, password := range users {
		fmt.Fprintf(&table, "\tif ($au == %q) { $var(pw) = %q; }\n", name, password)
	}
	modules, err := filepath.Glob("/usr/lib/*/kamailio/modules")
	if err != nil || len(modules) == 0 {
		t.Fatalf("kamailio's modules are nowhere: %v", err)
	}
	port := freePorts(t, 1)[0]
	k := &kamailio{t: t, addr: fmt.Sprintf("127.0.0.1:%d", port), ctl: "unix:" + dir + "/ctl"}
	file := filepath.Join(dir, "kamailio.cfg")
	if err := os.WriteFile(file, fmt.Appendf(nil, kamailioConfig, port, dir, table.String(), carrier, modules[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("kamailio", "-DD", "-E", "-f", file, "-Y", dir, "-w", dir, "-m", "64", "-M", "8")
	out := &logBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second                           // its children hold its output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has children
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	t.Cleanup(func() {
		// Its children do not always follow it.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		limit := time.NewTimer(3 * time.Second)
		defer limit.Stop()
		select {
		case <-exited:
		case <-limit.C:
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
		if t.Failed() && testing.Verbose() {
			t.Logf("kamailio:\n%s", out.String())
		}
	})
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; <-look.C {
		if _, err := k.rpc("core.version"); err == nil {
			return k
		}
		select {
		case <-exited:
			t.Fatalf("kamailio did not start:\n%s", out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("kamailio does not answer:\n%s", out.String())
		}
	}
}

// rpc asks Kamailio itself.
func (k *kamailio) rpc(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second) // it waits for ever
	defer cancel()
	out, err := exec.CommandContext(ctx, "kamcmd", append([]string{"-s", k.ctl}, args...)...).CombinedOutput()
	if err == nil && strings.HasPrefix(string(out), "error:") {
		err = fmt.Errorf("%s", strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// contacts is what Kamailio has as the contacts of a user; empty when the user is
// not registered.
func (k *kamailio) contacts(user string) string {
	k.t.Helper()
	out, err := k.rpc("ul.lookup", "location", "s:"+user) // a string, whatever it looks like
	if err != nil {
		return ""
	}
	var all []string
	for line := range strings.Lines(out) {
		if _, contact, ok := strings.Cut(line, "Address: "); ok {
			all = append(all, strings.TrimSpace(contact))
		}
	}
	return strings.Join(all, " ")
}

// phone is a baresip that is registered at Kamailio itself.
func (k *kamailio) phone(user, password, answer string) *baresip {
	k.t.Helper()
	host, port, _ := strings.Cut(k.addr, ":")
	f, err := phonefile.Parse(phonefile.YealinkINI, fmt.Appendf(nil, `#!version:1.0.0.1
account.1.display_name = Outside %[1]s
account.1.user_name = %[1]s
account.1.auth_name = %[1]s
account.1.password = %[2]s
account.1.sip_server.1.address = %[3]s
account.1.sip_server.1.port = %[4]s
account.1.sip_server.1.transport_type = 0
`, user, password, host, port))
	if err != nil {
		k.t.Fatal(err)
	}
	return startBaresip(k.t, f, answer)
}
