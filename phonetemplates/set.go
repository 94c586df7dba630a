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

//go:embed yealink snom grandstream
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
	Holding Kind = "holding" // per MAC, no account: the phone waits and asks again soon
	// Release is per MAC: no account, and what we changed is given back; the phone
	// starts over at the enrolment URL.
	Release Kind = "release"
	// Enrolment is the same for every phone of a vendor: it only leads to the
	// site's enrolment URL.
	Enrolment Kind = "enrolment"
)

// kinds are all files that a vendor has a template for.
var kinds = []Kind{Device, Holding, Release, Enrolment}

// Model is one phone model.
type Model struct {
	ID       string `yaml:"id"`
	Name     string `yaml:"name"` // as the phone's User-Agent says it
	Accounts int    `yaml:"accounts"`
	LineKeys int    `yaml:"line_keys"`
	// ScreenKeys is how many of the line keys are Grandstream's virtual keys; those
	// after them have numbers of their own. 0 for all.
	ScreenKeys int    `yaml:"screen_keys"`
	Vendor     string `yaml:"-"`
	// AuthNameAOR: there is no separate authentication name.
	AuthNameAOR bool `yaml:"-"`
}

// manifest is a vendor's manifest.yaml.
type manifest struct {
	Vendor      string            `yaml:"vendor"`
	Dialect     phonefile.Dialect `yaml:"dialect"`
	ContentType string            `yaml:"content_type"`
	// DeviceFile is the name of the per-MAC file; {mac}, {MAC} (upper case) and
	// {model} (Model.Name) stand for the phone's own.
	DeviceFile string `yaml:"device_file"`
	// CommonFiles and AbsentFiles are regular expressions in lower case, in which
	// {mac} and {model} stand for any.
	CommonFiles []string    `yaml:"common_files"`
	AbsentFiles []string    `yaml:"absent_files"`
	UserAgents  []string    `yaml:"user_agents"` // regular expressions with groups model, mac
	AuthName    string      `yaml:"auth_name"`   // separate | aor
	CheckSync   []CheckSync `yaml:"check_sync"`  // gentle first
	Protected   []string    `yaml:"protected"`   // key patterns; * stands for anything
	Models      []Model     `yaml:"models"`
	Refused     []refused   `yaml:"refused"`
}

// Screen is ScreenKeys, or all keys.
func (m Model) Screen() int {
	if m.ScreenKeys > 0 {
		return m.ScreenKeys
	}
	return m.LineKeys
}

// refused are products that are recognised and not served.
type refused struct {
	Problem string   `yaml:"problem"` // for the API, "dect-base"
	Names   []string `yaml:"names"`
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
	own       *regexp.Regexp // of the device file; groups mac, model
	common    []*regexp.Regexp
	absent    []*regexp.Regexp
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
	l, err := loadLocale()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	folders, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	for _, f := range folders {
		v, err := loadVendor(files, f.Name(), l)
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
			for _, kind := range kinds {
				if _, err := s.Render(kind, trial(m), nil); err != nil {
					return nil, fmt.Errorf("%w: %s: %w", ErrManifest, m.ID, err)
				}
			}
		}
	}
	return s, nil
}

func loadVendor(files fs.FS, dir string, l locale) (*vendor, error) {
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
	// Placeholders are taken apart before the rest is quoted.
	device := strings.NewReplacer(`\{`, "{", `\}`, "}").Replace(regexp.QuoteMeta(strings.ToLower(v.DeviceFile)))
	if v.own, err = fileNames(device); err != nil {
		return nil, fmt.Errorf("device_file: %w", err)
	}
	for _, of := range []struct {
		key   string
		exprs []string
		into  *[]*regexp.Regexp
	}{{"common_files", v.CommonFiles, &v.common}, {"absent_files", v.AbsentFiles, &v.absent}} {
		for _, expr := range of.exprs {
			re, err := fileNames(expr)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", of.key, err)
			}
			*of.into = append(*of.into, re)
		}
	}
	return v, v.loadTemplates(files, dir, l)
}

// loadTemplates reads a template for each kind of file; parts.tmpl holds what
// they share.
func (v *vendor) loadTemplates(files fs.FS, dir string, l locale) error {
	parts, err := fs.ReadFile(files, dir+"/parts.tmpl")
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		name := dir + "/" + string(kind) + ".tmpl"
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if v.templates[kind], err = parseTemplate(name, string(text), string(parts), v.Dialect, l); err != nil {
			return err
		}
	}
	return nil
}

// fileNames compiles the expression of a file's name in lower case.
func fileNames(expr string) (*regexp.Regexp, error) {
	expr = strings.NewReplacer("{mac}", "(?P<mac>[0-9a-f]{12})", "{model}", "(?P<model>[0-9a-z]+)").Replace(expr)
	return regexp.Compile("^" + expr + "$")
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

// AnyModel returns the vendor's model with the most keys, for files of phones whose
// model is not known: phones ignore what they do not have.
func (s *Set) AnyModel(vendor string) string {
	best := Model{LineKeys: -1}
	for _, v := range s.vendors {
		for _, m := range v.Models {
			if v.Vendor == vendor && m.LineKeys > best.LineKeys {
				best = m
			}
		}
	}
	return best.ID
}
