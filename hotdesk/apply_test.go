package hotdesk_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"hotdeskd/hotdesk"
)

// Applying the same file again, or what was exported, changes nothing.
func TestApplyIsIdempotent(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	file := d.Export()
	if res := d.apply(file); len(res.Changes) != 0 {
		t.Errorf("the export changes %q", res.Changes)
	}
	again := d.apply(hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "100", PIN: ptr("4071")}}})
	if len(again.Changes) != 0 {
		t.Errorf("the same PIN changes %q", again.Changes)
	}
	secret := hotdesk.Desired{PBX: []hotdesk.PBXSpec{{Name: "main", Account: &hotdesk.AccountSpec{AuthUser: ptr("u"), Secret: ptr("s3cret")}}}}
	if res := d.apply(secret); len(res.Changes) != 1 {
		t.Errorf("a new secret changes %q", res.Changes)
	}
	if res := d.apply(secret); len(res.Changes) != 0 {
		t.Errorf("the same secret changes %q", res.Changes)
	}
	if res := d.apply(d.Export()); len(res.Changes) != 0 {
		t.Errorf("the export with a sealed secret changes %q", res.Changes)
	}
}

// Nothing is written when anything in the file is wrong, and the error says what
// and where.
func TestApplyRefuses(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	good := hotdesk.UserSpec{Extension: "150", PIN: ptr("4071")}
	for name, c := range map[string]struct {
		file hotdesk.Desired
		want error
		says string
	}{
		"weak PIN":                   {hotdesk.Desired{Users: []hotdesk.UserSpec{good, {Extension: "151", PIN: ptr("1234")}}}, hotdesk.ErrWeakPIN, "user 151"},
		"no PIN":                     {hotdesk.Desired{Users: []hotdesk.UserSpec{good, {Extension: "151"}}}, hotdesk.ErrInvalid, "user 151: the PIN is missing"},
		"unknown model":              {hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Devices: []hotdesk.DeviceSpec{{MAC: mac(8).String(), Model: ptr("nokia-3310"), Site: ptr("roma")}}}, hotdesk.ErrUnknownModel, "nokia-3310"},
		"unknown site":               {hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Devices: []hotdesk.DeviceSpec{{MAC: mac(8).String(), Model: ptr("yealink-t46u"), Site: ptr("oslo")}}}, hotdesk.ErrInvalid, `no site "oslo"; add it under sites first, or use one of roma`},
		"site in other letters":      {hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Devices: []hotdesk.DeviceSpec{{MAC: mac(8).String(), Model: ptr("yealink-t46u"), Site: ptr("Roma")}}}, hotdesk.ErrInvalid, `it is written "roma"`},
		"shadows emergency":          {hotdesk.Desired{Users: []hotdesk.UserSpec{good, {Extension: "112", PIN: ptr("4071")}}}, hotdesk.ErrShadowsEmergency, "112"},
		"shadows with the prefix":    {hotdesk.Desired{Users: []hotdesk.UserSpec{good, {Extension: "0113", PIN: ptr("4071")}}}, hotdesk.ErrShadowsEmergency, "0113"},
		"sub-code as extension":      {hotdesk.Desired{Users: []hotdesk.UserSpec{good, {Extension: "5", PIN: ptr("4071")}}}, hotdesk.ErrCodeConflict, "user 5"},
		"two codes the same":         {hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Settings: &hotdesk.SettingsSpec{Codes: &hotdesk.CodesSpec{Logout: ptr("*77*6*")}}}, hotdesk.ErrCodeConflict, "*77*6*"},
		"line break in a name":       {hotdesk.Desired{Users: []hotdesk.UserSpec{good, {Extension: "151", PIN: ptr("4071"), Name: ptr("a\r\nb")}}}, hotdesk.ErrInvalid, "user 151"},
		"require_https":              {hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Sites: []hotdesk.SiteSpec{{Name: "roma", RequireHTTPS: ptr(true)}}}, hotdesk.ErrInvalid, "require_https"},
		"srtp":                       {hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Sites: []hotdesk.SiteSpec{{Name: "roma", Phones: &hotdesk.PhonesSpec{SRTP: ptr("required")}}}}, hotdesk.ErrInvalid, "srtp"},
		"tls":                        {hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Sites: []hotdesk.SiteSpec{{Name: "roma", Phones: &hotdesk.PhonesSpec{Transport: ptr("tls")}}}}, hotdesk.ErrInvalid, "transport"},
		"emergency route to nowhere": {hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Sites: []hotdesk.SiteSpec{{Name: "roma", Emergency: &hotdesk.EmergencySpec{Routes: []hotdesk.EmergencyRoute{{PBX: "gone"}}}}}}, hotdesk.ErrInvalid, "gone"},
	} {
		_, err := d.Apply(context.Background(), c.file, hotdesk.ApplyOptions{})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want %v that says %q", name, err, c.want, c.says)
		}
		if _, err := d.User("150"); err == nil {
			t.Fatalf("%s: the good part of the file was written", name)
		}
	}
}

