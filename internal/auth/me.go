package auth

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// Rename gives the caller's account another name.
func (s *Service) Rename(ctx context.Context, caller *account.Principal, name string) (*account.User, error) {
	return s.change(ctx, caller, account.RoleUser, caller.UserID, account.Change{Name: &name})
}

// ChangePassword replaces the caller's password. It ends every sign-in, this one too; API keys
// stay. Wrong current passwords are counted, so that a stolen access token is no way to guess:
// job.CodeTooMany.
func (s *Service) ChangePassword(ctx context.Context, caller *account.Principal, current, next string) error {
	var m fieldErrors
	m.add(checkPassword("/current_password", current))
	m.add(checkNewPassword("/new_password", next, caller.Email))
	if next == current {
		m.add(job.Invalid("/new_password", "must not be the password of before"))
	}
	if err := m.err(); err != nil {
		return err
	}
	try, err := s.throttle.one(ctx, "password", caller.UserID.String(), s.cfg.Limits.Account)
	if err != nil {
		return err
	}
	ok, err := false, errChanged
	for n := 0; n < maxChanges && isConflict(err); n++ { // a sign-in may bring the hash up to date at this moment
		var u *account.User
		if u, ok, err = s.fits(ctx, caller.UserID, current); err == nil && ok {
			err = s.setPassword(ctx, caller, u, next)
		}
	}
	if err != nil {
		try.undo(ctx)
		return err
	}
	if !ok {
		s.recordBounded(ctx, s.failures, caller.UserID.String(), by(caller, PasswordWrong, caller.UserID.String(), nil))
		return job.Invalid("/current_password", "is wrong")
	}
	try.undo(ctx)
	return nil
}

func (s *Service) fits(ctx context.Context, id job.ID, password string) (*account.User, bool, error) {
	u, err := s.ledger.User(ctx, id)
	if err != nil {
		return nil, false, err
	}
	ok, _, err := s.hasher.verify(ctx, password, u.PasswordHash)
	return u, ok, err
}

func (s *Service) setPassword(ctx context.Context, caller *account.Principal, u *account.User, password string) error {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	ended, err := s.ledger.SetPassword(
		ctx,
		s.request(ctx, caller, account.RoleUser, PasswordChanged, u.ID.String(), nil),
		account.PasswordChange{UserID: u.ID, OldHash: u.PasswordHash, NewHash: hash, ValidAfter: s.cut()},
	)
	s.forget(ctx, u.ID, ended) // after an error too: the change may have been made
	return err
}

// cut is the time before which sign-ins are refused from now on. It lies a millisecond ahead, so
// that one which was made at this very moment does not escape; the sign-ins that the ledger knows
// of are ended there in any case.
func (s *Service) cut() time.Time {
	return s.now().UTC().Truncate(time.Millisecond).Add(time.Millisecond)
}
