package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"hotdeskd/hotdesk"
)

// Device is a phone as the API shows it. A pending one has no id.
type Device struct {
	ID              *string    `json:"id"`
	MAC             string     `json:"mac"`
	Model           string     `json:"model"`
	Vendor          string     `json:"vendor"`
	Site            string     `json:"site"`
	Desk            string     `json:"desk"`
	Type            string     `json:"type"`
	DefaultUser     string     `json:"default_user,omitempty"`
	Language        string     `json:"language,omitempty"`
	Transport       string     `json:"transport"` // its own; empty: as the site says
	State           string     `json:"state"`
	User            *string    `json:"user"`
	Since           *time.Time `json:"since"`
	Registered      bool       `json:"registered"`
	Contact         string     `json:"contact"`
	Source          string     `json:"source"`
	UserAgent       string     `json:"user_agent"`
	Generation      Generation `json:"generation"`
	Config          Config     `json:"config"`
	InCall          bool       `json:"in_call"`
	Problems        []string   `json:"problems"`
	ProvisioningURL string     `json:"provisioning_url,omitempty"`
}

// Generation numbers the device's secret: the one its phone has used, and the
// newest.
type Generation struct {
	Proven  uint64 `json:"proven"`
	Current uint64 `json:"current"`
}

// Config numbers the device's configuration.
type Config struct {
	Wanted  uint64 `json:"wanted"`
	Fetched uint64 `json:"fetched"`
	State   string `json:"state" enum:"current,updating,stale,never"`
}

// device shows one phone.
func (s *Server) device(p hotdesk.Phone) Device {
	id := string(p.Device.ID)
	d := Device{
		ID: &id, MAC: p.Device.MAC.String(), Model: p.Device.Model, Vendor: p.Model.Vendor, Site: p.Device.Site,
		Desk: p.Device.Desk, Type: string(p.Device.Type), Transport: p.Device.Transport, State: string(p.State()),
		DefaultUser: string(p.Device.DefaultUser), Language: p.Device.Language,
		Generation: Generation{p.Fetched.Proven, p.Device.Generation},
		Config:     Config{Wanted: p.Device.Wanted, Fetched: p.Fetched.Version, State: s.configState(p)},
		Problems:   []string{}, ProvisioningURL: s.Files.DeviceURL(p.Device),
	}
	if p.User != nil {
		user := string(p.User.Extension)
		d.User = &user
	}
	if p.Session != nil {
		d.Since = &p.Session.Since
	}
	if r, ok := s.Live.Registration(p.Device.ID); ok {
		d.Registered, d.Contact, d.Source, d.UserAgent = true, r.Contact, r.Source, r.UserAgent
	}
	d.InCall, _ = s.Live.InCall(p.Device.ID, "")
	for _, missing := range s.Desk.Missing(p.Site) {
		d.Problems = append(d.Problems, "site not ready: "+missing+" is missing")
	}
	if p.Device.Claimed && !d.Registered {
		d.Problems = append(d.Problems, "not registered")
	}
	d.Problems = append(d.Problems, s.troubles(p.Device.ID)...)
	if d.Config.State == "stale" {
		d.Problems = append(d.Problems, "the phone does not fetch its configuration")
	}
	return d
}

// turnedAway is how long a phone may be without its HTTP password before that is
// a problem: at every boot it asks once without and then with it.
const turnedAway = 10 * time.Second

// troubles says in words what an administrator should know or can do.
func (s *Server) troubles(id hotdesk.DeviceID) (all []string) {
	if since := s.Live.BarredSince(id); !since.IsZero() && s.Desk.Now().Sub(since) > turnedAway {
		all = append(all, "a phone with this MAC asks for its configuration without its password; if it was reset to factory settings: hotdeskd device release "+string(id))
	}
	if until := s.Desk.HeldUntil(id); !until.IsZero() {
		all = append(all, "emergency hold until "+until.UTC().Format(time.RFC3339)+": only the person at the desk can log in or out")
	}
	if s.Desk.Locked(id) {
		all = append(all, "locked: too many wrong PINs from this phone; a right one will be taken again in some minutes")
	}
	return all
}