// A dry run says what would change, whose session would end and what is in the way,
// and writes nothing.
func TestApplyDryRun(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	if _, err := d.login("HD0001", "100", "4071"); err != nil {
		t.Fatal(err)
	}
	file := hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "100", Enabled: ptr(false)}}}
	res, err := d.Apply(context.Background(), file, hotdesk.ApplyOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(res.Ends, []string{"HD0001 user 100"}) || !slices.Equal(res.Changes, []string{"user 100: changed (enabled)"}) {
		t.Errorf("dry run: %+v", res)
	}
	if d.who("HD0001") != "100" {
		t.Fatal("the dry run ended a session")
	}
	d.live.LegUp("HD0001", "a call")
	if res, err = d.Apply(context.Background(), file, hotdesk.ApplyOptions{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	if len(res.Changes) != 1 || len(res.InTheWay) != 1 || !strings.Contains(res.InTheWay[0], "HD0001: device is in a call") {
		t.Errorf("dry run of what would be refused: %+v", res)
	}
	block := hotdesk.Desired{Devices: []hotdesk.DeviceSpec{{MAC: mac(0).String(), Blocked: ptr(true)}}}
	if res, err = d.Apply(context.Background(), block, hotdesk.ApplyOptions{DryRun: true}); err != nil || len(res.InTheWay) != 1 || !strings.HasPrefix(res.InTheWay[0], "HD0001: device is in a call") {
		t.Errorf("dry run of a block in a call: %+v, %v", res, err)
	}
	if _, err = d.Apply(context.Background(), file, hotdesk.ApplyOptions{}); !errors.Is(err, hotdesk.ErrDeviceInCall) {
		t.Errorf("in a call: %v", err)
	}
	d.live.LegDown("HD0001", "a call")
	d.apply(file)
	if d.who("HD0001") != "" {
		t.Error("disabling the user did not end the session")
	}
}

// --prune deletes what the file does not name, but never with a session.
func TestApplyPrune(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	if _, err := d.login("HD0002", "101", "4071"); err != nil {
		t.Fatal(err)
	}
	file := d.Export()
	file.Users = file.Users[:1]     // only 100
	file.Devices = file.Devices[:1] // only HD0001
	_, err := d.Apply(context.Background(), file, hotdesk.ApplyOptions{Prune: true})
	if !errors.Is(err, hotdesk.ErrInUse) {
		t.Fatalf("prune with a session: %v", err)
	}
	if err := d.logout("HD0002"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Apply(context.Background(), file, hotdesk.ApplyOptions{Prune: true}); err != nil {
		t.Fatal(err)
	}
	if len(d.Users()) != 1 || len(d.Phones()) != 1 {
		t.Errorf("%d users and %d devices are left, want one each", len(d.Users()), len(d.Phones()))
	}
	p, err := d.AddDevice(context.Background(), hotdesk.DeviceSpec{MAC: mac(1).String(), Model: ptr("yealink-t46u"), Site: ptr("roma")}, "test")
	if err != nil || p.Device.ID != "HD0005" {
		t.Errorf("the next device is %s, %v; numbers are never used again", p.Device.ID, err)
	}
}

// One object twice in a file, a parameter that reaches nobody, and one that is
// hotdeskd's own are refused; nothing of the file is written.
func TestApplyRefusesDoublesAndLostParameters(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	good := hotdesk.UserSpec{Extension: "150", PIN: ptr("4071")}
	dev := func(mac string) hotdesk.DeviceSpec {
		return hotdesk.DeviceSpec{MAC: mac, Model: ptr("yealink-t46u"), Site: ptr("roma")}
	}
	param := func(layer, id, key string) hotdesk.Desired {
		return hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Parameters: []hotdesk.Parameter{{Layer: layer, ID: id, Values: map[string]string{key: "x"}}}}
	}
	for name, c := range map[string]struct {
		file hotdesk.Desired
		says string
	}{
		"a user twice":              {hotdesk.Desired{Users: []hotdesk.UserSpec{good, good}}, "user 150"},
		"a MAC in two spellings":    {hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Devices: []hotdesk.DeviceSpec{dev("805ec0000099"), dev("80:5E:C0:00:00:99")}}, "805ec0000099"},
		"a site twice":              {hotdesk.Desired{Users: []hotdesk.UserSpec{good}, Sites: []hotdesk.SiteSpec{{Name: "roma"}, {Name: "roma"}}}, "site roma"},
		"parameter of no device":    {param("device", "HD9999", "ring"), "HD9999"},
		"parameter of no model":     {param("model", "nokia-3310", "ring"), "nokia-3310"},
		"parameter of no layer":     {param("planet", "earth", "ring"), "planet"},
		"parameter with no id":      {param("site", "", "ring"), "site"},
		"parameter of hotdeskd own": {param("model", "yealink-t46u", "account.1.password"), "account.1.password"},
	} {
		_, err := d.Apply(context.Background(), c.file, hotdesk.ApplyOptions{})
		if !errors.Is(err, hotdesk.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want ErrInvalid that says %q", name, err, c.says)
		}
		if _, err := d.User("150"); err == nil {
			t.Fatalf("%s: the good part of the file was written", name)
		}
	}
}

// Devices get their numbers in the order of the file, and --prune takes out
// parameters too.
func TestApplyOrderAndPrunedParameters(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	file := d.Export()
	for _, n := range []int{9, 7, 8} {
		file.Devices = append(file.Devices, hotdesk.DeviceSpec{MAC: mac(n).String(), Model: ptr("yealink-t46u"), Site: ptr("roma")})
	}
	file.Parameters = []hotdesk.Parameter{{Layer: "site", ID: "roma", Values: map[string]string{"ring": "3"}}}
	d.apply(file)
	for n, want := range map[int]hotdesk.DeviceID{9: "HD0005", 7: "HD0006", 8: "HD0007"} {
		if p, err := d.PhoneByMAC(mac(n)); err != nil || p.Device.ID != want {
			t.Errorf("%s is %s, %v; want %s", mac(n), p.Device.ID, err, want)
		}
	}
	file.Parameters = nil
	if _, err := d.Apply(context.Background(), file, hotdesk.ApplyOptions{Prune: true}); err != nil {
		t.Fatal(err)
	}
	if left := d.Export().Parameters; len(left) != 0 {
		t.Errorf("left after --prune: %+v", left)
	}
}

// Data that was made with other key files is refused: nobody would be recognised.
func TestOtherKeysAreRefused(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	s, err := hotdesk.New(hotdesk.Options{
		Store: d.store, Vault: otherVault{}, Live: d.live, Models: models, Realm: "hotdeskd", Now: d.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := s.Serve(ctx); !errors.Is(err, hotdesk.ErrInvalid) || !strings.Contains(err.Error(), "keys") {
		t.Errorf("served with other keys: %v", err)
	}
}

// otherVault has other keys than quickVault.
type otherVault struct{ quickVault }

func (otherVault) Fingerprint() string { return "other" }

// slowVault lets somebody else save a user while an apply hashes a PIN.
type slowVault struct {
	quickVault
	meanwhile func()
}

func (v slowVault) HashPIN(ctx context.Context, pin hotdesk.Secret) (string, error) {
	if pin.Reveal() == "905172" {
		v.meanwhile()
	}
	return v.quickVault.HashPIN(ctx, pin)
}

// A weak PIN at the end of a long file is refused before the first one is hashed.
func TestApplyRefusesWeakPINsFirst(t *testing.T) {
	d := newDesk(t)
	s, err := hotdesk.New(hotdesk.Options{
		Store: d.store, Live: d.live, Models: models, Realm: "hotdeskd", Now: d.clock.Now,
		Vault: &slowVault{meanwhile: func() { t.Error("a PIN was hashed") }},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "150", PIN: ptr("905172")}, {Extension: "151", PIN: ptr("1234")}}}
	if _, err := s.Apply(t.Context(), file, hotdesk.ApplyOptions{}); !errors.Is(err, hotdesk.ErrWeakPIN) || !strings.Contains(err.Error(), "user 151") {
		t.Errorf("the weak PIN: %v", err)
	}
}

// What somebody else saved while a long apply was hashing PINs is not undone: the
// apply is refused and says to run it again.
func TestApplyUndoesNothing(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	other := d.Service
	v := &slowVault{meanwhile: func() {
		if err := other.SetPIN(context.Background(), "100", "7283", "test"); err != nil {
			t.Error(err)
		}
	}}
	s, ctx := d.second(d.store, v), context.Background()
	file := hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "100", Name: ptr("Renamed")}, {Extension: "150", PIN: ptr("905172")}}}
	if _, err := s.Apply(ctx, file, hotdesk.ApplyOptions{}); !errors.Is(err, hotdesk.ErrConflict) || !strings.Contains(err.Error(), "user/100") {
		t.Errorf("apply over somebody else's change: %v", err)
	}
	if _, err := d.login("HD0001", "100", "7283"); err != nil {
		t.Errorf("the PIN that was set meanwhile: %v", err)
	}
	if _, err := s.Apply(ctx, file, hotdesk.ApplyOptions{}); err != nil {
		t.Errorf("run again: %v", err)
	}
}

