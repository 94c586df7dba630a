// Package guard keeps the SIP sockets alive and the library's log harmless: it
// wraps what is handed to sipgo, before anything is parsed.
//
// It knows bytes, addresses and errors of sockets, and nothing of SIP.
package guard
