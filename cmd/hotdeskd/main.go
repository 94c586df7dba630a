package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // a site's time zone, also on a machine that has no zones

	"github.com/spf13/cobra"
)

// Exit statuses of every command.
const (
	exitDone    = 0
	exitRefused = 1 // one line on stderr says what, where and what to do
	exitUsage   = 2
)

// errUsage marks errors of the command line itself.
var errUsage = errors.New("wrong usage")

func main() { os.Exit(run(os.Args[1:])) }

// run executes one command line. The first SIGINT or SIGTERM ends it orderly,
// the second one kills.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "hotdeskd:", err)
		return exitUsage
	}
	fmt.Fprintln(os.Stderr, "hotdeskd:", err)
	return exitRefused
}

// newRoot is the whole command line.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "hotdeskd",
		Short:         "Shared desks for ordinary SIP desk phones",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: there is no command %q; hotdeskd --help lists them", errUsage, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("hotdeskd {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(serveCommand(), checkStoreCommand(), versionCommand(), simCommand(), restoreCommand())
	root.AddCommand(clientCommands()...)
	return root
}

// exactly refuses a wrong number of arguments as wrong usage; -1 takes any.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n >= 0 && len(args) != n {
			return fmt.Errorf("%w: write it like this: %s", errUsage, cmd.UseLine())
		}
		return nil
	}
}
