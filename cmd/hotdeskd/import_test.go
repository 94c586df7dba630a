package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"hotdeskd/admin"
	"hotdeskd/hotdesk"
)

// table is a CSV of n devices as a spreadsheet in Italian saves it.
func table(n int) []byte {
	var b strings.Builder
	b.WriteString("\xef\xbb\xbfMAC;Model;Site;Desk\r\n")
	for i := range n {
		fmt.Fprintf(&b, "805e%08x;Yealink T46U;roma;Città %d\r\n", i, i)
	}
	return []byte(b.String())
}

// An import whose server is killed in the middle has written whole rows only; the
// same table finishes it: every phone is there once, numbered in the order of the
// table. HOTDESKD_ROWS=100000 is a table of the size that must work.
func TestKilledImportIsFinished(t *testing.T) {
	t.Parallel()
	n := asked(t, "HOTDESKD_ROWS", 3000)
	dir := t.TempDir()
	p := startProcess(t, dir, "127.0.0.1:0", "127.0.0.1:0")
	s := &server{t: t, api: p.api}
	s.apply("sites: [{name: roma}]\n")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	bad := append(table(n), "805e00000000;t46u;roma;again\r\n"...)
	if res, err := p.api.Import(ctx, "/devices/import", bad); err == nil || res == nil || res.Wrong != 1 || len(res.Items) != n+1 {
		t.Fatalf("a table with a double row: %v", err)
	}
	if found := s.countDevices(); found != 0 {
		t.Fatalf("a table with a wrong row wrote %d devices", found)
	}
	begun := time.Now()
	failed := make(chan error, 1)
	go func() {
		_, err := p.api.Import(ctx, "/devices/import", table(n))
		failed <- err
	}()
	s.await("the first rows", func() bool { return s.countDevices() > 0 })
	p.kill()
	if err := <-failed; err == nil {
		t.Fatal("the import was done before the server was killed; give it more rows")
	}
	p = startProcess(t, dir, "127.0.0.1:0", "127.0.0.1:0")
	s.api = p.api
	written := s.countDevices()
	if written == 0 || written == n {
		t.Fatalf("%d of %d rows were written when the server was killed", written, n)
	}
	res, err := p.api.Import(ctx, "/devices/import", table(n))
	if err != nil || res.Unchanged != written || res.Added != n-written {
		t.Fatalf("run again after %d rows: %v, %d unchanged, %d added", written, err, res.Unchanged, res.Added)
	}
	t.Logf("%d rows, killed at %d, finished after %s", n, written, time.Since(begun).Round(time.Millisecond))
	devices, err := admin.List[admin.Device](ctx, p.api, "/devices")
	s.must("list", err)
	if len(devices) != n {
		t.Fatalf("%d devices, want %d", len(devices), n)
	}
	ids := map[string]string{}
	for _, d := range devices {
		ids[d.MAC] = *d.ID
	}
	for i := range n {
		mac, want := fmt.Sprintf("805e%08x", i), fmt.Sprintf("HD%04d", i+1)
		if ids[mac] != want {
			t.Fatalf("row %d is %q, want %s", i, ids[mac], want)
		}
	}
	if res, err = p.api.Import(ctx, "/devices/import", table(n)); err != nil || res.Unchanged != n || hotdesk.Count(res.Items, hotdesk.Unchanged) != n {
		t.Errorf("a third time: %v, %d unchanged", err, res.Unchanged)
	}
	if _, err := admin.Get[admin.Verified](ctx, p.api, "/audit/verify"); err != nil {
		t.Errorf("audit log: %v", err)
	}
}

// countDevices is how many devices there are.
func (s *server) countDevices() int {
	st, err := admin.Get[admin.Status](s.context(), s.api, "/status")
	s.must("status", err)
	n := 0
	for _, k := range st.Devices {
		n += k
	}
	return n
}
