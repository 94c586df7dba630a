package admin

import (
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
)

// A table as a spreadsheet writes it makes devices and users; the answer says how
// it was read and what became of each row.
func TestImport(t *testing.T) {
	d := newDesk(t)
	d.office()
	got := d.want("POST", "/devices/import?site=roma&dry_run=true", "\xef\xbb\xbfMAC Address;Modello;Postazione;Nota;Blocked\r\n80:5E:C0:00:00:10;Yealink T46U;Sala A;x;FALSO\r\n805ec0000001;;2-15;;\r\n", 200)
	if got["written"] != false || got["added"] != 1.0 || got["changed"] != 1.0 || got["charset"] != "utf-8" || got["delimiter"] != ";" {
		t.Errorf("dry run: %v", got)
	}
	if unused, _ := json.Marshal(got["unused"]); string(unused) != `["Nota"]` {
		t.Errorf("unused columns: %s", unused)
	}
	d.want("GET", "/devices/805ec0000010", "", 404)
	russian, err := charmap.Windows1251.NewEncoder().String("mac;model;site;стол\n805ec0000010;t46u;roma;Переговорная\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := d.want("POST", "/devices/import", russian, 200); got["written"] != true || got["charset"] != "windows-1251" {
		t.Errorf("%v", got)
	}
	if got := d.want("GET", "/devices/805ec0000010", "", 200); got["desk"] != "Переговорная" || got["model"] != "yealink-t46u" || got["id"] != "HD0004" {
		t.Errorf("%v", got)
	}
	users := "Number,FirstName,LastName,AuthID,AuthPassword,PIN\n200,Jörg,Weiß,a200,s3cret,5091\n201,Anna,,,,5092\n"
	if got := d.want("POST", "/users/import?pbx=main", users, 200); got["added"] != 2.0 {
		t.Errorf("%v", got)
	}
	if got := d.want("GET", "/users/200", "", 200); got["name"] != "Jörg Weiß" || got["pin_set"] != true || !strings.Contains(asText(t, got["pbx"]), `"auth_user":"a200"`) || strings.Contains(asText(t, got), "s3cret") {
		t.Errorf("%v", got)
	}
	d.want("POST", "/users/import", "Interno;Nome;Cognome;PIN\n210;André;Niño;5093\n211;Zoë;;5094\n", 200)
	for extension, name := range map[string]string{"210": "André Niño", "211": "Zoë"} {
		if got := d.want("GET", "/users/"+extension, "", 200); got["name"] != name {
			t.Errorf("%s is called %v, want %s", extension, got["name"], name)
		}
	}
	if got := d.want("POST", "/users/import?pbx=main", users, 200); got["unchanged"] != 2.0 {
		t.Errorf("the same again: %v", got)
	}
}

// What is given for all rows is for new devices and users: it moves no device to
// another site, whose emergency numbers it would get, and takes no user's account.
func TestImportPresetsChangeNothingStored(t *testing.T) {
	d := newDesk(t)
	d.office()
	d.want("POST", "/apply", `
sites: [{name: milano}]
pbx: [{name: two, mode: trunk, proxy: "127.0.0.1:5081"}]
users: [{extension: "101", pbx: {name: two, auth_user: a101, secret: s3cret}}]
`, 200)
	before := d.want("GET", "/users/101", "", 200)
	d.want("POST", "/devices/import?site=milano&model=yealink-t46u", "mac;desk\n805ec0000001;9-9\n805ec0000030;9-8\n", 200)
	for mac, site := range map[string]string{"805ec0000001": "roma", "805ec0000030": "milano"} {
		if got := d.want("GET", "/devices/"+mac, "", 200); got["site"] != site || got["desk"] == "" {
			t.Errorf("%s: %v", mac, got)
		}
	}
	if got := d.want("POST", "/users/import?pbx=main", "extension;name;pin\n101;Anna;\n102;;\n220;New;5095\n", 200); got["changed"] != 1.0 || got["added"] != 1.0 {
		t.Errorf("%v", got)
	}
	if got := d.want("GET", "/users/101", "", 200); asText(t, got) != asText(t, before) {
		t.Errorf("was %v, is %v", before, got)
	}
	for extension, pbx := range map[string]string{"102": "main", "220": "main"} {
		if got := d.want("GET", "/users/"+extension, "", 200); !strings.Contains(asText(t, got["pbx"]), `"name":"`+pbx+`"`) {
			t.Errorf("%s: %v", extension, got)
		}
	}
	d.want("POST", "/users/import?pbx=main", "extension;pbx_auth_user\n101;b101\n", 200)
	if got := asText(t, d.want("GET", "/users/101", "", 200)["pbx"]); !strings.Contains(got, `"name":"two"`) || !strings.Contains(got, `"auth_user":"b101"`) {
		t.Errorf("a new auth_user of a stored account: %s", got)
	}
	if u, err := d.User("101"); err != nil || u.User.PBX.Sealed == "" {
		t.Errorf("a new auth_user of a stored account lost its secret: %+v %v", u.User.PBX, err)
	}
}

