package phonetemplates

import (
	"regexp"
	"strings"
)

// Scope is whom a requested file is for.
type Scope string

const (
	// Own is the per-MAC file: the complete account and keys of one phone, or its
	// holding or release file.
	Own Scope = "own"
	// Common is a file that every phone of a vendor or model asks for. Without a
	// token it is answered with the Enrolment file, with one it is left out: the
	// phone goes on to its own file.
	Common Scope = "common"
	// Absent is a file that the vendor's phones ask for and that hotdeskd never
	// has, such as boot files, binary forms and local overlays. 404 is the answer
	// that lets the phone go on.
	Absent Scope = "absent"
)

// Request is what a phone asked for, and what it says it is.
type Request struct {
	Vendor string
	Scope  Scope
	// MAC is 12 lower-case hex digits: of the file's name or, for a common file,
	// of the User-Agent, where it may be missing (empty).
	MAC string
	// Model is the model id that the file's name or the User-Agent claims; empty
	// when neither says one that we know.
	Model string
	// Problem says why such a phone cannot be used ("dect-base"); empty when it can.
	Problem string
}

// Match recognises a request by the file's name, in any case; the User-Agent only
// decides between vendors that share a name, hints at the model, and never says
// who asks. ok is false when no vendor has such a file.
func (s *Set) Match(file, userAgent string) (Request, bool) {
	file = strings.ToLower(file)
	var found Request
	ok := false
	for _, v := range s.vendors {
		r, mine := v.match(file)
		if !mine {
			continue
		}
		said := v.identify(userAgent)
		if ok && said == (identity{}) {
			continue // another vendor's phones ask for it as well
		}
		found, ok = v.complete(r, said), true
		if said != (identity{}) {
			break
		}
	}
	return found, ok
}

// match looks the file's name up among the vendor's; Model is still the name that
// stands in the file's name.
func (v *vendor) match(file string) (Request, bool) {
	for _, of := range []struct {
		scope Scope
		names []*regexp.Regexp
	}{{Own, []*regexp.Regexp{v.own}}, {Absent, v.absent}, {Common, v.common}} {
		for _, re := range of.names {
			if m := re.FindStringSubmatch(file); m != nil {
				return Request{Vendor: v.Vendor, Scope: of.scope, MAC: group(re, m, "mac"), Model: group(re, m, "model")}, true
			}
		}
	}
	return Request{}, false
}

// complete adds what the User-Agent says, where the file's name says nothing, and
// turns the model's name into its id.
func (v *vendor) complete(r Request, said identity) Request {
	if r.MAC == "" {
		r.MAC = said.mac
	}
	for _, name := range []string{r.Model, said.model} {
		if id, problem, known := v.product(name); known {
			r.Model, r.Problem = id, problem
			return r
		}
	}
	r.Model = ""
	return r
}

// product finds a product by the vendor's name for it, in any case.
func (v *vendor) product(name string) (id, problem string, known bool) {
	for _, m := range v.Models {
		if strings.EqualFold(m.Name, name) {
			return m.ID, "", true
		}
	}
	for _, r := range v.Refused {
		for _, refused := range r.Names {
			if strings.EqualFold(refused, name) {
				return v.Vendor + "-" + strings.ToLower(refused), r.Problem, true
			}
		}
	}
	return "", "", false
}

// identity is what a User-Agent says.
type identity struct{ model, mac string }

// twelve finds a MAC that the vendor's own expression did not reach.
var twelve = regexp.MustCompile(`\b[0-9A-Fa-f]{12}\b`)

// identify reads a User-Agent; the zero identity means that it is not one of the
// vendor's.
func (v *vendor) identify(userAgent string) identity {
	for _, re := range v.agents {
		m := re.FindStringSubmatch(userAgent)
		if m == nil {
			continue
		}
		mac := strings.ToLower(strings.ReplaceAll(group(re, m, "mac"), ":", ""))
		if mac == "" {
			if all := twelve.FindAllString(userAgent, -1); len(all) > 0 {
				mac = strings.ToLower(all[len(all)-1])
			}
		}
		return identity{model: group(re, m, "model"), mac: mac}
	}
	return identity{}
}

// group returns a named group of a match; empty when the expression has none.
func group(re *regexp.Regexp, m []string, name string) string {
	if i := re.SubexpIndex(name); i >= 0 {
		return m[i]
	}
	return ""
}

// FileName is the name by which a phone asks for its per-MAC file.
func (s *Set) FileName(model, mac string) string {
	if v := s.byModel[model]; v != nil {
		return v.fileName(s.models[model], mac)
	}
	return ""
}

func (v *vendor) fileName(m Model, mac string) string {
	return strings.NewReplacer("{mac}", mac, "{MAC}", strings.ToUpper(mac), "{model}", m.Name).Replace(v.DeviceFile)
}
