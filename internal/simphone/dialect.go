package simphone

import "strings"

// settings is everything a phone has ever been told, by parameter.
type settings map[string]string

// dialect is what makes a phone one vendor's: what it asks for at boot, who it
// says it is, and how it understands what it is given.
type dialect struct {
	// models gives each model id the words that its files and User-Agent need.
	models map[string]model
	// userAgent is sent over HTTP and SIP alike. {name}, {firmware} and {mac:}
	// (with colons) stand for the phone's own.
	userAgent string
	// boot files are tried in order; the first that exists lists what to load.
	boot []string
	// includes reads such a list.
	includes func(body []byte) []string
	// files are loaded when there is no boot file, each over the one before.
	// {mac} and {common} stand for the phone's own.
	files []string
	// parse reads one file into the settings.
	parse func(body []byte, into settings) error
	// profile says what the settings mean.
	profile func(settings) profile
}

// model is one product of a vendor.
type model struct {
	name     string // as in the User-Agent
	firmware string
	common   string // name of the file that all phones of the model share
}

// profile is what a phone makes of its settings, in no vendor's words.
type profile struct {
	label      string // what the display shows for the account
	account    account
	keys       []LineKey
	server     server
	option66   bool // the network's own URL still wins at boot
	notify     reboots
	trusted    bool // SIP is taken from the registrar's address only
	autoAnswer bool
	codecs     []uint8 // static payload types, best first
	events     uint8   // payload type of telephone-event
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
}

// server is where the phone fetches its files from.
type server struct{ url, user, password string }

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
func dialects() []dialect { return []dialect{yealink()} }

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
		"{name}", m.name, "{firmware}", m.firmware, "{common}", m.common,
		"{mac}", mac, "{mac:}", colons.String(),
	).Replace(pattern)
}
