package auth

import (
	"context"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// Refresh exchanges a refresh token for new tokens. Each token works once: of two concurrent calls
// at most one succeeds, and a token that comes a second time ends its family, since a copy of it
// must be in other hands. A client whose answer was lost signs in again.
func (s *Service) Refresh(ctx context.Context, token string) (Tokens, error) {
	old, ok := parseRefresh(token)
	if !ok {
		return Tokens{}, badRefresh()
	}
	now, next, o := s.stamp(), old.next(), OriginOf(ctx)
	done, err := s.ledger.Rotate(
		ctx,
		account.Rotation{KeyHash: old.keyHash(), OldHash: old.tokenHash(), NewHash: next.tokenHash(),
			At: now, ExpiresAt: now.Add(RefreshTTL), CreatedAfter: now.Add(-s.cfg.SignInTTL), IP: o.IP,
			UserAgent: o.UserAgent},
	)
	switch {
	case isNotFound(err):
		return Tokens{}, badRefresh()
	case err != nil:
		return Tokens{}, err
	case done.User == nil:
		s.families.changed(ctx, done.Family.ID)
		s.recordReuse(ctx, done.Family)
		return Tokens{}, badRefresh()
	case !done.User.DisabledAt.IsZero() || done.Family.CreatedAt.Before(done.User.ValidAfter):
		// Written at the very moment at which all sign-ins of the user were ended.
		if _, err := s.ledger.EndFamily(ctx, old.keyHash(), nil); err != nil && !isNotFound(err) {
			return Tokens{}, err
		}
		return Tokens{}, badRefresh()
	}
	return s.tokens(done.User, done.Family.ID, next)
}

func badRefresh() error {
	return &job.Error{
		Code:    job.CodeUnauthenticated,
		Message: "the refresh token is wrong, used, revoked or expired: sign in again",
	}
}

func (s *Service) recordReuse(ctx context.Context, f *account.Family) {
	s.log.WarnContext(ctx, "refresh token used twice", "user_id", f.UserID, "family_id", f.ID)
	s.Record(ctx, by(nil, RefreshReused, f.UserID.String(), map[string]string{"family": f.ID.String()}))
}

// Logout ends the family of a refresh token, whichever of its tokens it is. To end what does not
// live is no mistake. Access tokens that were made from it end with it: at once in this process,
// within seconds in the others.
func (s *Service) Logout(ctx context.Context, token string) error {
	t, ok := parseRefresh(token)
	if !ok {
		return nil
	}
	f, err := s.ledger.EndFamily(ctx, t.keyHash(), func(f *account.Family) account.AuditEntry {
		return s.entry(
			ctx,
			&account.Principal{UserID: f.UserID},
			UserSignedOut,
			f.UserID.String(),
			map[string]string{"family": f.ID.String()},
		)
	})
	switch {
	case isNotFound(err):
		return nil
	case err != nil:
		return err
	}
	s.families.changed(ctx, f.ID)
	return nil
}
