// Package paced tells of a failure that repeats itself (a full disk, say) without
// filling the log: at once, then once a minute with how often it was, and once when
// it is over.
//
// It knows nothing of what fails and decides nothing about trying again.
package paced
