package api

import (
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/auth"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/peer"
)

const (
	maxLoggedPath = 256 // bytes of a path in the access log
	maxUserAgent  = 255 // bytes kept of what a client calls itself
)

// requestInfo is what is found out about a request once, for all handlers and the access log. It is
// the context that handlers get, so that the request is copied only once.
type requestInfo struct {
	context.Context
	began  time.Time
	route  string // what it is counted under
	origin auth.Origin
	caller *account.Principal // nil: not authenticated
	rights *route             // what the caller must be allowed; nil: the route is public

	base    base
	place   slot
	held    reservation // of the memory for bodies
	maxBody int64       // bytes of the body; set by limitBody

	endSpan func(status int) // nil: it is in no span
	whole   bool             // its handlers have returned, and did not cut the connection

	// Single values of headers, so that each need not be a slice of its own.
	requestID, contentType, location, rateLimit [1]string
}

type requestInfoKey struct{}

// Value implements context.Context.
func (v *requestInfo) Value(key any) any {
	if key == (requestInfoKey{}) {
		return v
	}
	return v.Context.Value(key)
}

// requestInfoOf is the visit that c's request makes. Every request makes one.
func requestInfoOf(c *gin.Context) *requestInfo {
	ctx := c.Request.Context()
	if v, ok := ctx.(*requestInfo); ok { // nearly always
		return v
	}
	return ctx.Value(requestInfoKey{}).(*requestInfo)
}

// trackRequest comes first, so that what the others refuse is seen too. It gives each request an id
// of our own: what a stranger sends as X-Request-ID is ignored, since it would let them forge our
// logs.
func (a *API) trackRequest(c *gin.Context) {
	id := job.NewID().String()
	v := &requestInfo{
		Context:   c.Request.Context(),
		began:     a.deps.Now(),
		route:     watchedRoute(c),
		requestID: [1]string{id},
		origin: auth.Origin{
			IP:        a.clientIP(c.Request),
			UserAgent: job.CleanText(c.Request.UserAgent(), maxUserAgent),
			RequestID: id,
		},
	}
	v.base, v.place.conn, v.held.of = a.base, peer.Of(v.Context), a.memory
	c.Writer.Header()["X-Request-Id"] = v.requestID[:]
	if a.deps.Watch != nil && !quiet(v.route) {
		v.Context, v.endSpan = a.deps.Watch.Trace(c.Request, v.route)
	}
	v.Context = auth.WithOrigin(v.Context, &v.origin)
	c.Request = c.Request.WithContext(v)
	defer a.finishRequest(c, v) // also where the connection is cut by a panic
	c.Next()
	v.whole = true
}

func (a *API) finishRequest(c *gin.Context, v *requestInfo) {
	v.held.release()
	took, status := a.deps.Now().Sub(v.began), c.Writer.Status()
	if v.endSpan != nil {
		v.endSpan(status)
	}
	if a.deps.Watch != nil {
		a.deps.Watch.Answered(v.route, c.Request.Method, status, took)
	}
	if v.whole {
		a.logAccess(c, v, took)
		a.recordRefusal(c, v)
	}
}

// credentials are API keys, refresh tokens, session tokens, webhook secrets and JWTs, whole or in
// part: their prefixes, and what follows.
var credentials = regexp.MustCompile(`(wb_|wr_|ws_|whsec_|eyJ)[^/]*`)

// loggedPath is a path for the log. Credentials have no business in a path, but some end there by
// mistake, and the log must not keep them.
func loggedPath(path string) string {
	if strings.Contains(path, "w") || strings.Contains(path, "eyJ") {
		path = credentials.ReplaceAllString(path, "${1}[hidden]")
	}
	return job.CleanText(path, maxLoggedPath)
}

// logAccess writes one line for each request: never a query string, a header, a body, or a token.
// Failures of the API itself, and statements that the ledger refuses, are errors. Outages of
// PostgreSQL or Redis are warnings, since they have alerts of their own.
func (a *API) logAccess(c *gin.Context, v *requestInfo, took time.Duration) {
	status, level := c.Writer.Status(), slog.LevelInfo
	err := c.Errors.Last()
	if status < http.StatusInternalServerError {
		err = nil
	}
	switch {
	case err != nil && status == http.StatusServiceUnavailable && job.FaultOf(err.Err) == job.FaultNone:
		level = slog.LevelWarn
	case err != nil:
		level = slog.LevelError
	}
	if !a.deps.Log.Enabled(v, level) {
		return
	}
	room := [10]slog.Attr{
		slog.String("method", c.Request.Method), slog.String("route", c.FullPath()),
		slog.String("path", loggedPath(c.Request.URL.Path)), slog.Int("status", status),
		slog.Int("bytes", max(c.Writer.Size(), 0)), slog.Float64("duration_ms", took.Seconds()*1000),
		slog.String("ip", v.origin.IP), slog.String("request_id", v.origin.RequestID),
	}
	attrs := room[:8]
	if v.caller != nil {
		attrs = append(attrs, slog.String("user_id", v.caller.UserID.String()))
	}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err.Err))
	}
	// Straight to the handler: the logger would read the time again and look up the caller, which
	// is not shown.
	line := slog.NewRecord(v.began.Add(took), level, "request", 0)
	line.AddAttrs(attrs...)
	_ = a.deps.Log.Handler().Handle(v, line) // as slog does: a failed write of the log is ignored
}
