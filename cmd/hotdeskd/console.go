package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/spf13/cobra"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
	"hotdeskd/internal/certs"
)

// consoleListener is where administrators' browsers and remote commands come.
type consoleListener struct {
	listener net.Listener // nil: off
	url      string
	secure   bool // HTTPS: everywhere but on this machine alone
}

// listenConsole opens the console's listener. What can be reached from another
// machine speaks HTTPS only: passwords and tokens go over it.
func (a *app) listenConsole(addr string) (c consoleListener, err error) {
	if addr == "" {
		return c, nil
	}
	if c.listener, err = listenTCP("console.listen", addr); err != nil {
		return c, err
	}
	a.closers = append(a.closers, c.listener.Close)
	local, err := netip.ParseAddrPort(c.listener.Addr().String())
	c.secure = err != nil || !local.Addr().Unmap().IsLoopback()
	scheme := "http"
	if c.secure {
		scheme = "https"
	}
	c.url, err = urlOf(scheme, c.listener)
	return c, err
}

// serve is the stage's function.
func (c consoleListener) serve(h http.Handler, keys *certs.Certificates, log *slog.Logger) func(context.Context) error {
	l := keepDoor(c.listener, consoleConns, consoleConnsOfOne)
	if c.secure {
		conf := keys.Config()
		conf.NextProtos = []string{"http/1.1"}
		l = tls.NewListener(l, conf)
	}
	return serveHTTP(httpServer(h, log), l)
}

// firstOwner makes the one-time link that serve prints as long as nobody can sign
// in to the console.
func (a *app) firstOwner() (string, error) {
	if a.ready.Console == "" || len(a.access.Accounts()) > 0 {
		return "", nil
	}
	link, err := a.admin.NewConsoleLink()
	return link.URL, err
}

func tokenCommand(f *clientFlags) *cobra.Command {
	return group("token", "API tokens",
		createToken(f),
		listing(f, "list", "List tokens", "/tokens", []string{"ID", "NAME", "ROLE", "SITE", "CREATED", "BY", "EXPIRES", "LAST USED"}, func(t hotdesk.APIToken) []string {
			return []string{t.ID, t.Name, string(t.Role), t.Site, stamp(&t.Created), t.By, stamp(t.Expires), stamp(t.LastUsed)}
		}),
		action(f, "revoke ID", "End a token, by its id or name", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
			return args[0] + ": revoked", c.Delete(ctx, "/tokens/"+url.PathEscape(args[0]))
		}),
	)
}

func createToken(f *clientFlags) *cobra.Command {
	body := admin.NewToken{}
	c := action(f, "create NAME --role R", "Make a token; it is printed this once", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
		if body.Role == "" {
			return "", fmt.Errorf("%w: give --role viewer, desk-manager, admin or owner", errUsage)
		}
		body.Name = args[0]
		var made admin.MadeToken
		if err := c.Post(ctx, "/tokens", body, &made); err != nil {
			return "", err
		}
		if f.json {
			return asJSON(made)
		}
		return made.Token, nil
	})
	c.Flags().StringVar(&body.Role, "role", "", "viewer, desk-manager, admin or owner")
	c.Flags().StringVar(&body.Site, "site", "", "the one site it may see and change")
	c.Flags().StringVar(&body.TTL, "ttl", "", "how long it is good for, like 90d or 12h")
	return c
}

func consoleCommand(f *clientFlags) *cobra.Command {
	return group("console", "The web console",
		action(f, "link", "Make a one-time link by which an owner's name and password are chosen, also when it was forgotten", 0, func(ctx context.Context, c *admin.Client, _ []string) (string, error) {
			var link admin.ConsoleLink
			if err := c.Post(ctx, "/console/link", nil, &link); err != nil {
				return "", err
			}
			if f.json {
				return asJSON(link)
			}
			return link.URL + "\nIt works once, until " + stamp(&link.Expires) + ".", nil
		}))
}
