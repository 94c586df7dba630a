package phonetemplates

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/goccy/go-yaml"

	"hotdeskd/internal/phonefile"
)

//go:embed yealink
var shipped embed.FS

// Errors of this package.
var (
	// ErrUnknownModel: no manifest has this model.
	ErrUnknownModel = errors.New("unknown phone model")
	// ErrManifest: a manifest or template cannot be used; the message says where.
	ErrManifest = errors.New("phone templates cannot be used")
	// ErrValue: a value cannot be written in this dialect, such as a line break.
	ErrValue = errors.New("value cannot be written")
	// ErrProtected: a parameter belongs to hotdeskd alone.
	ErrProtected = errors.New("parameter is set by hotdeskd")
)

// Kind is what a requested file is for.
type Kind string

const (
	Device  Kind = "device"  // the per-MAC file: complete account and keys
	Holding Kind = "holding" // no account: the phone waits, or is let go
)

// Model is one phone model.
type Model struct {
	ID       string `yaml:"id"`
	Name     string `yaml:"name"` // as the phone's User-Agent says it
	Accounts int    `yaml:"accounts"`
	LineKeys int    `yaml:"line_keys"`
	Vendor   string `yaml:"-"`
	// AuthNameAOR: there is no separate authentication name.
	AuthNameAOR bool `yaml:"-"`
}

// manifest is a vendor's manifest.yaml.
type manifest struct {
	Vendor      string            `yaml:"vendor"`
	Dialect     phonefile.Dialect `yaml:"dialect"`
	ContentType string            `yaml:"content_type"`
	DeviceFile  string            `yaml:"device_file"` // name with {mac}
	UserAgents  []string          `yaml:"user_agents"` // regular expressions with groups model, mac
	AuthName    string            `yaml:"auth_name"`   // separate | aor
	CheckSync   []CheckSync       `yaml:"check_sync"`  // gentle first
	Protected   []string          `yaml:"protected"`   // key patterns; * stands for anything
	Models      []Model           `yaml:"models"`
}

// CheckSync is one way to ask this vendor's phones to fetch again.
type CheckSync struct {
	Event       string        `yaml:"event"`
	ContentType string        `yaml:"content_type"`
	Body        string        `yaml:"body"`
	Reboot      bool          `yaml:"reboot"`
	ApplyWithin time.Duration `yaml:"apply_within"`
}

// vendor is a manifest ready for use.
type vendor struct {
	manifest
	file      *regexp.Regexp // of the device file; group mac
	agents    []*regexp.Regexp
	templates map[Kind]*template.Template
}

// Set is all vendors' templates, parsed and tried.
type Set struct {
	vendors []*vendor
	models  map[string]Model
	byModel map[string]*vendor
}

// Load reads the shipped templates, and renders every model once: what is wrong
// with a template comes to light at the start and not at three in the morning.
func Load() (*Set, error) { return load(shipped) }

func load(files fs.FS) (*Set, error) {
	s := &Set{models: map[string]Model{}, byModel: map[string]*vendor{}}
	folders, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	for _, f := range folders {
		v, err := loadVendor(files, f.Name())
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrManifest, f.Name(), err)
		}
		s.vendors = append(s.vendors, v)
		for _, m := range v.Models {
			m.Vendor, m.AuthNameAOR = v.Vendor, v.AuthName == "aor"
			if _, twice := s.models[m.ID]; twice || m.ID == "" || m.LineKeys < 0 || m.Accounts < 1 {
				return nil, fmt.Errorf("%w: %s: model %q is there twice or incomplete", ErrManifest, f.Name(), m.ID)
			}
			s.models[m.ID], s.byModel[m.ID] = m, v
			for _, kind := range []Kind{Device, Holding} {
				if _, err := s.Render(kind, trial(m), nil); err != nil {
					return nil, fmt.Errorf("%w: %s: %w", ErrManifest, m.ID, err)
				}
			}
		}
	}
	return s, nil
}

