package hotdesk

import "time"

// DeviceType says who may sit at a device.
type DeviceType string

const (
	// HotDesk devices are shared: anybody with hot-desk rights logs in.
	HotDesk DeviceType = "hot-desk"
	// Fixed devices belong to their default user; nobody logs in or out.
	Fixed DeviceType = "fixed"
)

// Device is one phone as the store keeps it (key /device/HD0001).
type Device struct {
	ID          DeviceID   `json:"id"`
	MAC         MAC        `json:"mac"`
	Model       string     `json:"model"`
	Site        string     `json:"site"`
	Desk        string     `json:"desk,omitempty"`
	Type        DeviceType `json:"type"`
	DefaultUser Extension  `json:"default_user,omitempty"`
	Language    string     `json:"language,omitempty"` // of the desk; a user's own goes first
	Blocked     bool       `json:"blocked,omitempty"`
	// Transport overrides the site's phones.transport; empty: as the site says.
	Transport string `json:"transport,omitempty"`
	Claimed   bool   `json:"claimed,omitempty"` // its own configuration was handed out
	// Generation numbers the device's secret; raised at every bind, unbind,
	// re-claim and rotate. Secrets from Floor (set by the raises that cut off the
	// past at once) or the proven one, whichever is later, up to it are accepted.
	Generation uint64 `json:"generation"`
	Floor      uint64 `json:"floor,omitempty"`
	// Wanted numbers the device's configuration; Digest is the SHA-256 of the
	// per-MAC file rendered as version 0, empty until resync has prepared it.
	Wanted uint64 `json:"wanted"`
	Digest string `json:"digest,omitempty"`
	// URLNumber numbers the device's provisioning token and HTTP password. While
	// the phone has not proven generation URLProof, whose file tells it the new ones,
	// those from URLFloor on are good too.
	URLNumber uint64    `json:"url_number"`
	URLFloor  uint64    `json:"url_floor,omitempty"`
	URLProof  uint64    `json:"url_proof,omitempty"`
	ClaimOp   string    `json:"claim_op,omitempty"` // operation that claimed it last
	Created   time.Time `json:"created"`
}

// Fetched is what the phone itself has proven (key /fetched/HD0001): the last
// version it took whole and the highest secret generation it passed digest with.
// It is apart from Device so that boots never conflict with logins.
type Fetched struct {
	Version uint64    `json:"version"`
	At      time.Time `json:"at"`
	Proven  uint64    `json:"proven"`
}

// User is a person with a number (key /user/100).
type User struct {
	Extension Extension `json:"extension"`
	Name      string    `json:"name"`
	PINHash   string    `json:"pin_hash,omitempty"`
	Enabled   bool      `json:"enabled"`
	HotDesk   bool      `json:"hot_desk"`
	Language  string    `json:"language,omitempty"`
	CallerID  string    `json:"caller_id,omitempty"`
	OffDesk   string    `json:"off_desk,omitempty"`
	PBX       *UserPBX  `json:"pbx,omitempty"`
	Keys      []Key     `json:"keys,omitempty"`
}

// UserPBX is the account that the user has at the PBX. No phone ever gets it.
type UserPBX struct {
	Name      string `json:"name"`
	Extension string `json:"extension,omitempty"`
	AuthUser  string `json:"auth_user,omitempty"`
	Sealed    string `json:"sealed,omitempty"` // the secret, sealed by Vault with the label of userSecretLabel
}

// Key is one line key that follows the user from phone to phone.
// Type is one of blf, speed, line, dtmf, park, voicemail, none.
type Key struct {
	Type  string `json:"type" yaml:"type"`
	Value string `json:"value,omitempty" yaml:"value,omitempty"`
	Label string `json:"label,omitempty" yaml:"label,omitempty"`
}

// Session is a user at a device (key /binding/HD0001 while it lasts). Its id is
// the operation id of the login that made it.
type Session struct {
	ID     string     `json:"id"`
	Device DeviceID   `json:"device"`
	User   Extension  `json:"user"`
	Since  time.Time  `json:"since"`
	By     Actor      `json:"by"`
	Until  *time.Time `json:"until"`
}

