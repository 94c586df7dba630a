package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
)

// tokenVariable is the environment's API token: it keeps it off the command line.
const tokenVariable = "HOTDESKD_TOKEN"

// clientFlags say which server a command talks to and how it prints.
type clientFlags struct {
	dataDir, server, token string
	json                   bool
}

func (f *clientFlags) client() (*admin.Client, error) {
	if f.server != "" {
		return admin.Remote(f.server, cmp.Or(f.token, os.Getenv(tokenVariable))), nil
	}
	socket := filepath.Join(f.dataDir, socketFile)
	if _, err := os.Stat(socket); err != nil {
		return nil, fmt.Errorf("no server runs in data directory %s (no %s); start it with \"hotdeskd serve\" or give --data-dir", f.dataDir, socket)
	}
	return admin.Local(socket), nil
}

// clientCommands are the commands that talk to a running server.
func clientCommands() []*cobra.Command {
	f := &clientFlags{}
	all := []*cobra.Command{
		applyCommand(f), exportCommand(f), deviceCommand(f), userCommand(f), siteCommand(f), pbxCommand(f),
		sessionCommand(f), callsCommand(f), auditCommand(f), eventsCommand(f), statusCommand(f), tokenCommand(f), consoleCommand(f), dhcpCommand(f), doctorCommand(f), backupCommand(f),
	}
	for _, c := range all {
		f.add(c)
	}
	return all
}

// add gives a command, and those below it, the flags.
func (f *clientFlags) add(c *cobra.Command) {
	c.PersistentFlags().StringVar(&f.dataDir, "data-dir", "./data", "data directory of the server on this machine")
	c.PersistentFlags().StringVar(&f.server, "server", "", "URL of a remote server's API")
	c.PersistentFlags().StringVar(&f.token, "token", "", "API token for --server (or the environment's "+tokenVariable+")")
	c.PersistentFlags().BoolVar(&f.json, "json", false, "print JSON")
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%w: say what to do: hotdeskd %s --help lists it", errUsage, cmd.Name())
		}
		return fmt.Errorf("%w: hotdeskd %s has no command %q; hotdeskd %s --help lists them", errUsage, cmd.Name(), args[0], cmd.Name())
	}, RunE: func(*cobra.Command, []string) error { return nil }}
	c.AddCommand(commands...)
	return c
}

// action is a command that does one thing and says so.
func action(f *clientFlags, use, short string, args int, do func(ctx context.Context, c *admin.Client, args []string) (string, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: exactly(args),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			said, err := do(cmd.Context(), c, args)
			if err != nil || said == "" {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.TrimRight(said, "\n"))
			return err
		},
	}
}

func applyCommand(f *clientFlags) *cobra.Command {
	var file string
	var dry, prune bool
	c := action(f, "apply -f FILE", "Bring the server's state to what a YAML file says", 0, func(ctx context.Context, c *admin.Client, _ []string) (string, error) {
		if file == "" {
			return "", fmt.Errorf("%w: apply needs -f FILE", errUsage)
		}
		text, err := readDesired(file)
		if err != nil {
			return "", err
		}
		res, err := c.Apply(ctx, text, dry, prune)
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		if f.json {
			return asJSON(res)
		}
		return applied(res), nil
	})
	c.Flags().StringVarP(&file, "file", "f", "", "the file, - for standard input")
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would change, change nothing")
	c.Flags().BoolVar(&prune, "prune", false, "delete what the file does not name")
	return c
}

// applied says what an apply did, one line each.
func applied(res hotdesk.Applied) string {
	var b strings.Builder
	for _, change := range res.Changes {
		b.WriteString(change + "\n")
	}
	for _, end := range res.Ends {
		b.WriteString("ends session: " + end + "\n")
	}
	if len(res.Changes) == 0 {
		b.WriteString("nothing to change\n")
	}
	for _, why := range res.InTheWay {
		b.WriteString("in the way now: " + why + "\n")
	}
	if res.DryRun {
		b.WriteString("dry run: nothing was written\n")
	}
	for _, note := range res.Notes {
		b.WriteString("note: " + note + "\n")
	}
	return b.String()
}

// readDesired reads the file and puts in the PINs and secrets that it only
// names: file:PATH or env:NAME. The server never reads files for anybody.
func readDesired(path string) ([]byte, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = os.ReadFile("/dev/stdin")
	} else {
		text, err = os.ReadFile(filepath.Clean(path))
	}
	if err != nil {
		return nil, err
	}
	d, err := admin.ParseDesired(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	changed := false
	resolve := func(value *string) error {
		if value == nil {
			return nil
		}
		kind, rest, found := strings.Cut(*value, ":")
		switch {
		case found && kind == "file":
			b, err := os.ReadFile(filepath.Clean(rest))
			if err != nil {
				return err
			}
			*value, changed = strings.TrimSpace(string(b)), true
		case found && kind == "env":
			v, ok := os.LookupEnv(rest)
			if !ok {
				return fmt.Errorf("environment variable %s is not set", rest)
			}
			*value, changed = v, true
		}
		return nil
	}
	var all error
	for i := range d.Users {
		all = errors.Join(all, resolve(d.Users[i].PIN))
		if d.Users[i].PBX != nil {
			all = errors.Join(all, resolve(d.Users[i].PBX.Secret))
		}
	}
	for i := range d.PBX {
		if d.PBX[i].Account != nil {
			all = errors.Join(all, resolve(d.PBX[i].Account.Secret))
		}
	}
	if all != nil || !changed {
		return text, all
	}
	return yaml.Marshal(d)
}

