package account

import (
	"time"

	"github.com/waybill/waybill/internal/job"
)

// Family is one sign-in that is kept alive by refresh tokens. It is one row for its whole life, and
// names the one refresh token that is good at the moment: a family with two live tokens cannot be
// written down. A family that is revoked is gone.
type Family struct {
	ID        job.ID
	UserID    job.ID
	KeyHash   []byte // SHA-256 of the part that all refresh tokens of the family share
	TokenHash []byte // SHA-256 of the one that is good
	CreatedAt time.Time
	ExpiresAt time.Time // moves with each rotation
	// LastUsedAt is when it was rotated last; zero: not yet. IP and UserAgent are of that moment,
	// or of the sign-in.
	LastUsedAt time.Time
	IP         string
	UserAgent  string
}

// Rotation asks to replace the refresh token OldHash by NewHash, in the family that KeyHash names.
type Rotation struct {
	KeyHash   []byte
	OldHash   []byte
	NewHash   []byte
	At        time.Time
	ExpiresAt time.Time
	// CreatedAfter: a family that is as old as this or older has come to its absolute end.
	CreatedAfter time.Time
	IP           string
	UserAgent    string
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

// Rotated is what became of a Rotation. User is whose family it is; nil: the token had been used
// before, and the family is revoked for it.
type Rotated struct {
	Family *Family
	User   *User
}

// SignInKind is the kind of credential that a sign-in gave.
type SignInKind string

const (
	SignInToken   SignInKind = "token"   // access and refresh tokens
	SignInBrowser SignInKind = "browser" // the cookie of the sign-in page
)

// SignIn is a refresh family or a browser session as its owner sees it.
type SignIn struct {
	ID         job.ID
	Kind       SignInKind
	CreatedAt  time.Time
	LastUsedAt time.Time
	ExpiresAt  time.Time
	IP         string
	UserAgent  string
}

// SignInFilter picks a user's sign-ins that are open, newest first.
type SignInFilter struct {
	UserID job.ID
	At     time.Time // what has expired at this time is left out
	// CreatedAfter and SeenAfter leave out families that are too old, and browser sessions that are
	// idle.
	CreatedAfter time.Time
	SeenAfter    time.Time
	Before       job.ID // the last id of the page before
	Limit        int
}

// Ended names the sign-ins that a change has ended, so that copies of them can be dropped.
type Ended struct {
	Families []job.ID
	Sessions [][]byte // hashes of their tokens
}