// Actor is the way by which a session began or ended.
type Actor string

const (
	ByIVR   Actor = "ivr"
	ByAdmin Actor = "admin"
	ByAPI   Actor = "api"
	ByStaff Actor = "staff"
	ByTimer Actor = "timer"
)

// Seats lists a user's devices (key /seats/100), so that a login finds the
// user's other phones without a scan.
type Seats struct {
	Bound []DeviceID `json:"bound,omitempty"` // at most MaxSeats, oldest first
	Last  DeviceID   `json:"last,omitempty"`  // device of the last good login
}

// MaxSeats is how many devices one user may be logged in on at once.
const MaxSeats = 24

// Throttle counts wrong PINs (keys /throttle/...).
type Throttle struct {
	Failures int       `json:"failures"`
	Since    time.Time `json:"since"`           // of the first failure counted
	Locks    int       `json:"locks,omitempty"` // locks in a row; each doubles the next
	Until    time.Time `json:"until,omitzero"`  // locked until then
}

// Site is an office: its enrolment, dialling and emergency rules (key /site/x).
type Site struct {
	Name         string     `json:"name"`
	Country      string     `json:"country,omitempty"`
	TimeZone     string     `json:"time_zone,omitempty"`
	Language     string     `json:"language,omitempty"`
	Networks     []string   `json:"networks,omitempty"`
	Enrolment    string     `json:"enrolment"` // approve | known | automatic
	RequireHTTPS bool       `json:"require_https,omitempty"`
	Phones       Phones     `json:"phones"`
	Dialing      Dialing    `json:"dialing"`
	Emergency    Emergency  `json:"emergency"`
	SecondPhone  string     `json:"second_phone"` // move | allow | refuse
	AutoLogout   AutoLogout `json:"auto_logout"`
}

// Phones is what a site's phones are told beyond their account.
type Phones struct {
	Transport     string `json:"transport"` // udp | tcp | tls
	SRTP          string `json:"srtp"`      // off | optional | required
	NTP           string `json:"ntp,omitempty"`
	AdminPassword string `json:"admin_password,omitempty"` // auto, or sealed text
}

// Dialing is a site's number plan.
type Dialing struct {
	OutsidePrefix string   `json:"outside_prefix,omitempty"`
	Extensions    string   `json:"extensions,omitempty"` // pattern, "[1-9]XX"
	IdleNumbers   []string `json:"idle_numbers,omitempty"`
}

// Emergency belongs to the desk's site, never to the user.
type Emergency struct {
	Numbers  []string          `json:"numbers,omitempty"`
	CallerID string            `json:"caller_id,omitempty"`
	Address  map[string]string `json:"address,omitempty"`
	Routes   []EmergencyRoute  `json:"routes,omitempty"`
	Notify   []Notify          `json:"notify,omitempty"`
}

// EmergencyRoute names a PBX that takes the site's emergency calls; the first
// that answers in time is used.
type EmergencyRoute struct {
	PBX string `json:"pbx" yaml:"pbx"`
}

// Notify is one receiver of emergency alarms.
type Notify struct {
	Webhook string `json:"webhook" yaml:"webhook"`
}

// AutoLogout ends sessions by time; zero values are off.
type AutoLogout struct {
	At       string        `json:"at,omitempty"` // "20:00" in the site's zone
	Max      time.Duration `json:"max,omitempty"`
	Inactive time.Duration `json:"inactive,omitempty"`
}

// PBX is a telephone system that calls go to (key /pbx/x).
type PBX struct {
	Name      string  `json:"name"`
	Mode      string  `json:"mode"` // register | trunk | none
	Domain    string  `json:"domain,omitempty"`
	Proxy     string  `json:"proxy,omitempty"` // host:port
	Transport string  `json:"transport"`       // udp | tcp | tls
	Internal  string  `json:"internal"`        // pbx | local
	Features  string  `json:"features"`        // pbx | hotdeskd
	SRTP      string  `json:"srtp"`            // off | optional | required
	Account   Account `json:"account"`         // for calls of no user
	// Identity are the headers that carry the caller's number; empty: see IdentityHeaders.
	Identity []string `json:"identity,omitempty"`
	// Sources are the addresses and networks that it may send from; empty: all that
	// proxy and domain resolve to.
	Sources []string `json:"sources,omitempty"`
}

