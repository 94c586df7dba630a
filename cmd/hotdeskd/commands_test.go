package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hotdeskd/admin"
)

// command runs one command line against the server and returns what it printed.
func (s *server) command(args ...string) (string, error) {
	s.t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append(args, "--data-dir", s.config.DataDir))
	err := root.ExecuteContext(s.context())
	return out.String(), err
}

// Each command of the README does what it says, in the order in which an
// administrator would use them.
func TestCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	pin := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(pin, []byte("728305\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "office.yaml")
	text := strings.Replace(office("127.0.0.1:9"), `pin: "4071"`, `pin: "file:`+pin+`"`, 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	table := filepath.Join(t.TempDir(), "phones.csv")
	if err := os.WriteFile(table, []byte("MAC;Model;Site;Desk;Note\r\n805ec0000088;T46U;roma;3-1;x\r\n805ec0000089;yealink-t54w;roma;3-2;\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args string
		says []string
	}{
		{"device list", []string{"ID"}},
		{"console link", []string{"http://127.0.0.1:", "/setup/", "works once"}},
		{"token create wallboard --role viewer --ttl 90d", []string{"hd_"}},
		{"token list", []string{"wallboard", "viewer"}},
		{"token revoke wallboard", []string{"revoked"}},
		{"apply --dry-run -f " + file, []string{"user 100: added", "dry run"}},
		{"apply -f " + file, []string{"site roma: added", "pbx main: added", "user 103: added", "device 805ec0000004: added"}},
		{"apply -f " + file, []string{"nothing to change"}},
		{"site list", []string{"roma", "yes", "/p/"}},
		{"site show roma", []string{`"ready": true`}},
		{"dhcp", []string{"dhcp-option-force=66,\"http://127.0.0.1:", "ISC dhcpd", "tftp-server-name"}},
		{"device requests", []string{"VERDICT"}},
		{"pbx list", []string{"main", "trunk"}},
		{"device list", []string{"HD0001", "805ec0000001", "yealink-t46u", "idle", "never"}},
		{"device list --json", []string{`"id": "HD0001"`, `"user": null`}},
		{"device show 80:5E:C0:00:00:01", []string{`"id": "HD0001"`, `"provisioning_url"`}},
		{"device add 805ec0000077 --model yealink-t54w --site roma --desk 9-9", []string{"HD0005: added"}},
		{"device move HD0005 --desk 9-8", []string{"moved"}},
		{"device show HD0005", []string{`"desk": "9-8"`}},
		{"device login HD0001 100", []string{"HD0001: user 100"}},
		{"session list", []string{"HD0001", "100", "admin"}},
		{"user list", []string{"100", "HD0001"}},
		{"device logout HD0001 --reason forgot", []string{"logged out"}},
		{"device login HD0002 101", []string{"HD0002: user 101"}},
		{"device logout --where state=in-use --reason evening", []string{"HD0002: logged out"}},
		{"device approve --where state=pending", []string{"no device matches"}},
		{"device config HD0001", []string{"account.1.user_name = HD0001", "account.1.password = ********", "==> 805ec0000001.cfg"}},
		{"device config HD0001 --as 101", []string{"account.1.user_name = 101", "linekey.1.label = Logout"}},
		{"device explain HD0001", []string{"account.1.label", "template"}},
		{"device replace HD0005 805ec0000078", []string{"waits for 805ec0000078"}},
		{"device rotate HD0001", []string{"done"}},
		{"device unlock HD0001", []string{"done"}},
		{"device models", []string{"snom-d785", "grandstream"}},
		{"device block --where state=idle", []string{"HD0001: done", "HD0005: done"}},
		{"device list", []string{"blocked"}},
		{"device unblock --where site=roma", []string{"HD0004: done"}},
		{"device remove HD0005", []string{"removed"}},
		{"user add 150 --name New --pin 905172", []string{"added"}},
		{"user pin 150 file:" + pin, []string{"PIN set"}},
		{"user unlock 150", []string{"done"}},
		{"user remove 150", []string{"removed"}},
		{"device import --dry-run --all " + table, []string{"read as utf-8 with semicolons; not used: Note", "line 2: 805ec0000088: added", "2 would be added, 0 would be changed, 0 unchanged, 0 wrong", "dry run"}},
		{"device import --site roma " + table, []string{"2 added"}},
		{"device import --json " + table, []string{`"unchanged": 2`, `"verdict": "unchanged"`}},
		{"device remove 805ec0000088", []string{"removed"}},
		{"device remove 805ec0000089", []string{"removed"}},
		{"calls", []string{"STARTED"}},
		{"status", []string{"devices idle     4", "users            4"}},
		{"export", []string{"pin_set: true", "sites:"}},
		{"audit", []string{"session.started", "session.ended", "forgot"}},
		{"audit verify", []string{"the chain is whole"}},
	} {
		out, err := s.command(strings.Fields(step.args)...)
		if err != nil {
			t.Errorf("hotdeskd %s: %v", step.args, err)
			continue
		}
		for _, word := range step.says {
			// The audit log is written right after the change, not before.
			s.await("\""+word+"\" in "+step.args, func() bool {
				if strings.Contains(out, word) {
					return true
				}
				out, err = s.command(strings.Fields(step.args)...)
				return err != nil
			})
			if err != nil {
				t.Errorf("hotdeskd %s: %v", step.args, err)
			}
		}
	}
	if out, _ := s.command("device", "config", "HD0001"); strings.Contains(out, "hd0001-1-") && !strings.Contains(out, "/p/********/") {
		t.Error("the provisioning token is shown")
	}
}

// What is wrong is told in one line, and whether it was the command line or the
// server that refused.
func TestCommandErrors(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("users:\n  - {extension: \"100\", colour: red}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	twice := filepath.Join(t.TempDir(), "twice.csv")
	if err := os.WriteFile(twice, []byte("mac,model,site\n805ec0000088,t46u,roma\n80-5E-C0-00-00-88,t46u,roma\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  string
		usage bool
		says  string
	}{
		{"device import " + twice, false, "1 of 2 rows are wrong, nothing was written"},
		{"device import --dry-run " + twice, false, "1 of 2 rows are wrong"},
		{"user import " + twice, false, "no column extension in the first line"},
		{"user import /nonexistent", false, "/nonexistent"},
		{"device import", true, "device import FILE"},
		{"doctor", false, "problem"},
		{"device show HD9999", false, "HD9999"},
		{"device show", true, "device show ID"},
		{"device frobnicate", true, "frobnicate"},
		{"device list --colour", true, "colour"},
		{"device login HD0001 999", false, "999"},
		{"device logout HD0001", false, "nobody"},
		{"device logout --where state=idle", false, "4 of 4 refused"},
		{"device block", true, "--where"},
		{"device block --where colour=red", true, "colour"},
		{"apply", true, "-f"},
		{"apply -f " + broken, false, "line 2"},
		{"apply -f /nonexistent", false, "/nonexistent"},
		{"user pin 100 1234", false, "weak PIN"},
		{"user pin 100 env:NO_SUCH_PIN", false, "NO_SUCH_PIN"},
		{"user show 999", false, "999"},
		{"device config HD0001 --as 999", false, "999"},
		{"device add 805ec0000055 --model nokia --site roma", false, "yealink-t46u"},
		{"events", true, "--follow"},
		{"token create x", true, "--role"},
		{"token create x --role king", false, "role"},
		{"token revoke nobody", false, "nobody"},
		{"device requests 805ec00000ff", false, "has asked for anything"},
	} {
		_, err := s.command(strings.Fields(c.args)...)
		var p *admin.Problem
		switch {
		case err == nil:
			t.Errorf("hotdeskd %s was accepted", c.args)
		case errors.Is(err, errUsage) != c.usage:
			t.Errorf("hotdeskd %s: %v; wrong usage: %v, want %v", c.args, err, !c.usage, c.usage)
		case !strings.Contains(err.Error(), c.says):
			t.Errorf("hotdeskd %s: %q does not say %q", c.args, err, c.says)
		case errors.As(err, &p) && p.Code == "":
			t.Errorf("hotdeskd %s: the server's error has no code", c.args)
		}
	}
	root := newRoot()
	root.SetArgs([]string{"frobnicate"})
	if err := root.Execute(); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "frobnicate") {
		t.Errorf("an unknown command: %v", err)
	}
	s.stop()
	if _, err := s.command("status"); err == nil || !strings.Contains(err.Error(), "hotdeskd serve") {
		t.Errorf("without a server: %v", err)
	}
}

// From another machine the command line works with a token, and says what to do
// without one, with a bad one, and with one that may not.
func TestRemoteCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	token, err := s.command("token", "create", "wallboard", "--role", "viewer")
	s.must("make a token", err)
	token = strings.TrimSpace(token)
	remote := func(token string, args ...string) (string, error) {
		return s.command(append(args, "--server", s.app.ready.Console, "--token", token)...)
	}
	if out, err := remote(token, "device", "list"); err != nil || !strings.Contains(out, "HD0001") {
		t.Errorf("device list: %v %s", err, out)
	}
	for name, c := range map[string]struct {
		token, says string
		args        []string
	}{
		"no token":    {"", "hotdeskd token create", []string{"device", "list"}},
		"wrong token": {token + "x", "hotdeskd token create", []string{"device", "list"}},
		"may not":     {token, "needs the role desk-manager", []string{"device", "login", "HD0001", "100"}},
		"may not see": {token, "role admin", []string{"dhcp"}},
	} {
		if _, err := remote(c.token, c.args...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// The help of export says what is not in an export, and what to do instead.
func TestExportHelp(t *testing.T) {
	t.Parallel()
	out, err := cli(t, "export", "--help")
	if err != nil || !strings.Contains(out, "PINs and secrets are not in") || !strings.Contains(out, "backup create FILE --keys") {
		t.Errorf("%s %v", out, err)
	}
}
