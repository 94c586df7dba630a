package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/yamlguard"
)

// Site is a site with what it needs to be ready.
type Site struct {
	hotdesk.SiteSpec
	EnrolmentURL string   `json:"enrolment_url"`
	Ready        bool     `json:"ready"`
	Missing      []string `json:"missing"`
}

// PBX is a PBX with what is known of it now.
type PBX struct {
	hotdesk.PBXSpec
	Status hotdesk.PBXStatus `json:"status"`
}

// pbx shows a PBX; of its account as much as user does.
func (s *Server) pbx(ctx context.Context, p hotdesk.PBX) PBX {
	shown := PBX{p.Spec(), s.Live.PBX(p.Name)}
	if shown.Account != nil {
		if shown.Account.Sealed = nil; change().check(who(ctx)) != nil {
			shown.Account.AuthUser = nil
		}
	}
	return shown
}

// Status is one look at the whole server.
type Status struct {
	Version   string            `json:"version"`
	Listeners map[string]string `json:"listeners"`
	Devices   map[string]int    `json:"devices"`
	// Unregistered is how many claimed phones are not registered now.
	Unregistered int      `json:"unregistered"`
	Users        int      `json:"users"`
	Sessions     int      `json:"sessions"`
	Notes        []string `json:"notes"`
	// PBX is each PBX's state by name: up, down or unknown.
	PBX      map[string]string `json:"pbx"`
	Problems []string          `json:"problems"`
	// PINHash says how PINs are hashed: "argon2id m=19456 t=2 p=1", memory in KiB.
	PINHash string `json:"pin_hash"`
	// IVRLines is how many calls the server itself can answer at once.
	IVRLines int `json:"ivr_lines"`
}

// NameInput names a site or PBX.
type NameInput struct {
	Name string `path:"name"`
}

// named checks the name in a body, which may be left out, against the path's.
func (in NameInput) named(name string) (string, error) {
	if name != "" && name != in.Name {
		return "", fmt.Errorf("%w: the path names %q and the body %q", hotdesk.ErrInvalid, in.Name, name)
	}
	return in.Name, nil
}

// siteBody and pbxBody are bodies whose name is in the path already.
type siteBody struct {
	hotdesk.SiteSpec
	Name string `json:"name,omitempty"`
}

type pbxBody struct {
	hotdesk.PBXSpec
	Name string `json:"name,omitempty"`
}

// site shows one site; the URL by which phones are enrolled only to those who may
// take in phones.
func (s *Server) site(ctx context.Context, site hotdesk.Site) Site {
	missing := s.Desk.Missing(site)
	if missing == nil {
		missing = []string{}
	}
	shown := Site{SiteSpec: site.Spec(), Ready: len(missing) == 0, Missing: missing}
	if change().check(who(ctx)) == nil {
		shown.EnrolmentURL = s.Files.EnrolmentURL(site.Name)
	} else if shown.Emergency != nil {
		shown.Emergency.Notify = nil // addresses of webhooks are passwords
	}
	if p := shown.Phones; p != nil && p.AdminPassword != nil && *p.AdminPassword != "auto" {
		p.AdminPassword = nil // sealed: in the export alone
	}
	return shown
}