// Account is the PBX account of calls that belong to no user: emergency, idle
// numbers and tests.
type Account struct {
	AuthUser string `json:"auth_user,omitempty"`
	Sealed   string `json:"sealed,omitempty"`
}

// Numbering is what must be checked together because it shares the dial space
// (key /numbering): the codes and every site's emergency and idle numbers.
type Numbering struct {
	Settings Settings            `json:"settings"`
	Sites    map[string][]string `json:"sites,omitempty"`
}

// Settings are the server-wide choices.
type Settings struct {
	Codes   Codes  `json:"codes"`
	Refusal string `json:"refusal"` // speak | 403
}

// Codes are the hot-desk codes; see dial.Codes for how they are matched.
type Codes struct {
	Login     string              `json:"login" yaml:"login"`
	Logout    string              `json:"logout" yaml:"logout"`
	LogoutAll string              `json:"logout_all" yaml:"logout_all"`
	Aliases   map[string][]string `json:"aliases,omitempty" yaml:"aliases,omitempty"`
}

// Parameter is one admin override of a phone parameter (key /param/<layer>/<id>
// holds all of one layer's id). Layers: default vendor model site device user.
type Parameter struct {
	Layer  string            `json:"layer" yaml:"layer"`
	ID     string            `json:"id,omitempty" yaml:"id,omitempty"`
	Values map[string]string `json:"values" yaml:"values"`
}

// AuditRow says what one transaction did and who asked for it. It is put in the
// same transaction (key /audit/<op>), drained by journal, and the source of the
// transaction's event.
type AuditRow struct {
	Op     string            `json:"op"`
	Time   time.Time         `json:"time"`
	Action string            `json:"action"` // session.started, device.claimed, user.saved, ...
	By     string            `json:"by"`     // ivr, phone, system, or an admin's name
	Device DeviceID          `json:"device,omitempty"`
	User   Extension         `json:"user,omitempty"`
	Detail map[string]string `json:"detail,omitempty"`
}

// Call is one call record.
type Call struct {
	ID         string     `json:"id"`
	Started    time.Time  `json:"started"`
	Answered   *time.Time `json:"answered"`
	Ended      *time.Time `json:"ended"`
	FromUser   Extension  `json:"from_user"`
	FromDevice DeviceID   `json:"from_device"`
	To         string     `json:"to"`
	ToDevice   DeviceID   `json:"to_device"`
	Kind       CallKind   `json:"kind"`
	Result     string     `json:"result"` // answered busy refused cancelled no-answer failed; without an end: ongoing interrupted
	Reason     string     `json:"reason"`
}

// CallKind is what a dialled number turned out to be.
type CallKind string

const (
	CallInternal  CallKind = "internal"
	CallExternal  CallKind = "external"
	CallEmergency CallKind = "emergency"
	CallHotDesk   CallKind = "hot-desk"
)

// Model is a phone model as the rules need to know it.
type Model struct {
	ID       string `json:"id"`
	Vendor   string `json:"vendor"`
	LineKeys int    `json:"line_keys"`
	// AuthNameAOR: the phone has no separate authentication name, so its AOR is
	// the device id in every state (manifest auth_name: aor).
	AuthNameAOR bool `json:"auth_name_aor,omitempty"`
}

// CheckSync is one rung of a vendor's ladder of "fetch your configuration" NOTIFYs.
type CheckSync struct {
	Event       string // Event header, "check-sync;reboot=false"
	ContentType string
	Body        []byte
	Reboot      bool          // the phone restarts: the stronger form
	ApplyWithin time.Duration // from its last GET to its REGISTER
}

// File is one configuration file as a phone gets it.
type File struct {
	Name        string `json:"name"`
	ContentType string `json:"content_type"`
	Content     string `json:"content"`
}

// Provenance says where one parameter of a phone's file comes from.
type Provenance struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Layer string `json:"layer"` // "template", or the layer that an administrator set, "site roma"
}
