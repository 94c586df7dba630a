// Package sip is the edge that phones register to: registrar, and signalling-only
// back-to-back user agent (RFC 3261, RFC 7092) between phones, the IVR and the
// PBX.
//
// In the flow: a phone's REGISTER is proven with its device's own secret
// (register.go) and kept as a location on its flow (location.go); its INVITE is
// judged by hotdesk's Route (invite.go) and becomes a call (call.go), a visit
// to the IVR (visit.go) or a refusal; resync's check-sync goes out on the
// phone's flow (notify.go). Requests inside dialogs find their call by Call-ID
// and our tag (dialogs.go).
//
// The digest user alone says which device is calling; From, To and Contact never
// do. Challenges, credentials and device names never pass from one leg to the
// other. It has no rule of its own about who may call whom and touches no media.
//
// In this package's files the identifier sip means the library
// github.com/emiago/sipgo/sip; a package does not see its own name.
package sip
