package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"

	"golang.org/x/sync/errgroup"

	"hotdeskd/internal/certs"
	"hotdeskd/sip"
)

// transports lists the SIP transports that are on.
func (c sipConfig) transports() []string {
	var on []string
	for _, t := range []struct{ name, addr string }{{"udp", c.UDP}, {"tcp", c.TCP}, {"tls", c.TLS}} {
		if t.addr != "" {
			on = append(on, t.name)
		}
	}
	return on
}

// needsTLS tells whether any listener has a certificate.
func (c config) needsTLS() bool { return c.Provisioning.HTTPS != "" || c.SIP.TLS != "" }

// sipListeners are the open sockets that phones register to.
type sipListeners struct{ sip.Listeners }

// samePort is how often a pair of UDP and TCP ports is looked for, when any will do.
const samePort = 50

// listenSIP opens the SIP sockets that are on. Port 0 for both UDP and TCP picks
// one number for the two.
func (a *app) listenSIP(c sipConfig) (l sipListeners, err error) {
	paired := false
	if udp, tcp := portOf(c.UDP), portOf(c.TCP); udp == "0" && tcp == "0" {
		paired = true
	}
	for try := 0; c.UDP != ""; try++ {
		if l.UDP, err = listenUDP("sip.udp", c.UDP); err != nil || !paired {
			break
		}
		host, _, _ := net.SplitHostPort(c.TCP)
		if l.TCP, err = net.Listen("tcp", net.JoinHostPort(host, portOf(l.UDP.LocalAddr().String()))); err == nil {
			break
		}
		if err = errors.Join(err, l.UDP.Close()); try == samePort {
			return l, fmt.Errorf("sip.tcp: no port is free for both UDP and TCP; give sip.udp and sip.tcp a number: %w", err)
		}
	}
	if err != nil {
		return l, err
	}
	if l.UDP != nil {
		a.closers = append(a.closers, l.UDP.Close)
	}
	if c.TCP != "" && !paired {
		if l.TCP, err = listenTCP("sip.tcp", c.TCP); err != nil {
			return l, err
		}
	}
	if l.TCP != nil {
		a.closers = append(a.closers, l.TCP.Close)
	}
	if c.TLS != "" {
		if l.TLS, err = listenTCP("sip.tls", c.TLS); err != nil {
			return l, err
		}
		a.closers = append(a.closers, l.TLS.Close)
	}
	return l, nil
}

func portOf(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return port
}

// address of one transport's socket; nil when it is off.
func (l sipListeners) address(transport string) net.Addr {
	switch {
	case transport == "udp" && l.UDP != nil:
		return l.UDP.LocalAddr()
	case transport == "tcp" && l.TCP != nil:
		return l.TCP.Addr()
	case transport == "tls" && l.TLS != nil:
		return l.TLS.Addr()
	}
	return nil
}

// addr is address as the ready file has it; empty when it is off.
func (l sipListeners) addr(transport string) string {
	if a := l.address(transport); a != nil {
		return a.String()
	}
	return ""
}

// anyAddr is the address of a socket that is on, UDP first.
func (l sipListeners) anyAddr() net.Addr {
	return cmp.Or(l.address("udp"), l.address("tcp"), l.address("tls"))
}

// ports are what phones are told, by transport.
func (l sipListeners) ports() map[string]int {
	ports := map[string]int{}
	for _, t := range []string{"udp", "tcp", "tls"} {
		if n, err := strconv.Atoi(portOf(l.addr(t))); err == nil {
			ports[t] = n
		}
	}
	return ports
}

// webListeners are where phones fetch from.
type webListeners struct {
	plain, secure net.Listener // nil: off
	http, https   string       // their URLs; empty: off
	told          string       // provisioning.url
}

// listenWeb opens the provisioning listeners that are on.
func (a *app) listenWeb(c provisioningConfig) (w webListeners, err error) {
	w.told = c.URL
	if c.HTTP != "" {
		if w.plain, err = listenTCP("provisioning.http", c.HTTP); err != nil {
			return w, err
		}
		a.closers = append(a.closers, w.plain.Close)
		if w.http, err = urlOf("http", w.plain); err != nil {
			return w, err
		}
	}
	if c.HTTPS != "" {
		if w.secure, err = listenTCP("provisioning.https", c.HTTPS); err != nil {
			return w, err
		}
		a.closers = append(a.closers, w.secure.Close)
		w.https, err = urlOf("https", w.secure)
	}
	return w, err
}

// url is what phones are told.
func (w webListeners) url() string { return cmp.Or(w.told, w.http, w.https) }

func urlOf(scheme string, l net.Listener) (string, error) {
	host, err := hostFor("", l.Addr())
	if err != nil {
		return "", err
	}
	return scheme + "://" + net.JoinHostPort(host, portOf(l.Addr().String())), nil
}

// serve is a stage's function: one handler behind both listeners.
func (w webListeners) serve(h http.Handler, c *certs.Certificates, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		if w.plain != nil {
			group.Go(func() error {
				return serveHTTP(httpServer(h, log), keepDoor(w.plain, phoneConns, phoneConnsOfOne))(ctx)
			})
		}
		if w.secure != nil {
			s := httpServer(h, log)
			conf := c.Config()
			conf.NextProtos = []string{"http/1.1"} // what phones speak
			group.Go(func() error {
				return serveHTTP(s, tls.NewListener(keepDoor(w.secure, phoneConns, phoneConnsOfOne), conf))(ctx)
			})
		}
		return group.Wait()
	}
}

// certHosts are the names and addresses that phones know us by.
func certHosts(sipHost string, w webListeners) []string {
	hosts := []string{sipHost}
	for _, u := range []string{w.told, w.http, w.https} {
		if host := hostOfURL(u); host != "" {
			hosts = append(hosts, host)
		}
	}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	return hosts
}
