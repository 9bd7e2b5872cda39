package api

import (
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
)

// allowedHeaders are what pages may send: what the API reads, and what tracing adds to each request
// by itself. The star stands for everything but Authorization: no other header gives a page more
// than it has, since cookies are never part of its requests.
const allowedHeaders = "Authorization, Content-Type, Idempotency-Key, Traceparent, Tracestate, Baggage, Sentry-Trace, *"

// cors lets pages of the configured origins call the API with a token of their own. Cookies are
// never part of it. With no origin configured it does nothing, and a preflight is an OPTIONS like
// any other.
func (a *API) cors() gin.HandlerFunc {
	origins := a.cfg.CORSOrigins
	if len(origins) == 0 {
		return func(*gin.Context) {}
	}
	return func(c *gin.Context) {
		h := c.Writer.Header()
		h.Add("Vary", "Origin")
		origin := c.GetHeader("Origin")
		if !slices.Contains(origins, origin) {
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers",
			"Idempotency-Replayed, Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-ID")
		if c.Request.Method != http.MethodOptions || c.GetHeader("Access-Control-Request-Method") == "" {
			return
		}
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PATCH, DELETE")
		h.Set("Access-Control-Allow-Headers", allowedHeaders)
		h.Set("Access-Control-Max-Age", "600")
		h.Del("Allow")
		c.AbortWithStatus(http.StatusNoContent)
	}
}