func (s *Server) places() {
	route(s, look(), http.MethodGet, "/sites", "List sites", 200, func(ctx context.Context, _ *none) (*body[list[Site]], error) {
		var all []Site
		for _, site := range s.Desk.Sites() {
			if who(ctx).Sees(site.Name) {
				all = append(all, s.site(ctx, site))
			}
		}
		return listOf(all), nil
	})
	route(s, look(), http.MethodGet, "/sites/{name}", "Show a site", 200, func(ctx context.Context, in *NameInput) (*body[Site], error) {
		return s.oneSite(ctx, in.Name)
	})
	route(s, changeWide(), http.MethodPut, "/sites/{name}", "Add or change a site", 200, func(ctx context.Context, in *struct {
		NameInput
		Body siteBody
	}) (*body[Site], error) {
		spec := in.Body.SiteSpec
		var err error
		if spec.Name, err = in.named(in.Body.Name); err != nil {
			return nil, err
		}
		if err := s.save(ctx, hotdesk.Desired{Sites: []hotdesk.SiteSpec{spec}}); err != nil {
			return nil, err
		}
		return s.oneSite(ctx, in.Name)
	})
	route(s, changeWide(), http.MethodDelete, "/sites/{name}", "Delete a site that has no devices", 204, func(ctx context.Context, in *NameInput) (*none, error) {
		return &none{}, s.Desk.RemoveSite(ctx, in.Name, by(ctx))
	})
	route(s, lookWide(), http.MethodGet, "/pbx", "List PBXes", 200, func(ctx context.Context, _ *none) (*body[list[PBX]], error) {
		var all []PBX
		for _, p := range s.Desk.PBXs() {
			all = append(all, s.pbx(ctx, p))
		}
		return listOf(all), nil
	})
	route(s, changeWide(), http.MethodPut, "/pbx/{name}", "Add or change a PBX", 200, func(ctx context.Context, in *struct {
		NameInput
		Body pbxBody
	}) (*body[PBX], error) {
		spec := in.Body.PBXSpec
		var err error
		if spec.Name, err = in.named(in.Body.Name); err != nil {
			return nil, err
		}
		if err := s.save(ctx, hotdesk.Desired{PBX: []hotdesk.PBXSpec{spec}}); err != nil {
			return nil, err
		}
		return s.onePBX(ctx, in.Name)
	})
	route(s, lookWide(), http.MethodGet, "/pbx/{name}", "Show a PBX", 200, func(ctx context.Context, in *NameInput) (*body[PBX], error) {
		return s.onePBX(ctx, in.Name)
	})
	route(s, changeWide(), http.MethodPost, "/pbx/{name}/test", "Try a PBX and tell in words what happened", 200, func(ctx context.Context, in *NameInput) (*body[hotdesk.PBXTest], error) {
		t, err := s.Phones.TestPBX(ctx, in.Name)
		return &body[hotdesk.PBXTest]{t}, err
	})
	route(s, changeWide(), http.MethodPost, "/pbx/{name}/retry", "Try at once what waits at a PBX", 204, func(ctx context.Context, in *NameInput) (*none, error) {
		return &none{}, s.Phones.RetryPBX(ctx, in.Name)
	})
	route(s, look(), http.MethodGet, "/settings", "Show the settings", 200, func(context.Context, *none) (*body[hotdesk.Settings], error) {
		return &body[hotdesk.Settings]{s.Desk.Settings()}, nil
	})
	route(s, changeWide(), http.MethodPut, "/settings", "Change the settings", 200, func(ctx context.Context, in *struct{ Body hotdesk.SettingsSpec }) (*body[hotdesk.Settings], error) {
		if err := s.save(ctx, hotdesk.Desired{Settings: &in.Body}); err != nil {
			return nil, err
		}
		return &body[hotdesk.Settings]{s.Desk.Settings()}, nil
	})
	route(s, changeWide(), http.MethodPost, "/apply", "Bring the state to what a YAML file says", 200, s.apply)
	route(s, changeWide(), http.MethodGet, "/export", "The stored state as a YAML file", 200, s.export)
	route(s, look(), http.MethodGet, "/models", "List phone models", 200, func(context.Context, *none) (*body[list[hotdesk.Model]], error) {
		return listOf(s.Models), nil
	})
	route(s, lookWide(), http.MethodGet, "/status", "One look at the whole server", 200, s.status)
}

func (s *Server) oneSite(ctx context.Context, name string) (*body[Site], error) {
	if site, err := s.Desk.Site(name); err == nil && who(ctx).Sees(name) {
		return &body[Site]{s.site(ctx, site)}, nil
	}
	return nil, fmt.Errorf("%w: site %s", hotdesk.ErrNotFound, name)
}

func (s *Server) onePBX(ctx context.Context, name string) (*body[PBX], error) {
	for _, p := range s.Desk.PBXs() {
		if p.Name == name {
			return &body[PBX]{s.pbx(ctx, p)}, nil
		}
	}
	return nil, fmt.Errorf("%w: pbx %s", hotdesk.ErrNotFound, name)
}

func (s *Server) save(ctx context.Context, d hotdesk.Desired) error {
	_, err := s.Desk.Apply(ctx, d, hotdesk.ApplyOptions{By: by(ctx)})
	return err
}

// ParseDesired reads the file of apply strictly: an unknown key, a wrong type or
// broken YAML is refused with line and key, and one that would take the parser too
// long or too much memory by its line and the limit. No value of the file is repeated: it
// could be a PIN.
func ParseDesired(text []byte) (hotdesk.Desired, error) {
	var d hotdesk.Desired
	if err := yamlguard.Check(text); err != nil {
		return d, fmt.Errorf("%w: %w", hotdesk.ErrInvalid, err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict(), yaml.CustomUnmarshaler(asWritten))
	if err := decoder.Decode(&d); err != nil && !errors.Is(err, io.EOF) {
		return d, fmt.Errorf("%w: %s", hotdesk.ErrInvalid, explain(yaml.FormatError(err, false, false), text))
	}
	var more any
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return d, fmt.Errorf("%w: the file has more than one document (a line ---); put all into one", hotdesk.ErrInvalid)
	}
	return d, nil
}

