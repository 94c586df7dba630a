package guard

import (
	"bytes"
	"strconv"
)

// frame looks for the end of the first message in b, which begins with its start
// line (RFC 3261 section 18.3); looked says how much of b has been looked at
// before. size is that of the whole message, more than b has while its body is on
// its way, and 0 while its head is. broken tells that its end cannot be known.
func frame(b []byte, looked int) (size int, broken bool) {
	from := max(0, min(looked, len(b))-3)
	end := bytes.Index(b[from:], []byte("\r\n\r\n"))
	if end < 0 {
		return 0, false
	}
	head := b[:from+end+2]
	end += from + 4
	length := -1
	for line := range bytes.Lines(head) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || line[0] == ' ' || line[0] == '\t' {
			continue // the start line, or the rest of a long one
		}
		name = bytes.TrimRight(name, " \t")
		if !bytes.EqualFold(name, []byte("Content-Length")) && !bytes.EqualFold(name, []byte("l")) {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		if err != nil || length >= 0 && int(n) != length {
			return 0, true
		}
		length = int(n)
	}
	if length < 0 || length > maxMessage-end { // it must be there on a stream (section 20.14)
		return 0, true
	}
	return end + length, false
}