func asText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A table with wrong rows is refused as a whole, with a verdict on every row that
// says how to mend it, and without a PIN or a secret of the file.
func TestImportRefused(t *testing.T) {
	d := newDesk(t)
	d.office()
	for _, c := range []struct {
		path, table string
		says        []string
	}{
		{"/devices/import?site=roma&model=yealink-t46u", "mac;desk\n805e00018697;a\n8,05E+11;b\n41300000002;c\n;d\n805e00018697;e\n805ec0000021;a;b\n", []string{
			"5 of 6 rows are wrong, nothing was written; the first is line 3", "made a number of the MAC", "MAC is missing", "stands in line 2 already", "3 cells under 2 columns",
		}},
		{"/devices/import?site=roma", "mac;model;blocked\n805ec0000020;T46;no\n805ec0000021;nokia;no\n805ec0000022;t46u;maybe\n", []string{
			"did you mean yealink-t46u?", "hotdeskd device models", `"maybe" must be yes or no`,
		}},
		{"/devices/import", "mac;model\n805ec0000020;t46u\n", []string{"the site is missing"}},
		{"/devices/import", "mac;site\n805ec0000020;roma\n", []string{"the model is missing"}},
		{"/users/import", "extension,pin,pbx_secret,enabled\n200,1234,,yes\n201,5091,canary77,yes\n,5091,,\n202,5091,,perhaps\n", []string{
			"weak PIN", "fill the column pbx", "extension is missing", "must be yes or no",
		}},
	} {
		w := d.ask("POST", c.path, c.table)
		if w.Code != 422 || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		rows := strings.Count(c.table, "\n") - 1
		if p.Code != "invalid" || p.Import == nil || len(p.Import.Items) != rows || p.Import.Written {
			t.Fatalf("%s: %s", c.path, w.Body)
		}
		all := p.Detail
		for _, v := range p.Import.Items {
			all += "\n" + v.Reason
		}
		for _, says := range c.says {
			if !strings.Contains(all, says) {
				t.Errorf("%s: nothing says %q in\n%s", c.path, says, all)
			}
		}
		if strings.Contains(w.Body.String(), "canary77") || strings.Contains(w.Body.String(), "1234") {
			t.Errorf("%s: a secret of the file is told: %s", c.path, w.Body)
		}
	}
	if got := d.want("GET", "/devices", "", 200); len(got["items"].([]any)) != 3 {
		t.Errorf("devices: %v", got)
	}
	for _, c := range []struct{ path, table, says string }{
		{"/devices/import", "", "request body is required"},
		{"/devices/import", "\n\n", "the file is empty"},
		{"/devices/import", "805ec0000020;yealink-t46u\n", "must name the columns: mac, model"},
		{"/users/import", "interno;number;pin\n", `"interno" and "number" both mean extension`},
		{"/users/import", "PK\x03\x04\x00\x00\xff", "save the sheet as CSV"},
		{"/devices/import?dryrun=true&site=roma&model=t46u", "mac\n805ec0000020\n", "unknown query parameter"},
		{"/users/import?charset=koi8-r", "extension\n200\n", "charset"},
	} {
		if got := asText(t, d.want("POST", c.path, c.table, map[bool]int{true: 400, false: 422}[c.table == ""])); !strings.Contains(unquote(got), c.says) {
			t.Errorf("%q: %s", c.table, got)
		}
	}
}

// unquote makes quotes in JSON text readable.
func unquote(text string) string { return strings.ReplaceAll(text, `\"`, `"`) }

// Who may change one site only, or nothing, may not import.
func TestImportRights(t *testing.T) {
	d := newDesk(t)
	d.office()
	for _, p := range []string{"/devices/import", "/users/import"} {
		for _, spec := range []string{`{"name":"v","role":"viewer"}`, `{"name":"d","role":"desk-manager"}`, `{"name":"s","role":"admin","site":"roma"}`} {
			token := d.want("POST", "/tokens", spec, 201)["token"].(string)
			if got := d.remote(token, "POST", "/api/v1"+p, "mac\n805ec0000020\n").Code; got != 403 {
				t.Errorf("%s %s: %d", p, spec, got)
			}
			d.want("DELETE", "/tokens/"+spec[9:10], "", 204)
		}
	}
}
