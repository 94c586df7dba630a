package simphone

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

const agentT46U = "Yealink SIP-T46U 108.86.0.20 80:5e:c0:00:00:01"

// shelf is a server of files that writes down who asked for what.
type shelf struct {
	mu    sync.Mutex
	files map[string]string
	login string // "user:password", when it is asked for
	etags bool
	asked []string
	wrong []string // requests that no such phone sends
	agent string   // User-Agent of the phone; agentT46U when empty
	fails map[string]int
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := strings.TrimPrefix(r.URL.Path, "/p/token/")
	if r.Method != http.MethodGet || r.UserAgent() != cmp.Or(s.agent, agentT46U) || strings.HasPrefix(name, "/") {
		s.wrong = append(s.wrong, r.Method+" "+r.URL.Path+" "+r.UserAgent())
	}
	status := s.answer(w, r, name)
	s.asked = append(s.asked, fmt.Sprintf("%s %d", name, status))
}

func (s *shelf) answer(w http.ResponseWriter, r *http.Request, name string) int {
	body, ok := s.files[name]
	user, password, _ := r.BasicAuth()
	etag := fmt.Sprintf(`"%x"`, fold(0, []byte(body)))
	status := http.StatusOK
	switch {
	case s.fails[name] != 0:
		status = s.fails[name]
	case !ok:
		status = http.StatusNotFound
	case s.login != "" && s.login != user+":"+password:
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		status = http.StatusUnauthorized
	case s.etags && r.Header.Get("If-None-Match") == etag:
		status = http.StatusNotModified
	}
	if status == http.StatusOK && s.etags {
		w.Header().Set("ETag", etag)
	}
	w.WriteHeader(status)
	if status == http.StatusOK {
		_, _ = w.Write([]byte(body))
	}
	return status
}

// take returns what was asked for since the last time.
func (s *shelf) take(t *testing.T) []string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wrong) > 0 {
		t.Errorf("no such phone asks for %q", s.wrong)
	}
	asked := s.asked
	s.asked = nil
	return asked
}

func ini(lines ...string) string { return "#!version:1.0.0.1\n" + strings.Join(lines, "\n") + "\n" }

func newTestLoader(t *testing.T) *loader { return loaderOf(t, "yealink-t46u") }

func loaderOf(t *testing.T, model string) *loader {
	t.Helper()
	d, m, ok := findModel(model)
	if !ok {
		t.Fatalf("no %s", model)
	}
	l := newLoader(Config{MAC: macs[model]}, d, m, func(string, map[string]string) {})
	t.Cleanup(l.close)
	return l
}

// A boot must ask for the vendor's files in the vendor's order and lay them one
// over the other.
func TestLoad(t *testing.T) {
	none := []string{"805ec0000001.boot 404", "y000000000000.boot 404"}
	for _, c := range []struct {
		name  string
		shelf *shelf
		from  server
		asked []string
		want  settings
		note  string
	}{
		{
			"own file only", &shelf{files: map[string]string{"805ec0000001.cfg": ini("# version 3", "a = 1", "# more")}}, server{},
			append(slices.Clone(none), "y000000000108.cfg 404", "805ec0000001.cfg 200"),
			settings{"kept": "yes", "a": "1"}, "version 3",
		},
		{
			"common file under the own one",
			&shelf{files: map[string]string{"y000000000108.cfg": ini("a = 1", "b = 2"), "805ec0000001.cfg": ini("a = 3", "kept =")}}, server{},
			append(slices.Clone(none), "y000000000108.cfg 200", "805ec0000001.cfg 200"),
			settings{"kept": "", "a": "3", "b": "2"}, "",
		},
		{
			"boot file",
			&shelf{files: map[string]string{"y000000000000.boot": ini("include:config <x.cfg>", "include:config <$MAC.cfg>"), "x.cfg": ini("a = 1"), "805ec0000001.cfg": ini("b = 2")}}, server{},
			[]string{"805ec0000001.boot 404", "y000000000000.boot 200", "x.cfg 200", "805ec0000001.cfg 200"},
			settings{"kept": "yes", "a": "1", "b": "2"}, "",
		},
		{
			"password asked for", &shelf{files: map[string]string{"805ec0000001.cfg": ini("a = 1")}, login: "HD0001:secret"},
			server{user: "HD0001", password: "secret"},
			append(slices.Clone(none), "y000000000108.cfg 404", "805ec0000001.cfg 401", "805ec0000001.cfg 200"),
			settings{"kept": "yes", "a": "1"}, "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(c.shelf)
			defer srv.Close()
			c.from.url = srv.URL + "/p/token/"
			got, err := newTestLoader(t).load(t.Context(), c.from, settings{"kept": "yes"})
			if err != nil {
				t.Fatal(err)
			}
			if asked := c.shelf.take(t); !slices.Equal(asked, c.asked) {
				t.Errorf("asked for %q, want %q", asked, c.asked)
			}
			if fmt.Sprint(got.settings) != fmt.Sprint(c.want) || got.note != c.note {
				t.Errorf("got %v note %q, want %v note %q", got.settings, got.note, c.want, c.note)
			}
		})
	}
}

