// Package simphone is a desk phone in software: a Yealink, a Snom or a Grandstream.
// It boots from a provisioning URL with its vendor's file names and User-Agent,
// reads the vendor's format, registers over UDP, TCP or TLS, dials, presses keys,
// hears, rings, and obeys check-sync. A dialect is all that makes it one vendor's;
// a flow is its way to the server.
//
// It stands where the phones stand: outside. The demo, the end-to-end tests and
// the load tests use it against a whole server, so it speaks real HTTP, SIP and
// RTP only, and what a parameter of a file means it knows by itself: nothing
// here is shared with the templates that wrote the file but the file's grammar.
// Like hardware it keeps every parameter it was ever given until a file says
// otherwise, so that a setting which a file forgets to blank shows.
//
// Service is the other end of a trunk, which the demo calls through.
//
// It is not hardened as the server is, it never logs, and no password and no
// pressed digit leaves it in a Step.
package simphone
