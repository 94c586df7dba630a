package admin

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// operations are all of the OpenAPI document, by "METHOD /path".
func (d *desk) operations() map[string]*huma.Operation {
	all := map[string]*huma.Operation{}
	for path, item := range d.api.api.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{
			http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodPatch: item.Patch,
			http.MethodDelete: item.Delete, http.MethodHead: item.Head, http.MethodOptions: item.Options,
		} {
			if op != nil {
				all[method+" "+strings.TrimPrefix(path, "/api/v1")] = op
			}
		}
	}
	return all
}

// Of every operation there is, a query parameter that it does not know, one given
// twice, and a flag that is neither true nor false are refused by name with the known
// ones, and a flag without a value is true.
func TestField_L6EveryQueryIsUnderstoodOrRefused(t *testing.T) {
	d := newDesk(t)
	d.office()
	all := d.operations()
	if len(all) < 40 {
		t.Fatalf("%d operations", len(all))
	}
	flags := 0
	for name, op := range all {
		method, path, _ := strings.Cut(name, " ")
		path = strings.NewReplacer("{id}", "HD0001", "{extension}", "100", "{name}", "roma").Replace(path)
		refused := func(query string, parts ...string) {
			t.Helper()
			w := d.ask(method, path+"?"+query, "")
			if w.Code != 422 {
				t.Errorf("%s?%s: %d %.200s", name, query, w.Code, w.Body)
			}
			for _, part := range append(parts, `"code":"invalid"`) {
				if !strings.Contains(w.Body.String(), part) {
					t.Errorf("%s?%s: %s does not say %s", name, query, w.Body, part)
				}
			}
		}
		var known []string
		for _, p := range op.Parameters {
			if p.In == "query" {
				known = append(known, p.Name)
			}
		}
		slices.Sort(known)
		refused("nonsense=1", "unknown query parameter", "nonsense", strings.Join(known, ", "))
		refused("nonsense", "nonsense")
		refused("%zz=1", "the query cannot be read")
		refused("a=1;b=2", "the query cannot be read")
		for _, p := range op.Parameters {
			if p.In != "query" {
				continue
			}
			refused(p.Name+"x=1", "do you mean "+p.Name+"?")
			refused(strings.ToUpper(p.Name)+"=1", "do you mean "+p.Name+"?")
			refused(p.Name+"=1&"+p.Name+"=1", p.Name, "more than once")
			if p.Schema.Type != huma.TypeBoolean {
				continue
			}
			flags++
			for _, bad := range []string{"yes", "no", "TRUE", "t", "2", "on", " true", "true "} {
				refused(p.Name+"="+strings.ReplaceAll(bad, " ", "%20"), p.Name, "must be true or false")
			}
			for given, want := range map[string]string{"": "true", "=": "true", "=1": "true", "=true": "true", "=0": "false", "=false": "false"} {
				if got, err := readQuery(p.Name+given, op.Parameters); err != nil || got != p.Name+"="+want {
					t.Errorf("%s?%s%s is read as %q, %v", name, p.Name, given, got, err)
				}
			}
		}
	}
	if flags < 7 {
		t.Errorf("%d flags in all operations", flags)
	}
	if w := d.ask("GET", "/events?device=HD0001", ""); w.Code != 422 {
		t.Errorf("a filter of events: %d", w.Code)
	}
}

// A dry run that is asked for without "=true" writes nothing, in every operation that
// has one, and secrets are shown to who asks for them so.
func TestField_L6BareFlags(t *testing.T) {
	d := newDesk(t)
	d.office()
	for _, flag := range []string{"dry_run", "dry_run=", "dry_run=1", "dry_run=true"} {
		for _, c := range []struct{ path, body string }{
			{"/apply", "users: [{extension: \"200\", pin: \"4079\"}]"},
			{"/apply?prune=1&dry_run=true", "users: [{extension: \"200\", pin: \"4079\"}]"},
			{"/users/import", "extension,pin\n200,4079\n"},
			{"/devices/import", "mac,model,site\n805ec0000020,yealink-t46u,roma\n"},
		} {
			path := c.path
			if !strings.Contains(path, "?") {
				path += "?" + flag
			}
			if w := d.ask("POST", path, c.body); w.Code != 200 || !strings.Contains(w.Body.String(), `"dry_run":true`) {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
		if users, phones := len(d.Users()), len(d.Phones()); users != 3 || phones != 3 {
			t.Fatalf("?%s was carried out: %d users, %d devices", flag, users, phones)
		}
	}
	if w := d.ask("GET", "/devices/HD0001/config?secrets", ""); w.Code != 200 || strings.Contains(w.Body.String(), "********") {
		t.Errorf("config?secrets: %d %s", w.Code, w.Body)
	}
	if w := d.ask("POST", "/apply?dry_run=false", "users: [{extension: \"200\", pin: \"4079\"}]"); w.Code != 200 || len(d.Users()) != 4 {
		t.Errorf("?dry_run=false: %d %s", w.Code, w.Body)
	}
}
