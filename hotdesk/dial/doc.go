// Package dial reads what people dial: it brings a Request-URI or typed string
// to one plain number, recognises hot-desk codes and emergency numbers in it,
// and finds numbers that would hide one another.
//
// It works on strings alone: hotdesk feeds it the configured codes and numbers
// and decides what to do. It never looks anything up and keeps no state.
package dial
