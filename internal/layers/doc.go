// Package layers keeps the import table of the house: which package may import
// which of ours, and where each third-party module lives. It has no code but
// its test, which also proves on planted violations that it can fail.
package layers
