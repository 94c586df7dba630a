package ivr

import (
	"errors"
	"fmt"
)

var (
	// ErrNotAcceptable: the offer has nothing that this server speaks, or no audio
	// could flow. In SIP it is 488 (RFC 3261 section 21.4.26). What is returned is a
	// NotAcceptable, which says why.
	ErrNotAcceptable = errors.New("no common codec or transport")
	// ErrBadOffer: the session description cannot be read. In SIP it is 400. What is
	// returned is a BadOffer, which says why.
	ErrBadOffer = errors.New("malformed session description")
)

// Codes of a Warning (RFC 3261 section 20.43).
const (
	warnAddress   = 301 // incompatible network address formats
	warnTransport = 302 // incompatible transport protocol
	warnMedia     = 304 // media type not available
	warnFormat    = 305 // incompatible media format
	warnAttribute = 306 // attribute not understood
	warnMulticast = 330
	warnOther     = 399
)

// NotAcceptable is an ErrNotAcceptable with what a Warning header can say of it.
// Text is ours: it has no quote, no backslash and nothing of the phone's.
type NotAcceptable struct {
	Code int // warn-code of RFC 3261 section 20.43
	Text string
}

func (e NotAcceptable) Error() string { return fmt.Sprintf("%v: %s", ErrNotAcceptable, e.Text) }

// Unwrap is ErrNotAcceptable.
func (NotAcceptable) Unwrap() error { return ErrNotAcceptable }

// Warning gives the error's code and text to whoever knows it by this method only.
func (e NotAcceptable) Warning() (code int, text string) { return e.Code, e.Text }

// BadOffer is an ErrBadOffer with what a Warning header can say of it.
type BadOffer struct {
	Code int
	Text string
}

func (e BadOffer) Error() string { return fmt.Sprintf("%v: %s", ErrBadOffer, e.Text) }

// Unwrap is ErrBadOffer.
func (BadOffer) Unwrap() error { return ErrBadOffer }

// Warning gives the error's code and text to whoever knows it by this method only.
func (e BadOffer) Warning() (code int, text string) { return e.Code, e.Text }

func notAcceptable(code int, text string) error { return NotAcceptable{code, text} }
func badOffer(text string) error                { return BadOffer{warnOther, text} }
