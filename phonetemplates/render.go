package phonetemplates

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"hotdeskd/internal/cleantext"
	"hotdeskd/internal/phonefile"
)

// File is one rendered configuration file.
type File struct {
	Name        string
	ContentType string
	Content     []byte
	// Parameters are the file's keys in order.
	Parameters []Parameter
	// Dropped names keys of the user that did not fit on the phone.
	Dropped []string
}

// Parameter is one key of a file, and who set it.
type Parameter struct {
	Key, Value string
	Layer      string // name of the layer; empty for the template
}

// Render writes the file of one kind for one phone. Layers come weakest first.
// Equal input gives equal bytes, and one model always gets the same set of
// parameters, whoever is logged in.
func (s *Set) Render(kind Kind, p Phone, layers []Layer) (File, error) {
	v := s.byModel[p.Model]
	if v == nil {
		return File{}, fmt.Errorf("%w: %q", ErrUnknownModel, p.Model)
	}
	keys, dropped := layout(p, s.models[p.Model].LineKeys)
	var b bytes.Buffer
	if err := v.templates[kind].Execute(&b, view{p, s.models[p.Model], keys}); err != nil {
		return File{}, fmt.Errorf("render %s for %s: %w", kind, p.MAC, err)
	}
	parsed, err := phonefile.Parse(v.Dialect, b.Bytes())
	if err != nil {
		return File{}, fmt.Errorf("render %s for %s: %w", kind, p.MAC, err)
	}
	f := File{
		Name: v.fileName(s.models[p.Model], p.MAC), ContentType: v.ContentType,
		Dropped: dropped,
	}
	setBy := map[string]string{}
	if kind == Device {
		if err := v.override(parsed, layers, setBy); err != nil {
			return File{}, err
		}
	}
	for _, key := range parsed.Keys() {
		f.Parameters = append(f.Parameters, Parameter{key, parsed.Value(key), setBy[key]})
	}
	f.Content = parsed.Bytes()
	return f, nil
}

// view is what a template sees: the phone, its model, and one key for each of
// the model's places, blank ones included.
type view struct {
	Phone
	M        Model
	LineKeys []Key
}

// layout shifts the wanted keys down to the first free places. Empty positions
// and a lamp for one's own number are left out; what does not fit is returned.
func layout(p Phone, places int) (keys []Key, dropped []string) {
	for _, k := range p.Keys {
		if k.Type == "none" || k.Type == "blf" && k.Value == p.Account.User {
			continue
		}
		if len(keys) == places {
			dropped = append(dropped, strings.TrimSpace(k.Label+" "+k.Value))
			continue
		}
		keys = append(keys, k)
	}
	for len(keys) < places {
		keys = append(keys, Key{Type: "none"})
	}
	return keys, dropped
}

// override merges the administrators' parameters by key.
func (v *vendor) override(f *phonefile.File, layers []Layer, setBy map[string]string) error {
	for _, layer := range layers {
		for _, key := range slices.Sorted(maps.Keys(layer.Values)) {
			if v.protected(key) || !phonefile.ValidKey(v.Dialect, key) {
				// Protected ones were refused when they were saved; one that came in
				// before must not stop the phones. Other vendors' are for others.
				continue
			}
			value := strings.TrimSpace(layer.Values[key])
			if err := check(value); err != nil {
				return fmt.Errorf("%s (layer %s): %w", key, layer.Name, err)
			}
			if err := f.Set(key, value); err != nil {
				return fmt.Errorf("%s (layer %s): %w", key, layer.Name, err)
			}
			setBy[key] = layer.Name
		}
	}
	return nil
}

// CheckParameter refuses a key that no vendor's file can hold (ErrValue), or that
// no administrator may set (ErrProtected).
func (s *Set) CheckParameter(key string) error {
	if !slices.ContainsFunc(s.vendors, func(v *vendor) bool { return phonefile.ValidKey(v.Dialect, key) || v.protected(key) }) {
		return fmt.Errorf("%w: %q has the form of no vendor's parameter (phone_setting.ring_type, ring_sound, codec_priority_list.1, P104)", ErrValue, key)
	}
	for _, v := range s.vendors {
		if v.protected(key) {
			return fmt.Errorf("%w: %s of %s phones", ErrProtected, key, v.Vendor)
		}
	}
	return nil
}

