// Package journal writes down what happened: the audit log and the call records,
// in files of one month each that any tool can read.
//
//	audit-202611.jsonl   who did what; each line holds the hash of the one before
//	calls-202611.jsonl   call records; the same form without the chain
//
// In the flow it stands at the end. A transaction of hotdesk puts its audit row into
// the store together with what it changed; Serve takes the rows from there in the
// order of their commits, appends them, makes them durable, and only then deletes
// them from the store. A row that a crash left in both places is recognised by its
// operation id, so each is in the file exactly once. Emergency rows are appended
// directly (AppendNow), so that a dead store loses none; while the disk is full they
// wait in memory, however many, and a stop that finds it full logs them whole. Call records come from sip
// through a queue that never makes a call wait: one when the call is answered (an
// emergency call's also when it begins), so that a kill does not lose it, and one at
// its end, which names the line it replaces; readers go backward and show the newer.
//
// The chain shows a changed, removed or inserted line, and a file taken out from
// between others. That the newest lines, or the newest files, were cut off shows
// against the head: the store keeps the number and the hash of the newest line that
// was moved from there, and a start that does not find that line writes a row
// audit.cut, which Verify reports from then on. What cannot be seen: lines cut off
// that came past the store (AppendNow) after the head; the oldest files removed, which
// is retention; and that somebody wrote the whole chain anew and the store's head with
// it, for no key goes into the hashes. Against the last, copy the newest hash to a
// place of its own from time to time.
//
// Months are UTC, and files never go back: when the clock does, the newest file goes
// on. Retention is deleting the oldest files.
//
// It never changes or deletes a line that was written whole, never holds a secret or
// a PIN (rows have none), and never decides what is worth a row.
package journal
