// Package account is the vocabulary of callers: users, roles, principals, keys. It imports only
// internal/job, so that store, auth and api share its terms without sharing code.
package account

import (
	"fmt"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// Role orders what a user may do; each includes the ones before it.
type Role string

const (
	RoleUser     Role = "user"     // own jobs
	RoleViewer   Role = "viewer"   // reads everything
	RoleOperator Role = "operator" // acts on everything
	RoleAdmin    Role = "admin"    // users, audit
)

// rank is 0 for an unknown role.
func (r Role) rank() int {
	switch r {
	case RoleUser:
		return 1
	case RoleViewer:
		return 2
	case RoleOperator:
		return 3
	case RoleAdmin:
		return 4
	}
	return 0
}

// Includes reports whether r may do what needed may; an unknown role may do nothing and is included
// in nothing.
func (r Role) Includes(needed Role) bool {
	mine, least := r.rank(), needed.rank()
	return least > 0 && mine >= least
}

// ParseRole reads a role's exact name.
func ParseRole(s string) (Role, error) {
	if Role(s).rank() == 0 {
		return "", fmt.Errorf("unknown role")
	}
	return Role(s), nil
}

// Scope narrows what an API key may be used for, below what its owner's role allows.
type Scope string

const (
	ScopeJobsRead   Scope = "jobs:read"
	ScopeJobsWrite  Scope = "jobs:write"
	ScopeQueuesRead Scope = "queues:read"
	ScopeQueuesAct  Scope = "queues:write"
	ScopeAdmin      Scope = "admin" // users and audit
)

// Scopes lists all of them.
var Scopes = []Scope{ScopeJobsRead, ScopeJobsWrite, ScopeQueuesRead, ScopeQueuesAct, ScopeAdmin}

// User is an account. PasswordHash never leaves store and auth.
type User struct {
	ID           job.ID
	Email        string // lower case, unique
	Name         string
	Role         Role
	PasswordHash string
	CreatedAt    time.Time
	DisabledAt   time.Time // zero: enabled
	// ValidAfter: sign-ins that were made before it are refused (password change, disabling).
	ValidAfter time.Time
	// PasswordChangeRequired: an administrator set the password, and it opens nothing but the way
	// to another one.
	PasswordChangeRequired bool
}

// Principal is who stands behind one request.
type Principal struct {
	UserID job.ID
	Email  string
	Role   Role
	// KeyID is set where an API key was used; then Scopes are all that it may do. Account routes
	// (passwords, keys) take no key.
	KeyID  job.ID
	Scopes []Scope
	// SignInID is the sign-in (a refresh family or a browser session) that the request came with;
	// zero for API keys.
	SignInID job.ID
	// PasswordChangeRequired: routes other than the one that changes the password are refused. It
	// is never set for API keys.
	PasswordChangeRequired bool
}

// Allows reports whether p may use a route that needs role and scope.
func (p *Principal) Allows(role Role, scope Scope) bool {
	if !p.Role.Includes(role) {
		return false
	}
	if p.KeyID.IsZero() {
		return true
	}
	for _, s := range p.Scopes {
		if s == scope && scope != "" {
			return true
		}
	}
	return false
}

// AuditEntry is one action: who did what to what, when, from where.
type AuditEntry struct {
	ID        job.ID
	At        time.Time
	ActorID   job.ID // zero: not signed in
	Actor     string // the e-mail at that time
	KeyID     job.ID
	Action    string // noun.verb: "user.login", "job.cancel"
	Target    string // what it was done to: an id, a queue, an e-mail
	IP        string
	UserAgent string
	RequestID string
	Detail    map[string]string // never a secret
}
