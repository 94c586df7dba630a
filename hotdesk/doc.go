// Package hotdesk holds the rules of hotdeskd, each written once: which phone is
// which device, who sits where, whose PIN is right, what a device may dial and
// what an administrator may change.
//
// In the flow it stands in the middle: provisioning asks it to claim phones, sip
// asks it where a call goes, ivr, admin and timers ask it to log people in and
// out, resync asks it whose configuration is behind. Every change is one
// transaction of the Store; every read on a hot path is answered from a memory
// snapshot that only the store's Watch feed writes (docs/architecture.md).
//
// Two things live here that are true only now and are never stored: Live holds
// registrations, legs, pending phones and the event stream.
//
// It never opens a socket or a file, imports no transport, keeps no clock of its
// own (Now is given) and never sees a PIN after it was hashed.
package hotdesk
