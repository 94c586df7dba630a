package provisioning

import (
	"cmp"
	"context"
	"fmt"

	"hotdeskd/hotdesk"
	"hotdeskd/phonetemplates"
)

// Prepare renders the device's file as version 0 and returns its digest, with
// the ways to tell this phone to fetch. It reads memory only.
func (s *Server) Prepare(_ context.Context, id hotdesk.DeviceID) (string, []hotdesk.CheckSync, error) {
	p, err := s.Desk.Phone(id)
	if err != nil {
		return "", nil, err
	}
	f, err := s.render(p, 0)
	if err != nil {
		return "", nil, err
	}
	var ladder []hotdesk.CheckSync
	for _, c := range s.Templates.Ladder(p.Device.Model) {
		ladder = append(ladder, hotdesk.CheckSync{
			Event: c.Event, ContentType: c.ContentType, Body: []byte(c.Body), Reboot: c.Reboot, ApplyWithin: c.ApplyWithin,
		})
	}
	return digest(f.Content), ladder, nil
}

// Config renders the files that the device gets now or, with as, would get if
// that user sat there.
func (s *Server) Config(id hotdesk.DeviceID, as hotdesk.Extension) (version uint64, files []hotdesk.File, err error) {
	p, err := s.Desk.Phone(id)
	if as != "" {
		p, err = s.Desk.PhoneAs(id, as)
	}
	if err != nil {
		return 0, nil, err
	}
	f, err := s.render(p, p.Device.Wanted)
	if err != nil {
		return 0, nil, err
	}
	return p.Device.Wanted, []hotdesk.File{{Name: f.Name, ContentType: f.ContentType, Content: string(f.Content)}}, nil
}

// Explain says for every parameter of the device's file where it comes from.
func (s *Server) Explain(id hotdesk.DeviceID) ([]hotdesk.Provenance, error) {
	p, err := s.Desk.Phone(id)
	if err != nil {
		return nil, err
	}
	f, err := s.render(p, p.Device.Wanted)
	if err != nil {
		return nil, err
	}
	all := make([]hotdesk.Provenance, len(f.Parameters))
	for i, param := range f.Parameters {
		all[i] = hotdesk.Provenance{Key: param.Key, Value: param.Value, Layer: cmp.Or(param.Layer, "template")}
	}
	return all, nil
}

// Secrets lists what must be hidden when a device's file is shown.
func (s *Server) Secrets(id hotdesk.DeviceID) ([]hotdesk.Secret, error) {
	p, err := s.Desk.Phone(id)
	if err != nil {
		return nil, err
	}
	return []hotdesk.Secret{
		s.Desk.Secret(id, p.Device.Generation), s.Desk.HTTPPassword(p.Device), s.Desk.AdminPassword(p.Device),
		hotdesk.Secret(s.Desk.URLToken(p.Device)),
	}, nil
}

// render builds the neutral description of the phone and has it written. A device
// that no phone has claimed has no secret, and so no file: ErrConflict.
func (s *Server) render(p hotdesk.Phone, version uint64) (phonetemplates.File, error) {
	if p.Device.Generation == 0 {
		return phonetemplates.File{}, fmt.Errorf("%w: no phone has claimed %s yet, so there is no file of it", hotdesk.ErrConflict, p.Device.ID)
	}
	layers := s.Desk.Layers(p)
	named := make([]phonetemplates.Layer, len(layers))
	for i, l := range layers {
		named[i] = phonetemplates.Layer{Name: l.Layer, Values: make(map[string]string, len(l.Values))}
		for key, value := range l.Values {
			named[i].Values[key] = phonetemplates.Clean(value)
		}
		if l.ID != "" {
			named[i].Name += " " + l.ID
		}
	}
	f, err := s.Templates.Render(phonetemplates.Device, s.describe(p, version), named)
	if err != nil {
		return f, fmt.Errorf("device %s: %w", p.Device.ID, err)
	}
	return f, nil
}

// describe says in neutral words what the phone should be. A phone without a
// separate authentication name keeps the device id as its AOR and shows the
// user by its label.
func (s *Server) describe(p hotdesk.Phone, version uint64) phonetemplates.Phone {
	d := p.Device
	plan := s.Desk.DialPlan(p)
	transport := s.Desk.Transport(p)
	account := phonetemplates.Account{
		Enabled: true, User: string(d.ID), AuthUser: string(d.ID), Secret: s.secret(d, version),
		DisplayName: string(d.ID), Label: string(d.ID),
		Host: s.SIPHost, Port: s.SIPPorts[transport], Transport: transport, Expires: 300,
	}
	first := phonetemplates.Key{Type: "speed", Value: plan.Login, Label: "Login"}
	var keys []phonetemplates.Key
	if u := p.User; u != nil {
		name := phonetemplates.Clean(u.Name)
		account.DisplayName, account.Label = name, string(u.Extension)
		if name != "" {
			account.Label += " " + name
		} else {
			account.DisplayName = string(u.Extension)
		}
		if !p.Model.AuthNameAOR {
			account.User = string(u.Extension)
		}
		first = phonetemplates.Key{Type: "speed", Value: plan.Logout, Label: "Logout"}
		for _, k := range u.Keys {
			keys = append(keys, phonetemplates.Key{Type: k.Type, Value: phonetemplates.Clean(k.Value), Label: phonetemplates.Clean(k.Label)})
		}
	}
	if d.Type != hotdesk.Fixed {
		keys = append([]phonetemplates.Key{first}, keys...)
	}
	return phonetemplates.Phone{
		MAC: d.MAC.String(), Model: d.Model, Version: version, Account: account, Keys: keys,
		Server: phonetemplates.Server{
			URL: s.DeviceURL(d), User: string(d.ID), Password: s.Desk.HTTPPassword(d).Reveal(),
		},
		Language: p.Language(), TimeZone: p.Site.TimeZone, Country: p.Site.Country, NTP: phonetemplates.Clean(p.Site.Phones.NTP),
		AdminPassword: phonetemplates.Clean(s.Desk.AdminPassword(d).Reveal()),
		Dial: phonetemplates.DialPlan{
			Emergency: plan.Emergency, Codes: plan.Codes, Prefixes: plan.Prefixes,
			Extensions: p.Site.Dialing.Extensions, OutsidePrefix: phonetemplates.Clean(p.Site.Dialing.OutsidePrefix),
		},
	}
}

// secret is the phone's SIP secret; the digest is of the file without it, as the
// secret changes only together with the version.
func (s *Server) secret(d hotdesk.Device, version uint64) string {
	if version == 0 {
		return "version0"
	}
	return s.Desk.Secret(d.ID, d.Generation).Reveal()
}
