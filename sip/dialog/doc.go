// Package dialog holds one side of a call: the dialog with one party (RFC 3261
// section 12), and the branch by which a party is rung until it answers
// (section 13.2, with CANCEL of section 9).
//
// Package sip puts legs together into calls. A leg keeps the flow on which its
// party was first heard and never dials anywhere else: a phone behind NAT can
// be reached only there. sipgo carries the transactions; what it leaves to its
// user (ACK to every 2xx, CANCEL only after a 1xx, late 2xx of a cancelled
// branch, one answer to a digest challenge) is done here once.
//
// It knows no users, devices or rules.
package dialog
