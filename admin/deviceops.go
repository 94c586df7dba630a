package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"hotdeskd/hotdesk"
)

// DeviceInput names a device by id or MAC.
type DeviceInput struct {
	ID string `path:"id" doc:"HD id or MAC in any spelling"`
}

func (s *Server) devices() {
	route(s, look(), http.MethodGet, "/devices", "List devices and pending phones", 200, s.listDevices)
	route(s, change(), http.MethodPost, "/devices", "Add an approved device", 201, func(ctx context.Context, in *struct{ Body NewDevice }) (*body[Device], error) {
		if err := errors.Join(in.Body.within(ctx), s.mayTake(ctx, in.Body.MAC)); err != nil {
			return nil, err
		}
		p, err := s.Desk.AddDevice(ctx, in.Body.spec(in.Body.MAC), by(ctx))
		return s.shown(ctx, p, err)
	})
	route(s, look(), http.MethodGet, "/devices/{id}", "Show a device", 200, s.getDevice)
	route(s, change(), http.MethodPatch, "/devices/{id}", "Change a device", 200, func(ctx context.Context, in *struct {
		DeviceInput
		Body DevicePatch
	}) (*body[Device], error) {
		p, err := s.find(ctx, in.ID)
		if err == nil {
			err = in.Body.within(ctx)
		}
		if err == nil {
			err = s.Desk.UpdateDevice(ctx, p.Device.ID, in.Body.spec(""), by(ctx))
		}
		if err != nil {
			return nil, err
		}
		return s.getDevice(ctx, &in.DeviceInput)
	})
	s.deviceAction(change(), http.MethodDelete, "/devices/{id}", "Delete a device", s.Desk.RemoveDevice)
	s.deviceAction(change(), http.MethodPost, "/devices/{id}/block", "Block a device; its emergency calls pass", s.Desk.Block)
	s.deviceAction(change(), http.MethodPost, "/devices/{id}/unblock", "Open a blocked device", s.Desk.Unblock)
	s.deviceAction(seat(), http.MethodPost, "/devices/{id}/unlock", "Forgive the wrong PINs that were typed at a device", s.Desk.UnlockDevice)
	s.deviceAction(change(), http.MethodPost, "/devices/{id}/release", "Let a device be claimed anew", s.Desk.Release)
	s.deviceAction(seat(), http.MethodPost, "/devices/{id}/resync", "Ask the phone to fetch its configuration", s.resync(false))
	s.deviceAction(change(), http.MethodPost, "/devices/{id}/reboot", "Ask the phone to restart", s.resync(true))
	route(s, change(), http.MethodPost, "/devices/{id}/rotate", "Give the device a new secret", 204, func(ctx context.Context, in *struct {
		DeviceInput
		Now bool `query:"now" doc:"end older secrets at once, not when the phone has proven the new one"`
	}) (*none, error) {
		p, err := s.find(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &none{}, s.Desk.Rotate(ctx, p.Device.ID, in.Now, by(ctx))
	})
	route(s, seat(), http.MethodPost, "/devices/{id}/approve", "Approve a pending phone", 200, s.approve)
	route(s, seat(), http.MethodPost, "/devices/{id}/login", "Log a user in without a PIN", 200, s.login)
	route(s, seat(), http.MethodPost, "/devices/{id}/logout", "Log out whoever is at the device", 204, s.logout)
	route(s, change(), http.MethodPost, "/devices/{id}/replace", "Put another phone in a device's place", 204, func(ctx context.Context, in *struct {
		DeviceInput
		Body struct {
			MAC   string `json:"mac"`
			Model string `json:"model,omitempty"`
		}
	}) (*none, error) {
		p, err := s.find(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		mac, err := hotdesk.ParseMAC(in.Body.MAC)
		if err = errors.Join(err, s.mayTake(ctx, in.Body.MAC)); err != nil {
			return nil, err
		}
		return &none{}, s.Desk.Replace(ctx, p.Device.ID, mac, in.Body.Model, by(ctx))
	})
	route(s, look(), http.MethodGet, "/devices/{id}/explain", "Say where each parameter of the configuration comes from", 200, s.explain)
	route(s, look(), http.MethodGet, "/devices/{id}/requests", "The last requests of the phone for its files, and what came of them", 200, s.requests)
	route(s, lookWide(), http.MethodGet, "/requests", "The last requests of all phones, strangers included", 200, func(context.Context, *none) (*body[list[hotdesk.ProvisioningRequest]], error) {
		return listOf(s.Live.Requests("", "")), nil
	})
	route(s, look(), http.MethodGet, "/devices/{id}/config", "Show the device's configuration", 200, s.config)
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

// within refuses to bring a device to a site that who asks may not see, and to make
// it somebody's who sits elsewhere: people belong to no site, and it would ring with
// their calls.
func (p DevicePatch) within(ctx context.Context) error {
	if p.Site != nil && !who(ctx).Sees(*p.Site) {
		return fmt.Errorf("%w: site %s", hotdesk.ErrForbidden, *p.Site)
	}
	if p.DefaultUser != nil && *p.DefaultUser != "" && who(ctx).Site != "" {
		return fmt.Errorf("%w: default_user is for administrators of all sites", hotdesk.ErrForbidden)
	}
	return nil
}

// mayTake refuses who may see one site only to take a phone that belongs to another,
// as a device or waiting, without telling which of the two.
func (s *Server) mayTake(ctx context.Context, text string) error {
	mac, err := hotdesk.ParseMAC(text)
	if err != nil {
		return nil // refused by whoever reads it
	}
	known, err := s.Desk.PhoneByMAC(mac)
	waits, pending := s.Live.PendingPhone(mac)
	if err == nil && !who(ctx).Sees(known.Device.Site) || pending && !who(ctx).Sees(waits.Site) {
		return fmt.Errorf("%w: the phone with MAC %s is not of site %s", hotdesk.ErrForbidden, mac, who(ctx).Site)
	}
	return nil
}

// deviceAction registers an operation on one device that answers nothing.
func (s *Server) deviceAction(r right, method, path, summary string, do func(context.Context, hotdesk.DeviceID, string) error) {
	route(s, r, method, path, summary, 204, func(ctx context.Context, in *DeviceInput) (*none, error) {
		p, err := s.find(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &none{}, do(ctx, p.Device.ID, by(ctx))
	})
}

func (s *Server) listDevices(ctx context.Context, in *struct {
	Paging
	State string `query:"state"`
	Site  string `query:"site"`
}) (*body[list[Device]], error) {
	var all []Device
	for _, p := range s.Desk.Phones() {
		all = append(all, s.device(ctx, p))
	}
	for _, p := range s.Live.Pending() {
		all = append(all, pending(p))
	}
	kept := all[:0]
	for _, d := range all {
		if who(ctx).Sees(d.Site) && (in.State == "" || d.State == in.State || d.Config.State == in.State) && (in.Site == "" || d.Site == in.Site) {
			kept = append(kept, d)
		}
	}
	return page(kept, in.Paging, in.Limit, func(d Device) string {
		if d.ID != nil {
			return *d.ID
		}
		return d.MAC
	})
}

func (s *Server) getDevice(ctx context.Context, in *DeviceInput) (*body[Device], error) {
	p, err := s.find(ctx, in.ID)
	if err == nil {
		return &body[Device]{s.device(ctx, p)}, nil
	}
	if mac, macErr := hotdesk.ParseMAC(in.ID); macErr == nil {
		if p, ok := s.Live.PendingPhone(mac); ok && who(ctx).Sees(p.Site) {
			return &body[Device]{pending(p)}, nil
		}
	}
	return nil, err
}

func (s *Server) shown(ctx context.Context, p hotdesk.Phone, err error) (*body[Device], error) {
	if err != nil {
		return nil, err
	}
	return &body[Device]{s.device(ctx, p)}, nil
}

func (s *Server) approve(ctx context.Context, in *struct {
	DeviceInput
	Body *DevicePatch
}) (*body[Device], error) {
	if p, err := s.find(ctx, in.ID); err == nil {
		if !p.Device.Claimed {
			return s.shown(ctx, p, nil) // it was approved already
		}
		if err := s.Desk.ApproveReclaim(ctx, p.Device.ID, s.Phones.Alive, by(ctx)); err != nil {
			return nil, err
		}
		p, err = s.Desk.Phone(p.Device.ID)
		return s.shown(ctx, p, err)
	}
	mac, err := hotdesk.ParseMAC(in.ID)
	if err != nil {
		return nil, fmt.Errorf("%w: no device %q; give its MAC", hotdesk.ErrNotFound, in.ID)
	}
	if s.mayTake(ctx, in.ID) != nil {
		return nil, fmt.Errorf("%w: no phone with MAC %s has asked for its configuration", hotdesk.ErrNotFound, mac)
	}
	var spec hotdesk.DeviceSpec
	if in.Body != nil {
		if err := in.Body.within(ctx); err != nil {
			return nil, err
		}
		spec = in.Body.spec("")
	}
	p, err := s.Desk.Approve(ctx, mac, spec, by(ctx))
	return s.shown(ctx, p, err)
}

// requests are those of a device or, by its MAC, of a phone that is none yet.
func (s *Server) requests(ctx context.Context, in *DeviceInput) (*body[list[hotdesk.ProvisioningRequest]], error) {
	p, err := s.find(ctx, in.ID)
	if err == nil {
		return listOf(s.Live.Requests(p.Device.ID, "")), nil
	}
	mac, macErr := hotdesk.ParseMAC(in.ID)
	if macErr != nil {
		return nil, err
	}
	all := s.Live.Requests("", mac.String())
	all = slices.DeleteFunc(all, func(r hotdesk.ProvisioningRequest) bool { return !who(ctx).Sees(r.Site) })
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no phone with MAC %s has asked for anything since the server's start", hotdesk.ErrNotFound, mac)
	}
	return listOf(all), nil
}

func (s *Server) login(ctx context.Context, in *struct {
	DeviceInput
	Body struct {
		User string `json:"user"`
	}
}) (*body[hotdesk.Session], error) {
	p, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if _, err := s.Desk.User(hotdesk.Extension(in.Body.User)); err != nil {
		return nil, err
	}
	res, err := s.Desk.Login(ctx, hotdesk.LoginRequest{
		Device: p.Device.ID, User: hotdesk.Extension(in.Body.User), By: who(ctx).By, Name: by(ctx), Site: who(ctx).Site,
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
	p, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	r := hotdesk.LogoutRequest{Device: p.Device.ID, By: who(ctx).By, Name: by(ctx)}
	if in.Body != nil {
		r.Reason = in.Body.Reason
	}
	_, err = s.Desk.Logout(ctx, r)
	return &none{}, err
}

// errNoRung: the vendor has no such check-sync.
var errNoRung = fmt.Errorf("%w: this vendor's phones cannot be told so", hotdesk.ErrInvalid)

// quick is how long a check-sync may take to fail before the answer is "asked": what
// comes of it later is the event device.asked. checkSyncWait is how long a phone has.
const (
	quick         = 250 * time.Millisecond
	checkSyncWait = 8 * time.Second
)

// resync sends the gentle or the strong check-sync now.
func (s *Server) resync(reboot bool) func(context.Context, hotdesk.DeviceID, string) error {
	return func(ctx context.Context, id hotdesk.DeviceID, _ string) error {
		if err := s.Desk.MayDisturb(id); err != nil {
			return err
		}
		_, ladder, err := s.Ladder.Prepare(ctx, id)
		if err != nil {
			return err
		}
		for _, cs := range ladder {
			if cs.Reboot == reboot {
				return s.ask(ctx, id, cs)
			}
		}
		return errNoRung
	}
}

// ask sends a check-sync and does not wait for the phone's answer, but for what fails at
// once.
func (s *Server) ask(ctx context.Context, id hotdesk.DeviceID, cs hotdesk.CheckSync) error {
	failed := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkSyncWait)
		defer cancel()
		failed <- s.Phones.CheckSync(ctx, id, cs)
	}()
	soon := time.NewTimer(quick)
	defer soon.Stop()
	select {
	case err := <-failed:
		if err != nil {
			return fmt.Errorf("%w: %w", hotdesk.ErrConflict, err)
		}
	case <-soon.C:
	}
	return nil
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
	p, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.Secrets {
		if err := own().check(who(ctx)); err != nil {
			return nil, err
		}
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

func (s *Server) explain(ctx context.Context, in *DeviceInput) (*body[list[hotdesk.Provenance]], error) {
	p, err := s.find(ctx, in.ID)
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
