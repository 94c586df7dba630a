package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/gin-gonic/gin"
	"github.com/spf13/cobra"

	"hotdeskd/internal/certs"
	"hotdeskd/store/bolt"
)

func serveCommand() *cobra.Command {
	var file, dataDir, ready string
	var demo bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(file, os.Environ())
			if err != nil {
				return err
			}
			if dataDir != "" {
				c.DataDir = dataDir
			}
			if demo {
				if c, err = demoConfig(c, dataDir); err != nil {
					return err
				}
			}
			log, level, err := newLog(c.Log, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			gin.SetMode(gin.ReleaseMode)
			if demo {
				defer reloadOnHangup(file, level, nil, log)()
				return runDemo(cmd.Context(), c, cmd.OutOrStdout(), ready, log)
			}
			a, err := newApp(c, realWorld(), log)
			if err != nil {
				return err
			}
			defer reloadOnHangup(file, level, a.certs, log)()
			return a.Serve(cmd.Context(), func(a *app) error {
				link, err := a.firstOwner()
				if err != nil {
					return err
				}
				welcome(cmd.OutOrStdout(), a, c, link)
				if ready == "" {
					return nil
				}
				return a.writeReady(ready)
			})
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "data directory (default ./data)")
	cmd.Flags().StringVar(&ready, "ready-file", "", "write the listeners' addresses to this file once everything listens")
	cmd.Flags().BoolVar(&demo, "demo", false, "tell the whole story with simulated phones on loopback, then go on until ctrl-C")
	return cmd
}

// reloadOnHangup reads the configuration again at every SIGHUP and takes over the
// log level and the certificates. What cannot be read changes nothing. The
// returned function ends it.
func reloadOnHangup(file string, level *slog.LevelVar, tls *certs.Certificates, log *slog.Logger) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range hangups {
			c, err := loadConfig(file, os.Environ())
			if err != nil {
				log.Error("configuration not reloaded; the old one stays", "err", err)
				continue
			}
			now, err := c.Log.level()
			if err != nil {
				log.Error("configuration not reloaded; the old one stays", "err", err)
				continue
			}
			level.Set(now)
			if tls != nil {
				if err := tls.Reload(); err != nil {
					log.Error("certificates not reloaded; the old ones stay", "err", err)
					continue
				}
			}
			log.Info("configuration and certificates reloaded", "level", now.String())
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
		<-done
	}
}

// welcome says where everything is and what to do next.
func welcome(w io.Writer, a *app, c config, ownerLink string) {
	lines := []string{
		"hotdeskd is running.",
		"  phones fetch from  " + list(a.ready.Provisioning.HTTP, a.ready.Provisioning.HTTPS),
		"  phones register to " + list(named(a.ready.SIP.UDP, "UDP"), named(a.ready.SIP.TCP, "TCP"), named(a.ready.SIP.TLS, "TLS")),
		"  audio ports        " + c.RTP.Ports,
		"  console            " + cmp.Or(a.ready.Console, "off"),
		"  command socket     " + a.ready.Socket,
	}
	if ownerLink != "" {
		lines = append(lines, "Nobody can sign in to the console yet. This link makes the first owner; it works once, for 60 minutes:", "  "+ownerLink)
	}
	for _, note := range a.desk.Notes() {
		lines = append(lines, "  does not act yet   "+note)
	}
	sites := a.desk.Sites()
	for _, site := range sites {
		lines = append(lines, fmt.Sprintf("  DHCP option 66 for %s: %s", site.Name, a.files.EnrolmentURL(site.Name)))
	}
	if len(sites) == 0 {
		lines = append(lines, "No site yet. Next: describe your office in a file and run: hotdeskd apply -f office.yaml")
	}
	// Nothing can be done when nobody reads the words; the server runs anyway.
	_, _ = fmt.Fprintln(w, strings.Join(lines, "\n"))
}

// named is an address with its transport; list joins what there is.
func named(addr, transport string) string {
	if addr == "" {
		return ""
	}
	return addr + " (" + transport + ")"
}

func list(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), ", ")
}

// checkStoreCommand is what the server runs in a child process before it opens
// the database, because a corrupted one can end a process.
func checkStoreCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check-store PATH", Hidden: true, Args: exactly(1),
		Run: func(cmd *cobra.Command, args []string) { os.Exit(bolt.RunCheck(args[0], cmd.ErrOrStderr())) },
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "hotdeskd", version())
			return err
		},
	}
}
