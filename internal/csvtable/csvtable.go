package csvtable

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table is a file as rows of text.
type Table struct {
	Charset   string // "utf-8", "utf-16", "windows-1252" or "windows-1251"
	Delimiter rune
	Header    []string // as written, without spaces around
	Rows      []Row    // without empty ones
}

// Row is one record under the header.
type Row struct {
	Line  int      // where it begins in the file, from 1
	Cells []string // as many as the header has; without spaces around
	Err   error    // why it cannot be read; Cells is nil then
}

// How many rows a file may have, and cells a row: spreadsheets go on to the right, so
// far more than there are columns to know, and few enough to be looked through.
const (
	MaxRows    = 200_000
	MaxColumns = 200
)

// Errors of Read.
var (
	ErrEmpty   = errors.New("the file is empty; the first line must name the columns")
	ErrCharset = errors.New("unknown charset; use utf-8, utf-16, windows-1252 or windows-1251")
	ErrText    = errors.New("the file is no text, or some of its bytes are broken; save the sheet as CSV (UTF-8)")
	ErrTooLong = fmt.Errorf("the file has more than %d rows; split it", MaxRows)
)

// Read reads a whole file. An empty charset is found out. A line "sep=;" before
// the header names the delimiter, as spreadsheet programs write it; otherwise the
// header tells.
func Read(data []byte, charset string) (Table, error) {
	text, charset, err := decode(data, charset)
	if err != nil {
		return Table{}, err
	}
	t := Table{Charset: charset}
	skipped := 0
	if first, rest, _ := strings.Cut(text, "\n"); len(strings.TrimRight(first, "\r")) == len("sep=;") && strings.HasPrefix(first, "sep=") {
		t.Delimiter, _ = utf8.DecodeRuneInString(first[len("sep="):])
		text, skipped = rest, 1
	}
	if t.Delimiter == 0 {
		t.Delimiter = delimiter(text)
	}
	if !slices.Contains(delimiters(), t.Delimiter) {
		return t, fmt.Errorf("sep=%c: the delimiter must be a comma, a semicolon or a tab", t.Delimiter)
	}
	if line := tooWide(text, t.Delimiter); line > 0 {
		return t, fmt.Errorf("line %d: more than %d columns; delete those that are not needed", line+skipped, MaxColumns)
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.FieldsPerRecord, r.ReuseRecord = t.Delimiter, -1, true
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		row := Row{}
		var syntax *csv.ParseError
		switch {
		case errors.As(err, &syntax):
			row.Line = syntax.StartLine + skipped
			row.Err = fmt.Errorf("the quotes do not match (%w)", syntax.Err)
		case err != nil:
			return t, err
		default:
			row.Line, _ = r.FieldPos(0)
			row.Line += skipped
			row.Cells = trimmed(cells)
		}
		switch {
		case row.Err == nil && !slices.ContainsFunc(row.Cells, func(cell string) bool { return cell != "" }):
			continue
		case t.Header == nil && row.Err != nil:
			return t, fmt.Errorf("line %d: %w", row.Line, row.Err)
		case t.Header == nil:
			t.Header = row.Cells
			continue
		case len(t.Rows) == MaxRows:
			return t, ErrTooLong
		}
		t.Rows = append(t.Rows, row.fit(len(t.Header)))
	}
	if t.Header == nil {
		return t, ErrEmpty
	}
	return t, nil
}

// tooWide is the line of the first record with more cells than may be; 0: none has.
// It reads quotes as encoding/csv does, which would make every cell first.
func tooWide(text string, delimiter rune) (line int) {
	cells, quoted, begins := 1, false, true
	line = 1
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '"' && quoted && i+1 < len(text) && text[i+1] == '"':
			i++ // one that belongs to the text
		case c == '"' && (quoted || begins):
			quoted = !quoted
		case c == '\n':
			if line++; !quoted {
				cells = 1
			}
		case c == byte(delimiter) && !quoted:
			if cells++; cells > MaxColumns {
				return line
			}
		}
		begins = !quoted && (c == '\n' || c == byte(delimiter))
	}
	return 0
}

// fit gives a row as many cells as the header has. Cells that are left out at the
// end are empty; more than the header has mean a delimiter inside a text.
func (r Row) fit(n int) Row {
	if r.Err != nil {
		return r
	}
	for len(r.Cells) > n && r.Cells[len(r.Cells)-1] == "" {
		r.Cells = r.Cells[:len(r.Cells)-1]
	}
	if len(r.Cells) > n {
		return Row{Line: r.Line, Err: fmt.Errorf("%d cells under %d columns; put quotes around a text that has the delimiter in it", len(r.Cells), n)}
	}
	for len(r.Cells) < n {
		r.Cells = append(r.Cells, "")
	}
	return r
}

// trimmed copies the cells without the spaces around them, no-break ones included.
func trimmed(cells []string) []string {
	out := make([]string, len(cells))
	for i, cell := range cells {
		out[i] = strings.TrimSpace(cell)
	}
	return out
}

func delimiters() []rune { return []rune{',', ';', '\t'} }

// delimiter is the one that the header has most of, outside quotes.
func delimiter(text string) rune {
	counts := map[rune]int{}
	quoted := false
	header := strings.TrimLeft(text, "\r\n")
	for _, c := range header {
		if c == '"' {
			quoted = !quoted
		}
		if !quoted && (c == '\n' || c == '\r') {
			break
		}
		if !quoted {
			counts[c]++
		}
	}
	best := ','
	for _, d := range delimiters() {
		if counts[d] > counts[best] {
			best = d
		}
	}
	return best
}

// binary tells whether decoded text has what no spreadsheet writes.
func binary(text []byte) bool { return bytes.IndexByte(text, 0) >= 0 }
