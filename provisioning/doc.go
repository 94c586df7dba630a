// Package provisioning answers phones that ask for their configuration over
// HTTP: it recognises the file (phonetemplates), the token in the path and the
// MAC (hotdesk), claims, renders, and remembers what was fetched whole.
//
// In the flow it is the first step (boot) and the last of a login (the phone
// fetches its new file). It renders on demand from memory: a store that is down
// stops no phone from booting. To resync it gives the digest that tells whether
// a phone's file has changed (Prepare).
//
// It never decides who may claim what (hotdesk does), and everything that it
// does not know gets the same 404.
package provisioning
