package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
)

// route is one row of the table that the API is built from. The rights that it needs are part of
// the row, so that they cannot be forgotten: a row without them is for administrators' access
// tokens only.
type route struct {
	Method string
	Path   string // in Gin's form: "/v1/jobs/:id"

	Public bool // it needs no authentication; Role, Scope and AnyKey mean nothing
	// Browser marks routes for browsers: a request of a foreign origin is refused, and the
	// principal is that of the session cookie; tokens are ignored.
	Browser bool
	Role    account.Role  // the least role; empty: admin
	Scope   account.Scope // what an API key must carry; empty: no API key will do
	AnyKey  bool          // any API key will do, whatever its scopes
	// OldPassword: callers who must change their password first may use it too.
	OldPassword bool

	MaxBody   int64 // bytes of the body; 0: Config.MaxBody
	Unbounded bool  // answered even when too many requests are in flight: health, metrics

	// Handler returns what to answer: see respond. Raw, in its place, writes the answer itself:
	// pages and files.
	Handler func(c *gin.Context) (any, error)
	Raw     gin.HandlerFunc
}

// smallBody is the MaxBody of routes that take a few short fields or nothing: bytes.
const smallBody = 16 << 10

func (r route) role() account.Role {
	if r.Role == "" {
		return account.RoleAdmin
	}
	return r.Role
}

// newEngine builds the router from the table. Paths are matched exactly: nothing is cleaned,
// guessed or redirected.
func (a *API) newEngine() (*gin.Engine, error) {
	gin.SetMode(gin.ReleaseMode) // otherwise Gin prints its table to standard output
	e := gin.New()
	e.RedirectTrailingSlash = false
	e.RedirectFixedPath = false
	e.UseRawPath = true // %2F is no slash
	e.HandleMethodNotAllowed = true
	if err := e.SetTrustedProxies(nil); err != nil { // see clientIP
		return nil, err
	}
	e.Use(a.trackRequest, a.recoverPanic, a.secureHeaders(), limitHead, a.cors())
	if len(a.proxies.trusted) > 0 {
		e.Use(a.countClient)
	}
	e.NoRoute(handle(func(*gin.Context) (any, error) { return nil, errNoRoute }))
	e.NoMethod(handle(func(*gin.Context) (any, error) { return nil, errNoMethod }))
	for _, r := range a.routes {
		chain := a.chain(r)
		e.Handle(r.Method, r.Path, chain...)
		if a.deps.Watch != nil {
			a.deps.Watch.Expect(r.Path, r.Method)
		}
		if r.Method == http.MethodGet {
			e.Handle(http.MethodHead, r.Path, chain...) // net/http drops the body
		}
	}
	return e, nil
}

// chain lists the middlewares of r in their order: a slot of inflightLimit, the request's origin,
// the principal and its rights, the size of the body.
func (a *API) chain(r route) []gin.HandlerFunc {
	var chain []gin.HandlerFunc
	if !r.Unbounded {
		chain = append(chain, a.bound.limit)
	}
	if r.Browser {
		chain = append(chain, a.browsers.sameOrigin)
	}
	switch {
	case r.Public:
	case r.Browser:
		chain = append(chain, a.browsers.authenticate(r))
	default:
		chain = append(chain, a.authenticate, authorize(&r))
	}
	chain = append(chain, limitBody(orElse(r.MaxBody, a.cfg.MaxBody)))
	if r.Handler != nil && r.Method != http.MethodGet {
		chain = append(chain, refuseQuery)
	}
	if r.Raw != nil {
		return append(chain, r.Raw)
	}
	return append(chain, handle(r.Handler))
}
