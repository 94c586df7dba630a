// Command mutants plants known mistakes, one at a time, and fails when the tests do not
// notice one: each was once made, or lived when somebody tried. `make mutants` runs it.
//
// A mistake is a row of the table in list.go: a file, what stands there, what a tired
// person would write, and the test that must fail then. The tree is not touched: the go
// command is given the changed file as an overlay. A row whose old text is not there
// any more, whose new text does not compile, or whose pattern names no test is an
// error as well, so the table cannot rot.
package main
