package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"hotdeskd/admin"
	"hotdeskd/internal/fleet"
)

// simFleetCommand lets many simulated phones storm a running server.
func simFleetCommand() *cobra.Command {
	f := &clientFlags{}
	var c fleet.Config
	var remove string
	cmd := &cobra.Command{
		Use:   "fleet --phones N --storm boot|login",
		Short: "Let many simulated phones boot, or many people log in, at once, and measure it",
		Long: `Brings a site, users and devices of its own to a running server, switches on as
many simulated phones, and removes everything at the end, also after an error or
ctrl-C. Exit status 1 unless every phone has fetched its configuration, is
registered and current (storm login: with its user). The device numbers HD... that
it took are not given again; its calls stay in the call records, its changes in
the audit log.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := f.client()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("remove") {
				return removeFleet(cmd, api, remove)
			}
			c.API = fleetServer{api}
			return runFleet(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr(), f.json)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.IntVar(&c.Phones, "phones", 0, "how many phones")
	fl.StringVar(&c.Storm, "storm", "", "boot: all are switched on at once; login: all are on, and people log in")
	fl.IntVar(&c.AtOnce, "at-once", 100, "storm login: how many people log in at the same time")
	fl.StringSliceVar(&c.Vendors, "vendor", nil, "vendors of the phones, in turn (default: all that can be simulated)")
	fl.StringVar(&c.Transport, "transport", "", "SIP transport of the phones: udp, tcp or tls (default: the server's own)")
	fl.StringVar(&c.Name, "name", "", "name of the fleet's site: fleet- and letters or digits (default: six hex digits)")
	fl.DurationVar(&c.Patience, "patience", time.Minute, "give up when no phone has got on for so long")
	fl.StringVar(&remove, "remove", "", "only remove the fleet of exactly this name, which an earlier run had to leave behind; refused when a real phone or person is in it")
	return cmd
}

// runFleet runs one storm and prints the report: progress goes to the person,
// with JSON to standard error.
func runFleet(ctx context.Context, c fleet.Config, out, progress io.Writer, asJSON bool) error {
	if !asJSON {
		progress = out
	}
	var mu sync.Mutex
	began := time.Now()
	c.Say = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(progress, "%7.2fs  %s\n", time.Since(began).Seconds(), line) // a closed pipe ends nothing: the fleet must be removed
	}
	storm, err := fleet.New(c)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	report, err := storm.Run(ctx)
	told := report.Done + len(report.Behind)
	switch {
	case ctx.Err() != nil && !errors.Is(err, fleet.ErrLeft):
		return errors.New("interrupted; everything of the fleet was removed")
	case told > 0 && asJSON:
		err = errors.Join(err, printJSON(out, report))
	case told > 0:
		_, printed := fmt.Fprint(out, report.String())
		err = errors.Join(err, printed)
	}
	return inOneLine(err)
}

// inOneLine writes errors that were joined on one line.
func inOneLine(err error) error {
	if err == nil || !strings.Contains(err.Error(), "\n") {
		return err
	}
	return lineError{err}
}

type lineError struct{ error }

func (e lineError) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }
func (e lineError) Unwrap() error { return e.error }

func removeFleet(cmd *cobra.Command, api *admin.Client, name string) error {
	was, _, err := fleet.Remove(cmd.Context(), fleetServer{api}, name)
	if err != nil {
		return inOneLine(err)
	}
	said := "nothing of it is on the server"
	if was != "" {
		said = "removed " + was
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", name, said)
	return err
}

// fleetServer is the API's client as a fleet needs it.
type fleetServer struct{ *admin.Client }

func (s fleetServer) Read(ctx context.Context, path string, out any) error {
	raw, err := admin.Get[json.RawMessage](ctx, s.Client, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

func (s fleetServer) Apply(ctx context.Context, text []byte) error {
	_, err := s.Client.Apply(ctx, text, false, false)
	return err
}

func (s fleetServer) Events(ctx context.Context) iter.Seq2[fleet.Event, error] {
	return func(yield func(fleet.Event, error) bool) {
		for ev, err := range s.Client.Events(ctx) {
			if !yield(fleet.Event{Name: ev.Name, Data: ev.Data}, err) {
				return
			}
		}
	}
}
