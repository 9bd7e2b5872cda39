package auth

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// familyState is what every request with an access token needs to know of the sign-in that the
// token was made from.
type familyState struct {
	UserID    job.ID
	CreatedAt time.Time
}

func (s *Service) loadFamily(ctx context.Context, id job.ID) (*familyState, error) {
	f, err := s.ledger.Family(ctx, id)
	if err != nil {
		return nil, err
	}
	return &familyState{UserID: f.UserID, CreatedAt: f.CreatedAt}, nil
}

// SignIns lists a user's open sign-ins, newest first: at most limit of those made before the id
// before (zero: from the newest on).
func (s *Service) SignIns(ctx context.Context, userID, before job.ID, limit int) ([]*account.SignIn, error) {
	now := s.stamp()
	list, err := s.ledger.SignIns(
		ctx,
		account.SignInFilter{UserID: userID, At: now, CreatedAfter: now.Add(-s.cfg.SignInTTL),
			SeenAfter: now.Add(-SessionIdle), Before: before, Limit: limit},
	)
	for _, in := range list {
		if end := in.CreatedAt.Add(s.cfg.SignInTTL); in.Kind == account.SignInToken && end.Before(in.ExpiresAt) {
			in.ExpiresAt = end
		}
	}
	return list, err
}

// EndSignIn ends one of a user's sign-ins, with the access tokens that were made from it: in this
// process at once, in the others within seconds. The user is the caller or, for an administrator,
// any user.
func (s *Service) EndSignIn(ctx context.Context, caller *account.Principal, userID, id job.ID) error {
	r := s.request(ctx, caller, leastFor(caller, userID), SignInEnded, id.String(), ofUser(caller, userID))
	ended, err := s.ledger.EndSignIn(ctx, r, userID, id)
	s.drop(ctx, ended)
	return err
}

// EndSignIns ends all of a user's sign-ins but the one that the caller came with.
func (s *Service) EndSignIns(ctx context.Context, caller *account.Principal, userID job.ID) error {
	r := s.request(ctx, caller, leastFor(caller, userID), SignInsEnded, userID.String(), nil)
	ended, err := s.ledger.EndSignIns(ctx, r, userID, caller.SignInID)
	s.drop(ctx, ended)
	return err
}

// forget drops what this process and Redis remember of a user and of the sign-ins that a change has
// ended.
func (s *Service) forget(ctx context.Context, userID job.ID, ended account.Ended) {
	s.users.changed(ctx, userID)
	s.drop(ctx, ended)
}

func (s *Service) drop(ctx context.Context, ended account.Ended) {
	s.families.changed(ctx, ended.Families...)
	for _, hash := range ended.Sessions {
		s.browsers.put(digest(hash), browser{ended: true}, 2*loadTimeout)
	}
}
