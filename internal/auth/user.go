package auth

import (
	"context"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// CreateUser makes an account with any role; caller is the administrator who does it. It answers
// job.CodeConflict where the e-mail has an account already: an administrator may know.
func (s *Service) CreateUser(ctx context.Context, caller *account.Principal, n NewUser) (*account.User, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	u, err := s.create(ctx, n, func(u *account.User) account.Request {
		return s.request(
			ctx,
			caller,
			account.RoleAdmin,
			UserCreated,
			u.ID.String(),
			map[string]string{"email": u.Email, "role": string(u.Role)},
		)
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// CreateAdmin makes an administrator, from the command line.
func (s *Service) CreateAdmin(ctx context.Context, email, password string) (*account.User, error) {
	return s.CreateUser(ctx, nil, NewUser{Email: email, Password: password, Role: account.RoleAdmin})
}

// User answers one account.
func (s *Service) User(ctx context.Context, id job.ID) (*account.User, error) {
	return s.ledger.User(ctx, id)
}

// Users lists accounts, newest first.
func (s *Service) Users(ctx context.Context, before job.ID, limit int) ([]*account.User, error) {
	return s.ledger.Users(ctx, before, limit)
}

// ChangeUser changes the account id; caller is the administrator who does it, or nil for the
// command line. A user who is disabled loses every sign-in, at once in this process and within
// seconds in the others; his API keys work again if he is enabled again. A user whose password is
// set by an administrator loses every sign-in too, and must change it first of all.
func (s *Service) ChangeUser(
	ctx context.Context,
	caller *account.Principal,
	id job.ID,
	c account.Change,
) (*account.User, error) {
	if c.Password != nil {
		hash, err := s.hashFor(ctx, id, *c.Password)
		if err != nil {
			return nil, err
		}
		c.Password = &hash
	}
	return s.change(ctx, caller, account.RoleAdmin, id, c)
}

// hashFor checks a password that an administrator sets for the account id, and hashes it.
func (s *Service) hashFor(ctx context.Context, id job.ID, password string) (string, error) {
	u, err := s.ledger.User(ctx, id)
	if err != nil {
		return "", err
	}
	if err := checkNewPassword("/password", password, u.Email); err != nil {
		return "", err
	}
	return s.hasher.hash(ctx, password)
}

// change lets the ledger make a change, if caller is of the role least at that moment.
func (s *Service) change(
	ctx context.Context,
	caller *account.Principal,
	least account.Role,
	id job.ID,
	c account.Change,
) (*account.User, error) {
	detail, err := checkChange(&c)
	if err != nil {
		return nil, err
	}
	action := UserChanged
	if len(detail) == 0 && c.Password != nil {
		action = PasswordSet
	}
	u, ended, err := s.ledger.ChangeUser(
		ctx,
		s.request(ctx, caller, least, action, id.String(), detail),
		id,
		c,
		s.cut(),
	)
	if isNotFound(err) {
		return nil, err
	}
	s.forget(ctx, id, ended) // after an error too: the change may have been made
	return u, err
}

// SetPassword gives the account of an e-mail another password, from the command line.
func (s *Service) SetPassword(ctx context.Context, email, password string, requireChange bool) (*account.User, error) {
	normal, err := checkEmail(email)
	if err != nil {
		return nil, err
	}
	u, err := s.ledger.UserByEmail(ctx, normal)
	if err != nil {
		return nil, err
	}
	return s.ChangeUser(ctx, nil, u.ID, account.Change{Password: &password, RequireChange: requireChange})
}

// checkChange also answers what the audit log shall say.
func checkChange(c *account.Change) (map[string]string, error) {
	var m fieldErrors
	detail := map[string]string{}
	if c.Name != nil {
		name, err := checkLabel("/name", *c.Name, 0)
		m.add(err)
		c.Name, detail["name"] = &name, name
	}
	if c.Role != nil {
		if _, err := account.ParseRole(string(*c.Role)); err != nil {
			m.add(job.Invalid("/role", "must be user, viewer, operator or admin"))
		}
		detail["role"] = string(*c.Role)
	}
	if c.Disabled != nil {
		detail["disabled"] = "false"
		if *c.Disabled {
			detail["disabled"] = "true"
		}
	}
	if c.Password != nil && len(detail) > 0 {
		detail["password"] = "set"
	}
	return detail, m.err()
}
