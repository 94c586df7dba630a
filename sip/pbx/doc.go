// Package pbx is the edge's side towards the telephone systems that people own:
// whom to send a call to and with which identity (mode trunk).
//
// Package sip asks it for targets and rings them like any other. It never sees
// a phone or a device: what it is given is a number, a caller and a PBX.
package pbx
