package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The server's configuration is looked at before it is parsed, too.
func TestField_TeHostileConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hotdeskd.yaml")
	if err := os.WriteFile(path, []byte("log:\n  level: "+strings.Repeat("[", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := loadConfig(path, nil)
	if err == nil || !strings.Contains(err.Error(), "hotdeskd.yaml: line 2: nested deeper than 32 levels") {
		t.Errorf("got %.300v", err)
	}
}
