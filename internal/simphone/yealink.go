package simphone

import (
	"bytes"
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"hotdeskd/internal/phonefile"
)

// yealink is a Yealink T series phone of firmware V80 and later (Yealink auto
// provisioning guide, "Boot files, configuration files and resource files").
func yealink() dialect {
	return dialect{
		// The number of the common file and the first figure of the firmware
		// are both the model's own.
		models: map[string]model{
			"yealink-t31p": {name: "T31P", firmware: "124.86.0.40", common: "y000000000123.cfg"},
			"yealink-t33g": {name: "T33G", firmware: "124.86.0.40", common: "y000000000124.cfg"},
			"yealink-t42u": {name: "T42U", firmware: "108.86.0.20", common: "y000000000116.cfg"},
			"yealink-t43u": {name: "T43U", firmware: "108.86.0.20", common: "y000000000107.cfg"},
			"yealink-t46s": {name: "T46S", firmware: "66.86.0.15", common: "y000000000066.cfg"},
			"yealink-t46u": {name: "T46U", firmware: "108.86.0.20", common: "y000000000108.cfg"},
			"yealink-t48u": {name: "T48U", firmware: "108.86.0.20", common: "y000000000109.cfg"},
			"yealink-t53w": {name: "T53W", firmware: "96.86.0.20", common: "y000000000095.cfg"},
			"yealink-t54w": {name: "T54W", firmware: "96.86.0.20", common: "y000000000096.cfg"},
			"yealink-t57w": {name: "T57W", firmware: "96.86.0.20", common: "y000000000097.cfg"},
		},
		webAgent: "Yealink SIP-{name} {firmware} {mac:}",
		sipAgent: "Yealink SIP-{name} {firmware}",
		boot:     []string{"{mac}.boot", "y000000000000.boot"},
		includes: yealinkIncludes,
		files:    []string{"{common}", "{mac}.cfg"},
		parse:    yealinkParse,
		profile:  func(s settings, _ model) profile { return yealinkProfile(s) },
	}
}

// yealinkIncludes reads a boot file: lines of "include:config <file>".
func yealinkIncludes(body []byte) []string {
	var files []string
	for line := range bytes.Lines(body) {
		name, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "include:config")
		if name = strings.Trim(strings.TrimSpace(name), `<>"`); ok && name != "" {
			files = append(files, name)
		}
	}
	return files
}

// yealinkParse reads one file. %NULL% and %EMPTY% blank a parameter.
func yealinkParse(body []byte, _ string, into settings) (note string, err error) {
	f, err := phonefile.Parse(phonefile.YealinkINI, body)
	if err != nil {
		return "", err
	}
	for _, key := range f.Keys() {
		value := f.Value(key)
		if value == "%NULL%" || value == "%EMPTY%" {
			value = ""
		}
		into[key] = value
	}
	return f.Comment(), nil
}

// yealinkProfile understands the parameters; what is missing has its factory
// value (Yealink administrator guide).
func yealinkProfile(s settings) profile {
	p := profile{
		keys: yealinkKeys(s),
		server: server{
			url:  s["static.auto_provision.server.url"],
			user: s["static.auto_provision.server.username"], password: s["static.auto_provision.server.password"],
			trust: yealinkTrust(s),
		},
		option66:   s["static.auto_provision.dhcp_option.enable"] != "0",
		trusted:    s["sip.trust_ctrl"] == "1",
		autoAnswer: s["account.1.auto_answer"] == "1",
		events:     uint8(number(s["account.1.dtmf.dtmf_payload"], 101)),
		codecs:     yealinkCodecs(s),
		keepAlive:  time.Duration(number(s["account.1.nat.udp_update_time"], 30)) * time.Second,
	}
	if s["account.1.nat.udp_update_enable"] == "0" {
		p.keepAlive = 0
	}
	switch s["sip.notify_reboot_enable"] {
	case "0":
		p.notify = rebootWhenAsked
	case "2":
		p.notify = rebootNever
	default: // a NOTIFY reboots a phone that nobody has told otherwise
		p.notify = rebootAlways
	}
	if s["account.1.dtmf.type"] == "2" {
		p.pressBy = pressByInfo
	}
	user := s["account.1.user_name"]
	p.label = cmp.Or(s["account.1.label"], user)
	if s["account.1.enable"] != "1" || user == "" || s["account.1.sip_server.1.address"] == "" {
		return p
	}
	p.account = account{
		user: user, authUser: cmp.Or(s["account.1.auth_name"], user), password: s["account.1.password"],
		name: s["account.1.display_name"],
		host: s["account.1.sip_server.1.address"], port: number(s["account.1.sip_server.1.port"], 5060),
		expires: number(s["account.1.sip_server.1.expires"], 3600), trust: yealinkTrust(s),
	}
	if proxy := s["account.1.outbound_proxy.1.address"]; s["account.1.outbound_proxy_enable"] == "1" && proxy != "" {
		p.account.proxy = net.JoinHostPort(proxy, strconv.Itoa(number(s["account.1.outbound_proxy.1.port"], 5060)))
	}
	switch s["account.1.sip_server.1.transport_type"] {
	case "1":
		p.account.transport = "tcp"
	case "2":
		p.account.transport = "tls"
	default:
		p.account.transport = "udp"
	}
	return p
}

// yealinkTrust: a phone takes certificates of authorities that it knows only,
// whatever their name, unless it is told otherwise.
func yealinkTrust(s settings) trust {
	switch {
	case s["static.security.trust_certificates"] == "0":
		return trustAny
	case s["static.security.cn_validation"] == "1":
		return trustNamed
	}
	return trustKnown
}

// yealinkKeys lists the keys that do something, by position.
func yealinkKeys(s settings) []LineKey {
	names := map[string]string{
		"10": "park", "11": "dtmf", "12": "voicemail", "13": "speed", "15": "line", "16": "blf", "34": "hot desking",
	}
	var keys []LineKey
	for parameter, kind := range s {
		text, ok := strings.CutPrefix(parameter, "linekey.")
		text, isType := strings.CutSuffix(text, ".type")
		position, err := strconv.Atoi(text)
		if !ok || !isType || err != nil || kind == "" || kind == "0" {
			continue
		}
		prefix := "linekey." + text
		keys = append(keys, LineKey{
			Position: position, Type: cmp.Or(names[kind], kind), Label: s[prefix+".label"], Value: s[prefix+".value"],
		})
	}
	slices.SortFunc(keys, func(a, b LineKey) int { return a.Position - b.Position })
	return keys
}

// yealinkCodecs lists the G.711 payload types (RFC 3551 section 6) that are
// enabled, by priority; the simulation has no others.
func yealinkCodecs(s settings) []uint8 {
	type codec struct {
		pt       uint8
		priority int
	}
	var all []codec
	for _, c := range []struct {
		name string
		pt   uint8
	}{{"pcmu", pcmu}, {"pcma", pcma}} {
		prefix := "account.1.codec." + c.name
		if s[prefix+".enable"] != "0" {
			all = append(all, codec{c.pt, number(s[prefix+".priority"], len(all)+1)})
		}
	}
	slices.SortStableFunc(all, func(a, b codec) int { return a.priority - b.priority })
	var list []uint8
	for _, c := range all {
		list = append(list, c.pt)
	}
	return list
}

// number reads a decimal parameter.
func number(text string, otherwise int) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return otherwise
	}
	return n
}
