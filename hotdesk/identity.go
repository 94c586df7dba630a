package hotdesk

import (
	"fmt"
	"slices"
	"strings"
)

// The headers in which a PBX may want the caller's number (identity of a PBX).
const (
	IdentityPAI  = "pai"  // P-Asserted-Identity, RFC 3325: for who trusts us
	IdentityRPID = "rpid" // Remote-Party-ID, draft-ietf-sip-privacy-04
	IdentityPPI  = "ppi"  // P-Preferred-Identity, RFC 3325: a wish of who is not trusted
	IdentityFrom = "from" // the user part of From
)

var identities = []string{IdentityPAI, IdentityRPID, IdentityPPI, IdentityFrom}

// IdentityHeaders are the headers in which this PBX is told the caller's number: the
// chosen ones, or else those that fit its mode.
func (p PBX) IdentityHeaders() []string {
	switch {
	case len(p.Identity) > 0:
		return p.Identity
	case p.Mode == "register":
		return []string{IdentityPPI}
	}
	return []string{IdentityPAI}
}

// checkIdentity refuses words that are no header we write, and one given twice.
func checkIdentity(where string, given []string) error {
	for i, word := range given {
		if !slices.Contains(identities, word) {
			return fmt.Errorf("%w: %s: identity[%d]: %q must be one of %s", ErrInvalid, where, i, word, strings.Join(identities, ", "))
		}
		if slices.Contains(given[:i], word) {
			return fmt.Errorf("%w: %s: identity[%d]: %q stands there twice", ErrInvalid, where, i, word)
		}
	}
	return nil
}
