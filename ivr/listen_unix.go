//go:build unix

package ivr

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// expedited is DSCP EF (RFC 3246) in the place of the TOS byte: voice goes first.
const expedited = 46 << 2

// markVoice asks the network to treat a socket's packets as voice. It is a wish:
// a system that refuses still gets its call.
func markVoice(network, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		if network == "udp6" {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, expedited)
			return
		}
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, expedited)
	})
}
