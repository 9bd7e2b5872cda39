package auth

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// Rename gives the caller's account another name.
func (s *Service) Rename(ctx context.Context, caller *account.Principal, name string) (*account.User, error) {
	return s.ChangeUser(ctx, caller, caller.UserID, account.Change{Name: &name})
}

// ChangePassword replaces the caller's password. It ends every sign-in, this one too; API keys stay. Wrong current passwords
// are counted, so that a stolen access token is no way to guess: job.CodeTooMany.
func (s *Service) ChangePassword(ctx context.Context, caller *account.Principal, current, next string) error {
	var m mistakes
	m.add(checkPassword("/current_password", current))
	m.add(checkNewPassword("/new_password", next))
	if err := m.err(); err != nil {
		return err
	}
	try, err := s.throttle.one(ctx, "password", caller.UserID.String(), s.cfg.Limits.Account)
	if err != nil {
		return err
	}
	u, ok, err := s.fits(ctx, caller.UserID, current)
	if err != nil {
		try.undo(ctx)
		return err
	}
	if !ok {
		s.Record(ctx, by(caller, PasswordWrong, caller.UserID.String(), nil))
		return job.Invalid("/current_password", "is wrong")
	}
	try.undo(ctx)
	return s.setPassword(ctx, caller, u, next)
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
	err = s.ledger.SetPassword(ctx, u.ID, u.PasswordHash, hash, s.cut())
	s.users.changed(ctx, u.ID) // after an error too: the change may have been made
	if err != nil {
		return err
	}
	s.Record(ctx, by(caller, PasswordChanged, u.ID.String(), nil))
	return nil
}

// cut is the time before which access tokens are refused from now on. Tokens know when they were issued to the millisecond, so
// it is the next one: none that exists escapes.
func (s *Service) cut() time.Time {
	return s.now().UTC().Truncate(time.Millisecond).Add(time.Millisecond)
}