// protected tells whether a key belongs to the layer that no override reaches.
func (v *vendor) protected(key string) bool {
	return slices.ContainsFunc(v.Protected, func(pattern string) bool {
		ok, err := path.Match(pattern, key)
		return ok && err == nil
	})
}

// parseTemplate reads a template and rewrites its tree so that every printed value goes
// through the dialect's escape function: a template cannot forget it.
func parseTemplate(name, text, parts string, d phonefile.Dialect, l locale) (*template.Template, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
		"escape": func(value any) (string, error) { return escape(d, fmt.Sprint(value)) },
		"flag": func(on bool) string {
			if on {
				return "1"
			}
			return "0"
		},
		"from": func(first, last int) []int {
			var all []int
			for n := first; n <= last; n++ {
				all = append(all, n)
			}
			return all
		},
		"add":      func(a, b int) int { return a + b },
		"sub":      func(a, b int) int { return a - b },
		"step":     func(first, width, n int) int { return first + width*n },
		"minutes":  func(seconds int) int { return max((seconds+59)/60, 1) },
		"join":     func(list []string, sep string) string { return strings.Join(list, sep) },
		"digits":   func(p DialPlan) string { return p.compile(d) },
		"zone":     func(name string) string { return l.zone(d, name) },
		"zonename": l.zoneName,
		"tones":    func(country string) string { return l.tones(d, country) },
		"hostport": func(a Account) string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) },
		"https":    func(url string) bool { return strings.HasPrefix(url, "https://") },
		"noscheme": func(url string) string { return url[strings.Index(url, "://")+len("://"):] },
		"default":  func(fallback, value string) string { return firstOf(value, fallback) },
	}).Parse(text)
	if err != nil {
		return nil, err
	}
	if _, err := t.New("parts").Parse(parts); err != nil {
		return nil, fmt.Errorf("parts.tmpl: %w", err)
	}
	for _, part := range t.Templates() {
		if part.Tree != nil {
			escapeList(part.Root)
		}
	}
	return t, nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// escapeList appends "| escape" to every action below a list that prints.
func escapeList(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			if len(n.Pipe.Decl) == 0 {
				n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{
					NodeType: parse.NodeCommand, Pos: n.Pos,
					Args: []parse.Node{parse.NewIdentifier("escape").SetPos(n.Pos)},
				})
			}
		case *parse.IfNode:
			escapeList(n.List)
			escapeList(n.ElseList)
		case *parse.RangeNode:
			escapeList(n.List)
			escapeList(n.ElseList)
		case *parse.WithNode:
			escapeList(n.List)
			escapeList(n.ElseList)
		}
	}
}

// check refuses a value that would end its line, or that a file cannot hold, by the
// rule that the texts were stored by.
func check(value string) error {
	if err := cleantext.Check(value); err != nil {
		return fmt.Errorf("%w: %w", ErrValue, err)
	}
	return nil
}

// Clean leaves out of a stored text what Render would refuse: one that was stored by
// an older version must not leave the phone without its file.
func Clean(text string) string { return cleantext.Clean(text) }

// escape makes a value safe in a dialect, or refuses it. Space at its ends is not
// kept by any of them.
func escape(d phonefile.Dialect, value string) (string, error) {
	if err := check(value); err != nil {
		return "", err
	}
	value = strings.TrimSpace(value)
	switch d {
	case phonefile.YealinkINI: // a line ends the value; nothing else does
		return value, nil
	case phonefile.SnomXML, phonefile.GrandstreamXML:
		var b strings.Builder
		if err := xml.EscapeText(&b, []byte(value)); err != nil {
			return "", err
		}
		return b.String(), nil
	}
	return "", fmt.Errorf("%w: unknown dialect %q", ErrManifest, d)
}
