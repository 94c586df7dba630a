package simphone

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// settings is everything a phone has ever been told, by parameter.
type settings map[string]string

// dialect is what makes a phone one vendor's: what it asks for at boot, who it
// says it is, and how it understands what it is given.
type dialect struct {
	// models gives each model id the words that its files and User-Agents need.
	models map[string]model
	// webAgent is the User-Agent over HTTP, sipAgent the one over SIP. {name},
	// {firmware}, {mac}, {MAC} (upper case) and {mac:} (with colons) stand for the
	// phone's own.
	webAgent, sipAgent string
	// boot files are tried in order; the first that exists lists what to load.
	boot []string
	// includes reads such a list.
	includes func(body []byte) []string
	// files are loaded when there is no boot file, each over the one before. Beside
	// the words of the User-Agents, {common} and {lower} (the name in lower case)
	// stand for the phone's own.
	files []string
	// first: files are tried until one exists, unless all says that each is loaded,
	// from the last to the first.
	first bool
	all   func(settings) bool
	// parse reads one file into the settings and returns its first comment. It may
	// refuse a file that is another phone's.
	parse func(body []byte, mac string, into settings) (note string, err error)
	// perms reads what a file says of who may change a setting: "R" files only, "!"
	// the user for good. Nil where all may.
	perms func(body []byte) map[string]string
	// profile says what the settings mean to a model.
	profile func(settings, model) profile
	// refetch are events that, beside check-sync, make the phone fetch, never restart.
	refetch []string
}

// model is one product of a vendor.
type model struct {
	name     string // as in the User-Agent
	firmware string
	common   string // name of the file that all phones of the model share
	screen   int    // keys beside the display that Grandstream numbers apart; 0 for all
}

// profile is what a phone makes of its settings, in no vendor's words.
type profile struct {
	label      string // what the display shows for the account
	account    account
	keys       []LineKey
	server     server
	option66   bool // the network's own URL still wins at boot
	notify     reboots
	challenged bool // a check-sync must prove that it knows the SIP password
	trusted    bool // SIP is taken from the registrar's address only
	autoAnswer bool
	keepAlive  time.Duration // how often the way to the server is kept open; 0 for never
	codecs     []uint8       // static payload types, best first
	events     uint8         // payload type of telephone-event
	pressBy    pressing
}

// account is the identity that the phone registers. The zero account is none.
type account struct {
	user, authUser, password string
	name                     string
	host                     string
	port                     int
	transport                string
	expires                  int
	proxy                    string // host:port that everything is sent to; empty for the host itself
	trust                    trust  // of the server's certificate
}

// over is the account with the transport changed at the phone: TLS has the port
// after the others'.
func (a account) over(transport string) account {
	step := 0
	switch {
	case transport == "tls" && a.transport != "tls":
		step = 1
	case transport != "tls" && a.transport == "tls":
		step = -1
	}
	a.transport, a.port = transport, a.port+step
	if a.proxy != "" {
		host, port := hostPort(a.proxy, 5060)
		a.proxy = net.JoinHostPort(host, strconv.Itoa(port+step))
	}
	return a
}

// server is where the phone fetches its files from.
type server struct {
	url, user, password string
	trust               trust
}

// reboots says when a check-sync makes the phone restart.
type reboots int

const (
	rebootWhenAsked reboots = iota
	rebootAlways
	rebootNever
)

func (r reboots) now(asked bool) bool {
	return r == rebootAlways || r == rebootWhenAsked && asked
}

// pressing is how keys are sent during a call.
type pressing int

const (
	pressByRTP  pressing = iota // RFC 4733
	pressByInfo                 // SIP INFO
)

// LineKey is one programmed key beside the display.
type LineKey struct {
	Position int    // from 1
	Type     string // "speed", "blf", "line", …, or the vendor's own number
	Label    string
	Value    string
}

// dialects are all vendors that can be simulated.
func dialects() []dialect { return []dialect{yealink(), snom(), grandstream()} }

// findModel picks the vendor and product of a model id.
func findModel(id string) (dialect, model, bool) {
	for _, d := range dialects() {
		if m, ok := d.models[id]; ok {
			return d, m, true
		}
	}
	return dialect{}, model{}, false
}

// fill puts the phone's own words into a pattern.
func (m model) fill(pattern, mac string) string {
	var colons strings.Builder
	for i := 0; i < len(mac); i += 2 {
		if i > 0 {
			colons.WriteByte(':')
		}
		colons.WriteString(mac[i : i+2])
	}
	return strings.NewReplacer(
		"{name}", m.name, "{lower}", strings.ToLower(m.name), "{firmware}", m.firmware, "{common}", m.common,
		"{mac}", mac, "{MAC}", strings.ToUpper(mac), "{mac:}", colons.String(),
	).Replace(pattern)
}

// hostPort splits "host", "host:port" or "[IPv6]:port".
func hostPort(text string, otherwise int) (host string, port int) {
	if h, p, err := net.SplitHostPort(text); err == nil {
		return h, number(p, otherwise)
	}
	return strings.Trim(text, "[]"), otherwise
}
