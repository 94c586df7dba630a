// Package ingress stands between the SIP library and the handlers of package
// sip: it judges whether a request is well formed (Validate; RFC 4475 is the
// exam) and whether its digest is right (Authenticator; RFC 2617, RFC 3261
// section 22).
//
// Who may register or call is not decided here: secrets come in through a
// function, policy stays in hotdesk.
package ingress
