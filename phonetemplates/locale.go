package phonetemplates

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"

	"hotdeskd/internal/phonefile"
)

//go:embed locale.yaml
var localeText []byte

// locale is locale.yaml: the vendors' words for time zones and countries.
type locale struct {
	Zones map[string]zone `yaml:"zones"` // by IANA name
	Tones map[string]tone `yaml:"tones"` // by ISO 3166 code
}

type zone struct {
	Yealink     string `yaml:"yealink"` // offset from UTC in hours, without summer time
	YealinkName string `yaml:"yealink_name"`
	Snom        string `yaml:"snom"`
	POSIX       string `yaml:"posix"` // TZ variable, for Grandstream
}

type tone struct {
	Yealink string `yaml:"yealink"`
	Snom    string `yaml:"snom"`
}

func loadLocale() (locale, error) {
	var l locale
	if err := yaml.UnmarshalWithOptions(localeText, &l, yaml.Strict()); err != nil {
		return l, fmt.Errorf("locale.yaml: %w", err)
	}
	return l, nil
}

// zone is a zone's name in a dialect. One that is not in the table is UTC: a wrong
// clock on the display, and nothing else.
func (l locale) zone(d phonefile.Dialect, name string) string {
	z, ok := l.Zones[name]
	if !ok {
		z = l.Zones["UTC"]
	}
	switch d {
	case phonefile.SnomXML:
		return z.Snom
	case phonefile.GrandstreamXML:
		return z.POSIX
	}
	return z.Yealink
}

// zoneName is what Yealink needs beside the offset to know about summer time.
func (l locale) zoneName(name string) string { return l.Zones[name].YealinkName }

// tones are a country's call progress tones in a dialect.
func (l locale) tones(d phonefile.Dialect, country string) string {
	t, ok := l.Tones[strings.ToUpper(country)]
	if !ok {
		t = l.Tones["GB"]
	}
	if d == phonefile.SnomXML {
		return t.Snom
	}
	return t.Yealink
}
