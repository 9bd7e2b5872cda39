package auth

import (
	"context"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// CreateUser makes an account with any role; caller is the administrator who does it. It answers job.CodeConflict where the
// e-mail has an account already: an administrator may know.
func (s *Service) CreateUser(ctx context.Context, caller *account.Principal, n NewUser) (*account.User, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	u, err := s.create(ctx, n)
	if err != nil {
		return nil, err
	}
	s.Record(ctx, by(caller, UserCreated, u.ID.String(), map[string]string{"email": u.Email, "role": string(u.Role)}))
	return u, nil
}

// CreateAdmin makes an administrator, for whoever has the command line.
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

// ChangeUser changes the account id; caller is the administrator who does it. A user who is disabled loses every sign-in, at
// once in this process and within seconds in the others; his API keys work again if he is enabled again.
func (s *Service) ChangeUser(ctx context.Context, caller *account.Principal, id job.ID, c account.Change) (*account.User, error) {
	detail, err := checkChange(&c)
	if err != nil {
		return nil, err
	}
	u, err := s.ledger.ChangeUser(ctx, id, c, s.cut())
	if isNotFound(err) {
		return nil, err
	}
	s.users.changed(ctx, id) // after an error too: the change may have been made
	if err != nil {
		return nil, err
	}
	s.Record(ctx, by(caller, UserChanged, id.String(), detail))
	return u, nil
}

// checkChange also answers what the audit log shall say.
func checkChange(c *account.Change) (map[string]string, error) {
	var m mistakes
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
	return detail, m.err()
}