func loadVendor(files fs.FS, dir string) (*vendor, error) {
	text, err := fs.ReadFile(files, dir+"/manifest.yaml")
	if err != nil {
		return nil, err
	}
	v := &vendor{templates: map[Kind]*template.Template{}}
	if err := yaml.UnmarshalWithOptions(text, &v.manifest, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("manifest.yaml: %w", err)
	}
	for _, expr := range v.UserAgents {
		re, err := regexp.Compile(expr)
		if err != nil {
			return nil, fmt.Errorf("user_agents: %w", err)
		}
		v.agents = append(v.agents, re)
	}
	pattern := strings.Replace(regexp.QuoteMeta(strings.ToLower(v.DeviceFile)), regexp.QuoteMeta("{mac}"), "(?P<mac>[0-9a-f]{12})", 1)
	if v.file, err = regexp.Compile("^" + pattern + "$"); err != nil {
		return nil, fmt.Errorf("device_file: %w", err)
	}
	for _, kind := range []Kind{Device, Holding} {
		name := string(kind) + ".tmpl"
		text, err := fs.ReadFile(files, dir+"/"+name)
		if err != nil {
			return nil, err
		}
		t, err := parseTemplate(dir+"/"+name, string(text), v.Dialect)
		if err != nil {
			return nil, err
		}
		v.templates[kind] = t
	}
	return v, nil
}

// trial is a phone with something in every place of it.
func trial(m Model) Phone {
	return Phone{
		MAC: "000000000001", Model: m.ID, Version: 1, Language: "en", TimeZone: "UTC", NTP: "ntp.example",
		Account: Account{
			Enabled: true, User: "100", AuthUser: "HD0001", Secret: "secret", DisplayName: "Name", Label: "100",
			Host: "192.0.2.1", Port: 5060, Transport: "udp", Expires: 300,
		},
		Keys:          []Key{{Type: "speed", Value: "*77*5*", Label: "Logout"}},
		Server:        Server{URL: "http://192.0.2.1/p/token/", User: "HD0001", Password: "password"},
		AdminPassword: "password",
		Dial:          DialPlan{Emergency: []string{"112"}, Codes: []string{"*77*5*"}, Prefixes: []string{"*77*"}},
	}
}

// Models lists the models by id.
func (s *Set) Models() []Model {
	all := make([]Model, 0, len(s.models))
	for _, m := range s.models {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Model) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Ladder returns a model's check-syncs, gentle ones first.
func (s *Set) Ladder(model string) []CheckSync {
	if v := s.byModel[model]; v != nil {
		return v.CheckSync
	}
	return nil
}

// Request is what a phone asked for.
type Request struct {
	Vendor string
	MAC    string // 12 lower-case hex digits
	Model  string // model id that the User-Agent claims; empty when it says none we know
}

// Match recognises a request for a per-MAC file by the file's name, in any case;
// the User-Agent only hints at the model and never says who asks.
func (s *Set) Match(file, userAgent string) (Request, bool) {
	for _, v := range s.vendors {
		m := v.file.FindStringSubmatch(strings.ToLower(file))
		if m == nil {
			continue
		}
		return Request{Vendor: v.Vendor, MAC: m[v.file.SubexpIndex("mac")], Model: v.model(userAgent)}, true
	}
	return Request{}, false
}

// model finds the model whose name the User-Agent carries.
func (v *vendor) model(userAgent string) string {
	for _, re := range v.agents {
		m := re.FindStringSubmatch(userAgent)
		if m == nil {
			continue
		}
		said := m[re.SubexpIndex("model")]
		for _, model := range v.Models {
			if strings.EqualFold(model.Name, said) {
				return model.ID
			}
		}
	}
	return ""
}

// FileName is the name by which a phone asks for its per-MAC file.
func (s *Set) FileName(model, mac string) string {
	if v := s.byModel[model]; v != nil {
		return strings.Replace(v.DeviceFile, "{mac}", mac, 1)
	}
	return ""
}

// AnyModel returns a model of the vendor, for files that are the same for all.
func (s *Set) AnyModel(vendor string) string {
	for _, v := range s.vendors {
		if v.Vendor == vendor && len(v.Models) > 0 {
			return v.Models[0].ID
		}
	}
	return ""
}
