package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
)

// listing is a command that prints one list of the API.
func listing[T any](f *clientFlags, use, short, path string, head []string, cells func(T) []string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		return printList(cmd, f, path, head, cells)
	}}
}

func printList[T any](cmd *cobra.Command, f *clientFlags, path string, head []string, cells func(T) []string) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	items, err := admin.List[T](cmd.Context(), c, path)
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), items)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, item := range items {
		fmt.Fprintln(w, strings.Join(cells(item), "\t"))
	}
	return w.Flush()
}

// showing is a command that prints one object of the API.
func showing(f *clientFlags, use, short, path string) *cobra.Command {
	return action(f, use, short, 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
		item, err := admin.Get[json.RawMessage](ctx, c, path+url.PathEscape(args[0]))
		if err != nil {
			return "", err
		}
		return asJSON(item)
	})
}

func asJSON(v any) (string, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return string(b), err
}

func printJSON(w io.Writer, v any) error {
	text, err := asJSON(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, text)
	return err
}

// post is an action on one object.
func post(f *clientFlags, use, short, path, verb string) *cobra.Command {
	return action(f, use, short, 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
		return args[0] + ": done", c.Post(ctx, path+url.PathEscape(args[0])+verb, nil, nil)
	})
}

// bulk is a post on one device, or on all that --where selects; pending phones
// are selected by approve alone. body is what is sent, nil for nothing.
func bulk(f *clientFlags, use, short, verb string, body func() any) *cobra.Command {
	var where string
	cmd := &cobra.Command{Use: use, Short: short, Args: exactly(-1), RunE: func(cmd *cobra.Command, args []string) error {
		if (where == "") == (len(args) != 1) {
			return fmt.Errorf("%w: give one device, or --where 'state=stale site=roma'", errUsage)
		}
		c, err := f.client()
		if err != nil {
			return err
		}
		ctx, out := cmd.Context(), cmd.OutOrStdout()
		if where == "" {
			said, err := act(ctx, c, args[0], verb, body)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			_, err = fmt.Fprintln(out, said)
			return err
		}
		ids, err := selectDevices(ctx, c, where, verb == "/approve")
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			_, err := fmt.Fprintln(out, "no device matches")
			return err
		}
		refused := 0
		for _, id := range ids { // one that refuses must not keep the others back
			said, err := act(ctx, c, id, verb, body)
			if err != nil {
				said, refused = id+": refused: "+err.Error(), refused+1
			}
			if _, err := fmt.Fprintln(out, said); err != nil {
				return err
			}
		}
		if refused > 0 {
			return fmt.Errorf("%d of %d refused, for the reasons above", refused, len(ids))
		}
		return nil
	}}
	cmd.Flags().StringVar(&where, "where", "", "all devices that match, such as 'state=stale site=roma'")
	return cmd
}

// act posts a verb on one device and says what it has done.
func act(ctx context.Context, c *admin.Client, id, verb string, body func() any) (string, error) {
	var sent any
	if body != nil {
		sent = body()
	}
	path := "/devices/" + url.PathEscape(id) + verb
	switch verb {
	case "/approve":
		var d admin.Device
		err := c.Post(ctx, path, sent, &d)
		return id + ": approved as " + text(d.ID), err
	case "/logout":
		return id + ": logged out", c.Post(ctx, path, sent, nil)
	}
	return id + ": done", c.Post(ctx, path, sent, nil)
}

// selectDevices lists the ids of devices, or the MACs of pending phones, whose
// fields are as said.
func selectDevices(ctx context.Context, c *admin.Client, where string, waiting bool) ([]string, error) {
	devices, err := admin.List[admin.Device](ctx, c, "/devices")
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, d := range devices {
		if (d.ID == nil) != waiting {
			continue
		}
		match := true
		for _, term := range strings.Fields(where) {
			key, value, _ := strings.Cut(term, "=")
			field, known := map[string][]string{
				"state": {d.State, d.Config.State}, "site": {d.Site}, "model": {d.Model}, "vendor": {d.Vendor}, "desk": {d.Desk},
				"type": {d.Type}, "user": {text(d.User)},
			}[key]
			if !known {
				return nil, fmt.Errorf("%w: --where: %q; use state, site, model, vendor, desk, type or user", errUsage, term)
			}
			match = match && slices.Contains(field, value)
		}
		if match && waiting {
			ids = append(ids, d.MAC)
		} else if match {
			ids = append(ids, *d.ID)
		}
	}
	return ids, nil
}

