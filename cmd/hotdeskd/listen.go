package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listenTCP opens a listener; a busy port is told with its holder and the key.
func listenTCP(key, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, busy(err, "tcp", key, addr)
	}
	return l, nil
}

// listenUDP is listenTCP for datagrams.
func listenUDP(key, addr string) (net.PacketConn, error) {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, busy(err, "udp", key, addr)
	}
	return c, nil
}

func busy(err error, network, key, addr string) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: cannot listen on %s: %w", key, addr, err)
	}
	who := ""
	if _, port, splitErr := net.SplitHostPort(addr); splitErr == nil {
		if n, parseErr := strconv.Atoi(port); parseErr == nil {
			who = holder(network, n)
		}
	}
	return fmt.Errorf("%s: %s port %s is taken%s; stop it or set %s to another address", key, network, addr, who, key)
}

// holder names the process that has a port, where the system tells (Linux: the
// socket's inode in /proc/net, then in some process's open files).
func holder(network string, port int) string {
	inodes := map[string]bool{}
	for _, file := range []string{"/proc/net/" + network, "/proc/net/" + network + "6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil || len(inodes) == 0 {
		return ""
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && inodes[to] {
			pid := strings.Split(link, "/")[2]
			name, err := os.ReadFile("/proc/" + pid + "/comm")
			if err != nil {
				return " by process " + pid
			}
			return " by " + strings.TrimSpace(string(name)) + " (process " + pid + ")"
		}
	}
	return ""
}

// hostFor is the address that others reach a listener at: what is configured,
// the listener's own, or for a wildcard the host's address on the default route.
func hostFor(configured string, local net.Addr) (string, error) {
	if configured != "" {
		return configured, nil
	}
	ap, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return "", fmt.Errorf("listener address %s: %w", local, err)
	}
	if !ap.Addr().IsUnspecified() {
		return ap.Addr().Unmap().String(), nil
	}
	// Connecting a datagram socket sends nothing; it asks the routing table. The
	// address is of the block for documentation (RFC 5737).
	c, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return "127.0.0.1", nil // no route to anywhere: this machine alone
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).IP.String(), nil
}

// listenSocket opens the command socket. A file that a killed server left behind
// is replaced; one that somebody answers on is not.
func listenSocket(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("%s: another hotdeskd runs in this data directory; stop it first", path), c.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("command socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("command socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("command socket: %w", err), l.Close())
	}
	return &ownerListener{Listener: l, uid: uint32(os.Getuid())}, nil
}

// ownerListener lets in root and the server's own account only, by the
// credentials that the kernel gives for the peer.
type ownerListener struct {
	net.Listener
	uid uint32
}

func (l *ownerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(c); err == nil && (uid == 0 || uid == l.uid) {
			return c, nil
		}
		if err := c.Close(); err != nil {
			return nil, err
		}
	}
}

func peer(c net.Conn) (uid uint32, err error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	ctlErr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, ctlErr); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// httpServer has every timeout that net/http leaves open, so that nobody holds a
// connection by being slow. What has no end, or takes longer, is given its time by
// its own handler (admin).
func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		ErrorLog: stdlog.New(webLog{log}, "", 0),
		Handler:  h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: time.Minute, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
	}
}

// webLog takes what net/http has to say of a connection. Strangers cause most of
// it, such as a handshake that fails; that a handler panicked is our own error.
type webLog struct{ log *slog.Logger }

func (w webLog) Write(line []byte) (int, error) {
	level, text := slog.LevelDebug, strings.TrimSpace(string(line))
	if strings.Contains(text, "panic serving") {
		level = slog.LevelError
	}
	w.log.Log(context.Background(), level, text)
	return len(line), nil
}

// hostOfURL is the host of a URL; empty when it has none.
func hostOfURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
