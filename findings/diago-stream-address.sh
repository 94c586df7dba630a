#!/bin/sh
# emiago/diago v0.42.1, package media: the c= line of a stream is not looked at when the
# session has one, although RFC 8866 section 5.7 lets the stream's override it: audio goes to
# the wrong host, and a hold by a null address in the stream is answered sendrecv. A
# second m= line of any kind is an error, where RFC 3264 section 6 wants port 0 for it.
# Exits 0 while this is so, 1 when it has changed. Needs go and a module proxy.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"fmt"
	"net"
	"os"

	"github.com/emiago/diago/media"
)

const head = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"

func main() {
	as := true
	for _, c := range []struct{ name, text, remote string; refused bool }{
		{"plain audio", head, "192.0.2.20:4000", false},
		{"another address in the stream", head + "c=IN IP4 192.0.2.99\r\n", "192.0.2.20:4000", false},
		{"video beside it", head + "m=video 5000 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n", ":0", true},
	} {
		s := &media.MediaSession{Codecs: []media.Codec{media.CodecAudioUlaw}, Mode: "sendrecv"}
		s.Laddr = net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 20000}
		err := s.RemoteSDP([]byte(c.text), true)
		fmt.Printf("%-32s %v, audio goes to %v\n", c.name+":", err, s.Raddr.String())
		as = as && (err != nil) == c.refused && s.Raddr.String() == c.remote
	}
	if !as {
		os.Exit(1)
	}
}
GO
go get github.com/emiago/diago@v0.42.1 >/dev/null 2>&1
go list -m github.com/emiago/diago
go run .
