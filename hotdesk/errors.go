package hotdesk

import "errors"

// The errors of the rules. Each adapter has one table that turns them into its
// own language: HTTP status and code in admin, prompt in ivr, status in sip.
var (
	// ErrNotFound: there is no such device, user, site or PBX.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: a value breaks a rule; the wrapping message says which one.
	ErrInvalid = errors.New("invalid")
	// ErrConflict: what is asked contradicts what is stored, such as a MAC in use.
	ErrConflict = errors.New("conflict")
	// ErrNoMatch: extension and PIN do not match. The same for an unknown user, a
	// wrong PIN, a disabled user and a locked pair, so that nobody can tell them apart.
	ErrNoMatch = errors.New("extension and PIN do not match")
	// ErrLocked: too many wrong PINs from this device; told before a PIN is asked.
	ErrLocked = errors.New("too many attempts")
	// ErrBusy: the PIN check queue is full; try again in a moment.
	ErrBusy = errors.New("busy, try again")
	// ErrNotHotDesk: the user may not use shared phones (told only after a right
	// PIN), or the device is a fixed one.
	ErrNotHotDesk = errors.New("not enabled for hot-desking")
	// ErrFixedDevice: nobody can log in or out here; it belongs to one user.
	ErrFixedDevice = errors.New("not a shared phone")
	// ErrBlocked: the device is blocked by an administrator.
	ErrBlocked = errors.New("device is blocked")
	// ErrDeviceInCall: the device has another call up; log in or out afterwards.
	ErrDeviceInCall = errors.New("device is in a call; try again when it has ended")
	// ErrSecondPhoneRefused: the site allows one phone a user, and the user has one.
	ErrSecondPhoneRefused = errors.New("logged in on another phone")
	// ErrInUse: the object is needed by something else and cannot go.
	ErrInUse = errors.New("in use")
	// ErrNobody: nobody is logged in on the device.
	ErrNobody = errors.New("nobody is logged in")
	// ErrWeakPIN: the PIN is too short, too long or easily guessed.
	ErrWeakPIN = errors.New("weak PIN")
	// ErrUnknownModel: no phone model has this id.
	ErrUnknownModel = errors.New("unknown model")
	// ErrCodeConflict: a hot-desk code overlaps another one or an extension.
	ErrCodeConflict = errors.New("code conflict")
	// ErrShadowsEmergency: an extension or code would hide an emergency number.
	ErrShadowsEmergency = errors.New("shadows an emergency number")
	// ErrEmergencyHold: an emergency call was made from the device a short while ago.
	ErrEmergencyHold = errors.New("emergency hold")
	// ErrAnotherSite: the phone came by the enrolment URL of a site that its device
	// does not belong to.
	ErrAnotherSite = errors.New("belongs to another site")
	// ErrPending: the phone has asked for its configuration but nobody approved it.
	ErrPending = errors.New("waiting for approval")
)