func (s *Server) configState(p hotdesk.Phone) string {
	switch {
	case p.Fetched.Version == 0:
		return "never"
	case p.Current():
		return "current"
	case s.Live.IsStale(p.Device.ID):
		return "stale"
	}
	return "updating"
}

func pending(p hotdesk.Pending) Device {
	d := Device{
		MAC: p.MAC.String(), Model: p.Model, Site: p.Site, Type: string(hotdesk.HotDesk), State: string(hotdesk.StatePending),
		Source: p.Source, UserAgent: p.UserAgent, Config: Config{State: "never"}, Problems: []string{},
	}
	if vendor, _, ok := strings.Cut(p.Model, "-"); ok {
		d.Vendor = vendor
	}
	if p.Problem != "" {
		d.Problems = append(d.Problems, p.Problem)
	}
	return d
}

// DeviceInput names a device by id or MAC.
type DeviceInput struct {
	ID string `path:"id" doc:"HD id or MAC in any spelling"`
}

func (s *Server) devices() {
	route(s, http.MethodGet, "/devices", "List devices and pending phones", 200, s.listDevices)
	route(s, http.MethodPost, "/devices", "Add an approved device", 201, func(ctx context.Context, in *struct{ Body NewDevice }) (*body[Device], error) {
		p, err := s.Desk.AddDevice(ctx, in.Body.spec(in.Body.MAC), by(ctx))
		return s.shown(p, err)
	})
	route(s, http.MethodGet, "/devices/{id}", "Show a device", 200, s.getDevice)
	route(s, http.MethodPatch, "/devices/{id}", "Change a device", 200, func(ctx context.Context, in *struct {
		DeviceInput
		Body DevicePatch
	}) (*body[Device], error) {
		p, err := s.Desk.FindDevice(in.ID)
		if err == nil {
			err = s.Desk.UpdateDevice(ctx, p.Device.ID, in.Body.spec(""), by(ctx))
		}
		if err != nil {
			return nil, err
		}
		return s.getDevice(ctx, &in.DeviceInput)
	})
	s.deviceAction(http.MethodDelete, "/devices/{id}", "Delete a device", s.Desk.RemoveDevice)
	s.deviceAction(http.MethodPost, "/devices/{id}/block", "Block a device; its emergency calls pass", s.Desk.Block)
	s.deviceAction(http.MethodPost, "/devices/{id}/unblock", "Open a blocked device", s.Desk.Unblock)
	s.deviceAction(http.MethodPost, "/devices/{id}/release", "Let a device be claimed anew", s.Desk.Release)
	s.deviceAction(http.MethodPost, "/devices/{id}/resync", "Ask the phone to fetch its configuration", s.resync(false))
	s.deviceAction(http.MethodPost, "/devices/{id}/reboot", "Ask the phone to restart", s.resync(true))
	route(s, http.MethodPost, "/devices/{id}/rotate", "Give the device a new secret", 204, func(ctx context.Context, in *struct {
		DeviceInput
		Now bool `query:"now" doc:"end older secrets at once, not when the phone has proven the new one"`
	}) (*none, error) {
		p, err := s.Desk.FindDevice(in.ID)
		if err != nil {
			return nil, err
		}
		return &none{}, s.Desk.Rotate(ctx, p.Device.ID, in.Now, by(ctx))
	})
	route(s, http.MethodPost, "/devices/{id}/approve", "Approve a pending phone", 200, s.approve)
	route(s, http.MethodPost, "/devices/{id}/login", "Log a user in without a PIN", 200, s.login)
	route(s, http.MethodPost, "/devices/{id}/logout", "Log out whoever is at the device", 204, s.logout)
	route(s, http.MethodPost, "/devices/{id}/replace", "Put another phone in a device's place", 204, func(ctx context.Context, in *struct {
		DeviceInput
		Body struct {
			MAC   string `json:"mac"`
			Model string `json:"model,omitempty"`
		}
	}) (*none, error) {
		p, err := s.Desk.FindDevice(in.ID)
		if err != nil {
			return nil, err
		}
		mac, err := hotdesk.ParseMAC(in.Body.MAC)
		if err != nil {
			return nil, err
		}
		return &none{}, s.Desk.Replace(ctx, p.Device.ID, mac, in.Body.Model, by(ctx))
	})
	route(s, http.MethodGet, "/devices/{id}/explain", "Say where each parameter of the configuration comes from", 200, s.explain)
	route(s, http.MethodGet, "/devices/{id}/config", "Show the device's configuration", 200, s.config)
}

