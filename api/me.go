package api

import (
	"context"
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// ownAccount is what callers may do with their own account.
type ownAccount interface {
	User(ctx context.Context, id job.ID) (*account.User, error)
	Rename(ctx context.Context, caller *account.Principal, name string) (*account.User, error)
	// ChangePassword ends every sign-in of the caller.
	ChangePassword(ctx context.Context, caller *account.Principal, current, next string) error
}

type meHandler struct{ own ownAccount }

func (h *meHandler) routes() []route {
	user := account.RoleUser
	return []route{
		{Method: "GET", Path: "/v1/me", Role: user, AnyKey: true, OldPassword: true, Handler: h.get},
		{Method: "PATCH", Path: "/v1/me", Role: user, Handler: h.rename, MaxBody: smallBody},
		{
			Method:      "POST",
			Path:        "/v1/me/password",
			Role:        user,
			OldPassword: true,
			Handler:     h.changePassword,
			MaxBody:     smallBody,
		},
	}
}

func (h *meHandler) get(c *gin.Context) (any, error) {
	u, err := h.own.User(c.Request.Context(), caller(c).UserID)
	if err != nil {
		return nil, fmt.Errorf("read own account: %w", err)
	}
	return newUserBody(u), nil
}

func (h *meHandler) rename(c *gin.Context) (any, error) {
	var name *string
	if err := bindJSON(c, fields{"name": optional(&name, (*scanner).anyString)}); err != nil {
		return nil, err
	}
	if name == nil {
		return h.get(c)
	}
	u, err := h.own.Rename(c.Request.Context(), caller(c), *name)
	if err != nil {
		return nil, fmt.Errorf("change own account: %w", err)
	}
	return newUserBody(u), nil
}

func (h *meHandler) changePassword(c *gin.Context) (any, error) {
	var current, next string
	if err := bindJSON(c, fields{"current_password": text(&current), "new_password": text(&next)}); err != nil {
		return nil, err
	}
	if err := required("/current_password", current, "/new_password", next); err != nil {
		return nil, err
	}
	if err := h.own.ChangePassword(c.Request.Context(), caller(c), current, next); err != nil {
		return nil, fmt.Errorf("change password: %w", err)
	}
	return nil, nil
}

func (s *scanner) anyString(to *string) { s.str(to, 0, len(s.data)) }

// optional reads a member that may be left out, or be null: then to stays nil.
func optional[T any](to **T, read func(*scanner, *T)) func(*scanner) {
	return func(s *scanner) {
		if s.peek() == 'n' {
			s.literal("null")
			return
		}
		v := new(T)
		read(s, v)
		*to = v
	}
}
