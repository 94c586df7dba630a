// Package certs holds the server's TLS certificates: it makes self-signed ones on
// an empty data directory, reads those that an administrator has put in their
// place, and takes new files over while the server runs.
//
// Two kinds are offered, ECDSA P-256 to whoever can take it and RSA-2048 to the
// rest: many desk phones know only one of them. HTTPS for phones and SIP over TLS
// share them.
//
// It opens no socket and checks no peer.
package certs
