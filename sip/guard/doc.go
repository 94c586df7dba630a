// Package guard stands at the SIP sockets, before anything is parsed: who may
// send how much, how many connections there may be and how long they may take,
// and that one passing error ends no listener. It also makes the library's log
// harmless.
//
// Everybody who is not known is a stranger: strangers have a budget each and one
// together. The flows of registered phones and the addresses of the PBXes have
// budgets of their own, so that no flood of strangers takes anything from them.
// Its tables have a fixed size; spoofed sources cannot make them grow.
//
// It knows bytes, addresses, errors of sockets, and where a SIP message ends on a
// stream (RFC 3261 section 18.3); what is in the messages it leaves to others.
package guard
