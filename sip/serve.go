package sip

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"golang.org/x/sync/errgroup"

	"hotdeskd/sip/call"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/guard"
	"hotdeskd/sip/ingress"
	"hotdeskd/sip/registrar"
	"hotdeskd/sip/trunk"
)

// Listeners are the sockets that phones and PBXes reach the edge at; nil is off,
// one at least is on. TLS takes plain connections, Security makes them secure.
type Listeners struct {
	UDP      net.PacketConn
	TCP, TLS net.Listener
	Security *tls.Config
}

// addrs lists the local addresses by transport.
func (l Listeners) addrs() map[string]net.Addr {
	all := map[string]net.Addr{}
	if l.UDP != nil {
		all["UDP"] = l.UDP.LocalAddr()
	}
	if l.TCP != nil {
		all["TCP"] = l.TCP.Addr()
	}
	if l.TLS != nil {
		all["TLS"] = l.TLS.Addr()
	}
	return all
}

// close closes what is open; what is closed already is no error.
func (l Listeners) close() error {
	var all error
	add := func(err error) {
		if err != nil && !errors.Is(err, net.ErrClosed) {
			all = errors.Join(all, err)
		}
	}
	if l.UDP != nil {
		add(l.UDP.Close())
	}
	if l.TCP != nil {
		add(l.TCP.Close())
	}
	if l.TLS != nil {
		add(l.TLS.Close())
	}
	return all
}

// The library would send no datagram of more than 1300 bytes; UDP stays UDP
// whatever the size. This and the others are variables of its package: they are set
// while the program is initialised, before anything could read them at the same time.
var _ = setLibrary()

func setLibrary() struct{} {
	sip.UDPMTUSize = 65507
	sip.TransportBufferReadSize = 16 << 10              // one for each connection
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler)) // some of its parts take no other
	return struct{}{}
}

// Serve answers on the sockets until ctx ends, then hangs up the calls that are left,
// but not emergency calls (see Drain, which comes first). The sockets are closed on return.
func (e *Edge) Serve(ctx context.Context, l Listeners) error {
	group, ctx := errgroup.WithContext(ctx)
	if err := e.start(ctx, l); err != nil {
		return err
	}
	if err := e.registrar.Load(); err != nil {
		e.Log.Warn("saved phone locations cannot be used; phones come back by themselves", "err", err)
	}
	server, err := sipgo.NewServer(e.ua, sipgo.WithServerLogger(guard.Logger(e.Log)))
	if err != nil {
		return fmt.Errorf("start the SIP server: %w", err)
	}
	e.handlers(server)
	e.knowPBXs()

	serve := func(transport string, addr net.Addr, listen func() error) {
		group.Go(func() error {
			err := listen()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the SIP listener on %s %s ended: %w", transport, addr, cmp.Or(err, net.ErrClosed))
		})
	}
	if l.UDP != nil {
		serve("UDP", l.UDP.LocalAddr(), func() error {
			return e.guard.ServePackets(l.UDP, server.ServeUDP, func() { close(e.ready) })
		})
	} else {
		close(e.ready)
	}
	tcp, tls := e.guard.Listener("TCP", l.TCP, nil), e.guard.Listener("TLS", l.TLS, l.Security)
	e.net.Connect = e.connector(tcp, tls)
	serve("TCP", tcp.Addr(), func() error { return server.ServeTCP(tcp) })
	serve("TLS", tls.Addr(), func() error { return server.ServeTLS(tls) })
	group.Go(func() error { return e.registrar.Serve(ctx) })
	group.Go(func() error { return e.lookForPBXs(ctx) })
	group.Go(func() error {
		select {
		case <-e.ready:
		case <-ctx.Done():
			return nil
		}
		return e.pbx.Serve(ctx, trunk.Line{Net: e.net, Contact: e.contact})
	})
	group.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*call.ByeWait)
		for k := range kinds {
			e.calls.close(k)
		}
		for k := range kinds {
			e.calls.wait(end, k)
		}
		cancel()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), call.ByeWait)
		e.net.Farewells(last)
		cancel()
		err := errors.Join(tcp.Close(), tls.Close(), l.close(), e.ua.Close())
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	})
	return group.Wait()
}

// start makes the SIP stack around the sockets.
func (e *Edge) start(ctx context.Context, l Listeners) error {
	e.own = map[string]sip.Uri{}
	sentBy, host := map[string]sip.Addr{}, e.Advertise
	for transport, local := range l.addrs() {
		addr, err := netip.ParseAddrPort(local.String())
		if err != nil {
			return fmt.Errorf("SIP listener %s: %w", local, err)
		}
		host = cmp.Or(host, addr.Addr().String())
		sentBy[transport] = sip.Addr{IP: addr.Addr().AsSlice(), Port: int(addr.Port())}
	}
	if len(sentBy) == 0 {
		return errors.New("sip.Serve: no listener")
	}
	e.name = bracketed(host)
	for transport, addr := range sentBy {
		own := sip.Uri{Scheme: "sip", User: "hotdeskd", Host: e.name, Port: addr.Port}
		if transport != "UDP" {
			own.UriParams = sip.NewParams()
			own.UriParams.Add("transport", sip.NetworkToLower(transport))
		}
		e.own[transport] = own
	}
	logger := guard.Logger(e.Log)
	var err error
	e.ua, err = sipgo.NewUA(
		sipgo.WithUserAgent("hotdeskd"),
		sipgo.WithUserAgentParser(ingress.Parser()),
		sipgo.WithUserAgentHostname(host),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(logger), sip.WithTransportLayerTransports(streams())),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerLogger(logger),
			sip.WithTransactionLayerTerminateOnConnClose(),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {}),
		),
	)
	if err != nil {
		return fmt.Errorf("start the SIP stack: %w", err)
	}
	client, err := sipgo.NewClient(e.ua, sipgo.WithClientHostname(host), sipgo.WithClientNAT(), sipgo.WithClientLogger(logger))
	if err != nil {
		return fmt.Errorf("start the SIP client: %w", err)
	}
	e.net = &dialog.Net{Client: client, Layer: e.ua.TransportLayer(), Agent: "hotdeskd", Host: host, Local: sentBy, Follow: e.farFlow}
	e.ctx = ctx
	e.ordinary, e.endOrdinary = context.WithCancel(ctx)
	e.bench = &call.Bench{
		Net: e.net, Table: e.table, Contact: e.contact, Host: e.name, Life: ctx, Attendant: e.Attendant,
		Live: e.Live, Record: e.Record, Now: e.Now, Log: e.Log, Redirect: e.redirect,
	}
	e.registrar.Use(registrar.Line{Net: e.net, Contact: e.contact, Host: e.name})
	e.bench.Local, _ = netip.ParseAddr(host)
	return nil
}

// contact is our address for whoever is on a flow.
func (e *Edge) contact(f dialog.Flow) sip.Uri {
	own, ok := e.own[f.Transport]
	if !ok {
		return sip.Uri{Scheme: "sip", User: "hotdeskd", Host: e.name}
	}
	return *own.Clone()
}

// bracketed writes an IPv6 host as URIs need it.
func bracketed(host string) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return "[" + host + "]"
	}
	return host
}
