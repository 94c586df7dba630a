package csvtable

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// The same sheet is read alike however a spreadsheet program saved it.
func TestRead(t *testing.T) {
	italian := "mac;desk\n805ec0000001;Sala perché più città\n805ec0000002;Größe, créée\n"
	russian := "mac;desk\n805ec0000001;Переговорная\n805ec0000002;Стол 5Б\n"
	in := func(text string, encode func(string) (string, error)) []byte {
		b, err := encode(text)
		if err != nil {
			t.Fatal(err)
		}
		return []byte(b)
	}
	western1252, cyrillic1251 := charmap.Windows1252.NewEncoder().String, charmap.Windows1251.NewEncoder().String
	utf16le := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String
	utf16be := unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder().String
	tabs := func(text string) string { return strings.ReplaceAll(text, ";", "\t") }
	for name, c := range map[string]struct {
		data      []byte
		charset   string // given
		found     string
		delimiter rune
		want      string // the second cell of both rows
	}{
		"utf-8":                {[]byte(italian), "", "utf-8", ';', "Sala perché più città|Größe, créée"},
		"utf-8 with a mark":    {[]byte("\xef\xbb\xbf" + russian), "", "utf-8", ';', "Переговорная|Стол 5Б"},
		"utf-16 little endian": {in(tabs(russian), utf16le), "", "utf-16", '\t', "Переговорная|Стол 5Б"},
		"utf-16 big endian":    {in(tabs(italian), utf16be), "", "utf-16", '\t', "Sala perché più città|Größe, créée"},
		"windows-1252":         {in(italian, western1252), "", "windows-1252", ';', "Sala perché più città|Größe, créée"},
		"windows-1251":         {in(russian, cyrillic1251), "", "windows-1251", ';', "Переговорная|Стол 5Б"},
		"1252, as said":        {in(italian, western1252), "windows-1252", "windows-1252", ';', "Sala perché più città|Größe, créée"},
		"1251, as said":        {in("mac,desk\n1,Ё\n2,Й\n", cyrillic1251), "windows-1251", "windows-1251", ',', "Ё|Й"},
		"CRLF":                 {[]byte(strings.ReplaceAll(italian, "\n", "\r\n")), "", "utf-8", ';', "Sala perché più città|Größe, créée"},
		"CR":                   {[]byte(strings.ReplaceAll(italian, "\n", "\r")), "", "utf-8", ';', "Sala perché più città|Größe, créée"},
		"commas and quotes":    {[]byte("\"mac\",\"desk\"\n1,\"a, \"\"b\"\"\"\n2,\u00a0c \n"), "", "utf-8", ',', `a, "b"|c`},
		"a line sep=":          {[]byte("sep=;\r\nmac;desk, or place\r\n1;a\r\n2;b\r\n"), "", "utf-8", ';', "a|b"},
		"empty lines":          {[]byte("\nmac;desk;\n;;\n1;a;\n\n ; ;\n2;b\n;;\n"), "", "utf-8", ';', "a|b"},
	} {
		table, err := Read(c.data, c.charset)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var second []string
		for _, row := range table.Rows {
			if row.Err != nil {
				t.Errorf("%s: line %d: %v", name, row.Line, row.Err)
				continue
			}
			second = append(second, row.Cells[1])
		}
		if got := strings.Join(second, "|"); got != c.want || table.Charset != c.found || table.Delimiter != c.delimiter {
			t.Errorf("%s: %q in %s with %q, want %q in %s with %q", name, got, table.Charset, table.Delimiter, c.want, c.found, c.delimiter)
		}
	}
}

// A row that cannot be read is told with its line; the rows around it are read.
func TestReadBadRows(t *testing.T) {
	table, err := Read([]byte("sep=,\nmac,desk\n1,a\n2,a,b\n3,\"a\nb\"\n4,x\"y\n5\n6,\"open\n7,z"), "")
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		line  int
		cells string
		says  string
	}{
		{3, "1|a", ""}, {4, "", "3 cells under 2 columns"}, {5, "3|a\nb", ""}, {7, "", "quotes"}, {8, "5|", ""}, {9, "", "quotes"},
	}
	if len(table.Rows) != len(want) {
		t.Fatalf("%d rows: %+v", len(table.Rows), table.Rows)
	}
	for i, w := range want {
		row := table.Rows[i]
		if row.Line != w.line || strings.Join(row.Cells, "|") != w.cells || (row.Err == nil) != (w.says == "") || row.Err != nil && !strings.Contains(row.Err.Error(), w.says) {
			t.Errorf("row %d: %+v, want %+v", i, row, w)
		}
	}
}

// What is no table is refused with a word on what to do.
func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		data, charset string
		want          error
	}{
		"nothing":          {"", "", ErrEmpty},
		"empty lines":      {"\n;;\n\n", "", ErrEmpty},
		"a workbook":       {"PK\x03\x04\x00\x00\xff\xff", "", ErrText},
		"not utf-8":        {"mac\n\xe8", "utf-8", ErrText},
		"broken utf-8":     {"name\nNicol\u00f2 Forl\u00ec\nBad\xff\n", "", ErrText},
		"no letters":       {"name\nx\x81\x8d\n", "windows-1252", ErrText},
		"unknown charset":  {"mac\n1", "koi8-r", ErrCharset},
		"too many rows":    {"mac\n" + strings.Repeat("1\n", MaxRows+1), "", ErrTooLong},
		"broken header":    {"mac,\"de\n1", "", nil},
		"strange sep line": {"sep=x\nmacxdesk\n", "", nil},
	} {
		if _, err := Read([]byte(c.data), c.charset); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// Whatever comes in: no panic; rows lie under the header, have as many cells as it,
// come in order, and all text is UTF-8.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{"mac;desk\n1;a\n", "\xef\xbb\xbfmac,desk\r\n1,\"a\nb\"\r\n", "\xff\xfem\x00\n\x001\x00", "mac\n\xcf\xe5\xf0\xe5", "sep=;\na;b\n1\n2;3;4", "a,\"b\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := Read(data, "")
		if err != nil {
			return
		}
		last := 0
		for _, row := range table.Rows {
			if row.Line <= last {
				t.Fatalf("line %d after line %d", row.Line, last)
			}
			last = row.Line
			if row.Err == nil && len(row.Cells) != len(table.Header) {
				t.Fatalf("line %d: %d cells under %d columns", row.Line, len(row.Cells), len(table.Header))
			}
			for _, cell := range row.Cells {
				if !utf8.ValidString(cell) {
					t.Fatalf("line %d: %q", row.Line, cell)
				}
			}
		}
	})
}

// A record with too many cells is refused by its line before any cell is made; cells
// in quotes, and delimiters that stand in a text, are read as the parser does.
func TestField_TeTooManyColumns(t *testing.T) {
	wide := strings.Repeat(",", MaxColumns)
	for text, want := range map[string]string{
		"a,b\n1,2\n" + wide[1:] + "\n":                          "",
		wide + "\n":                                             "line 1: more than 200 columns",
		"a,b\n1,2\n" + wide + "\n":                              "line 3: more than 200 columns",
		"sep=,\na,b\n" + wide + "\n":                            "line 3: more than 200 columns",
		"a,b\n\"" + wide + "\n" + wide + "\",2\n":               "",
		"a,b\n\"say \"\"" + wide + "\"\"\",2\n":                 "",
		"a,b\nit's 5\" wide,2\n" + wide + "\n":                  "line 3: more than 200 columns",
		"a,b\n\"x\ny\",2\n" + strings.Repeat(wide, 1000) + "\n": "line 4: more than 200 columns",
	} {
		_, err := Read([]byte(text), "")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}
