// Package vault keeps what must not be in the database: three random keys, each in
// a file of its own, and everything that is computed with them.
//
//	pepper.key   goes into every PIN hash, so that a stolen database alone is
//	             worth nothing: a PIN has few digits, and guessing them all is quick
//	device.key   derives the phones' passwords and URL tokens, which therefore
//	             need not be stored
//	sealing.key  encrypts the users' PBX passwords in the database
//
// In the flow it stands beside the store: hotdesk asks it to hash and compare PINs
// and to derive and seal secrets. cmd opens it first of all.
//
// PIN hashing is the one expensive thing a stranger can ask for, so two run at once,
// some wait, and the rest are told to try again.
//
// It never logs, never writes a secret anywhere but into its key files, and never
// replaces a key file: with another key, every secret would be another one.
package vault
