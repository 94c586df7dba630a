#!/bin/sh
# emiago/sipgo 1.7.2 reads a Via whose sent-by is an IPv6 address with an IPv4 one inside
# ([::ffff:192.0.2.10]:19823, RFC 5118 section 4.10 has such a message) and writes it back
# without its brackets, so that the port can be told from the address no more. Other IPv6
# addresses keep theirs. hotdeskd puts the brackets back while it reads (sip/ingress).
# Exits 1 when that changes.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat > go.mod <<'MOD'
module finding

go 1.26.0

require github.com/emiago/sipgo v1.7.2
MOD
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/emiago/sipgo/sip"
)

func written(sentBy string) string {
	msg, err := sip.ParseMessage([]byte("OPTIONS sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP " + sentBy + ";branch=z9hG4bKas3-111\r\n" +
		"To: <sip:a@example.com>\r\nFrom: <sip:b@example.com>;tag=1\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	line, _, _ := strings.Cut(msg.Via().String(), ";")
	return line
}

func main() {
	plain, mapped := written("[2001:db8::9:1]:6050"), written("[::ffff:192.0.2.10]:19823")
	fmt.Println("sipgo 1.7.2 writes [2001:db8::9:1]:6050 as      ", plain)
	fmt.Println("sipgo 1.7.2 writes [::ffff:192.0.2.10]:19823 as ", mapped)
	if !strings.Contains(plain, "[2001:db8::9:1]:6050") || !strings.HasSuffix(mapped, " ::ffff:192.0.2.10:19823") {
		fmt.Println("this has changed")
		os.Exit(1)
	}
}
GO
go mod tidy >/dev/null 2>&1
go run .