func deviceCommand(f *clientFlags) *cobra.Command {
	const path = "/devices/"
	return group("device", "Phones",
		listing(f, "list", "List devices and pending phones", "/devices",
			[]string{"ID", "MAC", "MODEL", "SITE", "DESK", "STATE", "USER", "REGISTERED", "CONFIG"},
			func(d admin.Device) []string {
				return []string{text(d.ID), d.MAC, d.Model, d.Site, d.Desk, d.State, text(d.User), yes(d.Registered), d.Config.State}
			}),
		showing(f, "show ID", "Show a device, by id or MAC", path),
		addDevice(f), approveDevice(f),
		bulk(f, "block ID", "Block a device; its emergency calls pass", "/block", nil),
		bulk(f, "unblock ID", "Open a blocked device", "/unblock", nil),
		bulk(f, "unlock ID", "Forgive the wrong PINs that were typed at a phone", "/unlock", nil),
		listing(f, "models", "List the phone models that are known", "/models", []string{"ID", "VENDOR", "LINE KEYS"}, func(m hotdesk.Model) []string {
			return []string{m.ID, m.Vendor, fmt.Sprint(m.LineKeys)}
		}),
		bulk(f, "release ID", "Let a device be claimed anew by a phone that was reset", "/release", nil),
		bulk(f, "resync ID", "Ask the phone to fetch its configuration", "/resync", nil),
		bulk(f, "reboot ID", "Ask the phone to restart", "/reboot", nil),
		bulk(f, "rotate ID", "Give the device a new secret", "/rotate", nil),
		moveDevice(f),
		action(f, "remove ID", "Delete a device", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
			return args[0] + ": removed", c.Delete(ctx, path+url.PathEscape(args[0]))
		}),
		action(f, "login ID EXTENSION", "Log a user in without a PIN", 2, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
			var s hotdesk.Session
			err := c.Post(ctx, path+url.PathEscape(args[0])+"/login", map[string]string{"user": args[1]}, &s)
			return fmt.Sprintf("%s: user %s, session %s", s.Device, s.User, s.ID), err
		}),
		logoutDevice(f), replaceDevice(f), configDevice(f), explainDevice(f), requestsOfDevice(f),
		importTable(f, "Add and change devices as a table (CSV) says", "/devices/import", map[string]string{
			"site": "site of new devices whose row names none", "model": "model of new devices whose row names none",
		}),
	)
}

func addDevice(f *clientFlags) *cobra.Command {
	fields := map[string]*string{}
	c := action(f, "add MAC --model M --site S", "Add an approved device", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
		body := given(fields)
		body["mac"] = args[0]
		var d admin.Device
		err := c.Post(ctx, "/devices", body, &d)
		return fmt.Sprintf("%s: added", text(d.ID)), err
	})
	deviceFlags(c, fields, "model", "site", "desk", "type", "default-user", "language")
	return c
}

func approveDevice(f *clientFlags) *cobra.Command {
	fields := map[string]*string{}
	c := bulk(f, "approve MAC", "Approve a pending phone, or let one in again that was reset", "/approve", func() any { return given(fields) })
	deviceFlags(c, fields, "model", "site", "desk")
	return c
}

func moveDevice(f *clientFlags) *cobra.Command {
	fields := map[string]*string{}
	c := action(f, "move ID --desk D [--site S]", "Say where a device stands now", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
		return args[0] + ": moved", c.Patch(ctx, "/devices/"+url.PathEscape(args[0]), given(fields))
	})
	deviceFlags(c, fields, "site", "desk", "language")
	return c
}

func deviceFlags(c *cobra.Command, fields map[string]*string, names ...string) {
	for _, name := range names {
		fields[strings.ReplaceAll(name, "-", "_")] = c.Flags().String(name, "", name+" of the device")
	}
}

// given keeps the fields that were set.
func given(fields map[string]*string) map[string]string {
	body := map[string]string{}
	for name, value := range fields {
		if *value != "" {
			body[name] = *value
		}
	}
	return body
}

func logoutDevice(f *clientFlags) *cobra.Command {
	var reason string
	c := bulk(f, "logout ID", "Log out whoever is at the device", "/logout", func() any { return map[string]string{"reason": reason} })
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return c
}

