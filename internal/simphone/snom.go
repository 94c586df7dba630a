package simphone

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"hotdeskd/internal/phonefile"
)

// snom is a Snom D series phone (Snom service hub: "Auto provisioning", "Settings",
// "Function keys"). Its setting server is a folder: it asks there for the file of
// its model, then for its own with the MAC in upper case.
func snom() dialect {
	d := dialect{
		models:   map[string]model{},
		webAgent: "Mozilla/4.0 (compatible; snom{name}-SIP {firmware} 2010.12-00004-g9ba52f5 {MAC} SXM:0 UXM:0)",
		sipAgent: "snom{name}/{firmware}",
		files:    []string{"snom{name}.htm", "snom{name}-{MAC}.htm"},
		parse:    snomParse,
		perms:    snomPerms,
		profile:  func(s settings, _ model) profile { return snomProfile(s) },
	}
	for firmware, names := range map[string][]string{
		"10.1.169.16": {"D120", "D315", "D375", "D765"},
		"10.1.175.16": {"D140", "D150", "D335", "D385", "D713", "D717", "D735", "D785", "D812", "D815", "D862", "D865"},
	} {
		for _, name := range names {
			d.models["snom-"+strings.ToLower(name)] = model{name: name, firmware: firmware}
		}
	}
	return d
}

// snomPerms reads the attribute perm of each setting.
func snomPerms(body []byte) map[string]string {
	f, err := phonefile.Parse(phonefile.SnomXML, body)
	if err != nil {
		return nil
	}
	perms := map[string]string{}
	for _, key := range f.Keys() {
		perms[key] = f.Perm(key)
	}
	return perms
}

// snomParse reads one file. A setting that stands in it is replaced, an empty one
// blanked.
func snomParse(body []byte, _ string, into settings) (note string, err error) {
	f, err := phonefile.Parse(phonefile.SnomXML, body)
	if err != nil {
		return "", err
	}
	for _, key := range f.Keys() {
		into[key] = f.Value(key)
	}
	return f.Comment(), nil
}

// snomProfile understands the settings of identity 1 and of the phone; what is
// missing has its factory value.
func snomProfile(s settings) profile {
	on := func(name, otherwise string) bool { return cmp.Or(s[name], otherwise) == "on" }
	check := trustAny
	switch {
	case on("check_fqdn_against_server_cert", "off"):
		check = trustNamed
	case on("check_trusted_certificate", "off"):
		check = trustKnown
	}
	p := profile{
		keys:       snomKeys(s),
		server:     server{s["setting_server"], s["http_client_user"], s["http_client_pass"], check},
		option66:   strings.Contains(cmp.Or(s["provisioning_order"], "redirection:stop pnp:stop dhcp:stop tr69:stop"), "dhcp"),
		challenged: on("challenge_checksync", "off"),
		trusted:    on("filter_registrar", "on"),
		autoAnswer: on("user_auto_connect.1", "off"),
		keepAlive:  time.Duration(number(s["keepalive_interval.1"], 14)) * time.Second,
	}
	p.codecs, p.events = snomCodecs(cmp.Or(s["codec_priority_list.1"], "g722,pcmu,pcma,telephone-event"))
	if s["user_dtmf_info.1"] == "sip_info_only" {
		p.pressBy = pressByInfo
	}
	user := s["user_name.1"]
	p.label = cmp.Or(s["user_idle_text.1"], s["user_realname.1"], user)
	host, port := hostPort(s["user_host.1"], 5060)
	if !on("user_active.1", "on") || user == "" || host == "" {
		return p
	}
	p.account = account{
		user: user, authUser: cmp.Or(s["user_pname.1"], user), password: s["user_pass.1"], name: s["user_realname.1"],
		host: host, port: port, transport: "udp", expires: number(s["user_expiry.1"], 3600), trust: check,
	}
	// The outbound proxy may name the transport, and so may the registrar.
	proxy, transport, _ := strings.Cut(s["user_outbound.1"], ";transport=")
	if h, at, ok := strings.Cut(s["user_host.1"], ";transport="); ok {
		p.account.host, p.account.port = hostPort(h, 5060)
		transport = cmp.Or(transport, at)
	}
	if proxy != "" {
		p.account.proxy = proxy
	}
	if t := strings.ToLower(transport); t == "tcp" || t == "tls" {
		p.account.transport = t
	}
	return p
}

// snomKeys lists the keys that do something; the first has index 0.
func snomKeys(s settings) []LineKey {
	names := map[string]string{"orbit": "park", "dest": "blf"}
	var keys []LineKey
	for setting, text := range s {
		index, ok := strings.CutPrefix(setting, "fkey.")
		n, err := strconv.Atoi(index)
		kind, value, _ := strings.Cut(text, " ")
		if !ok || err != nil || kind == "" || kind == "none" {
			continue
		}
		value, _, _ = strings.Cut(strings.TrimSpace(value), "|") // after the bar: how to pick a call up
		keys = append(keys, LineKey{Position: n + 1, Type: cmp.Or(names[kind], kind), Label: s[setting+".label"], Value: value})
	}
	slices.SortFunc(keys, func(a, b LineKey) int { return a.Position - b.Position })
	return keys
}

// snomCodecs reads the list of codecs, best first; the simulation has G.711 only.
func snomCodecs(list string) (codecs []uint8, events uint8) {
	for name := range strings.SplitSeq(list, ",") {
		switch strings.TrimSpace(name) {
		case "pcmu":
			codecs = append(codecs, pcmu)
		case "pcma":
			codecs = append(codecs, pcma)
		case "telephone-event":
			events = 101
		}
	}
	return codecs, events
}
