// Package archive is the form of a backup: a zip file, with a manifest at its end
// that has the SHA-256 of every other file in it.
//
// It stands behind the commands backup and restore. A file whose end is missing,
// whose bytes were changed, or that has more or less in it than its manifest says
// is refused whole, before anything is unpacked, and so is one with more in it than
// the reader's limits: a small file can be made that unpacks to any size.
//
// It never interprets what it holds, never writes outside of the directory it is
// given, and does not encrypt: who needs that pipes the file through age or gpg.
package archive