// second is another service on the same desk, with a store or a vault of a test's own.
func (d *desk) second(store hotdesk.Store, v hotdesk.Vault) *hotdesk.Service {
	d.t.Helper()
	s, err := hotdesk.New(hotdesk.Options{Store: store, Vault: v, Live: d.live, Models: models, Realm: "hotdeskd", Now: d.clock.Now})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	<-s.Ready()
	d.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	})
	return s
}

// A change is told by its keys, as a file gives them, and never by its values.
func TestApplySaysWhichKeysChange(t *testing.T) {
	d := newDesk(t)
	d.office("move")
	d.apply(hotdesk.Desired{Users: []hotdesk.UserSpec{{Extension: "100", PBX: &hotdesk.UserPBXSpec{Name: "main", Secret: ptr("first")}}}})
	res, err := d.Apply(context.Background(), hotdesk.Desired{
		Settings: &hotdesk.SettingsSpec{Codes: &hotdesk.CodesSpec{Login: ptr("*78*")}, Refusal: ptr("403")},
		Sites:    []hotdesk.SiteSpec{{Name: "roma", Emergency: &hotdesk.EmergencySpec{CallerID: ptr("+39061"), Address: map[string]string{"city": "Roma", "floor": "2"}}}, {Name: "riga"}},
		PBX:      []hotdesk.PBXSpec{{Name: "main", Proxy: ptr("127.0.0.1:5099")}},
		Users:    []hotdesk.UserSpec{{Extension: "100", Name: ptr("Anna"), PIN: ptr("905172"), PBX: &hotdesk.UserPBXSpec{Name: "main", Secret: ptr("s3cret")}}},
		Devices:  []hotdesk.DeviceSpec{{MAC: mac(0).String(), Desk: ptr("9-9")}},
	}, hotdesk.ApplyOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{
		"settings: changed (codes.login, refusal)", "pbx main: changed (proxy)", "site riga: added", "site roma: changed (emergency.address.floor, emergency.caller_id)",
		"user 100: changed (name, pbx.secret, pin)", "device HD0001: changed (desk)",
	}; !slices.Equal(res.Changes, want) {
		t.Errorf("changes %q\nwant    %q", res.Changes, want)
	}
}
