package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hotdeskd/internal/simphone"
)

func simCommand() *cobra.Command {
	return group("sim", "Simulated phones", simPhoneCommand(), simFleetCommand())
}

// simPhoneCommand runs one simulated phone against any server.
func simPhoneCommand() *cobra.Command {
	var c simphone.Config
	var dial, press string
	var wait, stay time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "phone --provision URL --mac MAC --model MODEL",
		Short: "Boot a simulated phone, which registers, dials, presses keys and obeys check-sync",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Step = printSteps(cmd.OutOrStdout(), asJSON)
			c.AutoAnswer, c.Speak, c.UnregisterOnExit = true, true, true
			p, err := simphone.New(c)
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			return runSimPhone(cmd.Context(), p, dial, press, wait, stay)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Provision, "provision", "", "URL that the phone was told (option 66)")
	f.StringVar(&c.MAC, "mac", "", "MAC of the phone")
	f.StringVar(&c.Model, "model", "", "model id, such as yealink-t46u")
	f.StringVar(&c.Transport, "transport", "", "SIP transport: udp, tcp or tls, whatever the served file says; tls uses the port after the file's (default: as the file says)")
	f.StringVar(&dial, "dial", "", "number to dial once registered")
	f.StringVar(&press, "press", "", "keys to press once answered")
	f.DurationVar(&wait, "wait", time.Minute, "how long to wait for a configuration and a registration")
	f.DurationVar(&stay, "stay", time.Minute, "how long to stay on after that; then it hangs up and leaves")
	f.BoolVar(&c.ChallengeNotify, "challenge-notify", false, "challenge check-syncs with 401")
	f.BoolVar(&c.CheckCertificates, "check-certificates", false, "check the server's certificates where this vendor's phones do")
	f.BoolVar(&c.NeverRefetch, "never-refetch", false, "answer check-syncs and do not fetch")
	f.StringVar(&c.UnregisterOld, "unregister-old", "", "un-REGISTER the old identity: first or last")
	f.BoolVar(&asJSON, "json", false, "one JSON object per step")
	return cmd
}

// runSimPhone lets the phone do what was asked and then stay.
func runSimPhone(ctx context.Context, p *simphone.Phone, dial, press string, wait, stay time.Duration) error {
	ctx, off := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	err := useSimPhone(ctx, p, dial, press, wait)
	if err == nil {
		timer := time.NewTimer(stay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	off()
	return errors.Join(err, <-done)
}

func useSimPhone(ctx context.Context, p *simphone.Phone, dial, press string, wait time.Duration) error {
	limit, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := p.Registered(limit); err != nil {
		if ctx.Err() == nil && limit.Err() != nil {
			return fmt.Errorf("the phone was not registered within %s; the steps above say why (a phone that was served before keeps its own URL: see provisioning_url in \"hotdeskd device show\", or release it)", wait)
		}
		return offIsFine(ctx, err)
	}
	if dial == "" {
		return nil
	}
	call, err := p.Dial(ctx, dial)
	if err != nil {
		return offIsFine(ctx, fmt.Errorf("dial %s: %w", dial, err))
	}
	if press == "" {
		return nil
	}
	if err := call.Press(ctx, press); err != nil {
		return offIsFine(ctx, fmt.Errorf("press keys: %w", err))
	}
	return nil
}

// offIsFine takes a phone that was switched off for no error.
func offIsFine(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// printSteps prints each step with the time since the start.
func printSteps(w io.Writer, asJSON bool) func(simphone.Step) {
	return func(s simphone.Step) {
		if asJSON {
			line := map[string]any{"time": s.Time.UTC(), "since_ms": s.Since.Milliseconds(), "step": s.Name}
			for k, v := range s.Detail {
				if _, taken := line[k]; !taken {
					line[k] = v
				}
			}
			if b, err := json.Marshal(line); err == nil {
				_, _ = fmt.Fprintln(w, string(b)) // a closed pipe ends the command soon enough
			}
			return
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%8.3fs  %s", s.Since.Seconds(), s.Name)
		for _, k := range slices.Sorted(maps.Keys(s.Detail)) {
			fmt.Fprintf(&b, "  %s=%s", k, s.Detail[k])
		}
		_, _ = fmt.Fprintln(w, b.String())
	}
}
