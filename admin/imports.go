package admin

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/csvtable"
)

// Imported says what an import did or, dry, would do: one item for each row.
type Imported struct {
	DryRun    bool              `json:"dry_run"`
	Written   bool              `json:"written"`
	Charset   string            `json:"charset"`
	Delimiter string            `json:"delimiter"`
	Columns   map[string]string `json:"columns" doc:"our name of each column that is read, and the file's"`
	Unused    []string          `json:"unused" doc:"columns of the file that are not read"`
	Added     int               `json:"added"`
	Changed   int               `json:"changed"`
	Unchanged int               `json:"unchanged"`
	Wrong     int               `json:"wrong"`
	Items     []hotdesk.Verdict `json:"items"`
}

// maxImport is how large a table may be, in bytes.
const maxImport = 32 << 20

// ImportInput is how a table arrives.
type ImportInput struct {
	DryRun  bool   `query:"dry_run" doc:"say what would be done, write nothing"`
	Charset string `query:"charset" enum:"utf-8,utf-16,windows-1252,windows-1251" doc:"found out when it is not given"`
	RawBody []byte `contentType:"text/csv"`
}

func (s *Server) imports() {
	route(s, changeWide(), http.MethodPost, "/devices/import", "Add and change devices as a table (CSV) says", 200, func(ctx context.Context, in *struct {
		ImportInput
		Site  string `query:"site" doc:"of new devices whose row names none"`
		Model string `query:"model" doc:"of new devices whose row names none"`
	}) (*body[Imported], error) {
		t, err := readTable(in.ImportInput, deviceColumns())
		if err != nil {
			return nil, err
		}
		t.preset("site", in.Site)
		t.preset("model", in.Model)
		models := map[string]*string{}
		return s.imported(ctx, in.ImportInput, t, func(c cells) hotdesk.ImportRow { return s.deviceRow(c, models) })
	})
	route(s, changeWide(), http.MethodPost, "/users/import", "Add and change users as a table (CSV) says", 200, func(ctx context.Context, in *struct {
		ImportInput
		PBX string `query:"pbx" doc:"of new users, and of those without a PBX, whose row names none"`
	}) (*body[Imported], error) {
		t, err := readTable(in.ImportInput, userColumns())
		if err != nil {
			return nil, err
		}
		t.preset("pbx", in.PBX)
		return s.imported(ctx, in.ImportInput, t, s.userRow)
	})
}

// imported runs one import. A table with a wrong row is refused as a whole, with
// the verdicts; a dry run tells the same with 200.
func (s *Server) imported(ctx context.Context, in ImportInput, t *importTable, read func(cells) hotdesk.ImportRow) (*body[Imported], error) {
	rows := make([]hotdesk.ImportRow, 0, len(t.Rows))
	for _, row := range t.Rows {
		if row.Err != nil {
			rows = append(rows, hotdesk.ImportRow{Line: row.Line, Err: row.Err})
			continue
		}
		r := read(cells{t, row.Cells})
		r.Line = row.Line
		rows = append(rows, r)
	}
	verdicts, err := s.Desk.Import(ctx, rows, hotdesk.ApplyOptions{DryRun: in.DryRun, By: by(ctx)})
	if err != nil {
		return nil, err
	}
	res := Imported{
		DryRun: in.DryRun, Charset: t.Charset, Delimiter: string(t.Delimiter), Columns: t.columns, Unused: t.unused,
		Added: hotdesk.Count(verdicts, hotdesk.Added), Changed: hotdesk.Count(verdicts, hotdesk.Changed),
		Unchanged: hotdesk.Count(verdicts, hotdesk.Unchanged), Wrong: hotdesk.Count(verdicts, hotdesk.Wrong), Items: verdicts,
	}
	res.Written = !in.DryRun && res.Wrong == 0
	if res.Wrong > 0 && !in.DryRun {
		first := verdicts[slices.IndexFunc(verdicts, func(v hotdesk.Verdict) bool { return v.Verdict == hotdesk.Wrong })]
		return nil, &Problem{
			Title: http.StatusText(http.StatusUnprocessableEntity), Status: http.StatusUnprocessableEntity, Code: "invalid", Import: &res,
			Detail: fmt.Sprintf("%d of %d rows are wrong, nothing was written; the first is line %d: %s", res.Wrong, len(verdicts), first.Line, first.Reason),
		}
	}
	return &body[Imported]{res}, nil
}

// column is one thing that a table may say, and what its column may be called:
// our name, then those of other systems' exports, in letters and digits only.
type column struct {
	name    string
	aliases []string
}

func deviceColumns() []column {
	return []column{
		{"mac", []string{"macaddress", "macaddr", "indirizzomac", "мак"}},
		{"model", []string{"phonemodel", "modello", "модель"}},
		{"site", []string{"office", "location", "sede", "офис", "площадка"}},
		{"desk", []string{"place", "seat", "postazione", "scrivania", "стол", "место"}},
		{"type", nil},
		{"default_user", []string{"user", "utente"}},
		{"language", []string{"lingua", "язык"}},
		{"transport", nil},
		{"blocked", nil},
	}
}