// NewDevice is a device to be added.
type NewDevice struct {
	MAC string `json:"mac"`
	DevicePatch
}

// DevicePatch is a change of a device; what is left out stays.
type DevicePatch struct {
	Model       *string `json:"model,omitempty"`
	Site        *string `json:"site,omitempty"`
	Desk        *string `json:"desk,omitempty"`
	Type        *string `json:"type,omitempty" enum:"hot-desk,fixed"`
	DefaultUser *string `json:"default_user,omitempty"`
	Transport   *string `json:"transport,omitempty" doc:"udp, tcp or tls; empty: as the site says"`
	Language    *string `json:"language,omitempty" doc:"of prompts and screen while nobody with a language of their own sits here"`
}

func (p DevicePatch) spec(mac string) hotdesk.DeviceSpec {
	return hotdesk.DeviceSpec{MAC: mac, Model: p.Model, Site: p.Site, Desk: p.Desk, Type: p.Type, DefaultUser: p.DefaultUser, Language: p.Language, Transport: p.Transport}
}

// deviceAction registers an operation on one device that answers nothing.
func (s *Server) deviceAction(method, path, summary string, do func(context.Context, hotdesk.DeviceID, string) error) {
	route(s, method, path, summary, 204, func(ctx context.Context, in *DeviceInput) (*none, error) {
		p, err := s.Desk.FindDevice(in.ID)
		if err != nil {
			return nil, err
		}
		return &none{}, do(ctx, p.Device.ID, by(ctx))
	})
}

func (s *Server) listDevices(_ context.Context, in *struct {
	State string `query:"state"`
	Site  string `query:"site"`
}) (*body[list[Device]], error) {
	var all []Device
	for _, p := range s.Desk.Phones() {
		all = append(all, s.device(p))
	}
	for _, p := range s.Live.Pending() {
		all = append(all, pending(p))
	}
	kept := all[:0]
	for _, d := range all {
		if (in.State == "" || d.State == in.State || d.Config.State == in.State) && (in.Site == "" || d.Site == in.Site) {
			kept = append(kept, d)
		}
	}
	return listOf(kept), nil
}

func (s *Server) getDevice(_ context.Context, in *DeviceInput) (*body[Device], error) {
	p, err := s.Desk.FindDevice(in.ID)
	if err == nil {
		return &body[Device]{s.device(p)}, nil
	}
	if mac, macErr := hotdesk.ParseMAC(in.ID); macErr == nil {
		if p, ok := s.Live.PendingPhone(mac); ok {
			return &body[Device]{pending(p)}, nil
		}
	}
	return nil, err
}

func (s *Server) shown(p hotdesk.Phone, err error) (*body[Device], error) {
	if err != nil {
		return nil, err
	}
	return &body[Device]{s.device(p)}, nil
}

func (s *Server) approve(ctx context.Context, in *struct {
	DeviceInput
	Body *DevicePatch
}) (*body[Device], error) {
	if p, err := s.Desk.FindDevice(in.ID); err == nil {
		return s.shown(p, nil) // it was approved already
	}
	mac, err := hotdesk.ParseMAC(in.ID)
	if err != nil {
		return nil, fmt.Errorf("%w: no device %q; give its MAC", hotdesk.ErrNotFound, in.ID)
	}
	var spec hotdesk.DeviceSpec
	if in.Body != nil {
		spec = in.Body.spec("")
	}
	p, err := s.Desk.Approve(ctx, mac, spec, by(ctx))
	return s.shown(p, err)
}

