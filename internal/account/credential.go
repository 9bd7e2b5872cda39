package account

import (
	"time"

	"github.com/waybill/waybill/internal/job"
)

// Family is one sign-in that is kept alive by refresh tokens. It is one row for its whole life, and names the one refresh
// token that is good at the moment: a family with two live tokens cannot be written down. A family that is revoked is gone.
type Family struct {
	ID        job.ID
	UserID    job.ID
	KeyHash   []byte // SHA-256 of the part that all refresh tokens of the family share
	TokenHash []byte // SHA-256 of the one that is good
	CreatedAt time.Time
	ExpiresAt time.Time // moves with each rotation
}

// Rotation asks to replace the refresh token OldHash by NewHash, in the family that KeyHash names.
type Rotation struct {
	KeyHash   []byte
	OldHash   []byte
	NewHash   []byte
	At        time.Time
	ExpiresAt time.Time
}

// Key is an API key, without its secret.
type Key struct {
	ID         job.ID
	UserID     job.ID
	Name       string
	Scopes     []Scope
	SecretHash []byte // SHA-256
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // to the minute; zero: not yet
}

// Session is a browser that signed in on the sign-in page.
type Session struct {
	ID        job.ID
	UserID    job.ID
	TokenHash []byte // SHA-256
	CreatedAt time.Time
	SeenAt    time.Time // to the minute
	ExpiresAt time.Time
	IP        string
	UserAgent string
}

// Rotated is what became of a Rotation. User is whose family it is; nil: the token had been used before, and the family is
// revoked for it.
type Rotated struct {
	Family *Family
	User   *User
}