func userColumns() []column {
	return []column{
		{"extension", []string{"exten", "number", "interno", "номер", "добавочный"}},
		{"name", []string{"fullname", "displayname", "nome", "имя", "фио"}},
		{"first_name", []string{"givenname"}},
		{"last_name", []string{"surname", "cognome", "фамилия"}},
		{"pin", nil},
		{"enabled", nil},
		{"hot_desk", []string{"hotdesking"}},
		{"language", []string{"lingua", "язык"}},
		{"caller_id", []string{"outboundcid", "outboundcallerid"}},
		{"off_desk", nil},
		{"pbx", nil},
		{"pbx_extension", nil},
		{"pbx_auth_user", []string{"authid", "authuser"}},
		{"pbx_secret", []string{"authpassword", "secret", "devinfosecret"}},
	}
}

// importTable is a file whose columns are understood.
type importTable struct {
	csvtable.Table
	columns map[string]string
	unused  []string
	at      map[string]int    // our name -> index
	presets map[string]string // for empty cells
}

// readTable reads the file and finds its columns; the first of those that are
// wanted must be among them.
func readTable(in ImportInput, wanted []column) (*importTable, error) {
	file, err := csvtable.Read(in.RawBody, in.Charset)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", hotdesk.ErrInvalid, err)
	}
	t := &importTable{Table: file, columns: map[string]string{}, unused: []string{}, at: map[string]int{}, presets: map[string]string{}}
	for n, head := range file.Header {
		name := meaning(head, wanted)
		switch _, twice := t.at[name]; {
		case name == "":
			if head != "" {
				t.unused = append(t.unused, head)
			}
		case twice:
			return nil, fmt.Errorf("%w: the columns %q and %q both mean %s; remove one", hotdesk.ErrInvalid, t.columns[name], head, name)
		default:
			t.at[name], t.columns[name] = n, head
		}
	}
	if _, ok := t.at[wanted[0].name]; !ok {
		names := make([]string, len(wanted))
		for i, c := range wanted {
			names[i] = c.name
		}
		return nil, fmt.Errorf("%w: no column %s in the first line; it must name the columns: %s", hotdesk.ErrInvalid, wanted[0].name, strings.Join(names, ", "))
	}
	return t, nil
}

// meaning finds a column by its head, whatever its case, spaces and punctuation.
func meaning(head string, wanted []column) string {
	head = plain(head)
	for _, c := range wanted {
		if head == plain(c.name) || slices.Contains(c.aliases, head) {
			return c.name
		}
	}
	return ""
}

var punctuation = regexp.MustCompile(`[^\p{L}\p{N}]+`)

func plain(text string) string { return punctuation.ReplaceAllString(strings.ToLower(text), "") }

func (t *importTable) preset(column, value string) {
	if value != "" {
		t.presets[column] = value
	}
}

// cells is one row.
type cells struct {
	t     *importTable
	cells []string
}

// text is a cell; nil when it is empty: then what is stored stays.
func (c cells) text(column string) *string {
	if n, ok := c.t.at[column]; ok && c.cells[n] != "" {
		return &c.cells[n]
	}
	return nil
}

// orPreset is a cell or, when it is empty, what was given for all. It is for new
// objects: what is stored, a site with its emergency numbers or an account with its
// secret, is changed by a row that says so and by nothing else.
func (c cells) orPreset(column string) *string {
	if text := c.text(column); text != nil {
		return text
	}
	if value, ok := c.t.presets[column]; ok {
		return &value
	}
	return nil
}

// flag is a cell that says yes or no, as spreadsheets in English, Italian and
// Russian write it.
func (c cells) flag(column string) (*bool, error) {
	text := c.text(column)
	if text == nil {
		return nil, nil
	}
	yes := slices.Contains([]string{"yes", "true", "1", "y", "x", "sì", "si", "vero", "да", "истина"}, strings.ToLower(*text))
	no := slices.Contains([]string{"no", "false", "0", "n", "-", "falso", "нет", "ложь"}, strings.ToLower(*text))
	if !yes && !no {
		return nil, fmt.Errorf("%s: %q must be yes or no", column, *text)
	}
	return &yes, nil
}

// asNumber is how a spreadsheet shows a MAC that it took for a number.
var asNumber = regexp.MustCompile(`^\d+([.,]\d+)?[eE]\+\d+$|^\d{1,11}$`)

