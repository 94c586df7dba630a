#!/bin/sh
# pion/rtp v1.10.6 refuses a packet whose padding bit is set and whose last byte is 0,
# or counts more than the payload has, instead of handing out the header and payload;
# phones send telephone-events so, though RFC 3550 section 5.1 gives a count of 0 no meaning. Exits 0 while this is so, 1 when it has changed.
# Needs go and a module proxy.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/pion/rtp"
)

func main() {
	head := []byte{0xA0, 0x80 | 101, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7}
	as := true
	for _, c := range []struct{ name string; payload []byte; refused bool }{
		{"padding as it should be", []byte{4, 10, 0, 160, 0, 0, 0, 4}, false},
		{"a last byte of 0", []byte{4, 0x8A, 5, 0}, true},
		{"a count beyond the payload", []byte{4, 10, 0, 160}, true},
	} {
		var p rtp.Packet
		err := p.Unmarshal(append(append([]byte(nil), head...), c.payload...))
		fmt.Printf("%-28s %v, payload %x\n", c.name+":", err, p.Payload)
		as = as && (err != nil) == c.refused
	}
	if !as {
		os.Exit(1)
	}
}
GO
go get github.com/pion/rtp@v1.10.6 >/dev/null 2>&1
go list -m github.com/pion/rtp
go run .
