// Package memnet is a network in memory: packet sockets that lose, reorder and
// duplicate, and stream sockets, for tests that run in a testing/synctest bubble,
// where real sockets cannot be waited for and time is fake.
//
// It stands where the sockets of sip, ivr, provisioning and simphone would be.
// It starts no goroutine and keeps nothing when it is dropped. What happens to a
// packet depends on the seed, on its two addresses and on how many went the same
// way before it, never on how goroutines are scheduled. It never touches the
// host's network and models no routing, no ICMP and no bandwidth.
package memnet
