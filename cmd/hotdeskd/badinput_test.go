package main

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong with the server's configuration is told in one error that names
// the key and, in a file, the line.
func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, env string
		says      []string
	}{
		"unknown key":         {"sip:\n  udpp: \":5060\"\n", "", []string{"2:", "udpp"}},
		"wrong type":          {"rtp: 20000\n", "", []string{"1:"}},
		"broken YAML":         {"sip: {udp: \":5060\"\n", "", []string{"1:"}},
		"RTP range":           {"rtp: {ports: \"20000\"}\n", "", []string{"rtp.ports", "20000-20999"}},
		"log level":           {"log: {level: loud}\n", "", []string{"log.level", "loud"}},
		"another store":       {"store: {kind: etcd}\n", "", []string{"store.kind", "etcd"}},
		"no SIP":              {"sip: {udp: \"\", tcp: \"\", tls: \"\"}\n", "", []string{"sip.udp", "sip.tcp", "sip.tls"}},
		"no provisioning":     {"provisioning: {http: \"\", https: \"\"}\n", "", []string{"provisioning.http", "provisioning.https"}},
		"unknown environment": {"", "HOTDESKD_SIP_PORT=5060", []string{"HOTDESKD_SIP_PORT"}},
	} {
		path := ""
		if c.file != "" {
			path = filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := loadConfig(path, []string{c.env})
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, word := range c.says {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not say %q", name, err, word)
			}
		}
	}
	got, err := loadConfig("", []string{"HOTDESKD_SIP_UDP=127.0.0.1:5070", "HOME=/root"})
	if err != nil || got.SIP.UDP != "127.0.0.1:5070" {
		t.Errorf("environment: %q, %v", got.SIP.UDP, err)
	}
}

// A taken port is told with its number, its holder and the key to change.
func TestBusyPort(t *testing.T) {
	t.Parallel()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for key, change := range map[string]func(*config) string{
		"sip.udp": func(c *config) string { c.SIP.UDP = udp.LocalAddr().String(); return c.SIP.UDP },
		"provisioning.http": func(c *config) string {
			c.Provisioning.HTTP = tcp.Addr().String()
			return c.Provisioning.HTTP
		},
		"provisioning.https": func(c *config) string {
			c.Provisioning.HTTPS = tcp.Addr().String()
			return c.Provisioning.HTTPS
		},
		"sip.tcp": func(c *config) string { c.SIP.TCP = tcp.Addr().String(); return c.SIP.TCP },
		"sip.tls": func(c *config) string { c.SIP.TLS = tcp.Addr().String(); return c.SIP.TLS },
	} {
		c := loopback(t)
		_, port, _ := net.SplitHostPort(change(&c))
		_, err := newApp(c, realWorld(), slog.New(slog.DiscardHandler))
		if err == nil {
			t.Fatalf("%s: started on a busy port", key)
		}
		for _, word := range []string{key, port, "process"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not say %q", key, err, word)
			}
		}
	}
}

// A database that is empty, foreign or damaged is refused with the way out, and
// a second server on the same data is, too.
func TestDatabaseRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	if _, err := newApp(s.config, realWorld(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second server on the same data: %v", err)
	}
	s.stop()
	path := filepath.Join(s.config.DataDir, databaseFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), whole...)
	for i := 2 * os.Getpagesize(); i < len(damaged); i += 97 {
		damaged[i] ^= 0x5a
	}
	for name, content := range map[string][]byte{"empty": {}, "foreign": []byte("SQLite format 3\x00 and so on"), "damaged": damaged} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := newApp(s.config, realWorld(), slog.New(slog.DiscardHandler))
		if err == nil {
			t.Fatalf("%s database was opened", name)
		}
		for _, word := range []string{path, "backup"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s database: %q does not say %q", name, err, word)
			}
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != string(content) {
			t.Errorf("%s database was changed by the refusal", name)
		}
	}
}
