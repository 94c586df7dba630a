#!/bin/sh
# pion/sdp v3.0.20 refuses a whole session description for one line that RFC 8866 wants
# ignored or rejected by itself: a bandwidth type it does not know (section 5.8: "SHOULD
# ignore"), a transport it does not know in an m= line (RFC 3264 section 6: that stream
# gets port 0). Exits 0 while this is so, 1 when it has changed. Needs go and a module proxy.
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

	"github.com/pion/sdp/v3"
)

const head = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\n"

func main() {
	as := true
	for _, c := range []struct{ name, text string; refused bool }{
		{"plain audio", head + "t=0 0\r\nm=audio 4000 RTP/AVP 0\r\n", false},
		{"a bandwidth type of another standard", head + "b=MINE:64\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n", true},
		{"a stream of a transport of another standard beside audio", head + "t=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=image 6000 udptl t38\r\n", true},
	} {
		var d sdp.SessionDescription
		err := d.Unmarshal([]byte(c.text))
		fmt.Printf("%-58s %v\n", c.name+":", err)
		as = as && (err != nil) == c.refused
	}
	if !as {
		os.Exit(1)
	}
}
GO
go get github.com/pion/sdp/v3@v3.0.20 >/dev/null 2>&1
go list -m github.com/pion/sdp/v3
go run .
