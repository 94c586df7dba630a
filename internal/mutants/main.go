package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Each mutant is compiled and run by itself, two at a time.
const (
	atOnce   = 2
	patience = 2 * time.Minute // for one test; a mutant may well make it hang
)

func main() {
	only := flag.String("only", "", "plant only those whose name or file has this text")
	tags := flag.String("tags", "nomsgpack", "build tags")
	flag.Parse()
	root, err := os.Getwd()
	if err == nil {
		err = plantAll(context.Background(), root, *tags, *only, mutants)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// plantAll plants the mutants and returns what is wrong with any of them.
func plantAll(ctx context.Context, root, tags, only string, all []mutant) error {
	slots := make(chan struct{}, atOnce)
	wrong := make([]error, len(all))
	var wait sync.WaitGroup
	for i, m := range all {
		if !strings.Contains(m.name, only) && !strings.Contains(m.file, only) {
			continue
		}
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			if err := plant(ctx, root, tags, m); err != nil {
				wrong[i] = fmt.Errorf("%s: %s: %w", m.file, m.name, err)
				return
			}
			fmt.Printf("noticed in %4.1f s: %s\n", time.Since(began).Seconds(), m.name)
		})
	}
	wait.Wait()
	return errors.Join(wrong...)
}

// plant builds the test with the mistake in it and runs it. It returns nil when the
// test fails.
func plant(ctx context.Context, root, tags string, m mutant) error {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := write(root, dir, m)
	if err != nil {
		return err
	}
	binary := filepath.Join(dir, "test")
	build := exec.CommandContext(ctx, "go", "test", "-tags", tags, "-overlay", overlay, "-c", "-o", binary, m.pkg)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("it does not compile with the mistake: %w\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	test := exec.CommandContext(ctx, binary, "-test.run", m.run, "-test.v", "-test.failfast")
	test.Dir = filepath.Join(root, m.pkg)
	test.Env = append(os.Environ(), "TMPDIR="+dir)
	out, err := test.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case !bytes.Contains(out, []byte("=== RUN")):
		return fmt.Errorf("no test of %s matches %s: %w\n%s", m.pkg, m.run, err, out)
	case err == nil:
		return fmt.Errorf("%s %s does not notice it", m.pkg, m.run)
	case ctx.Err() != nil || errors.As(err, &failed):
		return nil
	}
	return err
}

// write makes the changed file and the overlay that names it.
func write(root, dir string, m mutant) (overlay string, err error) {
	path := filepath.Join(root, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("what the mistake is put in the place of is there %d times, not once; mend the row in internal/mutants/list.go:\n%s", n, m.old)
	}
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
		return "", err
	}
	b, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}