// Snom and Grandstream phones must ask for their own files in their own order:
// Snom's lays them one over the other, Grandstream's stops at the first that exists
// unless it is told to take all. A file that the server does not give is passed
// over.
func TestSequences(t *testing.T) {
	snom := func(name, value string) string {
		return "<!-- version 3 --><settings><phone-settings><" + name + ` perm="R">` + value + "</" + name + "></phone-settings></settings>"
	}
	gs := func(p, value string) string {
		return `<gs_provision version="1"><config version="1"><` + p + ">" + value + "</" + p + "></config></gs_provision>"
	}
	const snomOwn, gsOwn = "snomD785-000413000002.htm", "cfgc074ad000003.xml"
	for _, c := range []struct {
		name, model string
		shelf       *shelf
		kept        settings
		asked       []string
		want        settings
	}{
		{
			"snom", "snom-d785", &shelf{files: map[string]string{"snomD785.htm": snom("language", "English"), snomOwn: snom("language", "Italiano")}}, nil,
			[]string{"snomD785.htm 200", snomOwn + " 200"}, settings{"language": "Italiano"},
		},
		{
			"snom, own file only", "snom-d785", &shelf{files: map[string]string{snomOwn: snom("language", "Italiano")}}, settings{"ntp_server": "ntp"},
			[]string{"snomD785.htm 404", snomOwn + " 200"}, settings{"language": "Italiano", "ntp_server": "ntp"},
		},
		{
			"snom, the common file fails", "snom-d785", &shelf{files: map[string]string{snomOwn: snom("language", "Italiano")}, fails: map[string]int{"snomD785.htm": 503}}, nil,
			[]string{"snomD785.htm 503", snomOwn + " 200"}, settings{"language": "Italiano"},
		},
		{
			"grandstream", "grandstream-grp2614", &shelf{files: map[string]string{gsOwn: gs("P2", "own"), "cfg.xml": gs("P2", "all")}}, nil,
			[]string{"cfgc074ad000003 404", gsOwn + " 200"}, settings{"P2": "own"},
		},
		{
			"grandstream, the file of all", "grandstream-grp2614", &shelf{files: map[string]string{"cfg.xml": gs("P2", "all")}}, nil,
			[]string{"cfgc074ad000003 404", gsOwn + " 404", "cfggrp2614.xml 404", "cfg.xml 200"}, settings{"P2": "all"},
		},
		{
			"grandstream, all files", "grandstream-grp2614", &shelf{files: map[string]string{gsOwn: gs("P2", "own"), "cfg.xml": gs("P2", "all")}}, settings{"P8467": "1"},
			[]string{"cfg.xml 200", "cfggrp2614.xml 404", gsOwn + " 200", "cfgc074ad000003 404"}, settings{"P2": "own", "P8467": "1"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := loaderOf(t, c.model)
			c.shelf.agent = l.model.fill(l.dialect.webAgent, macs[c.model])
			srv := httptest.NewServer(c.shelf)
			defer srv.Close()
			got, err := l.load(t.Context(), server{url: srv.URL + "/p/token/"}, c.kept)
			if err != nil {
				t.Fatal(err)
			}
			if asked := c.shelf.take(t); !slices.Equal(asked, c.asked) {
				t.Errorf("asked for %q, want %q", asked, c.asked)
			}
			if fmt.Sprint(got.settings) != fmt.Sprint(c.want) {
				t.Errorf("got %v, want %v", got.settings, c.want)
			}
		})
	}
}

