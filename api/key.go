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

// keyRing is what callers may do with their own API keys, and administrators with those of others.
type keyRing interface {
	// Keys lists a user's keys, newest first: at most limit of those made before the id before;
	// zero: from the newest on.
	Keys(ctx context.Context, userID, before job.ID, limit int) ([]*account.Key, error)
	// CreateKey also answers the key's text, this once. It is CodeConflict where the caller has too
	// many.
	CreateKey(ctx context.Context, caller *account.Principal, n auth.NewKey) (*account.Key, string, error)
	// RevokeKey answers CodeNotFound for a key that is not the user's.
	RevokeKey(ctx context.Context, caller *account.Principal, userID, id job.ID) error
}

type keyHandler struct{ keys keyRing }

// routes take no API key: a key that leaks must not be able to make others.
func (h *keyHandler) routes() []route {
	const user, admin = account.RoleUser, account.RoleAdmin
	return []route{
		{Method: "GET", Path: "/v1/api-keys", Role: user, Handler: h.list},
		{Method: "POST", Path: "/v1/api-keys", Role: user, Handler: h.create, MaxBody: smallBody},
		{Method: "DELETE", Path: "/v1/api-keys/:id", Role: user, Handler: h.revokeOwn, MaxBody: smallBody},
		{Method: "GET", Path: "/v1/users/:id/api-keys", Role: admin, Handler: h.list},
		{Method: "DELETE", Path: "/v1/users/:id/api-keys/:key", Role: admin, Handler: h.revokeOf, MaxBody: smallBody},
	}
}

type keyBody struct {
	ID         job.ID          `json:"id"`
	Name       string          `json:"name"`
	Scopes     []account.Scope `json:"scopes"`
	CreatedAt  time.Time       `json:"created_at"`
	ExpiresAt  *time.Time      `json:"expires_at"`
	LastUsedAt *time.Time      `json:"last_used_at"`
}

func newKeyBody(k *account.Key) keyBody {
	return keyBody{ID: k.ID, Name: k.Name, Scopes: k.Scopes, CreatedAt: k.CreatedAt, ExpiresAt: timeOrNull(k.ExpiresAt),
		LastUsedAt: timeOrNull(k.LastUsedAt)}
}

// madeKeyBody is the one answer that holds a key.
type madeKeyBody struct {
	ID        job.ID          `json:"id"`
	Name      string          `json:"name"`
	Key       string          `json:"key"`
	Scopes    []account.Scope `json:"scopes"`
	CreatedAt time.Time       `json:"created_at"`
	ExpiresAt *time.Time      `json:"expires_at"`
}

func (h *keyHandler) list(c *gin.Context) (any, error) {
	userID, err := whose(c)
	if err != nil {
		return nil, err
	}
	p, err := readPage(c, "api-keys "+userID.String())
	if err != nil {
		return nil, err
	}
	keys, err := h.keys.Keys(c.Request.Context(), userID, p.before, p.ask())
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	return listed(p, keys, newKeyBody, func(k *account.Key) job.ID { return k.ID }), nil
}

func (h *keyHandler) create(c *gin.Context) (any, error) {
	var in auth.NewKey
	err := bindJSON(
		c,
		fields{"name": text(&in.Name), "expires_at": func(s *scanner) { s.instant(&in.ExpiresAt, earliest, latest()) },
			"scopes": func(s *scanner) { s.scopes(&in.Scopes) }},
	)
	if err != nil {
		return nil, err
	}
	k, secret, err := h.keys.CreateKey(c.Request.Context(), caller(c), in)
	if err != nil {
		return nil, fmt.Errorf("create API key: %w", err)
	}
	return reply{Status: http.StatusCreated, Body: madeKeyBody{ID: k.ID, Name: k.Name, Key: secret, Scopes: k.Scopes,
		CreatedAt: k.CreatedAt, ExpiresAt: timeOrNull(k.ExpiresAt)}}, nil
}

// latest is as far as RFC 3339 goes. How long a key may live is for auth to say.
func latest() time.Time { return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) }

// scopes reads a list of scopes, which auth knows. An empty one is refused: taken for "left out",
// it would allow more than was asked for.
func (s *scanner) scopes(to *[]account.Scope) {
	var words []string
	s.strs(&words, 1, maxTypeName)
	if s.stop == nil && words != nil && len(words) == 0 {
		s.refuse("must have one scope at least")
	}
	for _, w := range words {
		*to = append(*to, account.Scope(w))
	}
}

func (h *keyHandler) revokeOwn(c *gin.Context) (any, error) {
	return h.revoke(c, caller(c).UserID, c.Param("id"))
}

func (h *keyHandler) revokeOf(c *gin.Context) (any, error) {
	userID, err := whose(c)
	if err != nil {
		return nil, err
	}
	return h.revoke(c, userID, c.Param("key"))
}

func (h *keyHandler) revoke(c *gin.Context, userID job.ID, key string) (any, error) {
	id, err := job.ParseID(key)
	if err != nil {
		return nil, job.NotFound("API key")
	}
	if err := h.keys.RevokeKey(c.Request.Context(), caller(c), userID, id); err != nil {
		return nil, fmt.Errorf("revoke API key: %w", err)
	}
	return nil, nil
}
