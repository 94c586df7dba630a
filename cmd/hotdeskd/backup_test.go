package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
)

// cli runs a command line that needs no server of its own.
func cli(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// A backup that is made while the server works brings everything back: phones with
// their secrets, people with their PINs, sessions, and the audit log. What is not
// whole, or would overwrite something, is refused and changes nothing.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, dir, "127.0.0.1:0", "127.0.0.1:0")
	s := &server{t: t, api: p.api}
	s.apply(office("127.0.0.1:9"))
	s.must("login", p.api.Post(s.context(), "/devices/HD0001/login", map[string]string{"user": "100"}, nil))
	data, bare, full := filepath.Join(dir, "data"), filepath.Join(dir, "bare.zip"), filepath.Join(dir, "full.zip")
	socket := "--data-dir=" + data
	if out, err := cli(t, "backup", "create", bare, socket); err != nil || !strings.Contains(out, "sound") || !strings.Contains(out, "WITHOUT keys") {
		t.Fatalf("%s %v", out, err)
	}
	if out, err := cli(t, "backup", "create", full, "--keys", socket); err != nil || strings.Contains(out, "WITHOUT") {
		t.Fatalf("%s %v", out, err)
	}
	if info, err := os.Stat(full); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if _, err := cli(t, "backup", "create", full, socket); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("over another backup: %v", err)
	}
	victim, linked := filepath.Join(dir, "victim"), filepath.Join(dir, "linked.zip")
	s.must("link", errors.Join(os.WriteFile(victim, []byte("mine"), 0o600), os.Symlink(victim, linked+".part")))
	if _, err := cli(t, "backup", "create", linked, socket); err == nil || !strings.Contains(err.Error(), linked+".part exists already") {
		t.Errorf("through a link: %v", err)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "mine" {
		t.Errorf("behind the link is %q, %v", b, err)
	}
	s.must("logout", p.api.Post(s.context(), "/devices/HD0001/logout", nil, nil)) // after the backups
	p.kill()
	if out, err := cli(t, "backup", "verify", full); err != nil || !strings.Contains(out, "sound") {
		t.Errorf("%s %v", out, err)
	}

	whole, err := os.ReadFile(full)
	s.must("read", err)
	cut, other := filepath.Join(dir, "cut.zip"), filepath.Join(dir, "other", "data")
	s.must("write", os.WriteFile(cut, whole[:len(whole)-100], 0o600))
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"a cut one":            {[]string{"restore", cut, "--data-dir", other}, "damaged"},
		"a cut one, verify":    {[]string{"backup", "verify", cut}, "damaged"},
		"no such file":         {[]string{"restore", full + "x", "--data-dir", other}, full + "x"},
		"over what is there":   {[]string{"restore", full, "--data-dir", data}, "move it away first"},
		"without keys":         {[]string{"restore", bare, "--data-dir", other}, "--keys FOLDER"},
		"keys that are absent": {[]string{"restore", bare, "--data-dir", other, "--keys", dir + "/nokeys"}, "keys"},
	} {
		if _, err := cli(t, c.args...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "other", "*")); len(left) > 0 {
			t.Fatalf("%s left %v", name, left)
		}
	}

	for name, args := range map[string][]string{
		"with keys":       {"restore", full},
		"with other keys": {"restore", bare, "--keys", filepath.Join(data, keysDir)},
	} {
		to := t.TempDir()
		if out, err := cli(t, append(args, "--data-dir", filepath.Join(to, "data"))...); err != nil || !strings.Contains(out, "hotdeskd serve --data-dir") {
			t.Fatalf("%s: %s %v", name, out, err)
		}
		q := startProcess(t, to, "127.0.0.1:0", "127.0.0.1:0")
		r := &server{t: t, api: q.api}
		if d := r.device("HD0001"); !inUseBy("100")(d) {
			t.Errorf("%s: %+v", name, d)
		}
		r.must("PIN", q.api.Post(r.context(), "/users/101/pin", map[string]string{"pin": "4071"}, nil))
		r.await("rows of before and after", func() bool {
			rows, err := admin.List[hotdesk.AuditRow](r.context(), q.api, "/audit")
			r.must("audit", err)
			text := ""
			for _, row := range rows {
				text += row.Action + " "
			}
			return strings.Count(text, "session.started") == 1 && strings.Contains(text, "backup.created") && strings.Contains(text, "user.saved")
		})
		if _, err := admin.Get[admin.Verified](r.context(), q.api, "/audit/verify"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		q.kill()
	}
}
