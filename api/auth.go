package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/auth"
	"github.com/waybill/waybill/internal/job"
)

// accounts is everything that people may do with accounts. Its errors are a job.Error where the
// caller may know them.
type accounts interface {
	signIns
	passwordResets
	ownAccount
	signInList
	keyRing
	userAdmin
	auditReader
}

// signIns is how strangers become callers.
type signIns interface {
	// Register answers alike whether the e-mail has an account or not.
	Register(ctx context.Context, n auth.NewUser) (*account.User, error)
	Login(ctx context.Context, email, password string) (auth.Tokens, error)
	Refresh(ctx context.Context, refreshToken string) (auth.Tokens, error)
	// Logout is no mistake for a token that is not good any more.
	Logout(ctx context.Context, refreshToken string) error
}

// passwordResets is how those who forgot their password come back.
type passwordResets interface {
	// MailsResets reports whether the deployment sends e-mail.
	MailsResets() bool
	// RequestReset answers alike whether the e-mail has an account or not. It is CodeForbidden
	// where no mail can be sent.
	RequestReset(ctx context.Context, email string) error
	// ConfirmReset answers CodeInvalid at /token for one that is wrong, used or expired.
	ConfirmReset(ctx context.Context, token, password string) error
}

type authHandler struct {
	signIns signIns
	resets  passwordResets
}

func (h *authHandler) routes() []route {
	return []route{
		{Method: "POST", Path: "/v1/auth/register", Public: true, Handler: h.register, MaxBody: smallBody},
		{Method: "POST", Path: "/v1/auth/login", Public: true, Handler: h.login, MaxBody: smallBody},
		{Method: "POST", Path: "/v1/auth/refresh", Public: true, Handler: h.refresh, MaxBody: smallBody},
		{Method: "POST", Path: "/v1/auth/logout", Public: true, Handler: h.logout, MaxBody: smallBody},
		{Method: "POST", Path: "/v1/auth/password-reset", Public: true, Handler: h.requestReset, MaxBody: smallBody},
		{
			Method:  "POST",
			Path:    "/v1/auth/password-reset/confirm",
			Public:  true,
			Handler: h.confirmReset,
			MaxBody: smallBody,
		},
	}
}

// accountRoutes are all routes that deal with accounts.
func accountRoutes(a accounts) []route {
	var all []route
	for _, h := range []interface{ routes() []route }{
		&authHandler{a, a}, &meHandler{a}, &sessionHandler{a}, &keyHandler{a}, &userHandler{a}, &auditHandler{a},
	} {
		all = append(all, h.routes()...)
	}
	return all
}

func (h *authHandler) register(c *gin.Context) (any, error) {
	var in auth.NewUser
	if err := bindJSON(c, fields{"email": text(&in.Email), "password": text(&in.Password),
		"name": text(&in.Name)}); err != nil {
		return nil, err
	}
	u, err := h.signIns.Register(c.Request.Context(), in)
	if err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	return reply{Status: http.StatusCreated, Body: newUserBody(u)}, nil
}

func (h *authHandler) login(c *gin.Context) (any, error) {
	var email, password string
	if err := bindJSON(c, fields{"email": text(&email), "password": text(&password)}); err != nil {
		return nil, err
	}
	if err := required("/email", email, "/password", password); err != nil {
		return nil, err
	}
	t, err := h.signIns.Login(c.Request.Context(), email, password)
	if err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	return tokenReply(t), nil
}

func (h *authHandler) refresh(c *gin.Context) (any, error) {
	token, err := bindRefreshToken(c)
	if err != nil {
		return nil, err
	}
	t, err := h.signIns.Refresh(c.Request.Context(), token)
	if err != nil {
		return nil, fmt.Errorf("refresh: %w", err)
	}
	return tokenReply(t), nil
}

func (h *authHandler) logout(c *gin.Context) (any, error) {
	token, err := bindRefreshToken(c)
	if err != nil {
		return nil, err
	}
	if err := h.signIns.Logout(c.Request.Context(), token); err != nil {
		return nil, fmt.Errorf("logout: %w", err)
	}
	return nil, nil
}

// requestReset answers before anything is looked up.
func (h *authHandler) requestReset(c *gin.Context) (any, error) {
	var email string
	if err := bindJSON(c, fields{"email": text(&email)}); err != nil {
		return nil, err
	}
	if err := required("/email", email); err != nil {
		return nil, err
	}
	if err := h.resets.RequestReset(c.Request.Context(), email); err != nil {
		return nil, fmt.Errorf("request password reset: %w", err)
	}
	return reply{Status: http.StatusAccepted, Body: struct {
		Status string `json:"status"`
	}{"requested"}}, nil
}

func (h *authHandler) confirmReset(c *gin.Context) (any, error) {
	var token, password string
	if err := bindJSON(c, fields{"token": text(&token), "new_password": text(&password)}); err != nil {
		return nil, err
	}
	if err := required("/token", token, "/new_password", password); err != nil {
		return nil, err
	}
	if err := h.resets.ConfirmReset(c.Request.Context(), token, password); err != nil {
		return nil, fmt.Errorf("reset password: %w", err)
	}
	return nil, nil
}

func bindRefreshToken(c *gin.Context) (token string, err error) {
	if err := bindJSON(c, fields{"refresh_token": text(&token)}); err != nil {
		return "", err
	}
	return token, required("/refresh_token", token)
}

// tokenBody is the answer of RFC 6749, section 5.1, which also asks that it is not cached.
type tokenBody struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"` // seconds
	// PasswordChangeRequired: until then the access token opens nothing else.
	PasswordChangeRequired bool `json:"password_change_required,omitempty"`
}

func tokenReply(t auth.Tokens) reply {
	return reply{
		Secret: true,
		Body: tokenBody{
			AccessToken:            t.Access,
			RefreshToken:           t.Refresh,
			TokenType:              "Bearer",
			ExpiresIn:              int(t.ExpiresIn.Seconds()),
			PasswordChangeRequired: t.PasswordChangeRequired,
		},
	}
}

// fields is an object whose members are read by one function each.
type fields map[string]func(s *scanner)

func (f fields) member(s *scanner, name []byte) bool {
	read, ok := f[string(name)]
	if ok {
		read(s)
	}
	return ok
}

// text reads a string of any length that a body can have; its readers check it further.
func text(to *string) func(*scanner) {
	return func(s *scanner) { s.str(to, 0, len(s.data)) }
}

// required takes pointers and values in turn, and refuses the values that are empty.
func required(pairs ...string) error {
	var missing []job.FieldError
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			missing = append(missing, job.FieldError{Pointer: pairs[i], Detail: "is required"})
		}
	}
	return invalid(missing)
}