// deviceRow reads a row of a table of devices; found keeps the models that were
// looked up.
func (s *Server) deviceRow(c cells, found map[string]*string) hotdesk.ImportRow {
	spec := hotdesk.DeviceSpec{
		Model: c.text("model"), Site: c.text("site"), Desk: c.text("desk"), Type: c.text("type"),
		DefaultUser: c.text("default_user"), Language: c.text("language"), Transport: c.text("transport"),
	}
	row := hotdesk.ImportRow{Device: &spec}
	if mac := c.text("mac"); mac != nil {
		spec.MAC = *mac
	}
	mac, macErr := hotdesk.ParseMAC(spec.MAC)
	isNew := macErr == nil && !s.known(mac)
	if isNew {
		spec.Model, spec.Site = c.orPreset("model"), c.orPreset("site")
	}
	if text := spec.Model; text != nil {
		if spec.Model = found[*text]; spec.Model == nil {
			spec.Model, row.Err = s.modelID(*text)
			found[*text] = spec.Model
		}
	}
	var err error
	if spec.Blocked, err = c.flag("blocked"); err != nil {
		row.Err = err
	}
	switch {
	case spec.MAC == "":
		row.Err = fmt.Errorf("the MAC is missing")
	case isNew && spec.Site == nil:
		row.Err = fmt.Errorf("the site is missing; fill the column site, or give one for all: --site NAME")
	case isNew && row.Err == nil && spec.Model == nil:
		row.Err = fmt.Errorf("the model is missing; fill the column model, or give one for all: --model MODEL")
	case macErr == nil: // the rules look at the rest
	case asNumber.MatchString(spec.MAC):
		row.Err = fmt.Errorf("the spreadsheet made a number of the MAC; format the column as text and put the MAC in again")
	}
	return row
}

// known tells whether there is a device with this MAC.
func (s *Server) known(mac hotdesk.MAC) bool {
	_, err := s.Desk.PhoneByMAC(mac)
	return err == nil
}

// modelID accepts a model's id, and as people write it: "Yealink T46U", "T46U".
func (s *Server) modelID(text string) (*string, error) {
	want := plain(text)
	var similar []string
	for _, m := range s.Models {
		_, short, _ := strings.Cut(m.ID, "-")
		if want == plain(m.ID) || want == plain(short) {
			return &m.ID, nil
		}
		if short := plain(short); strings.Contains(want, short) || want != "" && strings.Contains(short, want) {
			similar = append(similar, m.ID)
		}
	}
	if len(similar) == 0 || len(similar) > 5 {
		return nil, fmt.Errorf("unknown model %q; \"hotdeskd device models\" lists the known ones", text)
	}
	return nil, fmt.Errorf("unknown model %q; did you mean %s?", text, strings.Join(similar, " or "))
}

func (s *Server) userRow(c cells) hotdesk.ImportRow {
	spec := hotdesk.UserSpec{
		Name: c.text("name"), PIN: c.text("pin"), Language: c.text("language"),
		CallerID: c.text("caller_id"), OffDesk: c.text("off_desk"),
	}
	row := hotdesk.ImportRow{User: &spec}
	if extension := c.text("extension"); extension != nil {
		spec.Extension = *extension
	}
	// "Nome" is the whole name in one table and the first name beside "Cognome" in another.
	if full := strings.Join(present(c.text("name"), c.text("first_name"), c.text("last_name")), " "); full != "" {
		spec.Name = &full
	}
	pbx := hotdesk.UserPBXSpec{Extension: c.text("pbx_extension"), AuthUser: c.text("pbx_auth_user"), Secret: c.text("pbx_secret")}
	name := c.text("pbx")
	if name == nil {
		name = s.presentPBX(spec.Extension, pbx != (hotdesk.UserPBXSpec{}), c.orPreset("pbx"))
	}
	if name != nil {
		pbx.Name = *name
		spec.PBX = &pbx
	} else if pbx != (hotdesk.UserPBXSpec{}) {
		row.Err = fmt.Errorf("there is an account at a PBX but no pbx; fill the column pbx, or say which with --pbx")
	}
	var err error
	if spec.Enabled, err = c.flag("enabled"); err != nil {
		row.Err = err
	}
	if spec.HotDesk, err = c.flag("hot_desk"); err != nil {
		row.Err = err
	}
	if spec.Extension == "" {
		row.Err = fmt.Errorf("the extension is missing")
	}
	return row
}

// presentPBX is the PBX of a row that names none: a user's own, if there is one and
// the row has something of an account; for a user without one, what was given for
// all.
func (s *Server) presentPBX(extension string, account bool, preset *string) *string {
	u, err := s.Desk.User(hotdesk.Extension(extension))
	switch {
	case err == nil && u.User.PBX != nil && account:
		return &u.User.PBX.Name
	case err == nil && u.User.PBX != nil:
		return nil
	}
	return preset
}

// present are the texts that are there.
func present(texts ...*string) []string {
	var all []string
	for _, t := range texts {
		if t != nil {
			all = append(all, *t)
		}
	}
	return all
}
