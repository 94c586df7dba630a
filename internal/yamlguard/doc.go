// Package yamlguard looks at YAML from outside before the parser does. The parser
// calls itself for every level, compares every key of a mapping with all before it,
// and makes about a kilobyte of every value: a few kilobytes of brackets take
// gigabytes, and a process that runs out of memory ends everybody's calls.
//
// It reads the text with the parser's own scanner, token by token, so that both see
// the same, counts, and stops at the first limit; it builds nothing. What is no YAML
// at all it leaves to the parser, whose message is better.
package yamlguard
