// Package call makes calls of dialogs: it rings the groups of targets that the edge
// has chosen until one answers, joins the two sides, carries what happens inside the
// call from one to the other, keeps both sessions alive and writes the record. A call
// that ends at hotdeskd itself is a visit to the attendant.
//
// In the flow: package sip decides who calls whom and hands it an Incoming on a Bench
// (the sockets, the table of dialogs, the books); sip/dialog knows what a dialog is.
//
// It knows no rule of who may call whom, no credentials but those that its targets
// carry, and touches no media. What one side's challenges, Call-ID or device are called
// never reaches the other.
package call
