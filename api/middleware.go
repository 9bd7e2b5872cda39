package api

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

const (
	maxURI         = 8 << 10  // bytes of path and query
	maxHeaderBytes = 64 << 10 // bytes of all header names and values
	maxLoggedPath  = 256      // bytes of a path in the access log

	statusClientGone = 499 // in the log only: the client went away before there was an answer

	requestIDKey = "waybill.request_id"
)

// identify gives each request an id of our own. What a stranger sends as X-Request-ID is ignored: it would let them
// forge our logs.
func (a *API) identify(c *gin.Context) {
	id := job.NewID().String()
	c.Set(requestIDKey, id)
	c.Header("X-Request-ID", id)
}

func requestID(c *gin.Context) string { return c.GetString(requestIDKey) }

// logAccess writes one line for each request: never a query string, a header, a body, or a token. What went wrong on
// our side is an error that somebody must look at; an outage of what we stand on is a warning, since its alarm is elsewhere.
func (a *API) logAccess(c *gin.Context) {
	start := a.deps.Now()
	c.Next()
	status, level := c.Writer.Status(), slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("method", c.Request.Method), slog.String("route", c.FullPath()),
		slog.String("path", job.CleanText(c.Request.URL.Path, maxLoggedPath)), slog.Int("status", status),
		slog.Int("bytes", max(c.Writer.Size(), 0)), slog.Float64("duration_ms", a.deps.Now().Sub(start).Seconds()*1000),
		slog.String("ip", c.ClientIP()), slog.String("request_id", requestID(c)),
	}
	if p, ok := c.Get(callerKey); ok {
		attrs = append(attrs, slog.String("user_id", p.(*account.Principal).UserID.String()))
	}
	if err := c.Errors.Last(); err != nil && status >= http.StatusInternalServerError {
		attrs = append(attrs, slog.Any("err", err.Err))
		level = slog.LevelError
		if status == http.StatusServiceUnavailable {
			level = slog.LevelWarn
		}
	}
	a.deps.Log.LogAttrs(c.Request.Context(), level, "request", attrs...)
}

// recoverPanic answers a panic like any error of ours, and keeps the process alive. Where the answer has begun, the
// connection is cut, so that half an answer is not taken for a whole one.
func (a *API) recoverPanic(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(v)
		}
		a.deps.Log.ErrorContext(c.Request.Context(), "handler panicked",
			"panic", v, "stack", string(debug.Stack()), "route", c.FullPath(), "request_id", requestID(c))
		if c.Writer.Written() {
			panic(http.ErrAbortHandler)
		}
		refuse(c, errors.New("handler panicked"))
	}()
	c.Next()
}

// secureHeaders tells browsers to do nothing with what they get but show it. Pages bring a policy of their own.
func secureHeaders(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
}

// limitHead refuses URLs and headers that no honest client sends.
func limitHead(c *gin.Context) {
	if len(c.Request.RequestURI) > maxURI {
		refuse(c, &job.Error{Code: codeURITooLong, Message: "a URL may have 8 KiB"})
		return
	}
	size := 0
	for name, values := range c.Request.Header {
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	if size > maxHeaderBytes {
		refuse(c, &job.Error{Code: codeHeadersTooLarge, Message: "the headers may have 64 KiB"})
	}
}
