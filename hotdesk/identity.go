package hotdesk

import (
	"fmt"
	"net/netip"
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

// ParseSource reads an address or network that a PBX may send from.
func ParseSource(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Unmap().WithZone("").Prefix(addr.Unmap().BitLen())
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err
}

// checkSources refuses what is no address or network, and a network of everybody.
func checkSources(where string, given []string) error {
	for i, text := range given {
		prefix, err := ParseSource(text)
		if err != nil {
			return fmt.Errorf("%w: %s: sources[%d]: %q must be an address or a network, like 192.168.1.10 or 192.168.1.0/24", ErrInvalid, where, i, text)
		}
		if prefix.Bits() == 0 {
			return fmt.Errorf("%w: %s: sources[%d]: %q is everybody; name the PBX's own networks", ErrInvalid, where, i, text)
		}
	}
	return nil
}
