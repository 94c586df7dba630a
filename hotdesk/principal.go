package hotdesk

import (
	"errors"
	"slices"
	"time"
)

// ErrForbidden: who asks is known and may not do this.
var ErrForbidden = errors.New("not allowed")

// ErrUnauthorized: who asks is not known, or not any more.
var ErrUnauthorized = errors.New("not signed in")

// Role says what somebody may do in the API and the console. Each may do all
// that those before it may.
type Role string

const (
	// RoleViewer looks.
	RoleViewer Role = "viewer"
	// RoleDeskManager logs people in and out, approves phones, sets PINs.
	RoleDeskManager Role = "desk-manager"
	// RoleAdmin changes everything but who may do what.
	RoleAdmin Role = "admin"
	// RoleOwner may also see secrets and make owners.
	RoleOwner Role = "owner"
)

var roles = []Role{RoleViewer, RoleDeskManager, RoleAdmin, RoleOwner}

// Valid tells whether the role is one of the four.
func (r Role) Valid() bool { return slices.Contains(roles, r) }

// May tells whether this role includes another.
func (r Role) May(needed Role) bool {
	return r.Valid() && slices.Index(roles, r) >= slices.Index(roles, needed)
}

// Principal is who asks: a person at the console, a program with a token, or the
// command line on the server itself.
type Principal struct {
	Name string // for the audit log
	Role Role
	Site string // the one site it may see and change; empty: all
	By   Actor  // ByAPI for tokens, ByAdmin for people
}

// Sees tells whether what belongs to a site is within the principal's sight.
func (p Principal) Sees(site string) bool { return p.Site == "" || p.Site == site }

// APIToken is one token of the API as it is listed. Its text is shown once, when
// it is made, and kept as a hash only.
type APIToken struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Role     Role       `json:"role"`
	Site     string     `json:"site,omitempty"`
	Created  time.Time  `json:"created"`
	By       string     `json:"by"`
	Expires  *time.Time `json:"expires"`
	LastUsed *time.Time `json:"last_used"` // since the server's start; null when it was not
}

// TokenSpec is a token to be made.
type TokenSpec struct {
	Name string
	Role Role
	Site string
	TTL  time.Duration // zero: it does not expire
}

// PutAudit puts an audit row into the transaction that it describes, for the
// packages beside this one that keep records of their own.
func PutAudit(tx Txn, row AuditRow) error { return audit(tx, row) }

// NewOperation makes the id of one operation; see AuditRow.Op.
func NewOperation() string { return newOp() }
