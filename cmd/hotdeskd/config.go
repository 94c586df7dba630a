package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"hotdeskd/internal/yamlguard"
	"hotdeskd/ivr"
)

// config is what the server must know before its store is open; everything else
// is in the store. Keys of the file are the lower-case names; the environment
// overrides as HOTDESKD_SIP_UDP does for sip.udp.
type config struct {
	// DataDir holds the database, keys, journal and the command socket.
	DataDir      string             `yaml:"data_dir"`
	Provisioning provisioningConfig `yaml:"provisioning"`
	Console      consoleConfig      `yaml:"console"`
	SIP          sipConfig          `yaml:"sip"`
	RTP          rtpConfig          `yaml:"rtp"`
	Store        storeConfig        `yaml:"store"`
	Drain        drainConfig        `yaml:"drain"`
	Log          logConfig          `yaml:"log"`
}

type provisioningConfig struct {
	HTTP  string `yaml:"http"`  // listener for phones
	HTTPS string `yaml:"https"` // the same over TLS
	URL   string `yaml:"url"`   // what phones are told; empty: the listener's address
}

type consoleConfig struct {
	Listen string `yaml:"listen"` // for administrators; not loopback: HTTPS only
}

type sipConfig struct {
	UDP       string `yaml:"udp"`
	TCP       string `yaml:"tcp"`
	TLS       string `yaml:"tls"`
	Advertise string `yaml:"advertise"`
	Realm     string `yaml:"realm"`
	// UnprovenEmergency is what becomes of an emergency call from one of our phones whose
	// credentials are wrong or missing and whose address is not its alone: place (as a
	// guess, marked) or challenge (and refuse).
	UnprovenEmergency string `yaml:"unproven_emergency"`
}

// drainConfig is how long calls may go on when the server is told to stop.
type drainConfig struct {
	Calls     string `yaml:"calls"`
	Emergency string `yaml:"emergency"`
}

// calls and emergency are valid durations: check has seen them.
func (d drainConfig) calls() time.Duration     { return duration(d.Calls) }
func (d drainConfig) emergency() time.Duration { return duration(d.Emergency) }

func duration(text string) time.Duration {
	d, _ := time.ParseDuration(text) // checked
	return d
}

type rtpConfig struct {
	Ports     string `yaml:"ports"`
	Advertise string `yaml:"advertise"`
}

type storeConfig struct {
	Kind string `yaml:"kind"`
}

type logConfig struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"` // text | json
}

func defaultConfig() config {
	return config{
		DataDir:      "./data",
		Provisioning: provisioningConfig{HTTP: ":8080", HTTPS: ":8443"},
		Console:      consoleConfig{Listen: "127.0.0.1:8088"},
		SIP:          sipConfig{UDP: ":5060", TCP: ":5060", TLS: ":5061", Realm: "hotdeskd", UnprovenEmergency: "place"},
		RTP:          rtpConfig{Ports: "20000-20999"},
		Store:        storeConfig{Kind: "bolt"},
		Drain:        drainConfig{Calls: "30s", Emergency: "10m"},
		Log:          logConfig{Level: "info", Format: "text"},
	}
}

// settings lists every key with its place, for the environment.
func (c *config) settings() map[string]*string {
	return map[string]*string{
		"data_dir":          &c.DataDir,
		"provisioning.http": &c.Provisioning.HTTP, "provisioning.https": &c.Provisioning.HTTPS, "provisioning.url": &c.Provisioning.URL,
		"console.listen": &c.Console.Listen,
		"sip.udp":        &c.SIP.UDP, "sip.tcp": &c.SIP.TCP, "sip.tls": &c.SIP.TLS, "sip.advertise": &c.SIP.Advertise, "sip.realm": &c.SIP.Realm, "sip.unproven_emergency": &c.SIP.UnprovenEmergency,
		"drain.calls": &c.Drain.Calls, "drain.emergency": &c.Drain.Emergency,
		"rtp.ports": &c.RTP.Ports, "rtp.advertise": &c.RTP.Advertise,
		"store.kind": &c.Store.Kind, "log.level": &c.Log.Level, "log.format": &c.Log.Format,
	}
}

// loadConfig reads the file, if there is one, then the environment. An unknown
// key is an error that names line and key.
func loadConfig(path string, environ []string) (config, error) {
	c := defaultConfig()
	if path != "" {
		text, err := os.ReadFile(filepath.Clean(path))
		if err != nil {
			return c, fmt.Errorf("read configuration: %w", err)
		}
		if err := yamlguard.Check(text); err != nil {
			return c, fmt.Errorf("configuration %s: %w", path, err)
		}
		if err := yaml.UnmarshalWithOptions(text, &c, yaml.Strict()); err != nil {
			return c, fmt.Errorf("configuration %s: %s", path, yaml.FormatError(err, false, true))
		}
		if c == (config{}) { // a file without a single key
			c = defaultConfig()
		}
	}
	byName := map[string]*string{}
	for key, value := range c.settings() {
		byName["HOTDESKD_"+strings.ToUpper(strings.NewReplacer(".", "_").Replace(key))] = value
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "HOTDESKD_") || name == tokenVariable {
			continue
		}
		place, ok := byName[name]
		if !ok {
			return c, fmt.Errorf("environment variable %s: no such setting", name)
		}
		*place = value
	}
	return c, c.check()
}

func (c config) check() error {
	switch {
	case c.Store.Kind != "bolt":
		return fmt.Errorf("store.kind: %q is not built yet; use bolt", c.Store.Kind)
	case c.Provisioning.HTTP == "" && c.Provisioning.HTTPS == "":
		return errors.New("provisioning.http and provisioning.https are both off; give one of them an address like :8080")
	case c.SIP.UDP == "" && c.SIP.TCP == "" && c.SIP.TLS == "":
		return errors.New("sip.udp, sip.tcp and sip.tls are all off; give one of them an address like :5060")
	case c.SIP.Realm == "" || strings.ContainsAny(c.SIP.Realm, "\"\\\r\n"):
		return fmt.Errorf("sip.realm: %q cannot be a realm; use a word like hotdeskd", c.SIP.Realm)
	case c.SIP.UnprovenEmergency != "place" && c.SIP.UnprovenEmergency != "challenge":
		return fmt.Errorf("sip.unproven_emergency: %q must be place or challenge", c.SIP.UnprovenEmergency)
	case c.Log.Format != "text" && c.Log.Format != "json":
		return fmt.Errorf("log.format: %q must be text or json", c.Log.Format)
	}
	if _, err := c.RTP.portRange(); err != nil {
		return err
	}
	for key, text := range map[string]string{"drain.calls": c.Drain.Calls, "drain.emergency": c.Drain.Emergency} {
		if d, err := time.ParseDuration(text); err != nil || d < 0 || d > 24*time.Hour {
			return fmt.Errorf("%s: %q must be a time like 30s or 10m, at most 24h", key, text)
		}
	}
	_, err := c.Log.level()
	return err
}

func (r rtpConfig) portRange() (ivr.PortRange, error) {
	low, high, ok := strings.Cut(r.Ports, "-")
	first, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	last, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	if !ok || err1 != nil || err2 != nil || first < 1024 || last <= first {
		return ivr.PortRange{}, fmt.Errorf("rtp.ports: %q must be written like 20000-20999", r.Ports)
	}
	return ivr.PortRange{First: uint16(first), Last: uint16(last)}, nil
}

func (l logConfig) level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return level, fmt.Errorf("log.level: %q must be debug, info, warn or error", l.Level)
	}
	return level, nil
}
