// Package csvtable reads a table as spreadsheet programs write it: CSV with
// commas, semicolons or tabs, in UTF-8, UTF-16, Windows-1252 or Windows-1251,
// with or without a byte order mark.
//
// It stands before the imports of devices and users: bytes go in, rows of text
// with their line numbers come out. A row that cannot be read is a row with an
// error, so that one look shows all that is wrong with a file.
//
// It never guesses what a column means and knows no rule of ours.
package csvtable
