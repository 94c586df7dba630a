// Package bolt is the default store of hotdeskd: hotdesk.Store on one bbolt file.
//
// In the flow it stands below hotdesk, which is the only one to write through it;
// journal drains the audit rows from it, and the backup command copies it.
//
// # How an Update goes
//
// One goroutine, started by Open and ended by Close, owns the write transaction.
// It takes the Updates that wait, at most some hundred, gives each its turn, and
// commits them together: one fsync for all of them, and no timer, so that a lonely
// Update does not wait for company. A function runs on its caller's own goroutine
// while the writer waits, so a panic in it shows the caller's stack, takes only its
// own writes with it and leaves the store working. It sees what the Updates before
// it in the same group have written; nothing of the group is released to anybody
// before the fsync has succeeded, and the ring behind Watch is fed before that.
//
// # Nested transactions
//
// A function that calls the store again would wait for itself. While any function
// runs, Update, View, Backup and Close look at their own call stack, and if they find
// that they were called from inside one they return hotdesk.ErrNested. This holds for
// functions of View as well: bbolt can hang on both a read and a write that start
// inside a read. What cannot be seen is a function that starts another goroutine and
// waits for it; that breaks the contract (functions are pure) and hangs.
//
// # Safety at open
//
// bbolt makes an empty database out of a missing or empty file, and panics on a
// damaged one. Therefore an instance file beside the database holds the same random
// id as the database, and Open refuses whatever does not fit together: it never
// makes an empty database where there has been one. Before the file is opened for
// writing, every page and record is checked in a child process, whose crash harms
// nobody. Records carry a checksum, and the database a sum over all records, so that
// a lost page is found as well as a changed byte.
//
// It never interprets keys or values, never keeps one of the caller's slices and
// never hands out one of its own.
package bolt
