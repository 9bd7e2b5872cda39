package account

import (
	"time"

	"github.com/waybill/waybill/internal/job"
)

// Change is what shall be different about a user; nil fields stay as they are.
type Change struct {
	Name     *string
	Role     *Role
	Disabled *bool
	// Password is in clear until package auth has hashed it.
	Password *string
	// RequireChange goes with Password: the user must change it before he can do anything else.
	RequireChange bool
}

// Actor is who asks for a change of an account. He was looked up before, perhaps seconds ago; the
// transaction that makes the change looks him up again and fails with job.CodeUnauthenticated or
// job.CodeForbidden where he may not any more.
type Actor struct {
	UserID   job.ID // zero: the command line or a stranger, for whom nothing is looked up
	Role     Role   // the least role that he needs; empty: any
	SignInID job.ID // the sign-in that he came with, which must still be open; zero: none
}

// Request is a change of an account: who asks, and the audit entry that is committed together with
// it.
type Request struct {
	Actor Actor
	Entry AuditEntry
}

// PasswordChange replaces a password hash and ends every sign-in of its user.
type PasswordChange struct {
	UserID  job.ID
	OldHash string // the hash must still be this one; empty: whatever it is
	NewHash string
	// ValidAfter is the time before which sign-ins are refused from now on.
	ValidAfter time.Time
}

// PasswordReset is a way back to an account whose password was forgotten. A user has one at most.
type PasswordReset struct {
	UserID    job.ID
	TokenHash []byte // SHA-256
	CreatedAt time.Time
	ExpiresAt time.Time
}

// AuditFilter picks entries of the audit log for a list, newest first. Zero fields don't filter.
type AuditFilter struct {
	ActorID job.ID
	Actor   string // the e-mail at that time
	Action  string
	Target  string
	IP      string
	Since   time.Time
	Until   time.Time // entries at this time and later are left out
	Before  job.ID    // the last id of the page before
	Limit   int       // 1 to 1000
}
