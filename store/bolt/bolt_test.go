package bolt

import (
	"path/filepath"
	"testing"

	"hotdeskd/hotdesk"
	"hotdeskd/store/storetest"
)

// The store keeps the contract that all stores keep.
func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) hotdesk.Store {
		t.Helper()
		d, err := Open(filepath.Join(dir, "hotdeskd.db"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}
