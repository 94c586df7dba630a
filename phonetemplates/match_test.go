package phonetemplates

import "testing"

// Requests are recognised by the file's name in any case, and nothing else is;
// the User-Agent only says the model.
func TestMatch(t *testing.T) {
	s := mustLoad(t)
	const t46u = "Yealink SIP-T46U 108.86.0.20 80:5e:c0:00:00:01"
	for _, c := range []struct {
		file, agent string
		want        Request
		ok          bool
	}{
		{"805ec0000001.cfg", t46u, Request{"yealink", Own, "805ec0000001", "yealink-t46u", ""}, true},
		{"805EC0000001.CFG", "curl/8", Request{"yealink", Own, "805ec0000001", "", ""}, true},
		{"y000000000108.cfg", t46u, Request{"yealink", Common, "805ec0000001", "yealink-t46u", ""}, true},
		{"y000000000108.cfg", "", Request{"yealink", Common, "", "", ""}, true},
		{"y000000000000.boot", t46u, Request{"yealink", Absent, "805ec0000001", "yealink-t46u", ""}, true},
		{"805ec0000001.boot", "", Request{"yealink", Absent, "805ec0000001", "", ""}, true},
		{"805ec0000001-local.cfg", "", Request{"yealink", Absent, "805ec0000001", "", ""}, true},
		{"805ec0000001.cfg", "Yealink W90DM 130.87.0.10 80:5e:c0:d9:c7:44", Request{"yealink", Own, "805ec0000001", "yealink-w90dm", "dect-base"}, true},
		{"../805ec0000001.cfg", "", Request{}, false},
		{"805ec000000g.cfg", "", Request{}, false},
		{"x805ec0000001.cfg", "", Request{}, false},
		{"805ec0000001.cfg.bak", "", Request{}, false},
		{"passwd", t46u, Request{}, false},
	} {
		got, ok := s.Match(c.file, c.agent)
		if ok != c.ok || got != c.want {
			t.Errorf("%s: %+v %v, want %+v %v", c.file, got, ok, c.want, c.ok)
		}
	}
}
