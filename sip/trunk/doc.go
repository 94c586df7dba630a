// Package trunk is what the edge does towards the telephone systems: it builds the
// targets of calls through them (target.go), knows where they are (address.go) and
// whether they answer, keeps the registrations of users and of the emergency
// accounts (registrar.go, account.go; RFC 3261 section 10), and tests a PBX in
// words (test.go).
//
// A PBX sees each user as one ordinary phone: its own account, registered while the
// user sits somewhere, with a contact that names nobody. Devices and their secrets
// are not known there; users' secrets do not come from there.
//
// Which account a call takes is decided by hotdesk; calls themselves are package
// sip's and leg's.
package trunk
