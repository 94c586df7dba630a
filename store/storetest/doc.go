// Package storetest is the conformance suite of hotdesk.Store: what every store
// must do, said once as tests. A store's own tests call Run.
//
// The suite looks at a store through the contract alone: it knows no file and no
// server. What needs more, such as killing a process in the middle of a commit,
// is tested by the store itself.
//
// Twice is for the tests of whatever uses a store: it runs every function of an
// Update two times and reports those that are not pure.
package storetest
