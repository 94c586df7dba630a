// Package registrar keeps where the phones are: what each device has registered and on
// which flow (RFC 3261 section 10.3), for as long as it was granted, over a restart of
// the server too. It keeps the NATs of phones open, notices those that fall silent or
// lose their connection, and says who was heard from an address.
//
// In the flow: package sip has found out whose REGISTER it is, by its digest alone, and
// asks Register for the answer; calls and check-syncs ask Get for the way to a phone.
//
// It proves nobody, knows no rule, and never dials: a phone is reached on the flow on
// which it was heard.
package registrar
