package api

import (
	"errors"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

const (
	maxURI         = 8 << 10  // bytes of path and query
	maxHeaderBytes = 64 << 10 // bytes of all header names and values

	statusClientGone = 499 // in the log only: the client went away before there was an answer
)

func requestID(c *gin.Context) string { return requestInfoOf(c).origin.RequestID }

// recoverPanic answers a panic like any error of ours, and keeps the process alive. Where the
// answer has begun, the connection is cut, so that half an answer is not taken for a whole one.
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

// Values of headers that are the same in every answer. They are shared to save allocations, and
// must not be changed.
var (
	policyNone = []string{"default-src 'none'; frame-ancestors 'none'"}
	noSniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	noStore    = []string{"no-store"}
	oneYear    = []string{"max-age=31536000"} // of this host alone: others are not ours to speak for
)

// secureHeaders tells browsers to do nothing with what they get but show it, and to come by TLS
// only where the public URL says so. Pages bring a policy of their own.
func (a *API) secureHeaders() gin.HandlerFunc {
	https := strings.HasPrefix(a.cfg.PublicURL, "https://")
	return func(c *gin.Context) {
		h := c.Writer.Header()
		h["Content-Security-Policy"] = policyNone
		h["X-Content-Type-Options"] = noSniff
		h["Referrer-Policy"] = noReferrer
		if https {
			h["Strict-Transport-Security"] = oneYear
		}
	}
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
