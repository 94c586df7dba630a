// Command hotdeskd makes ordinary SIP desk phones shared: a person dials a code,
// types a PIN, and the phone is theirs until they leave.
//
// main.go has the command line, app.go the wiring of the server in the order of
// the flow, stages.go its start and stop, adapters.go what joins two packages
// that must not know one another.
package main