func exportCommand(f *clientFlags) *cobra.Command {
	c := action(f, "export", "Print the server's state as a file that apply takes", 0, func(ctx context.Context, c *admin.Client, _ []string) (string, error) {
		text, err := c.Export(ctx)
		return string(text), err
	})
	c.Long = `Prints the server's state as a file that apply takes. PINs and secrets are not in
it: "pin_set: true" and "sealed" stand in their place and keep what the server has.
So apply cannot bring back a user who was deleted, nor fill another server, unless
you write a PIN for each user into the file. For that, make a backup with its keys:
hotdeskd backup create FILE --keys, and later hotdeskd restore FILE.`
	return c
}

func siteCommand(f *clientFlags) *cobra.Command {
	return group("site", "Offices",
		listing(f, "list", "List sites", "/sites", []string{"NAME", "READY", "MISSING", "OPTION 66"}, func(s admin.Site) []string {
			return []string{s.Name, yes(s.Ready), strings.Join(s.Missing, " "), s.EnrolmentURL}
		}),
		showing(f, "show NAME", "Show a site", "/sites/"),
		action(f, "remove NAME", "Delete a site that has no devices", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
			return args[0] + ": removed", c.Delete(ctx, "/sites/"+url.PathEscape(args[0]))
		}),
	)
}

func pbxCommand(f *clientFlags) *cobra.Command {
	return group("pbx", "Telephone systems",
		listing(f, "list", "List PBXes", "/pbx", []string{"NAME", "MODE", "PROXY", "STATE", "REGISTERED", "ACCOUNT", "PROBLEMS"}, func(p admin.PBX) []string {
			problems := p.Status.Failed
			if p.Status.Problem != "" {
				problems = append([]string{p.Status.Problem}, problems...)
			}
			return []string{
				p.Name, text(p.Mode), text(p.Proxy), p.Status.State, strconv.Itoa(p.Status.Registered), p.Status.Account, strings.Join(problems, "; "),
			}
		}),
		testPBX(f),
		action(f, "retry NAME", "Try at once what waits at a PBX, when something was mended there", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
			return args[0] + ": all that waited is tried now; see: hotdeskd pbx list", c.Post(ctx, "/pbx/"+url.PathEscape(args[0])+"/retry", nil, nil)
		}),
	)
}

// testPBX tells the steps of a test; a PBX that does not work is exit status 1.
func testPBX(f *clientFlags) *cobra.Command {
	return &cobra.Command{Use: "test NAME", Short: "Try a PBX and say what to do", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := f.client()
		if err != nil {
			return err
		}
		var t hotdesk.PBXTest
		if err := c.Post(cmd.Context(), "/pbx/"+url.PathEscape(args[0])+"/test", nil, &t); err != nil {
			return err
		}
		if f.json {
			err = printJSON(cmd.OutOrStdout(), t)
		} else {
			for _, step := range t.Steps {
				mark := "ok    "
				if !step.OK {
					mark = "FAILED"
				}
				if _, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %-10s %s\n", mark, step.Name, step.Text); err != nil {
					return err
				}
			}
			if t.OK {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), t.Verdict)
			}
		}
		if err == nil && !t.OK {
			err = fmt.Errorf("pbx %s: %s", args[0], t.Verdict)
		}
		return err
	}}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func statusCommand(f *clientFlags) *cobra.Command {
	return action(f, "status", "One look at the whole server", 0, func(ctx context.Context, c *admin.Client, _ []string) (string, error) {
		st, err := admin.Get[admin.Status](ctx, c, "/status")
		if err != nil || f.json {
			return firstError(asJSON(st))(err)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "hotdeskd %s\n", st.Version)
		for _, state := range []string{"in-use", "idle", "blocked", "pending"} {
			fmt.Fprintf(&b, "devices %-8s %d\n", state, st.Devices[state])
		}
		fmt.Fprintf(&b, "not registered   %d\nusers            %d\nsessions         %d\n", st.Unregistered, st.Users, st.Sessions)
		for _, name := range slices.Sorted(maps.Keys(st.PBX)) {
			fmt.Fprintf(&b, "pbx %-12s %s\n", name, st.PBX[name])
		}
		for _, p := range st.Problems {
			fmt.Fprintln(&b, "problem:", p)
		}
		for _, n := range st.Notes {
			fmt.Fprintln(&b, "note:", n)
		}
		return b.String(), nil
	})
}

// firstError lets an earlier error win over what came of the attempt to print.
func firstError(said string, err error) func(error) (string, error) {
	return func(earlier error) (string, error) {
		if earlier != nil {
			return "", earlier
		}
		return said, err
	}
}
