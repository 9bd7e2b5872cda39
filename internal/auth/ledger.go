package auth

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// Ledger is where accounts are written down. A missing row is job.CodeNotFound and nothing else is;
// a ledger that cannot be reached is job.CodeUnavailable.
type Ledger interface {
	users
	signIns
	passwordResets
	apiKeys
	auditLog
}

type users interface {
	// CreateUser answers job.CodeConflict where the e-mail is taken.
	CreateUser(ctx context.Context, r account.Request, u *account.User) error
	User(ctx context.Context, id job.ID) (*account.User, error)
	UserByEmail(ctx context.Context, email string) (*account.User, error)
	Users(ctx context.Context, before job.ID, limit int) ([]*account.User, error)
	// ChangeUser answers job.CodeConflict where it would leave no enabled administrator. Disabling
	// and another password end all sign-ins.
	ChangeUser(
		ctx context.Context,
		r account.Request,
		id job.ID,
		c account.Change,
		at time.Time,
	) (*account.User, account.Ended, error)
	// SetPassword ends all sign-ins. It answers job.CodeConflict where the hash is not c.OldHash
	// any more.
	SetPassword(ctx context.Context, r account.Request, c account.PasswordChange) (account.Ended, error)
	Rehash(ctx context.Context, id job.ID, oldHash, newHash string) error
}

type signIns interface {
	// CreateFamily and CreateSession answer job.CodeConflict where the user's password hash is not
	// the one given any more, or the user is disabled.
	CreateFamily(ctx context.Context, f *account.Family, hash string, e account.AuditEntry) error
	Family(ctx context.Context, id job.ID) (*account.Family, error)
	// Rotate answers a user to one caller at most for each token.
	Rotate(ctx context.Context, r account.Rotation) (account.Rotated, error)
	EndFamily(
		ctx context.Context,
		keyHash []byte,
		entry func(*account.Family) account.AuditEntry,
	) (*account.Family, error)
	PurgeFamilies(ctx context.Context, at, createdBefore time.Time, limit int) (int, error)

	CreateSession(ctx context.Context, b *account.Session, hash string, e account.AuditEntry) error
	Session(ctx context.Context, tokenHash []byte) (*account.Session, error)
	TouchSessions(ctx context.Context, ids []job.ID, at time.Time) error
	EndSession(
		ctx context.Context,
		tokenHash []byte,
		entry func(*account.Session) account.AuditEntry,
	) (*account.Session, error)
	PurgeSessions(ctx context.Context, at, idleSince time.Time, limit int) (int, error)

	SignIns(ctx context.Context, f account.SignInFilter) ([]*account.SignIn, error)
	EndSignIn(ctx context.Context, r account.Request, userID, id job.ID) (account.Ended, error)
	EndSignIns(ctx context.Context, r account.Request, userID, except job.ID) (account.Ended, error)
}

type passwordResets interface {
	CreateReset(ctx context.Context, r account.Request, p account.PasswordReset) error
	ResetUser(ctx context.Context, tokenHash []byte, at time.Time) (*account.User, error)
	// ResetPassword is good once for each token.
	ResetPassword(
		ctx context.Context,
		r account.Request,
		tokenHash []byte,
		at time.Time,
		c account.PasswordChange,
	) (account.Ended, error)
	PurgeResets(ctx context.Context, at time.Time, limit int) (int, error)
}

type apiKeys interface {
	// CreateKey answers job.CodeConflict where the user has limit of them.
	CreateKey(ctx context.Context, r account.Request, k *account.Key, limit int) error
	Key(ctx context.Context, id job.ID) (*account.Key, error)
	Keys(ctx context.Context, userID, before job.ID, limit int) ([]*account.Key, error)
	DeleteKey(ctx context.Context, r account.Request, userID, id job.ID) error
	TouchKeys(ctx context.Context, ids []job.ID, at time.Time) error
}

type auditLog interface {
	Record(ctx context.Context, e account.AuditEntry) error
	AuditEntries(ctx context.Context, f account.AuditFilter) ([]*account.AuditEntry, error)
	PurgeAudit(ctx context.Context, before time.Time, limit int) (int, error)
}
