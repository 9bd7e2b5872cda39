package auth

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// What the audit log says of accounts.
const (
	UserRegistered  = "user.register"
	UserCreated     = "user.create"
	UserChanged     = "user.change"
	UserSignedIn    = "user.login"
	SignInFailed    = "user.login_failed"
	UserSignedOut   = "user.logout"
	PasswordChanged = "user.password_change"
	PasswordWrong   = "user.password_wrong"
	RefreshReused   = "refresh.reuse"
	KeyCreated      = "key.create"
	KeyRevoked      = "key.revoke"
)

const auditPatience = 5 * time.Second

// Record writes an entry to the audit log; an id, a time and an origin that it lacks are filled in. The deed has been done: it
// is recorded though the client goes away, and a ledger that refuses is somebody's to look at, not the client's.
func (s *Service) Record(ctx context.Context, e account.AuditEntry) {
	s.fill(ctx, &e)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditPatience)
	defer cancel()
	if err := s.ledger.Record(ctx, e); err != nil {
		s.log.ErrorContext(ctx, "audit entry lost", "action", e.Action, "actor_id", e.ActorID, "target", e.Target, "err", err)
	}
}

func (s *Service) fill(ctx context.Context, e *account.AuditEntry) {
	if e.ID.IsZero() {
		e.ID = job.NewID()
	}
	if e.At.IsZero() {
		e.At = s.now()
	}
	e.At = e.At.UTC().Truncate(time.Microsecond)
	if o := OriginOf(ctx); e.IP == "" && e.UserAgent == "" && e.RequestID == "" {
		e.IP, e.UserAgent, e.RequestID = o.IP, o.UserAgent, o.RequestID
	}
}

// AuditEntries lists what f lets through, newest first.
func (s *Service) AuditEntries(ctx context.Context, f account.AuditFilter) ([]*account.AuditEntry, error) {
	return s.ledger.AuditEntries(ctx, f)
}

// by is an entry about what somebody did who proved who he is; nil: the operator, at the command line.
func by(caller *account.Principal, action, target string, detail map[string]string) account.AuditEntry {
	e := account.AuditEntry{Action: action, Target: target, Detail: detail}
	if caller != nil {
		e.ActorID, e.Actor, e.KeyID = caller.UserID, caller.Email, caller.KeyID
	}
	return e
}

func principalOf(u *account.User) *account.Principal {
	return &account.Principal{UserID: u.ID, Email: u.Email, Role: u.Role}
}

// stamp is the time as the ledger keeps it.
func (s *Service) stamp() time.Time { return s.now().UTC().Truncate(time.Microsecond) }
