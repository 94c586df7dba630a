// Package cleantext is the one rule about text that people write and phones show: a
// name, a label, a desk, a parameter.
//
// What the rule lets in can stand on one line of every vendor's file, in a SIP header
// and in a log, and reads on a screen as it was written. The door (hotdesk) refuses
// everything else, and the templates keep to the same rule.
package cleantext
