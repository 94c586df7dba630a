// Package phonefile knows the grammars of the vendors' configuration files:
// bytes to ordered keys and values, and back.
//
// It is used from both ends. phonetemplates sets parameters by key in what its
// templates rendered; internal/simphone reads what it was served. What a key
// means is known there, twice and independently, and never here.
package phonefile
