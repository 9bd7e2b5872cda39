package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// authenticator finds the principal of a request's credentials: the values of all its Authorization
// headers. It returns a job.Error with CodeUnauthenticated if they are missing or not valid, and
// with CodeUnavailable if the ledger could not be asked.
type authenticator interface {
	Authenticate(ctx context.Context, authorization []string) (*account.Principal, error)
}

// authenticate sets the request's principal from its Authorization header. Credentials in the query
// string or in a cookie are ignored.
func (a *API) authenticate(c *gin.Context) {
	p, err := a.deps.Auth.Authenticate(c.Request.Context(), c.Request.Header["Authorization"])
	if err == nil && p == nil {
		err = errors.New("authenticate: neither a caller nor an error")
	}
	if err != nil {
		refuse(c, err)
		return
	}
	c.Writer.Header()["Cache-Control"] = noStore
	requestInfoOf(c).caller = p
}

// authorize lets through who may use r.
func authorize(r *route) gin.HandlerFunc {
	return func(c *gin.Context) {
		requestInfoOf(c).rights = r
		if err := r.allows(caller(c)); err != nil {
			refuse(c, err)
		}
	}
}

// again asks once more who sends a request of such headers and whether they may: between a question
// and a late answer, a user may have been disabled, a key revoked, a role taken away.
func (r *route) again(ctx context.Context, auth authenticator, authorization []string) (*account.Principal, error) {
	p, err := auth.Authenticate(ctx, authorization)
	if err != nil {
		return nil, err
	}
	return p, r.allows(p)
}

func (r *route) allows(p *account.Principal) error {
	if p.PasswordChangeRequired && !r.OldPassword {
		return &job.Error{
			Code:    codePasswordChange,
			Message: "the password was set by an administrator: change it first, at POST /v1/me/password",
		}
	}
	if !p.Role.Includes(r.role()) {
		return forbidden(fmt.Sprintf("this needs the role %s", r.role()))
	}
	if r.AnyKey || p.Allows(r.role(), r.Scope) {
		return nil
	}
	if r.Scope == "" {
		return forbidden("this cannot be done with an API key: sign in")
	}
	return forbidden(fmt.Sprintf("this API key lacks the scope %s", r.Scope))
}

func forbidden(message string) error {
	return &job.Error{Code: job.CodeForbidden, Message: message}
}

// caller is the request's principal. Only routes that need authentication have one.
func caller(c *gin.Context) *account.Principal {
	p := requestInfoOf(c).caller
	if p == nil { // the handler of a public route asks, which is a mistake in the table
		panic("the request has no caller")
	}
	return p
}
