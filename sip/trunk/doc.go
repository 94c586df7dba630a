// Package trunk is what the edge does towards the telephone systems: it builds the
// targets of calls through them (target.go), knows where they are and which addresses
// answer (address.go, source.go; RFC 3263) and whether they are there (peer.go), keeps
// the registrations of users and of the emergency accounts (registrar.go, account.go,
// register.go; RFC 3261 section 10), says what is wrong in one set of words
// (diagnosis.go, trouble.go), knows its own requests when they come back (loop.go),
// and tests a PBX (test.go).
//
// A PBX sees each user as one ordinary phone: its own account, registered while the
// user sits somewhere, with a contact that names nobody. Devices and their secrets
// are not known there; users' secrets do not come from there.
//
// Which account a call takes is decided by hotdesk; calls themselves are package
// sip's and leg's.
package trunk