func configDevice(f *clientFlags) *cobra.Command {
	var secrets bool
	var as string
	c := action(f, "config ID", "Print the configuration that the phone gets", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
		q := url.Values{}
		if secrets {
			q.Set("secrets", "true")
		}
		if as != "" {
			q.Set("as", as)
		}
		path := "/devices/" + url.PathEscape(args[0]) + "/config?" + q.Encode()
		cfg, err := admin.Get[admin.ConfigFiles](ctx, c, path)
		if err != nil || f.json {
			return firstError(asJSON(cfg))(err)
		}
		var b strings.Builder
		for _, file := range cfg.Files {
			fmt.Fprintf(&b, "==> %s (version %d)\n%s", file.Name, cfg.Version, file.Content)
		}
		return b.String(), nil
	})
	c.Flags().StringVar(&as, "as", "", "as it would be if this extension sat there")
	c.Flags().BoolVar(&secrets, "secrets", false, "show secrets; written to the audit log")
	return c
}

func replaceDevice(f *clientFlags) *cobra.Command {
	var model string
	c := action(f, "replace ID NEWMAC", "Put another phone in a device's place; its number, desk and keys stay, whoever sits there is logged out", 2, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
		path := "/devices/" + url.PathEscape(args[0])
		d, err := admin.Get[admin.Device](ctx, c, path)
		if err != nil {
			return "", err
		}
		said := args[0] + ": waits for " + args[1]
		if d.Since != nil {
			said += "; user " + *d.User + " was logged out"
		}
		return said, c.Post(ctx, path+"/replace", map[string]string{"mac": args[1], "model": model}, nil)
	})
	c.Flags().StringVar(&model, "model", "", "model of the new phone, when it is another one")
	return c
}

func explainDevice(f *clientFlags) *cobra.Command {
	return &cobra.Command{Use: "explain ID", Short: "Say where each parameter of the configuration comes from", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return printList(cmd, f, "/devices/"+url.PathEscape(args[0])+"/explain", []string{"PARAMETER", "LAYER", "VALUE"}, func(p hotdesk.Provenance) []string {
			return []string{p.Key, p.Layer, p.Value}
		})
	}}
}

func requestsOfDevice(f *clientFlags) *cobra.Command {
	return &cobra.Command{Use: "requests [ID]", Short: "Say what a phone, or everybody, asked for, and what came of it", Args: func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("%w: give one device, one MAC, or none for everybody", errUsage)
		}
		return nil
	}, RunE: func(cmd *cobra.Command, args []string) error {
		path := "/requests"
		if len(args) == 1 {
			path = "/devices/" + url.PathEscape(args[0]) + path
		}
		return printList(cmd, f, path, []string{"TIME", "MAC", "DEVICE", "FROM", "FILE", "STATUS", "VERDICT", "REASON"}, func(r hotdesk.ProvisioningRequest) []string {
			return []string{stamp(&r.Time), r.MAC, string(r.Device), r.Source, r.File, fmt.Sprint(r.Status), r.Verdict, r.Reason}
		})
	}}
}

func userCommand(f *clientFlags) *cobra.Command {
	const path = "/users/"
	return group("user", "People",
		listing(f, "list", "List users", "/users", []string{"EXTENSION", "NAME", "ENABLED", "HOT-DESK", "PIN", "DEVICES"}, func(u admin.User) []string {
			return []string{u.Extension, u.Name, yes(u.Enabled), yes(u.HotDesk), yes(u.PINSet), strings.Join(u.Devices, " ")}
		}),
		showing(f, "show EXTENSION", "Show a user", path),
		addUser(f),
		action(f, "pin EXTENSION PIN", "Set a user's PIN (PIN may be file:PATH or env:NAME)", 2, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
			pin, err := secretArgument(args[1])
			if err != nil {
				return "", err
			}
			return args[0] + ": PIN set", c.Post(ctx, path+url.PathEscape(args[0])+"/pin", map[string]string{"pin": pin}, nil)
		}),
		importTable(f, "Add and change users as a table (CSV) says", "/users/import", map[string]string{
			"pbx": "PBX of new users, and of those without one, whose row names none",
		}),
		post(f, "unlock EXTENSION", "Forgive a user's wrong PINs", path, "/unlock"),
		post(f, "logout EXTENSION", "Log a user out everywhere", path, "/logout"),
		action(f, "remove EXTENSION", "Delete a user", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
			return args[0] + ": removed", c.Delete(ctx, path+url.PathEscape(args[0]))
		}),
	)
}

