package cleantext

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What Check finds.
var (
	ErrEncoding  = errors.New("the text is not UTF-8")
	ErrControl   = errors.New("text must not have line breaks or control characters")
	ErrDirection = errors.New("text must not have characters that turn the direction of writing")
)

// Check returns nil for text that may be stored, or why not: ErrEncoding, ErrControl,
// ErrDirection.
func Check(text string) error {
	if !utf8.ValidString(text) {
		return ErrEncoding
	}
	for _, r := range text {
		if err := bad(r); err != nil {
			return err
		}
	}
	return nil
}

// Clean leaves out what Check refuses. It is for text that was stored before the
// rule was what it is.
func Clean(text string) string {
	if Check(text) == nil {
		return text
	}
	return strings.Map(func(r rune) rune {
		if bad(r) != nil {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// bad tells why a character is refused. U+FFFD stands for bytes that somebody could
// not read; XML has no U+FFFE and U+FFFF, and the other 64 of their kind are no
// characters either. Line ends that are no controls are U+2028 and U+2029.
func bad(r rune) error {
	switch {
	case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufffd', r&0xfffe == 0xfffe, r >= 0xfdd0 && r <= 0xfdef:
		return ErrControl
	case unicode.Is(unicode.Bidi_Control, r):
		return ErrDirection
	}
	return nil
}
