package phonefile

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// What a phone would read must come out, in order, and what it would choke on
// must be named by its line.
func TestParse(t *testing.T) {
	f, err := Parse(YealinkINI, []byte("#!version:1.0.0.1\n# note\naccount.1.label = Mario = Rossi\nlinekey.2.value =\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.Keys(), []string{"account.1.label", "linekey.2.value"}; !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
	if got := f.Value("account.1.label"); got != "Mario = Rossi" {
		t.Errorf("label %q", got)
	}
	for name, text := range map[string]string{
		"no version line":        "account.1.label = x\n",
		"no equals sign":         "#!version:1.0.0.1\nrubbish\n",
		"a key that comes twice": "#!version:1.0.0.1\na = 1\na = 2\n",
		"no key":                 "#!version:1.0.0.1\n = 2\n",
	} {
		if _, err := Parse(YealinkINI, []byte(text)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: error %v, want ErrSyntax", name, err)
		}
	}
}

// An XML file must come out with its parameters in order, entities resolved.
func TestParseXML(t *testing.T) {
	for _, c := range []struct {
		dialect Dialect
		text    string
		keys    []string
		values  []string
	}{
		{
			SnomXML, `<?xml version="1.0" encoding="utf-8"?><!-- version 3 --><settings><phone-settings e="2">
			<language perm="">Italiano</language><user_name idx="1" perm="R">100</user_name><user_realname idx="1" perm="R">Rossi &amp; <![CDATA[Figli <3]]></user_realname>
			</phone-settings><functionKeys><fkey idx="0" context="active" label="&quot;Out&quot;" perm="R">speed *77*5*</fkey></functionKeys></settings>`,
			[]string{"language", "user_name.1", "user_realname.1", "fkey.0", "fkey.0.context", "fkey.0.label"},
			[]string{"Italiano", "100", "Rossi & Figli <3", "speed *77*5*", "active", `"Out"`},
		},
		{
			GrandstreamXML, "<!-- version 3 -->\n<gs_provision version=\"1\"><mac>c074ad000001</mac><config version=\"1\"><!-- in between --><P271> 1 </P271><P34/></config></gs_provision>",
			[]string{"mac", "P271", "P34"}, []string{"c074ad000001", "1", ""},
		},
	} {
		f, err := Parse(c.dialect, []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		var values []string
		for _, key := range f.Keys() {
			values = append(values, f.Value(key))
		}
		if !slices.Equal(f.Keys(), c.keys) || !slices.Equal(values, c.values) {
			t.Errorf("%s: %q = %q, want %q = %q", c.dialect, f.Keys(), values, c.keys, c.values)
		}
		if got, want := f.Perm("user_name.1"), map[Dialect]string{SnomXML: "R"}[c.dialect]; got != want {
			t.Errorf("%s: perm %q", c.dialect, got)
		}
		if f.Comment() != "version 3" {
			t.Errorf("%s: comment %q", c.dialect, f.Comment())
		}
	}
}

// What is not of the grammar must be refused and never half read.
func TestRefusedXML(t *testing.T) {
	snom := func(settings, keys string) string {
		return "<settings><phone-settings>" + settings + "</phone-settings><functionKeys>" + keys + "</functionKeys></settings>"
	}
	gs := func(config string) string {
		return `<gs_provision version="1"><config version="1">` + config + `</config></gs_provision>`
	}
	for name, c := range map[string]struct {
		dialect Dialect
		text    string
	}{
		"empty":                      {SnomXML, ""},
		"not closed":                 {SnomXML, "<settings><phone-settings>"},
		"another root":               {SnomXML, "<html/>"},
		"two roots":                  {SnomXML, "<settings/><settings/>"},
		"text after the root":        {SnomXML, "<settings/>x"},
		"a document type":            {SnomXML, `<!DOCTYPE s [<!ENTITY a "b">]><settings/>`},
		"an unknown entity":          {SnomXML, snom("<language>&a;</language>", "")},
		"an unknown section":         {SnomXML, "<settings><tbook/></settings>"},
		"a setting that comes twice": {SnomXML, snom(`<user_name idx="1">a</user_name><user_name idx="1">b</user_name>`, "")},
		"a key that comes twice":     {SnomXML, snom("", `<fkey idx="0">line</fkey><fkey idx="0">line</fkey>`)},
		"a key without a number":     {SnomXML, snom("", "<fkey>line</fkey>")},
		"a key among settings":       {SnomXML, snom(`<fkey idx="0">line</fkey>`, "")},
		"a setting among keys":       {SnomXML, snom("", "<language>x</language>")},
		"an unknown attribute":       {SnomXML, snom(`<language lang="x">x</language>`, "")},
		"an unknown perm":            {SnomXML, snom(`<language perm="X">x</language>`, "")},
		"a leading zero":             {SnomXML, snom(`<user_name idx="01">x</user_name>`, "")},
		"an element too deep":        {SnomXML, snom("<language><b/></language>", "")},
		"a line break in a value":    {SnomXML, snom("<language>a&#10;b</language>", "")},
		"text between":               {SnomXML, snom("x", "")},
		"another version":            {GrandstreamXML, `<gs_provision version="2"/>`},
		"named items":                {GrandstreamXML, gs(`<item name="a">b</item>`)},
		"no P value":                 {GrandstreamXML, gs("<Q1>b</Q1>")},
		"a P value that comes twice": {GrandstreamXML, gs("<P1>a</P1><P1>b</P1>")},
		"an attribute":               {GrandstreamXML, gs(`<P1 para="x">a</P1>`)},
		"a namespace":                {GrandstreamXML, `<gs_provision version="1" xmlns="x"/>`},
		"another encoding":           {GrandstreamXML, `<?xml version="1.0" encoding="latin1"?>` + gs("")},
		"an unknown dialect":         {"acme", gs("")},
		"too long":                   {GrandstreamXML, gs("<P1>" + strings.Repeat("a", maxSize) + "</P1>")},
	} {
		if _, err := Parse(c.dialect, []byte(c.text)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: error %v, want ErrSyntax", name, err)
		}
	}
}

// A key belongs to one dialect at most, and nothing else can be written.
func TestValidKey(t *testing.T) {
	for key, want := range map[string]Dialect{
		"phone_setting.ring_type": YealinkINI, "account.1.codec.pcma.enable": YealinkINI, "voice_mail.number.1": YealinkINI, "local_time.ntp_server1": YealinkINI,
		"language": SnomXML, "user_name.1": SnomXML, "fkey.0": SnomXML, "fkey.0.label": SnomXML, "P271": GrandstreamXML, "P23800": GrandstreamXML,
		"": "", "P": "", "P01": "", "p271": SnomXML, "mac": SnomXML, "user_name.01": "", "fkey.x": "", "a b": "", "a.b\nc.d": "", "a=b.c": "", "<a>": "", "fkey.0.perm": "", "a.": "",
		strings.Repeat("a", 129): "",
	} {
		for _, d := range []Dialect{YealinkINI, SnomXML, GrandstreamXML} {
			if got := ValidKey(d, key); got != (d == want) {
				t.Errorf("%q in %s: %v", key, d, got)
			}
		}
	}
}

// Setting a parameter must change it in its place and keep everything else; what
// cannot be written must be refused.
func TestSet(t *testing.T) {
	for _, c := range []struct {
		dialect     Dialect
		text        string
		set, want   string
		wrong, also string
	}{
		{YealinkINI, "#!version:1.0.0.1\na.a = 1\n# note\nb.b = 2\n", "c.c", "#!version:1.0.0.1\na.a = 1\n# note\nb.b = x<&\"\nc.c = x<&\"\n", "P1", "b.b"},
		{
			SnomXML, "<settings><phone-settings><a idx='1' perm='R'>1</a></phone-settings></settings>", "fkey.3.label",
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<settings>\n<phone-settings e=\"2\">\n<a idx=\"1\" perm=\"R\">x&lt;&amp;&#34;</a>\n</phone-settings>\n<functionKeys e=\"2\">\n" +
				"<fkey idx=\"3\" context=\"\" label=\"x&lt;&amp;&#34;\" perm=\"RW\"></fkey>\n</functionKeys>\n</settings>\n", "b.b", "a.1",
		},
		{
			GrandstreamXML, `<gs_provision version="1"><config version="1"><P1>1</P1></config></gs_provision>`, "P2",
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gs_provision version=\"1\">\n<config version=\"1\">\n<P1>x&lt;&amp;&#34;</P1>\n<P2>x&lt;&amp;&#34;</P2>\n</config>\n</gs_provision>\n", "a", "P1",
		},
	} {
		f, err := Parse(c.dialect, []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{c.set, c.also} {
			if err := f.Set(key, `x<&"`); err != nil {
				t.Fatal(err)
			}
			if err := f.Set(key, "a\nb"); !errors.Is(err, ErrSyntax) {
				t.Errorf("%s: a line break: %v", c.dialect, err)
			}
		}
		if err := f.Set(c.wrong, "x"); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %s was taken: %v", c.dialect, c.wrong, err)
		}
		if got := string(f.Bytes()); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// whole checks that whatever parses writes itself so that it parses to the same
// parameters, and then to the same bytes.
func whole(t *testing.T, d Dialect, data []byte) {
	first, err := Parse(d, data)
	if err != nil {
		if !errors.Is(err, ErrSyntax) {
			t.Fatalf("%q: %v", data, err)
		}
		return
	}
	written := first.Bytes()
	second, err := Parse(d, written)
	if err != nil {
		t.Fatalf("%q was written as %q, which does not parse: %v", data, written, err)
	}
	for _, key := range first.Keys() {
		if a, b := first.Value(key), second.Value(key); a != b {
			t.Fatalf("%s was %q and is %q after writing", key, a, b)
		}
	}
	if len(first.Keys()) != len(second.Keys()) {
		t.Fatalf("%q, then %q", first.Keys(), second.Keys())
	}
	if again := second.Bytes(); !bytes.Equal(written, again) {
		t.Fatalf("%q, then %q", written, again)
	}
}

func FuzzYealink(f *testing.F) {
	f.Add([]byte("#!version:1.0.0.1\na = 1\n\n# x\r\nb=2"))
	f.Fuzz(func(t *testing.T, data []byte) { whole(t, YealinkINI, data) })
}

func FuzzSnom(f *testing.F) {
	f.Add([]byte(`<?xml version="1.0"?><!-- v --><settings><phone-settings e="2"><language perm="">It&amp;al</language><user_name idx="1" perm="R">100</user_name></phone-settings><functionKeys><fkey idx="0" context="active" label="x" perm="R">speed *77*</fkey></functionKeys></settings>`))
	f.Fuzz(func(t *testing.T, data []byte) { whole(t, SnomXML, data) })
}

func FuzzGrandstream(f *testing.F) {
	f.Add([]byte(`<?xml version="1.0" encoding="UTF-8"?><!-- v --><gs_provision version="1"><mac>c074ad000001</mac><config version="1"><P271>1</P271><P3>a &lt; b</P3><P4/></config></gs_provision>`))
	f.Fuzz(func(t *testing.T, data []byte) { whole(t, GrandstreamXML, data) })
}
