// Package access knows who may use the API and the console: tokens for programs,
// accounts with a password for people, one-time links for the first owner and
// for one who forgot the password, and the browser sessions that come of them.
//
// In the flow it stands before admin, which asks it on every request who that is
// (a hotdesk.Principal) and itself decides what such a one may do. Tokens and
// accounts are records in the store, under keys of their own; what must be quick
// is answered from memory, which the store's feed fills. Sessions, links and the
// count of wrong passwords live in memory only.
//
// It never stores or logs a token, password or link, only hashes of the first
// two, and knows no HTTP.
package access
