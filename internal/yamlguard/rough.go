package yamlguard

import (
	"bytes"
	"fmt"
)

// rough looks at the bytes alone and makes nothing of them, because the scanner makes
// all tokens of a text at once, a quarter of a kilobyte each. What it counts is never
// more than what a file that people write has.
func rough(text []byte) error {
	if len(text) > MaxSize {
		return fmt.Errorf("the file has %d bytes; %d is the most: split it", len(text), MaxSize)
	}
	var (
		marks, line int
		run, began  int // bytes without a sign that ends a text, and their line
		keys        []column
	)
	for rest := text; len(rest) > 0; {
		var one []byte
		one, rest, _ = bytes.Cut(rest, []byte("\n"))
		line++
		if run == 0 {
			began = line
		}
		for i, b := range one {
			switch b {
			case ',', '[', '{':
				marks++
			case ':', '-':
				if i+1 == len(one) || one[i+1] == ' ' || one[i+1] == '\t' || one[i+1] == '\r' {
					marks++
				}
			case ']', '}', '#', '"', '\'':
			default:
				if run++; run > MaxText {
					return fmt.Errorf("line %d: a text of more than %d bytes", began, MaxText)
				}
				continue
			}
			run, began = 0, line
		}
		if marks++; marks > 2*MaxValues {
			return fmt.Errorf("line %d: more than %d values; split the file", line, MaxValues)
		}
		if keys = follow(keys, one); len(keys) > 0 && keys[len(keys)-1].keys > MaxKeys {
			return fmt.Errorf("line %d: a mapping with more than %d keys", line, MaxKeys)
		}
	}
	return nil
}

// column is how many lines in a row begin with a key there, deeper ones aside.
type column struct{ at, keys int }

// follow counts a line that begins with a key. One further left ends the mappings to
// its right.
func follow(open []column, line []byte) []column {
	text := bytes.TrimLeft(line, " ")
	at := len(line) - len(text)
	text = bytes.TrimRight(text, " \t\r")
	if len(text) == 0 || text[0] == '#' {
		return open
	}
	for len(open) > 0 && open[len(open)-1].at > at {
		open = open[:len(open)-1]
	}
	if bytes.IndexByte([]byte("-?{}[],&*!|>%@`"), text[0]) >= 0 || !bytes.Contains(text, []byte(": ")) && text[len(text)-1] != ':' {
		return open
	}
	if len(open) == 0 || open[len(open)-1].at < at {
		if len(open) > MaxDepth {
			return open // the tokens tell better what is wrong
		}
		open = append(open, column{at: at})
	}
	open[len(open)-1].keys++
	return open
}