// A phone that cannot load must say why in one sentence, and never repeat the
// token of its URL or a password.
func TestLoadFails(t *testing.T) {
	for _, c := range []struct {
		name  string
		shelf *shelf
		from  server
		want  string
	}{
		{"no files", &shelf{}, server{}, "none of the files"},
		{"no password", &shelf{files: map[string]string{"805ec0000001.cfg": ini()}, login: "a:b"}, server{}, "user name and password"},
		{"wrong password", &shelf{files: map[string]string{"805ec0000001.cfg": ini()}, login: "a:b"}, server{user: "a", password: "s3cret"}, "user name and password"},
		{"failure", &shelf{fails: map[string]int{"805ec0000001.cfg": 503}}, server{}, "status 503"},
		{"rubbish", &shelf{files: map[string]string{"805ec0000001.cfg": "<html>"}}, server{}, "line 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(c.shelf)
			defer srv.Close()
			c.from.url = srv.URL + "/p/token/"
			_, err := newTestLoader(t).load(t.Context(), c.from, settings{})
			if !errors.Is(err, ErrProvision) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
			if strings.Contains(fmt.Sprint(err), "/p/token") || strings.Contains(fmt.Sprint(err), "s3cret") {
				t.Errorf("%q tells a secret", err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		srv := httptest.NewServer(&shelf{})
		srv.Close()
		_, err := newTestLoader(t).load(t.Context(), server{url: srv.URL + "/p/token/"}, settings{})
		if !errors.Is(err, ErrProvision) || strings.Contains(err.Error(), "/p/token") {
			t.Errorf("error %q", err)
		}
	})
}

// A file that did not change must be asked for by its ETag and count as loaded;
// after a restart the phone asks for the whole file.
func TestLoadUnchanged(t *testing.T) {
	s := &shelf{files: map[string]string{"805ec0000001.cfg": ini("a = 1")}, etags: true}
	srv := httptest.NewServer(s)
	defer srv.Close()
	l, from := newTestLoader(t), server{url: srv.URL + "/p/token/"}
	first, err := l.load(t.Context(), from, settings{})
	if err != nil {
		t.Fatal(err)
	}
	last := func() string { asked := s.take(t); return asked[len(asked)-1] }
	for _, step := range []struct {
		name   string
		before func()
		want   string
		same   bool
	}{
		{"first", func() {}, "805ec0000001.cfg 200", true},
		{"unchanged", func() {}, "805ec0000001.cfg 304", true},
		{"changed", func() { s.files["805ec0000001.cfg"] = ini("a = 2") }, "805ec0000001.cfg 200", false},
		{"restarted", l.forget, "805ec0000001.cfg 200", false},
	} {
		if step.name == "first" {
			if got := last(); got != step.want {
				t.Errorf("%s: %s", step.name, got)
			}
			continue
		}
		step.before()
		got, err := l.load(t.Context(), from, first.settings)
		if err != nil {
			t.Fatal(err)
		}
		if asked := last(); asked != step.want {
			t.Errorf("%s: %s, want %s", step.name, asked, step.want)
		}
		if same := got.digest == first.digest; same != step.same || len(got.settings) != 1 {
			t.Errorf("%s: same content %v, want %v; settings %v", step.name, same, step.same, got.settings)
		}
	}
}