func (s *Server) login(ctx context.Context, in *struct {
	DeviceInput
	Body struct {
		User string `json:"user"`
	}
}) (*body[hotdesk.Session], error) {
	p, err := s.Desk.FindDevice(in.ID)
	if err != nil {
		return nil, err
	}
	if _, err := s.Desk.User(hotdesk.Extension(in.Body.User)); err != nil {
		return nil, err
	}
	res, err := s.Desk.Login(ctx, hotdesk.LoginRequest{
		Device: p.Device.ID, User: hotdesk.Extension(in.Body.User), By: hotdesk.ByAdmin, Name: by(ctx),
	})
	if err != nil {
		return nil, err
	}
	return &body[hotdesk.Session]{res.Session}, nil
}

func (s *Server) logout(ctx context.Context, in *struct {
	DeviceInput
	Body *struct {
		Reason string `json:"reason,omitempty"`
	}
}) (*none, error) {
	p, err := s.Desk.FindDevice(in.ID)
	if err != nil {
		return nil, err
	}
	r := hotdesk.LogoutRequest{Device: p.Device.ID, By: hotdesk.ByAdmin, Name: by(ctx)}
	if in.Body != nil {
		r.Reason = in.Body.Reason
	}
	_, err = s.Desk.Logout(ctx, r)
	return &none{}, err
}

// errNoRung: the vendor has no such check-sync.
var errNoRung = fmt.Errorf("%w: this vendor's phones cannot be told so", hotdesk.ErrInvalid)

// resync sends the gentle or the strong check-sync now.
func (s *Server) resync(reboot bool) func(context.Context, hotdesk.DeviceID, string) error {
	return func(ctx context.Context, id hotdesk.DeviceID, _ string) error {
		if busy, _ := s.Live.InCall(id, ""); busy {
			return hotdesk.ErrDeviceInCall
		}
		if reboot && s.Desk.Held(id) {
			return hotdesk.ErrEmergencyHold
		}
		_, ladder, err := s.Ladder.Prepare(ctx, id)
		if err != nil {
			return err
		}
		for _, cs := range ladder {
			if cs.Reboot == reboot {
				if err := s.Phones.CheckSync(ctx, id, cs); err != nil {
					return fmt.Errorf("%w: %w", hotdesk.ErrConflict, err)
				}
				return nil
			}
		}
		return errNoRung
	}
}

// ConfigFiles is the device's configuration as it would be served now.
type ConfigFiles struct {
	Version uint64         `json:"version"`
	Files   []hotdesk.File `json:"files"`
}

func (s *Server) config(ctx context.Context, in *struct {
	DeviceInput
	As      string `query:"as" doc:"the configuration as it would be with this user"`
	Secrets bool   `query:"secrets" doc:"show secrets; written to the audit log"`
}) (*body[ConfigFiles], error) {
	p, err := s.Desk.FindDevice(in.ID)
	if err != nil {
		return nil, err
	}
	version, files, err := s.Files.Config(p.Device.ID, hotdesk.Extension(in.As))
	if err != nil {
		return nil, err
	}
	if in.Secrets {
		return &body[ConfigFiles]{ConfigFiles{version, files}}, s.Desk.NoteSecretsShown(ctx, p.Device.ID, by(ctx))
	}
	hide, err := s.hider(p.Device.ID)
	if err != nil {
		return nil, err
	}
	for i := range files {
		files[i].Content = hide.Replace(files[i].Content)
	}
	return &body[ConfigFiles]{ConfigFiles{version, files}}, nil
}

// hider puts asterisks in the place of a device's secrets.
func (s *Server) hider(id hotdesk.DeviceID) (*strings.Replacer, error) {
	secrets, err := s.Files.Secrets(id)
	if err != nil {
		return nil, err
	}
	var pairs []string
	for _, secret := range secrets {
		if secret != "" { // nothing would be found everywhere
			pairs = append(pairs, secret.Reveal(), secret.String())
		}
	}
	return strings.NewReplacer(pairs...), nil
}

func (s *Server) explain(_ context.Context, in *DeviceInput) (*body[list[hotdesk.Provenance]], error) {
	p, err := s.Desk.FindDevice(in.ID)
	if err != nil {
		return nil, err
	}
	all, err := s.Files.Explain(p.Device.ID)
	if err != nil {
		return nil, err
	}
	hide, err := s.hider(p.Device.ID)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Value = hide.Replace(all[i].Value)
	}
	return listOf(all), nil
}
