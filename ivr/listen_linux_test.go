package ivr

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Our sockets ask the network for the class of voice, in both families.
func TestDSCP(t *testing.T) {
	for _, test := range []struct {
		addr          string
		level, option int
	}{
		{"127.0.0.1:0", unix.IPPROTO_IP, unix.IP_TOS},
		{"[::1]:0", unix.IPPROTO_IPV6, unix.IPV6_TCLASS},
	} {
		conn, err := listenUDP(netip.MustParseAddrPort(test.addr))
		if err != nil {
			t.Logf("%s: %v: not tested where the machine has no such family", test.addr, err)
			continue
		}
		raw, err := conn.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			if got, err := unix.GetsockoptInt(int(fd), test.level, test.option); err != nil || got != 0xB8 {
				t.Errorf("%s: traffic class is %#x, error %v, want 0xb8", test.addr, got, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
}
