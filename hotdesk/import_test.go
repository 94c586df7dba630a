package hotdesk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"hotdeskd/hotdesk"
)

func deviceRow(line, n int, desk string) hotdesk.ImportRow {
	return hotdesk.ImportRow{Line: line, Device: &hotdesk.DeviceSpec{MAC: manyMAC(n), Model: ptr("yealink-t46u"), Site: ptr("roma"), Desk: &desk}}
}

func manyMAC(n int) string { return fmt.Sprintf("805ec1%06x", n) }

// Each row gets its verdict; with a wrong one nothing is written, and a dry run
// writes nothing at all.
func TestImportVerdicts(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	d.live.LegUp("HD0001", "a call")
	d.live.LegUp("HD0003", "another call")
	before := d.Export()
	user := func(line int, spec hotdesk.UserSpec) hotdesk.ImportRow {
		return hotdesk.ImportRow{Line: line, User: &spec}
	}
	device := func(line int, spec hotdesk.DeviceSpec) hotdesk.ImportRow {
		return hotdesk.ImportRow{Line: line, Device: &spec}
	}
	model, site := ptr("yealink-t46u"), ptr("roma")
	first := mac(0).String()
	rows := []struct {
		row     hotdesk.ImportRow
		verdict string
		says    string
	}{
		{deviceRow(2, 1, "1-1"), hotdesk.Added, ""},
		{device(3, hotdesk.DeviceSpec{MAC: "80-5E-C1-00-00-01", Model: model, Site: site}), hotdesk.Wrong, "stands in line 2 already"},
		{device(4, hotdesk.DeviceSpec{MAC: "nonsense", Model: model, Site: site}), hotdesk.Wrong, "MAC"},
		{device(5, hotdesk.DeviceSpec{MAC: manyMAC(2), Model: ptr("nokia"), Site: site}), hotdesk.Wrong, "nokia"},
		{device(6, hotdesk.DeviceSpec{MAC: manyMAC(3), Model: model, Site: ptr("oslo")}), hotdesk.Wrong, "oslo"},
		{device(7, hotdesk.DeviceSpec{MAC: manyMAC(4), Model: model, Site: site, DefaultUser: ptr("999")}), hotdesk.Wrong, "999"},
		{device(8, hotdesk.DeviceSpec{MAC: manyMAC(5), Model: model, Site: site, Desk: ptr("a\nb")}), hotdesk.Wrong, "line breaks"},
		{device(9, hotdesk.DeviceSpec{MAC: first, Desk: ptr("new place")}), hotdesk.Changed, ""},
		{device(10, hotdesk.DeviceSpec{MAC: mac(1).String()}), hotdesk.Unchanged, ""},
		{hotdesk.ImportRow{Line: 11, Err: errors.New("the quotes do not match")}, hotdesk.Wrong, "quotes"},
		{user(12, hotdesk.UserSpec{Extension: "300", PIN: ptr("5082")}), hotdesk.Added, ""},
		{user(13, hotdesk.UserSpec{Extension: "301", PIN: ptr("1234")}), hotdesk.Wrong, "weak PIN"},
		{user(14, hotdesk.UserSpec{Extension: "302"}), hotdesk.Wrong, "the PIN is missing"},
		{user(15, hotdesk.UserSpec{Extension: "112", PIN: ptr("5082")}), hotdesk.Wrong, "emergency number 112"},
		{user(16, hotdesk.UserSpec{Extension: "5", PIN: ptr("5082")}), hotdesk.Wrong, "another hot-desk code"},
		{user(17, hotdesk.UserSpec{Extension: "300", PIN: ptr("5083")}), hotdesk.Wrong, "stands in line 12 already"},
		{user(18, hotdesk.UserSpec{Extension: "100", Enabled: ptr(false)}), hotdesk.Wrong, "in a call"},
		{user(19, hotdesk.UserSpec{Extension: "101", PIN: ptr("4071")}), hotdesk.Unchanged, ""},
		{user(20, hotdesk.UserSpec{Extension: "3O3", PIN: ptr("4072")}), hotdesk.Wrong, "digits"},
		{hotdesk.ImportRow{Line: 21}, hotdesk.Wrong, "empty"},
		{device(22, hotdesk.DeviceSpec{MAC: mac(2).String(), Blocked: ptr(true)}), hotdesk.Wrong, "in a call"},
	}
	var all, good []hotdesk.ImportRow
	for _, r := range rows {
		all = append(all, r.row)
		if r.verdict != hotdesk.Wrong {
			good = append(good, r.row)
		}
	}
	for _, dry := range []bool{true, false} {
		verdicts, err := d.Import(context.Background(), all, hotdesk.ApplyOptions{DryRun: dry})
		if err != nil || len(verdicts) != len(rows) {
			t.Fatalf("dry %v: %d verdicts, %v", dry, len(verdicts), err)
		}
		for i, r := range rows {
			v := verdicts[i]
			if v.Line != r.row.Line || v.Verdict != r.verdict || !strings.Contains(v.Reason, r.says) || (v.Reason == "") != (r.says == "") {
				t.Errorf("dry %v: got %+v, want %s that says %q", dry, v, r.verdict, r.says)
			}
		}
		if res := d.apply(before); len(res.Changes) != 0 {
			t.Fatalf("dry %v: with wrong rows this was written: %q", dry, res.Changes)
		}
	}
	if verdicts, err := d.Import(context.Background(), good, hotdesk.ApplyOptions{DryRun: true}); err != nil || hotdesk.Count(verdicts, hotdesk.Wrong) != 0 {
		t.Fatalf("%+v %v", verdicts, err)
	}
	if _, err := d.User("300"); err == nil {
		t.Fatal("a dry run made a user")
	}
	if _, err := d.Import(context.Background(), good, hotdesk.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if p, err := d.FindDevice(first); err != nil || p.Device.Desk != "new place" {
		t.Errorf("%+v %v", p.Device, err)
	}
	if _, err := d.login("HD0002", "300", "5082"); err != nil {
		t.Errorf("the PIN that was imported: %v", err)
	}
}

// An import that breaks off has written whole chunks, each of which is valid; the
// same table finishes it, and devices are numbered in its order.
func TestImportIsFinishedByRunningAgain(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	const n = 100
	var rows []hotdesk.ImportRow
	for i := range n {
		rows = append(rows, deviceRow(i+2, n-i, "desk"))
	}
	ctx, cancel := context.WithCancel(context.Background())
	store := &breaking{Store: d.store, cancel: cancel, commits: 2}
	s := d.second(store, quickVault{})
	store.armed = true
	if _, err := s.Import(ctx, rows, hotdesk.ApplyOptions{}); err == nil {
		t.Fatal("the broken import says nothing")
	}
	store.armed = false
	written := len(s.Phones()) - 4
	if written == 0 || written == n {
		t.Fatalf("%d of %d rows were written before the break", written, n)
	}
	if res, err := s.Apply(context.Background(), s.Export(), hotdesk.ApplyOptions{}); err != nil || len(res.Changes) != 0 {
		t.Errorf("what was written is not valid alone: %q %v", res.Changes, err)
	}
	verdicts, err := s.Import(context.Background(), rows, hotdesk.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a, u := hotdesk.Count(verdicts, hotdesk.Added), hotdesk.Count(verdicts, hotdesk.Unchanged); a != n-written || u != written {
		t.Errorf("run again: %d added, %d unchanged, want %d and %d", a, u, n-written, written)
	}
	for i, row := range rows {
		p, err := s.FindDevice(row.Device.MAC)
		if want := fmt.Sprintf("HD%04d", 4+i+1); err != nil || string(p.Device.ID) != want {
			t.Fatalf("row %d is %s (%v), want %s", i, p.Device.ID, err, want)
		}
	}
	if verdicts, err = s.Import(context.Background(), rows, hotdesk.ApplyOptions{}); err != nil || hotdesk.Count(verdicts, hotdesk.Unchanged) != n {
		t.Errorf("a third time: %v %v", verdicts[0], err)
	}
}

// breaking is a store whose caller goes away after some commits.
type breaking struct {
	hotdesk.Store
	armed   bool
	commits int
	cancel  func()
}

func (b *breaking) Update(ctx context.Context, fn func(hotdesk.Txn) error) (hotdesk.Rev, error) {
	if b.armed {
		if b.commits--; b.commits < 0 {
			b.cancel()
			return 0, hotdesk.ErrUnavailable
		}
	}
	return b.Store.Update(ctx, fn)
}

// BenchmarkImport is the check of a table of 10,000 devices, without writing.
func BenchmarkImport(b *testing.B) {
	d := newDesk(b)
	d.office("move")
	var rows []hotdesk.ImportRow
	for i := range 10_000 {
		rows = append(rows, deviceRow(i+2, i, "desk"))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Import(context.Background(), rows, hotdesk.ApplyOptions{DryRun: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// A file that changes a device's transport is applied, and finds nothing to do the
// next time; what it does not change keeps what somebody else has saved meanwhile.
func TestApplyChangesWhatItSays(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	file := hotdesk.Desired{Devices: []hotdesk.DeviceSpec{{MAC: mac(0).String(), Transport: ptr("tcp")}}}
	if res := d.apply(file); len(res.Changes) != 1 {
		t.Errorf("changes %q", res.Changes)
	}
	if p, err := d.Phone("HD0001"); err != nil || p.Device.Transport != "tcp" {
		t.Errorf("%+v %v", p.Device, err)
	}
	if res := d.apply(file); len(res.Changes) != 0 {
		t.Errorf("again: changes %q", res.Changes)
	}
	v := &slowVault{meanwhile: func() {
		if err := d.UpdateDevice(context.Background(), "HD0001", hotdesk.DeviceSpec{Desk: ptr("by hand")}, "test"); err != nil {
			t.Error(err)
		}
	}}
	s, ctx := d.second(d.store, v), context.Background()
	slow := hotdesk.Desired{
		Users:   []hotdesk.UserSpec{{Extension: "150", PIN: ptr("905172")}},
		Devices: []hotdesk.DeviceSpec{{MAC: mac(0).String(), Language: ptr("it")}},
	}
	if _, err := s.Apply(ctx, slow, hotdesk.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Phone("HD0001"); err != nil || p.Device.Desk != "by hand" || p.Device.Language != "it" {
		t.Errorf("%+v %v", p.Device, err)
	}
}

// A device never comes into a site that somebody removed while the file was being
// read: it would have no way out for emergency calls.
func TestApplyIntoARemovedSite(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	d.apply(hotdesk.Desired{Sites: []hotdesk.SiteSpec{{Name: "milano"}}})
	v := &slowVault{meanwhile: func() {
		if err := d.RemoveSite(context.Background(), "milano", "test"); err != nil {
			t.Error(err)
		}
	}}
	s, ctx := d.second(d.store, v), context.Background()
	file := hotdesk.Desired{
		Users:   []hotdesk.UserSpec{{Extension: "150", PIN: ptr("905172")}},
		Devices: []hotdesk.DeviceSpec{{MAC: manyMAC(1), Model: ptr("yealink-t46u"), Site: ptr("milano")}},
	}
	if _, err := s.Apply(ctx, file, hotdesk.ApplyOptions{}); !errors.Is(err, hotdesk.ErrConflict) || !strings.Contains(err.Error(), "a site, or a hot-desk code, was changed") {
		t.Errorf("into a removed site: %v", err)
	}
	if _, err := s.FindDevice(manyMAC(1)); !errors.Is(err, hotdesk.ErrNotFound) {
		t.Errorf("the device is there: %v", err)
	}
}
