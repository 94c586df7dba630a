package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
)

// importTable is "device import" and "user import": a table as spreadsheet
// programs save it goes to the server, the verdicts are told row by row. extra are
// the flags that stand for empty cells.
func importTable(f *clientFlags, short, path string, extra map[string]string) *cobra.Command {
	var dry, all bool
	var charset string
	presets := map[string]*string{}
	c := &cobra.Command{Use: "import FILE", Short: short, Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := f.client()
		if err != nil {
			return err
		}
		text, err := readFile(args[0], cmd.InOrStdin())
		if err != nil {
			return err
		}
		if len(text) == 0 {
			return fmt.Errorf("%s is empty; the first line must name the columns", args[0])
		}
		q := url.Values{}
		for name, value := range presets {
			if *value != "" {
				q.Set(name, *value)
			}
		}
		if dry {
			q.Set("dry_run", "true")
		}
		if charset != "" {
			q.Set("charset", charset)
		}
		res, err := c.Import(cmd.Context(), path+"?"+q.Encode(), text)
		if res == nil {
			return err
		}
		if f.json {
			return errors.Join(printJSON(cmd.OutOrStdout(), res), importError(args[0], res))
		}
		return errors.Join(tellImport(cmd.OutOrStdout(), res, all), importError(args[0], res))
	}}
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, write nothing")
	c.Flags().BoolVar(&all, "all", false, "tell every row, not only the first wrong ones")
	c.Flags().StringVar(&charset, "charset", "", "utf-8, utf-16, windows-1252 or windows-1251, when it is guessed wrong")
	for name, use := range extra {
		presets[name] = c.Flags().String(name, "", use)
	}
	return c
}

// readFile reads a file, - for standard input.
func readFile(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(filepath.Clean(path))
}

// importError is exit status 1 when a row is wrong.
func importError(file string, res *admin.Imported) error {
	if res.Wrong == 0 {
		return nil
	}
	return fmt.Errorf("%s: %d of %d rows are wrong, nothing was written; mend them and run it again", file, res.Wrong, len(res.Items))
}

// shownWrong is how many wrong rows are told unless all are asked for.
const shownWrong = 20

// tellImport says how the file was read, what is wrong in which line, and the sum.
func tellImport(w io.Writer, res *admin.Imported, all bool) error {
	var b strings.Builder
	delimiter := map[string]string{",": "commas", ";": "semicolons", "\t": "tabs"}[res.Delimiter]
	fmt.Fprintf(&b, "read as %s with %s", res.Charset, delimiter)
	if len(res.Unused) > 0 {
		fmt.Fprintf(&b, "; not used: %s", strings.Join(res.Unused, ", "))
	}
	b.WriteString("\n")
	shown := 0
	for _, v := range res.Items {
		switch {
		case v.Verdict == hotdesk.Wrong && (all || shown < shownWrong):
			shown++
			fmt.Fprintf(&b, "line %d: %s: %s\n", v.Line, v.ID, v.Reason)
		case all:
			fmt.Fprintf(&b, "line %d: %s: %s\n", v.Line, v.ID, v.Verdict)
		}
	}
	if more := res.Wrong - shown; more > 0 {
		fmt.Fprintf(&b, "and %d more wrong rows; --all tells them\n", more)
	}
	would := ""
	if !res.Written {
		would = "would be "
	}
	fmt.Fprintf(&b, "%d %sadded, %d %schanged, %d unchanged, %d wrong\n", res.Added, would, res.Changed, would, res.Unchanged, res.Wrong)
	if res.DryRun {
		b.WriteString("dry run: nothing was written\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
