package yamlguard

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// laughs are anchors of which each stands ten times for the one before.
func laughs(levels int, open, shut string) string {
	var b strings.Builder
	b.WriteString("a0: &a0 " + open + strings.Repeat("x, ", 9) + "x" + shut + "\n")
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String()
}

// blocks are the same by indentation.
func blocks(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0\n" + strings.Repeat("  - x\n", 10))
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "a%d: &a%d\n%s", i, i, strings.Repeat(fmt.Sprintf("  - *a%d\n", i-1), 10))
	}
	return b.String()
}

func each(n int, line string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, line, i)
	}
	return b.String()
}

func indented(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// No text makes the guard take much, and each of these is refused in a second and 64
// MB with the line and the limit, before the parser sees it.
func TestField_TeHostileYAML(t *testing.T) {
	const depth, keys, text, aliases = "nested deeper than 32 levels", "a mapping with more than 1000 keys", "a text of more than 65536 bytes", "aliases stand for more than 100000 values"
	for name, c := range map[string]struct{ text, want string }{
		"lists in brackets":        {strings.Repeat("[", 100_000), "line 1: " + depth},
		"lists on lines":           {"a: 1\nb:\n" + strings.Repeat(" [\n", 5000), "line 34: " + depth},
		"mappings in brackets":     {strings.Repeat("{a: ", 20_000), "line 1: " + depth},
		"both in brackets":         {strings.Repeat("[{a: ", 20_000), "line 1: " + depth},
		"wrong brackets":           {strings.Repeat("{a: [}", 10_000), "line 1: " + depth},
		"after a broken quote":     {"a: \"x\" y\nb: " + strings.Repeat("[", 5000), depth},
		"after a reserved sign":    {"a: @\nb: " + strings.Repeat("[", 5000), depth},
		"mappings by indentation":  {indented(1000), "line 33: " + depth},
		"lists by indentation":     {strings.Repeat("- ", 50_000) + "x", "line 1: " + depth},
		"keys by question marks":   {strings.Repeat("? ", 30_000) + "x", "line 1: " + depth},
		"keys on one line":         {strings.Repeat("a: ", 50_000), "line 1: " + depth},
		"deep quoted keys":         {strings.Repeat(`"a": `, 50_000), "line 1: " + depth},
		"deep quoted in brackets":  {strings.Repeat(`{"a": `, 50_000), "line 1: " + depth},
		"tags":                     {"a: " + strings.Repeat("!a ", 20_000) + "x", "line 1: more than one tag or anchor"},
		"tags and anchors":         {"a: " + strings.Repeat("!a &a ", 10_000) + "x", "line 1: more than one tag or anchor"},
		"anchors":                  {"a: " + strings.Repeat("&a ", 20_000) + "x", "line 1: more than one tag or anchor"},
		"billion laughs":           {laughs(12, "[", "]"), "line 5: " + aliases},
		"laughs by indentation":    {blocks(12), aliases},
		"an alias in itself":       {"a: &a [*a, *a]", "line 1: the alias *a stands inside"},
		"one in itself by lines":   {"a: &a\n  b: 1\n  c: *a\n", "line 3: the alias *a stands inside"},
		"a million keys":           {each(1_000_000, "k%d: 1\n"), "line 1001: " + keys},
		"a million in brackets":    {"{" + each(1_000_000, "k%d: 1, ") + "}", "line 1: more than 500000 values"},
		"ten thousand in brackets": {"{" + each(10_000, "k%d: 1, ") + "}", "line 1: " + keys},
		"a million entries":        {"a:\n" + each(1_000_000, "- %d\n"), "more than 500000 values"},
		"5 MB plain":               {"a: " + strings.Repeat("x", 5<<20), "line 1: " + text},
		"5 MB quoted":              {"a: \"" + strings.Repeat("x", 5<<20) + "\"", "line 1: " + text},
		"5 MB of lines":            {"a: |\n" + strings.Repeat("  xxx\n", 5<<20/6), "line 1: " + text},
		"512 KB with signs":        {"a: \"" + strings.Repeat("x, ", 1<<19/3) + "\"", text},
		"a long tag":               {"a: !" + strings.Repeat("x", 1<<20) + " y", "line 1: " + text},
		"a long anchor":            {"a: &" + strings.Repeat("x", 1<<20) + " y", "line 1: " + text},
		"too large":                {strings.Repeat("#\n", MaxSize), "the file has 33554432 bytes; 16777216 is the most"},
	} {
		var before, after runtime.MemStats
		text := []byte(c.text)
		runtime.ReadMemStats(&before)
		began := time.Now()
		err := Check(text)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		for again := 0; again < 3 && took > time.Second; again++ { // others use this machine, too
			began = time.Now()
			err = Check(text)
			took = time.Since(began)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb >= 64 || took > time.Second {
			t.Errorf("%s: %d MB and %v", name, mb, took)
		}
	}
}

// Files as people write them pass, and so do large ones: what closes, or goes back to
// the left, is not nested, and an alias counts what it stands for, not the file.
func TestField_TeHonestYAML(t *testing.T) {
	var office strings.Builder
	office.WriteString("keys: &std [{type: blf, value: \"101\"}, {type: none}]\nsites:\n- name: roma\n  networks: [\"10.0.0.0/8\"] # a list at its key's column\n- name: milano\n  note: |\n    [[[[ {{{{ it's \"text\n  emergency:\n    numbers: ['112']\nusers:\n")
	for i := range 5000 {
		fmt.Fprintf(&office, "  - extension: \"%d\"\n    name: it's \"Rossi\" [x\n    pbx: {name: main, extension: \"%d\", secret: 's: {'}\n    keys: *std\n", 10000+i, i)
	}
	for name, text := range map[string]string{
		"empty": "", "office": office.String(), "one line of JSON": `{"users": [` + each(5000, `{"extension": "%d", "name": "x"}, `) + "]}",
		"keys of many mappings": each(900, "k%d: {a: 1, b: 2}\n"), "scalar anchors": "a: &p 1\nb: 2\nc: [*p, *p]\nd: *p\n",
		"merge": "base: &b {x: 1}\nall:\n" + each(2000, "  - {<<: *b, y: %d}\n"), "block anchor": "b: &b\n  x: 1\n  y: 2\nall:\n" + each(5000, "  - n: %d\n    z: *b\n"),
		"documents": "---\na: 1\n---\nb: 2\n", "broken": "a: [1, 2\nb: }", "tag and anchor": "a: !!str &x 5\nb: &y !!str 6\n",
	} {
		if err := Check([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The guard ends on every text, without a panic, and what it lets pass has no more
// brackets open than it allows.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"a: [b, {c: d}]\n- e\n", "? a\n: *b\n&b c: !d e", "--- |\n x\n...\n", "a: \"b\n  c\": '", "{[}]: - ? &", "a: >-\n\tb\n#c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := Check([]byte(s)); err == nil && strings.HasPrefix(s, strings.Repeat("[", MaxDepth+1)) {
			t.Error("too many brackets pass")
		}
	})
}