func addUser(f *clientFlags) *cobra.Command {
	var name, pin string
	c := action(f, "add EXTENSION --name N --pin P", "Add a user", 1, func(ctx context.Context, c *admin.Client, args []string) (string, error) {
		secret, err := secretArgument(pin)
		if err != nil {
			return "", err
		}
		body := map[string]string{"extension": args[0], "name": name, "pin": secret}
		return args[0] + ": added", c.Post(ctx, "/users", body, nil)
	})
	c.Flags().StringVar(&name, "name", "", "name")
	c.Flags().StringVar(&pin, "pin", "", "PIN of 4 to 16 digits, or file:PATH or env:NAME")
	return c
}

// secretArgument resolves file: and env:, which keep a PIN off the command line.
func secretArgument(value string) (string, error) {
	kind, rest, found := strings.Cut(value, ":")
	if !found {
		return value, nil
	}
	switch kind {
	case "file":
		b, err := os.ReadFile(rest)
		return strings.TrimSpace(string(b)), err
	case "env":
		v, ok := os.LookupEnv(rest)
		if !ok {
			return "", fmt.Errorf("environment variable %s is not set", rest)
		}
		return v, nil
	}
	return value, nil
}

func sessionCommand(f *clientFlags) *cobra.Command {
	return group("session", "Who sits where",
		listing(f, "list", "List sessions, newest first", "/sessions", []string{"ID", "DEVICE", "USER", "SINCE", "BY", "UNTIL"}, func(s hotdesk.Session) []string {
			return []string{s.ID, string(s.Device), string(s.User), stamp(&s.Since), string(s.By), stamp(s.Until)}
		}))
}

func callsCommand(f *clientFlags) *cobra.Command {
	var user, device string
	c := &cobra.Command{Use: "calls", Short: "List calls, newest first", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		q := url.Values{}
		for key, value := range map[string]string{"user": user, "device": device} {
			if value != "" {
				q.Set(key, value)
			}
		}
		return printList(cmd, f, "/calls?"+q.Encode(), []string{"ID", "STARTED", "FROM", "DEVICE", "TO", "DEVICE", "KIND", "RESULT", "REASON"}, func(c hotdesk.Call) []string {
			return []string{c.ID, stamp(&c.Started), string(c.FromUser), string(c.FromDevice), c.To, string(c.ToDevice), string(c.Kind), c.Result, c.Reason}
		})
	}}
	c.Flags().StringVar(&user, "user", "", "only calls of this extension")
	c.Flags().StringVar(&device, "device", "", "only calls of this device")
	return c
}

func auditCommand(f *clientFlags) *cobra.Command {
	c := listing(f, "audit", "List the audit log, newest first", "/audit", []string{"OPERATION", "TIME", "ACTION", "BY", "DEVICE", "USER", "DETAIL"}, func(r hotdesk.AuditRow) []string {
		detail, err := json.Marshal(r.Detail)
		if err != nil || r.Detail == nil {
			detail = nil
		}
		return []string{r.Op, stamp(&r.Time), r.Action, r.By, string(r.Device), string(r.User), string(detail)}
	})
	c.AddCommand(action(f, "verify", "Check the chain of the audit log", 0, func(ctx context.Context, c *admin.Client, _ []string) (string, error) {
		v, err := admin.Get[admin.Verified](ctx, c, "/audit/verify")
		return fmt.Sprintf("%d rows, the chain is whole", v.Rows), err
	}))
	return c
}

func eventsCommand(f *clientFlags) *cobra.Command {
	var follow bool
	c := &cobra.Command{Use: "events --follow", Short: "Print events as they happen", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		if !follow {
			return fmt.Errorf("%w: events needs --follow; what happened before is in \"hotdeskd audit\" and \"hotdeskd calls\"", errUsage)
		}
		c, err := f.client()
		if err != nil {
			return err
		}
		for ev, err := range c.Events(cmd.Context()) {
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s\n", ev.ID, ev.Name, ev.Data); err != nil {
				return err
			}
		}
		return nil
	}}
	c.Flags().BoolVar(&follow, "follow", false, "go on until interrupted")
	return c
}

// stamp prints a time as an administrator reads it; "-" for none.
func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
