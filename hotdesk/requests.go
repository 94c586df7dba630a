package hotdesk

// LoginRequest asks to put a user on a device. It is the one entry for the IVR,
// the console, the API and the staff page.
type LoginRequest struct {
	Device DeviceID
	User   Extension
	PIN    Secret // compared unless By is ByAdmin or ByAPI
	By     Actor
	Name   string // who asked, for the audit log; empty for the person at the phone
	Site   string // the one site whose sessions it may end; empty: every site
	Call   string // Call-ID of the asking call, which does not count as "in a call"
}

// LoginResult says what a login did.
type LoginResult struct {
	Session  Session
	Previous Extension  // who was logged out on this device; empty when it was idle
	Moved    []DeviceID // the user's other devices, logged out by it
	Already  bool       // the user was here before; nothing changed but the phone is asked to fetch again
}

// LogoutRequest asks to end the session on a device, or all sessions of the user
// who sits there.
type LogoutRequest struct {
	Device     DeviceID
	By         Actor
	Name       string // who asked, for the audit log
	Reason     string // free text of an administrator
	Call       string // as in LoginRequest
	Everywhere bool   // *77*6*: all devices of the user who sits here
}

// LogoutResult lists the sessions that ended, this device's first.
type LogoutResult struct{ Ended []Session }

// ChangePINRequest asks to replace a user's PIN by the person who knows the old one.
type ChangePINRequest struct {
	Device   DeviceID
	User     Extension
	Old, New Secret
	Call     string
}

// CodeAction is what a hot-desk code asks for.
type CodeAction string

const (
	CodeLogin     CodeAction = "login"      // *77*100*, *77*, *77, *11, *11100, an own extension on an idle phone
	CodeLogout    CodeAction = "logout"     // *77*5*, *12
	CodeLogoutAll CodeAction = "logout_all" // *77*6*
	CodeChangePIN CodeAction = "change_pin" // *77*8*
	CodeWho       CodeAction = "who"        // *77*9*
)

// Code is a dialled hot-desk code. Extension is empty when the IVR must ask for it.
type Code struct {
	Action    CodeAction
	Extension Extension
	PIN       Secret // of a login: it was dialled with the code
}

// Phone is one device with everything that belongs to it at one moment, copied
// out of the snapshot together.
type Phone struct {
	Device  Device
	Fetched Fetched
	Site    Site
	// User is who calls from and is called at this device: the session's user,
	// or else the device's default user; nil when idle.
	User    *User
	Session *Session // nil when nobody logged in
	Model   Model
	// Late: device, site and user are as a transaction has just left them, and the
	// snapshot does not show that yet, so what else is read there may be older.
	Late bool
}

// Language is the language of prompts and screens: the user's, else the desk's,
// else the site's, else English.
func (p Phone) Language() string {
	switch {
	case p.User != nil && p.User.Language != "":
		return p.User.Language
	case p.Device.Language != "":
		return p.Device.Language
	case p.Site.Language != "":
		return p.Site.Language
	}
	return "en"
}

// State is what a console shows of a device.
type State string

const (
	StatePending State = "pending"
	StateIdle    State = "idle"
	StateInUse   State = "in-use"
	StateBlocked State = "blocked"
)

// State of the device.
func (p Phone) State() State {
	switch {
	case p.Device.Blocked:
		return StateBlocked
	case p.User != nil:
		return StateInUse
	}
	return StateIdle
}
