package api

import (
	"context"
	"fmt"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// signInList is what callers may do with their own sign-ins, and administrators with those of
// others.
type signInList interface {
	// SignIns lists a user's open sign-ins, newest first: at most limit of those made before the id
	// before; zero: from the newest on.
	SignIns(ctx context.Context, userID, before job.ID, limit int) ([]*account.SignIn, error)
	// EndSignIn returns CodeNotFound for a sign-in of another account.
	EndSignIn(ctx context.Context, caller *account.Principal, userID, id job.ID) error
	// EndSignIns ends all of a user's sign-ins but the one that the caller came with.
	EndSignIns(ctx context.Context, caller *account.Principal, userID job.ID) error
}

type sessionHandler struct{ signIns signInList }

// routes take no API key: a key that leaks must not be able to sign its owner out.
func (h *sessionHandler) routes() []route {
	const user, admin = account.RoleUser, account.RoleAdmin
	return []route{
		{Method: "GET", Path: "/v1/me/sessions", Role: user, Handler: h.list},
		{Method: "DELETE", Path: "/v1/me/sessions", Role: user, Handler: h.endAll, MaxBody: smallBody},
		{Method: "DELETE", Path: "/v1/me/sessions/:id", Role: user, Handler: h.endOwn, MaxBody: smallBody},
		{Method: "GET", Path: "/v1/users/:id/sessions", Role: admin, Handler: h.list},
		{Method: "DELETE", Path: "/v1/users/:id/sessions", Role: admin, Handler: h.endAll, MaxBody: smallBody},
		{Method: "DELETE", Path: "/v1/users/:id/sessions/:session", Role: admin, Handler: h.endOf, MaxBody: smallBody},
	}
}

type sessionBody struct {
	ID         job.ID             `json:"id"`
	Kind       account.SignInKind `json:"kind"`
	CreatedAt  time.Time          `json:"created_at"`
	LastUsedAt time.Time          `json:"last_used_at"`
	ExpiresAt  time.Time          `json:"expires_at"`
	IP         string             `json:"ip"`
	UserAgent  string             `json:"user_agent"`
	Current    bool               `json:"current"`
}

// whose is the user named in the path, or the caller where the path has no id.
func whose(c *gin.Context) (job.ID, error) {
	if c.Param("id") == "" {
		return caller(c).UserID, nil
	}
	id, err := job.ParseID(c.Param("id"))
	if err != nil {
		return job.ID{}, job.NotFound("user")
	}
	return id, nil
}

func (h *sessionHandler) list(c *gin.Context) (any, error) {
	userID, err := whose(c)
	if err != nil {
		return nil, err
	}
	p, err := readPage(c, "sessions "+userID.String())
	if err != nil {
		return nil, err
	}
	list, err := h.signIns.SignIns(c.Request.Context(), userID, p.before, p.ask())
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	current := caller(c).SignInID
	body := func(s *account.SignIn) sessionBody {
		return sessionBody{
			ID:         s.ID,
			Kind:       s.Kind,
			CreatedAt:  s.CreatedAt,
			LastUsedAt: s.LastUsedAt,
			ExpiresAt:  s.ExpiresAt,
			IP:         s.IP,
			UserAgent:  s.UserAgent,
			Current:    s.ID == current,
		}
	}
	return listed(p, list, body, func(s *account.SignIn) job.ID { return s.ID }), nil
}

func (h *sessionHandler) endOwn(c *gin.Context) (any, error) {
	return h.end(c, caller(c).UserID, c.Param("id"))
}

func (h *sessionHandler) endOf(c *gin.Context) (any, error) {
	userID, err := whose(c)
	if err != nil {
		return nil, err
	}
	return h.end(c, userID, c.Param("session"))
}

func (h *sessionHandler) end(c *gin.Context, userID job.ID, session string) (any, error) {
	id, err := job.ParseID(session)
	if err != nil {
		return nil, job.NotFound("session")
	}
	if err := h.signIns.EndSignIn(c.Request.Context(), caller(c), userID, id); err != nil {
		return nil, fmt.Errorf("end session: %w", err)
	}
	return nil, nil
}

// endAll leaves the sign-in that the request came with.
func (h *sessionHandler) endAll(c *gin.Context) (any, error) {
	userID, err := whose(c)
	if err != nil {
		return nil, err
	}
	if err := h.signIns.EndSignIns(c.Request.Context(), caller(c), userID); err != nil {
		return nil, fmt.Errorf("end sessions: %w", err)
	}
	return nil, nil
}