// asWritten reads a text as it stands: YAML would take the extension 0150 for an
// octal number and a MAC of digits for a large one.
func asWritten(dst *string, b []byte) error {
	text := strings.TrimSpace(string(b))
	if text != "" && strings.ContainsRune("\"'|>", rune(text[0])) {
		return yaml.Unmarshal(b, dst)
	}
	*dst, _, _ = strings.Cut(text, " #")
	return nil
}

// position is how the YAML library begins its messages, and key how a line of
// YAML begins.
var (
	position = regexp.MustCompile(`^\[(\d+):\d+\] `)
	key      = regexp.MustCompile(`^[\s{-]*([A-Za-z_][A-Za-z0-9_.-]*)"?\s*:`)
	quoted   = regexp.MustCompile("'[^']*'|`[^`]*`")
)

// explain turns the library's "[3:5] ..." into line and key.
func explain(message string, text []byte) string {
	message, _, _ = strings.Cut(message, "\n")
	found := position.FindStringSubmatch(message)
	if found == nil {
		return quoted.ReplaceAllString(message, "…")
	}
	where := "line " + found[1]
	n, _ := strconv.Atoi(found[1])
	if lines := bytes.Split(text, []byte("\n")); n >= 1 && n <= len(lines) {
		if k := key.FindSubmatch(lines[n-1]); k != nil {
			where += ", key " + string(k[1])
		}
	}
	return where + ": " + quoted.ReplaceAllString(message[len(found[0]):], "…")
}

func (s *Server) apply(ctx context.Context, in *struct {
	DryRun  bool `query:"dry_run"`
	Prune   bool `query:"prune"`
	RawBody []byte
}) (*body[hotdesk.Applied], error) {
	d, err := ParseDesired(in.RawBody)
	if err != nil {
		return nil, err
	}
	res, err := s.Desk.Apply(ctx, d, hotdesk.ApplyOptions{DryRun: in.DryRun, Prune: in.Prune, By: by(ctx)})
	if err != nil {
		return nil, err
	}
	for _, list := range []*[]string{&res.Changes, &res.Ends, &res.Notes, &res.InTheWay} {
		if *list == nil {
			*list = []string{}
		}
	}
	return &body[hotdesk.Applied]{res}, nil
}

func (s *Server) export(context.Context, *none) (*struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}, error) {
	text, err := yaml.MarshalWithOptions(s.Desk.Export(), yaml.IndentSequence(true))
	if err != nil {
		return nil, err
	}
	return &struct {
		ContentType string `header:"Content-Type"`
		Body        []byte
	}{"application/yaml", text}, nil
}

func (s *Server) status(context.Context, *none) (*body[Status], error) {
	st := Status{
		Version: s.Version, Listeners: s.Listeners, Devices: map[string]int{}, Users: len(s.Desk.Users()),
		Sessions: len(s.Desk.Sessions()), Notes: s.Desk.Notes(), Problems: []string{},
		PINHash: s.PINHash, IVRLines: s.IVRLines,
	}
	if st.Notes == nil {
		st.Notes = []string{}
	}
	for _, p := range s.Desk.Phones() {
		st.Devices[string(p.State())]++
		if _, ok := s.Live.Registration(p.Device.ID); p.Device.Claimed && !ok {
			st.Unregistered++
		}
	}
	if n := len(s.Live.Pending()); n > 0 {
		st.Devices[string(hotdesk.StatePending)] = n
	}
	if err := s.Ready(); err != nil {
		st.Problems = append(st.Problems, err.Error())
	}
	if waiting := s.waitingRows(); waiting != "" {
		st.Problems = append(st.Problems, waiting)
	}
	st.PBX = map[string]string{}
	for _, p := range s.Desk.PBXs() {
		if p.Mode == "none" {
			continue
		}
		st.PBX[p.Name] = s.Live.PBX(p.Name).State
		st.Problems = append(st.Problems, s.pbxProblems(p.Name)...)
	}
	for _, site := range s.Desk.Sites() {
		for _, missing := range s.Desk.Missing(site) {
			st.Problems = append(st.Problems, "site "+site.Name+": "+missing+" is missing; emergency calls are not ready")
		}
		if s.Desk.NoWayOut(site) {
			st.Problems = append(st.Problems, "site "+site.Name+": "+noWayOut)
		}
	}
	return &body[Status]{st}, nil
}

// pbxProblems says what is wrong with a PBX now, in the words that doctor uses too.
func (s *Server) pbxProblems(name string) (all []string) {
	for _, t := range s.Live.PBX(name).Troubles {
		line := "pbx " + name + ": " + t.Line()
		if t.Who == "" {
			line += "; try: hotdeskd pbx test " + name
		}
		all = append(all, line)
	}
	return all
}

// noWayOut is what everybody must know who sits in a site.
const noWayOut = "no PBX of its emergency routes answers: an emergency call would fail now"
