package csvtable

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// The charsets that Read knows.
const (
	utf8Name    = "utf-8"
	utf16Name   = "utf-16"
	western     = "windows-1252"
	cyrillic    = "windows-1251"
	utf8Mark    = "\xef\xbb\xbf"
	utf16Little = "\xff\xfe"
	utf16Big    = "\xfe\xff"
)

// decode brings a file into UTF-8, without a byte order mark and with plain line
// ends.
func decode(data []byte, charset string) (text, found string, err error) {
	if charset == "" {
		charset = detect(data)
	}
	var from encoding.Encoding
	switch charset {
	case utf8Name:
		data = bytes.TrimPrefix(data, []byte(utf8Mark))
		if !utf8.Valid(data) {
			return "", charset, ErrText
		}
	case utf16Name:
		from = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case western:
		from = charmap.Windows1252
	case cyrillic:
		from = charmap.Windows1251
	default:
		return "", charset, ErrCharset
	}
	if from != nil {
		if data, err = from.NewDecoder().Bytes(data); err != nil {
			return "", charset, ErrText
		}
	}
	if binary(data) || from != nil && bytes.ContainsRune(data, utf8.RuneError) { // bytes that are no text in this charset
		return "", charset, ErrText
	}
	// A lone carriage return ends a line in files of old spreadsheet programs.
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	return string(bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))), charset, nil
}

// mostlyUTF8 tells whether a file is UTF-8 with some broken bytes: then it is
// refused, and not read as something else with every accent wrong.
func mostlyUTF8(data []byte) bool {
	letters, broken := 0, 0
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && n == 1:
			broken++
		case n > 1:
			letters++
		}
		data = data[n:]
	}
	return letters > broken
}

// detect finds out the charset: by the byte order mark, by being valid UTF-8,
// else by how letters above ASCII stand. In Windows-1251 they make whole words; in
// Windows-1252 they are accents, rarely two of them side by side.
func detect(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte(utf16Little)), bytes.HasPrefix(data, []byte(utf16Big)):
		return utf16Name
	case utf8.Valid(data), mostlyUTF8(data):
		return utf8Name
	}
	words, all := 0, 0
	run := 0
	count := func() {
		all += run
		if run >= 3 {
			words += run
		}
		run = 0
	}
	for _, b := range data {
		if b >= 0xc0 {
			run++
		} else {
			count()
		}
	}
	count()
	if words*2 > all {
		return cyrillic
	}
	return western
}
