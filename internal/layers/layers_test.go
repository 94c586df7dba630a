package layers

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "hotdeskd/"

// allowed says for every package which packages of ours and which third-party
// modules it may import. Imports go downwards, never sideways. A package without
// a line fails.
var allowed = map[string][]string{
	// floor 0: know nothing of ours
	"hotdesk/dial":       {},
	"sounds":             {},
	"internal/phonefile": {},
	"internal/memnet":    {},
	"internal/layers":    {},
	"internal/mutants":   {},
	"internal/archive":   {},
	"internal/paced":     {},
	"internal/certs":     {},
	"internal/cleantext": {},
	"internal/csvtable":  {"golang.org/x/text/encoding"},
	"internal/yamlguard": {"github.com/goccy/go-yaml"},
	"sip/guard":          {},
	"ivr/g722":           {},
	"sip/dialog":         {"github.com/emiago/sipgo", "github.com/icholy/digest", "github.com/google/uuid"},
	"sip/ingress":        {"github.com/emiago/sipgo", "github.com/icholy/digest"},
	"phonetemplates":     {"internal/phonefile", "internal/cleantext", "hotdesk/dial", "github.com/goccy/go-yaml"},
	"internal/simphone":  {"internal/phonefile", "github.com/emiago/sipgo", "github.com/icholy/digest", "github.com/pion/rtp"},
	"internal/fleet":     {"internal/simphone"},
	// floor 1: the rules
	"hotdesk": {"hotdesk/dial", "internal/cleantext", "github.com/google/uuid"},
	// floor 2: adapters, which do not know one another
	"provisioning":    {"hotdesk", "phonetemplates", "github.com/gin-gonic/gin"},
	"sip":             {"hotdesk", "hotdesk/dial", "sip/guard", "sip/ingress", "sip/dialog", "sip/call", "sip/registrar", "sip/trunk", "github.com/emiago/sipgo", "github.com/icholy/digest", "github.com/google/uuid", "golang.org/x/sync"},
	"sip/call":        {"hotdesk", "sip/dialog", "sip/ingress", "github.com/emiago/sipgo", "github.com/google/uuid"},
	"sip/registrar":   {"hotdesk", "internal/paced", "sip/dialog", "sip/ingress", "github.com/emiago/sipgo", "github.com/google/uuid"},
	"sip/trunk":       {"hotdesk", "sip/dialog", "sip/ingress", "github.com/emiago/sipgo", "github.com/icholy/digest", "github.com/google/uuid"},
	"ivr":             {"hotdesk", "sounds", "ivr/g722", "github.com/pion/rtp", "github.com/pion/srtp/v3", "golang.org/x/sys"},
	"resync":          {"hotdesk"},
	"vault":           {"hotdesk", "github.com/alexedwards/argon2id"},
	"journal":         {"hotdesk", "internal/paced"},
	"access":          {"hotdesk"},
	"admin":           {"hotdesk", "internal/csvtable", "internal/yamlguard", "github.com/gin-gonic/gin", "github.com/danielgtaylor/huma/v2", "github.com/goccy/go-yaml", "github.com/prometheus/client_golang"},
	"store/bolt":      {"hotdesk", "go.etcd.io/bbolt"},
	"store/storetest": {"hotdesk"},
	// floor 3: the wiring
	"cmd/hotdeskd": {"*"},
}

// violations reads the import lines of every file that is not a test. It reads
// the sources itself, without the go command, so that go test sees every change
// and never shows a stale cached result.
func violations(tree fs.FS) ([]string, error) {
	var found []string
	err := fs.WalkDir(tree, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		pkg := path.Dir(file)
		may, ok := allowed[pkg]
		if !ok {
			found = append(found, fmt.Sprintf("%s: package %s has no line in the table", file, pkg))
			return nil
		}
		src, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(imp, module); ok {
				if !slices.Contains(may, ours) && !slices.Contains(may, "*") {
					found = append(found, fmt.Sprintf("%s: %s must not import %s", file, pkg, ours))
				}
				continue
			}
			if host, _, _ := strings.Cut(imp, "/"); !strings.Contains(host, ".") {
				continue // standard library
			}
			if !slices.ContainsFunc(may, func(m string) bool { return m == "*" || imp == m || strings.HasPrefix(imp, m+"/") }) {
				found = append(found, fmt.Sprintf("%s: %s must not import %s", file, pkg, imp))
			}
		}
		return nil
	})
	return found, err
}

// The tree keeps to the table.
func TestTree(t *testing.T) {
	found, err := violations(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// Every kind of violation is caught when it is planted.
func TestPlanted(t *testing.T) {
	for name, c := range map[string]struct{ file, src, want string }{
		"sideways":               {"admin/x.go", `import "hotdeskd/ivr"`, "admin must not import ivr"},
		"upwards":                {"hotdesk/x.go", `import "hotdeskd/sip"`, "hotdesk must not import sip"},
		"framework in the rules": {"hotdesk/x.go", `import "github.com/gin-gonic/gin"`, "hotdesk must not import github.com/gin-gonic/gin"},
		"library away from home": {"resync/x.go", `import "github.com/emiago/sipgo/sip"`, "resync must not import github.com/emiago/sipgo/sip"},
		"package without a line": {"utils/x.go", `import "fmt"`, "package utils has no line"},
		"prefix of a name":       {"sip/guard/x.go", `import "hotdeskd/sip/dialog"`, "sip/guard must not import sip/dialog"},
	} {
		tree := fstest.MapFS{c.file: {Data: []byte("package x\n" + c.src + "\n")}}
		found, err := violations(tree)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != 1 || !strings.Contains(found[0], c.want) {
			t.Errorf("%s: found %q, want one with %q", name, found, c.want)
		}
	}
	tree := fstest.MapFS{"hotdesk/x.go": {Data: []byte("package x\nimport \"hotdeskd/hotdesk/dial\"\nimport \"context\"\n")}}
	if found, err := violations(tree); err != nil || len(found) != 0 {
		t.Errorf("allowed imports gave %q, %v", found, err)
	}
}

// Every package says in doc.go what it is, and no file is longer than 500 lines.
func TestHouseRules(t *testing.T) {
	tree := os.DirFS("../..")
	err := fs.WalkDir(tree, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") {
			return err
		}
		if _, err := fs.Stat(tree, path.Join(path.Dir(file), "doc.go")); err != nil {
			t.Errorf("%s: its package has no doc.go", file)
		}
		src, err := fs.ReadFile(tree, file)
		if n := strings.Count(string(src), "\n"); n > 500 {
			t.Errorf("%s has %d lines; 500 is the most", file, n)
		}
		if strings.HasSuffix(file, "_test.go") && !strings.Contains(string(src), "testing/synctest") {
			for _, wait := range []string{"time." + "Sleep(", "time." + "After(", "time." + "Tick("} {
				if strings.Contains(string(src), wait) {
					t.Errorf("%s waits in real time with %s); use synctest, or a context's deadline", file, wait)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
