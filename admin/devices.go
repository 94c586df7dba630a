package admin

import (
	"context"
	"fmt"
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

// notRegistered is the problem of a phone that has its configuration and is not there.
const notRegistered = "not registered"

// device shows one phone; its own provisioning URL, by which its file can be had,
// only to owners and admins.
func (s *Server) device(ctx context.Context, p hotdesk.Phone) Device {
	id := string(p.Device.ID)
	d := Device{
		ID: &id, MAC: p.Device.MAC.String(), Model: p.Device.Model, Vendor: p.Model.Vendor, Site: p.Device.Site,
		Desk: p.Device.Desk, Type: string(p.Device.Type), Transport: p.Device.Transport, State: string(p.State()),
		DefaultUser: string(p.Device.DefaultUser), Language: p.Device.Language,
		Generation: Generation{p.Fetched.Proven, p.Device.Generation},
		Config:     Config{Wanted: p.Device.Wanted, Fetched: p.Fetched.Version, State: s.configState(p)},
		Problems:   []string{},
	}
	if change().check(who(ctx)) == nil {
		d.ProvisioningURL = s.Files.DeviceURL(p.Device)
	}
	if p.User != nil {
		user := string(p.User.Extension)
		d.User = &user
	}
	if p.Session != nil {
		d.Since = &p.Session.Since
	}
	// Of a device that waits for its phone, what is registered is the phone before it.
	if r, ok := s.Live.Registration(p.Device.ID); ok && p.Device.Claimed {
		d.Registered, d.Contact, d.Source, d.UserAgent = true, r.Contact, r.Source, r.UserAgent
	}
	d.InCall, _ = s.Live.InCall(p.Device.ID, "")
	for _, missing := range s.Desk.Missing(p.Site) {
		d.Problems = append(d.Problems, "site not ready: "+missing+" is missing")
	}
	if p.Device.Claimed && !d.Registered {
		d.Problems = append(d.Problems, notRegistered)
	}
	d.Problems = append(d.Problems, s.troubles(p)...)
	if d.Config.State == "stale" {
		d.Problems = append(d.Problems, "the phone does not fetch its configuration")
	}
	return d
}

// troubles says in words what an administrator should know or can do.
func (s *Server) troubles(p hotdesk.Phone) (all []string) {
	id := p.Device.ID
	if t, ok := s.Desk.Reclaimable(id); ok {
		all = append(all, fmt.Sprintf("re-claim: a phone with this MAC asks for its configuration without its password, from %s; if it was reset to factory settings: hotdeskd device approve %s", t.Source, id))
	}
	if r := s.Live.Requests(id, ""); len(r) > 0 && r[0].Model != "" && r[0].Model != p.Device.Model {
		all = append(all, "the phone says it is a "+r[0].Model+" and the record says "+p.Device.Model+"; if the phone is right: hotdeskd device replace "+string(id)+" "+p.Device.MAC.String()+" --model "+r[0].Model)
	}
	if until := s.Desk.HeldUntil(id); !until.IsZero() {
		all = append(all, "emergency hold until "+until.UTC().Format(time.RFC3339)+": only the person at the desk can log in or out")
	}
	if s.Desk.Locked(id) {
		all = append(all, "locked: too many wrong PINs from this phone; a right one will be taken again in some minutes, or at once: hotdeskd device unlock "+string(id))
	}
	if r, ok := s.Live.Registration(id); ok && r.Silent {
		all = append(all, "the phone does not answer through its NAT; calls pass it over until it registers again: check the router's UDP timeout, or use TCP")
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
		d.Problems = append(d.Problems, p.Words())
	}
	return d
}
