package phonetemplates

// Phone is all that a template may use. It says what the phone should be, in
// neutral words; how a vendor spells it is the template's business.
type Phone struct {
	MAC     string // 12 lower-case hex digits
	Model   string // model id, "yealink-t46u"
	Version uint64 // of this configuration; 0 for the digest
	Account Account
	Keys    []Key // in order; the first is Login or Logout
	Server  Server
	// Language is a two-letter code; TimeZone an IANA name.
	Language, TimeZone string
	Country            string // ISO 3166, of the tones; may be empty
	NTP                string
	AdminPassword      string
	Dial               DialPlan
	Voicemail          string // number to dial, empty for none
}

// Account is the one SIP account of the phone.
type Account struct {
	Enabled     bool
	User        string // AOR user: the device id when idle, the extension when in use
	AuthUser    string // always the device id
	Secret      string // letters and digits
	DisplayName string
	Label       string // on the phone's screen
	Host        string
	Port        int
	Transport   string // udp, tcp, tls
	Expires     int    // seconds
}

// Key is one line key. Type is blf, speed, line, dtmf, park, voicemail or none.
type Key struct {
	Type, Value, Label string
}

// Server is where the phone fetches its configuration from now on.
type Server struct {
	URL            string
	User, Password string
}

// DialPlan is the neutral list that is compiled into the vendor's digit map.
type DialPlan struct {
	Emergency []string // dialled at once
	Codes     []string // complete hot-desk codes, "*77*5*"
	Prefixes  []string // login codes after which an extension and '*' follow, "*77*"
	// Extensions is the pattern of internal numbers, "[1-9]XX"; OutsidePrefix is what
	// is dialled before outside numbers. Either may be empty.
	Extensions, OutsidePrefix string
}

// Layer is one set of an administrator's parameters, weakest first.
type Layer struct {
	Name   string // "model yealink-t46u"
	Values map[string]string
}
