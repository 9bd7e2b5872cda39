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
	PasswordSet     = "user.password_set" // by an administrator
	ResetRequested  = "user.password_reset_request"
	PasswordReset   = "user.password_reset"
	SignInEnded     = "user.sign_in_end"
	SignInsEnded    = "user.sign_ins_end"
	RequestRefused  = "request.refuse"
	PasswordWrong   = "user.password_wrong"
	RefreshReused   = "refresh.reuse"
	KeyCreated      = "key.create"
	KeyRevoked      = "key.revoke"
)

const auditTimeout = 5 * time.Second

// Record writes an entry to the audit log; an id, a time and an origin that it lacks are filled in.
// The action has happened, so it is recorded even if the client goes away. A ledger that refuses
// the entry is logged as an error and does not fail the request.
func (s *Service) Record(ctx context.Context, e account.AuditEntry) {
	s.fill(ctx, &e)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	if err := s.ledger.Record(ctx, e); err != nil {
		s.log.ErrorContext(
			ctx,
			"audit entry lost",
			"action",
			e.Action,
			"actor_id",
			e.ActorID,
			"target",
			e.Target,
			"err",
			err,
		)
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

// entry is complete, for the transaction of what it tells of.
func (s *Service) entry(
	ctx context.Context,
	caller *account.Principal,
	action, target string,
	detail map[string]string,
) account.AuditEntry {
	e := by(caller, action, target, detail)
	s.fill(ctx, &e)
	return e
}

// request is what the ledger needs to know of a change that caller asks for: who he is, so that his
// rights are looked up again in the transaction that makes it, and what the audit log shall say.
// Without a caller it is the command line's.
func (s *Service) request(
	ctx context.Context,
	caller *account.Principal,
	least account.Role,
	action, target string,
	detail map[string]string,
) account.Request {
	r := account.Request{Entry: s.entry(ctx, caller, action, target, detail)}
	if caller != nil {
		r.Actor = account.Actor{UserID: caller.UserID, Role: least, SignInID: caller.SignInID}
	}
	return r
}

// by is an entry about an action of an authenticated principal; nil: the operator, at the command
// line.
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
