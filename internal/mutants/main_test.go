package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A mistake that no test notices, one whose place is gone, one that does not compile,
// and a pattern without a test are errors; one that a test notices is none.
func TestPlant(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module tiny\n\ngo 1.26\n",
		"a.go":      "package tiny\n\nfunc add(a, b int) int { return a + b }\n\nfunc idle() int { return 1 }\n",
		"a_test.go": "package tiny\n\nimport \"testing\"\n\nfunc TestAdd(t *testing.T) {\n\tif add(1, 2) != 3 {\n\t\tt.Error()\n\t}\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		old, new, run, want string
	}{
		"noticed":         {"a + b", "a - b", "TestAdd", ""},
		"lives":           {"return 1", "return 2", "TestAdd", "does not notice it"},
		"gone":            {"a * b", "a - b", "TestAdd", "is there 0 times"},
		"twice":           {"func", "func", "TestAdd", "is there 2 times"},
		"no code":         {"a + b", "a + c", "TestAdd", "does not compile"},
		"no such test":    {"a + b", "a - b", "TestNothing", "no test of . matches"},
		"file is missing": {"", "", "TestAdd", "no such file"},
	} {
		m := mutant{name: name, file: "a.go", old: c.old, new: c.new, pkg: ".", run: c.run}
		if c.old == "" {
			m.file = "b.go"
		}
		err := plantAll(t.Context(), root, "", "", []mutant{m})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "a.go"))
	if err != nil || !strings.Contains(string(text), "a + b") {
		t.Errorf("the tree was touched: %s, %v", text, err)
	}
}

// Every row's old text stands in the tree, and names are told apart.
func TestList(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants {
		if _, err := write("../..", t.TempDir(), m); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		if names[m.name] || m.run == "" || m.pkg == "" || m.old == m.new {
			t.Errorf("%s: the row is not complete, or the name is there twice", m.name)
		}
		names[m.name] = true
	}
}
