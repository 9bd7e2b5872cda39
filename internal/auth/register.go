package auth

import (
	"context"
	"errors"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// NewUser is a request for an account.
type NewUser struct {
	Email    string
	Password string
	Name     string
	Role     account.Role // Register makes it account.RoleUser
}

// check names every mistake at once, and brings the values into the form in which they are stored.
// The password stays as it is.
func (n *NewUser) check() error {
	var m fieldErrors
	email, err := checkEmail(n.Email)
	m.add(err)
	name, err := checkLabel("/name", n.Name, 0)
	m.add(err)
	m.add(checkNewPassword("/password", n.Password, email))
	if _, err := account.ParseRole(string(n.Role)); err != nil {
		m.add(job.Invalid("/role", "must be user, viewer, operator or admin"))
	}
	n.Email, n.Name = email, name
	return m.err()
}

// Register makes an account, if registration is open.
//
// If the e-mail has an account already, the answer and its time are the same, with an unused id,
// and nothing is stored: a stranger does not learn which addresses have accounts. (A following
// attempt to sign in tells; only a confirmation by e-mail could close that.)
func (s *Service) Register(ctx context.Context, n NewUser) (*account.User, error) {
	if !s.cfg.Open {
		return nil, &job.Error{
			Code:    job.CodeForbidden,
			Message: "registration is closed: ask an administrator for an account",
		}
	}
	n.Role = account.RoleUser
	if err := n.check(); err != nil {
		return nil, err
	}
	try, err := s.throttle.one(ctx, "register", OriginOf(ctx).network(), s.cfg.Limits.Register)
	if err != nil {
		return nil, err
	}
	u, err := s.create(ctx, n, func(u *account.User) account.Request {
		return s.request(ctx, nil, "", UserRegistered, u.ID.String(), map[string]string{"account": "new"})
	})
	known := errors.Is(err, job.ErrConflict)
	if err != nil && !known {
		try.undo(ctx)
		return nil, err
	}
	if known {
		s.Record(
			ctx,
			by(nil, UserRegistered, u.Email, map[string]string{"account": "existed before: nothing was changed"}),
		)
	}
	return u, nil
}

// create writes the account together with the audit entry of what request answers. After
// job.CodeConflict it answers what would have been written.
func (s *Service) create(
	ctx context.Context,
	n NewUser,
	request func(*account.User) account.Request,
) (*account.User, error) {
	hash, err := s.hasher.hash(ctx, n.Password)
	if err != nil {
		return nil, err
	}
	u := &account.User{
		ID:           job.NewID(),
		Email:        n.Email,
		Name:         n.Name,
		Role:         n.Role,
		PasswordHash: hash,
		CreatedAt:    s.stamp(),
	}
	return u, s.ledger.CreateUser(ctx, request(u), u)
}
