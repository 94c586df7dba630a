package simphone

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hotdeskd/internal/phonefile"
)

// grandstream is a Grandstream GRP or GXP phone (administration guides and
// configuration templates of the GRP26xx, GXP21xx and GXP16xx). It takes the first
// of its files that exists: its binary form, its own XML, its model's, everybody's.
func grandstream() dialect {
	d := dialect{
		models:   map[string]model{},
		webAgent: "Grandstream Model HW {name} SW {firmware} DevId {mac}",
		sipAgent: "Grandstream {name} {firmware}",
		files:    []string{"cfg{mac}", "cfg{mac}.xml", "cfg{lower}.xml", "cfg.xml"},
		first:    true,
		all:      func(s settings) bool { return s["P8467"] == "1" },
		parse:    grandstreamParse,
		profile:  grandstreamProfile,
		refetch:  []string{"resync"},
	}
	for _, m := range []model{
		{name: "GRP2612", firmware: "1.0.13.47"}, {name: "GRP2613", firmware: "1.0.13.47"},
		{name: "GRP2614", firmware: "1.0.13.47", screen: 16}, {name: "GRP2615", firmware: "1.0.13.47"},
		{name: "GRP2616", firmware: "1.0.13.47", screen: 16},
		{name: "GXP2130", firmware: "1.0.11.84"}, {name: "GXP2135", firmware: "1.0.11.84"}, {name: "GXP2170", firmware: "1.0.11.84"},
		{name: "GXP1610", firmware: "1.0.7.81"}, {name: "GXP1625", firmware: "1.0.7.81"},
	} {
		d.models["grandstream-"+strings.ToLower(m.name)] = m
	}
	return d
}

// grandstreamParse reads one file. One that names another phone's MAC is not taken.
func grandstreamParse(body []byte, mac string, into settings) (note string, err error) {
	f, err := phonefile.Parse(phonefile.GrandstreamXML, body)
	if err != nil {
		return "", err
	}
	if of := f.Value("mac"); of != "" && !strings.EqualFold(of, mac) {
		return "", fmt.Errorf("the file is for the phone %s", of)
	}
	for _, key := range f.Keys() {
		if key != "mac" {
			into[key] = f.Value(key)
		}
	}
	return f.Comment(), nil
}

// grandstreamProfile understands the P values of account 1 and of the phone; what
// is missing has its factory value.
func grandstreamProfile(s settings, m model) profile {
	check := func(chain, name string) trust {
		switch {
		case s[name] == "1":
			return trustNamed
		case s[chain] == "1":
			return trustKnown
		}
		return trustAny
	}
	p := profile{
		keys:       grandstreamKeys(s, m.screen),
		server:     server{grandstreamURL(s), s["P1360"], s["P1361"], check("P8463", "")},
		option66:   s["P145"] != "0",
		notify:     rebootAlways,
		challenged: s["P4428"] != "1",
		trusted:    s["P2347"] == "1",
		autoAnswer: s["P90"] == "1",
		keepAlive:  time.Duration(number(s["P84"], 20)) * time.Second,
		codecs:     grandstreamCodecs(s),
		events:     uint8(number(s["P79"], 101)),
	}
	switch { // the factory setting is RFC 4733
	case s["P2302"] == "0" && s["P2303"] == "1":
		p.pressBy = pressByInfo
	case s["P2302"] == "0":
		p.events = 0
	}
	user := s["P35"]
	p.label = cmp.Or(s["P270"], s["P3"], user)
	host, port := hostPort(s["P47"], 5060)
	if s["P271"] == "0" || user == "" || host == "" || s["P31"] == "0" {
		return p
	}
	p.account = account{
		user: user, authUser: cmp.Or(s["P36"], user), password: s["P34"], name: s["P3"], host: host, port: port, proxy: s["P48"],
		transport: "udp", expires: 60 * number(s["P32"], 60), trust: check("P2867", "P2311"),
	}
	switch s["P130"] {
	case "1":
		p.account.transport = "tcp"
	case "2":
		p.account.transport = "tls"
	}
	return p
}

// grandstreamURL is the configuration server's path with the scheme that stands
// apart from it; empty for what is no HTTP.
func grandstreamURL(s settings) string {
	path := s["P237"]
	if path == "" || strings.Contains(path, "://") {
		return path
	}
	switch s["P212"] {
	case "1":
		return "http://" + path
	case "2":
		return "https://" + path
	}
	return ""
}

// grandstreamKeys lists the keys that do something. Those on the screen come first;
// the keys beside it, where a model has some, are numbered after them.
func grandstreamKeys(s settings, screen int) []LineKey {
	names := map[string]string{"0": "speed", "1": "blf", "5": "dtmf", "6": "voicemail", "9": "park", "31": "line"}
	var keys []LineKey
	add := func(position, mode, label, value int) {
		kind, ok := s["P"+strconv.Itoa(mode)]
		if !ok || kind == "-1" || kind == "" {
			return
		}
		keys = append(keys, LineKey{
			Position: position, Type: cmp.Or(names[kind], kind), Label: s["P"+strconv.Itoa(label)], Value: s["P"+strconv.Itoa(value)],
		})
	}
	const onScreen, beside = 48, 24 // at most
	for k := range onScreen {
		if k < 6 {
			add(k+1, 1363+2*k, 1465+2*k, 1466+2*k)
		} else {
			p := 23800 + 4*(k-6)
			add(k+1, p, p+2, p+3)
		}
	}
	if screen > 0 {
		for k := range beside {
			p := 23000 + 5*k
			add(screen+k+1, p, p+2, p+3)
		}
	}
	slices.SortStableFunc(keys, func(a, b LineKey) int { return a.Position - b.Position })
	return keys
}

// grandstreamCodecs reads the choices, which hold payload types (RFC 3551 section
// 6), best first; the simulation has G.711 only.
func grandstreamCodecs(s settings) []uint8 {
	var list []uint8
	for _, choice := range []string{"P57", "P58", "P59", "P60", "P61", "P62", "P46", "P98"} {
		pt := uint8(number(s[choice], 255))
		if (pt == pcmu || pt == pcma) && !slices.Contains(list, pt) {
			list = append(list, pt)
		}
	}
	if len(list) == 0 {
		return []uint8{pcmu, pcma}
	}
	return list
}
