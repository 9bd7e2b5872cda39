package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/auth"
	"github.com/waybill/waybill/internal/job"
)

// userAdmin is what administrators may do with accounts.
type userAdmin interface {
	// Users lists accounts, newest first: at most limit of those made before the id before; zero:
	// from the newest on.
	Users(ctx context.Context, before job.ID, limit int) ([]*account.User, error)
	// CreateUser answers CodeConflict where the e-mail has an account.
	CreateUser(ctx context.Context, caller *account.Principal, n auth.NewUser) (*account.User, error)
	// ChangeUser answers CodeConflict where it would leave no enabled administrator.
	ChangeUser(ctx context.Context, caller *account.Principal, id job.ID, c account.Change) (*account.User, error)
}

type userHandler struct{ users userAdmin }

func (h *userHandler) routes() []route {
	admin := account.RoleAdmin
	return []route{
		{Method: "GET", Path: "/v1/users", Role: admin, Handler: h.list},
		{Method: "POST", Path: "/v1/users", Role: admin, Handler: h.create, MaxBody: smallBody},
		{Method: "PATCH", Path: "/v1/users/:id", Role: admin, Handler: h.change, MaxBody: smallBody},
	}
}

// userBody is an account as its owner and administrators see it.
type userBody struct {
	ID         job.ID       `json:"id"`
	Email      string       `json:"email"`
	Name       string       `json:"name"`
	Role       account.Role `json:"role"`
	CreatedAt  time.Time    `json:"created_at"`
	DisabledAt *time.Time   `json:"disabled_at"`

	PasswordChangeRequired bool `json:"password_change_required"`
}

func newUserBody(u *account.User) userBody {
	return userBody{
		ID:                     u.ID,
		Email:                  u.Email,
		Name:                   u.Name,
		Role:                   u.Role,
		CreatedAt:              u.CreatedAt,
		DisabledAt:             timeOrNull(u.DisabledAt),
		PasswordChangeRequired: u.PasswordChangeRequired,
	}
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (h *userHandler) list(c *gin.Context) (any, error) {
	p, err := readPage(c, "users")
	if err != nil {
		return nil, err
	}
	users, err := h.users.Users(c.Request.Context(), p.before, p.ask())
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return listed(p, users, newUserBody, func(u *account.User) job.ID { return u.ID }), nil
}

func (h *userHandler) create(c *gin.Context) (any, error) {
	in := auth.NewUser{Role: account.RoleUser}
	err := bindJSON(c, fields{"email": text(&in.Email), "password": text(&in.Password), "name": text(&in.Name),
		"role": text((*string)(&in.Role))})
	if err != nil {
		return nil, err
	}
	u, err := h.users.CreateUser(c.Request.Context(), caller(c), in)
	if err != nil {
		return nil, fmt.Errorf("create user: %w", err)
	}
	return reply{Status: http.StatusCreated, Body: newUserBody(u)}, nil
}

func (h *userHandler) change(c *gin.Context) (any, error) {
	id, err := job.ParseID(c.Param("id"))
	if err != nil {
		return nil, job.NotFound("user")
	}
	var in account.Change
	err = bindJSON(
		c,
		fields{"name": optional(&in.Name, (*scanner).anyString), "disabled": optional(&in.Disabled, (*scanner).boolean),
			"role":     optional(&in.Role, func(s *scanner, r *account.Role) { s.anyString((*string)(r)) }),
			"password": optional(&in.Password, (*scanner).anyString)},
	)
	if err != nil {
		return nil, err
	}
	in.RequireChange = in.Password != nil
	u, err := h.users.ChangeUser(c.Request.Context(), caller(c), id, in)
	if err != nil {
		return nil, fmt.Errorf("change user: %w", err)
	}
	return newUserBody(u), nil
}
