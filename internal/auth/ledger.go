package auth

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// Ledger is where accounts are written down. A missing row is job.CodeNotFound and nothing else is; a ledger that cannot be
// reached is job.CodeUnavailable.
type Ledger interface {
	users
	signIns
	apiKeys
	auditLog
}

type users interface {
	// CreateUser answers job.CodeConflict where the e-mail is taken.
	CreateUser(ctx context.Context, u *account.User) error
	User(ctx context.Context, id job.ID) (*account.User, error)
	UserByEmail(ctx context.Context, email string) (*account.User, error)
	Users(ctx context.Context, before job.ID, limit int) ([]*account.User, error)
	// ChangeUser answers job.CodeConflict where it would leave no enabled administrator. Disabling ends all sign-ins.
	ChangeUser(ctx context.Context, id job.ID, c account.Change, at time.Time) (*account.User, error)
	// SetPassword ends all sign-ins. It answers job.CodeConflict where the hash is not oldHash any more.
	SetPassword(ctx context.Context, id job.ID, oldHash, newHash string, validAfter time.Time) error
	Rehash(ctx context.Context, id job.ID, oldHash, newHash string) error
}

type signIns interface {
	CreateFamily(ctx context.Context, f *account.Family) error
	// Rotate answers a user to one caller at most for each token.
	Rotate(ctx context.Context, r account.Rotation) (account.Rotated, error)
	EndFamily(ctx context.Context, keyHash []byte) (*account.Family, error)
	PurgeFamilies(ctx context.Context, at time.Time, limit int) (int, error)

	CreateSession(ctx context.Context, b *account.Session) error
	Session(ctx context.Context, tokenHash []byte) (*account.Session, error)
	TouchSessions(ctx context.Context, ids []job.ID, at time.Time) error
	EndSession(ctx context.Context, tokenHash []byte) (*account.Session, error)
	PurgeSessions(ctx context.Context, at, idleSince time.Time, limit int) (int, error)
}

type apiKeys interface {
	// CreateKey answers job.CodeConflict where the user has limit of them.
	CreateKey(ctx context.Context, k *account.Key, limit int) error
	Key(ctx context.Context, id job.ID) (*account.Key, error)
	Keys(ctx context.Context, userID, before job.ID, limit int) ([]*account.Key, error)
	DeleteKey(ctx context.Context, userID, id job.ID) error
	TouchKeys(ctx context.Context, ids []job.ID, at time.Time) error
}

type auditLog interface {
	Record(ctx context.Context, e account.AuditEntry) error
	AuditEntries(ctx context.Context, f account.AuditFilter) ([]*account.AuditEntry, error)
}
