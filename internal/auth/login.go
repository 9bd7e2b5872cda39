package auth

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// Tokens are what a sign-in answers.
type Tokens struct {
	Access    string
	Refresh   string
	ExpiresIn time.Duration // of Access
}

// Login exchanges an e-mail and password for tokens. An unknown user, a wrong password and a disabled account get the same
// answer, after the same time. Who fails often gets job.CodeTooMany.
func (s *Service) Login(ctx context.Context, email, password string) (Tokens, error) {
	u, err := s.signIn(ctx, email, password)
	if err != nil {
		return Tokens{}, err
	}
	now, refresh := s.stamp(), newRefresh()
	f := &account.Family{ID: job.NewID(), UserID: u.ID, KeyHash: refresh.keyHash(), TokenHash: refresh.tokenHash(),
		CreatedAt: later(now, u.ValidAfter), ExpiresAt: now.Add(RefreshTTL)}
	if err := s.ledger.CreateFamily(ctx, f); err != nil {
		return Tokens{}, err
	}
	s.Record(ctx, by(principalOf(u), UserSignedIn, u.ID.String(), map[string]string{"by": "password"}))
	return s.tokens(u, f.ID, refresh)
}

func (s *Service) tokens(u *account.User, family job.ID, refresh refreshToken) (Tokens, error) {
	access, err := s.signer.issue(u, family)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: access, Refresh: refresh.String(), ExpiresIn: AccessTTL}, nil
}

// later keeps what begins after a change of password from being taken for what began before it, when two clocks disagree.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// signIn checks an e-mail and password. Whether there is such a user may not show: not in the answer, nor in its time.
func (s *Service) signIn(ctx context.Context, rawEmail, password string) (*account.User, error) {
	if err := checkPassword("/password", password); err != nil {
		return nil, err
	}
	email, valid := normalEmail(rawEmail)
	try, err := s.throttle.signIn(ctx, s.cfg.Limits, email, OriginOf(ctx).network())
	if err != nil {
		return nil, err
	}
	u, ok, err := s.compare(ctx, email, valid, password)
	switch {
	case err != nil: // undecided
		try.undo(ctx)
		return nil, err
	case !ok:
		s.recordFailure(ctx, u)
		return nil, &job.Error{Code: job.CodeUnauthenticated, Message: "the e-mail or the password is wrong"}
	}
	try.succeeded(ctx)
	return u, nil
}

// compare answers the user, if there is one, and whether he may come in with that password.
func (s *Service) compare(ctx context.Context, email string, valid bool, password string) (*account.User, bool, error) {
	u, hash := (*account.User)(nil), ""
	if valid {
		found, err := s.ledger.UserByEmail(ctx, email)
		if err != nil && !isNotFound(err) {
			return nil, false, err
		}
		if found != nil {
			u, hash = found, found.PasswordHash
		}
	}
	ok, outdated, err := s.hasher.verify(ctx, password, hash)
	if err != nil {
		return nil, false, err
	}
	if outdated {
		s.rehash(ctx, u, password)
	}
	return u, ok && u.DisabledAt.IsZero(), nil
}

// rehash brings a hash to the cost of today. If it fails, the next sign-in tries again.
func (s *Service) rehash(ctx context.Context, u *account.User, password string) {
	hash, err := s.hasher.hash(ctx, password)
	if err == nil {
		err = s.ledger.Rehash(ctx, u.ID, u.PasswordHash, hash)
	}
	if err != nil {
		s.log.WarnContext(ctx, "password not rehashed", "user_id", u.ID, "err", err)
	}
}

// recordFailure names the account, if there is one. What was typed instead is not kept: it may be a password.
func (s *Service) recordFailure(ctx context.Context, u *account.User) {
	e := by(nil, SignInFailed, "", map[string]string{"reason": "no such account"})
	if u != nil {
		e.Target, e.Detail["reason"] = u.ID.String(), "wrong password"
		if !u.DisabledAt.IsZero() {
			e.Detail["reason"] = "account disabled"
		}
	}
	s.Record(ctx, e)
}
