package api

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// metricsObserver is told of every request, for metrics and traces. Nil: requests are not measured.
// A route is a pattern of the table, never a path.
type metricsObserver interface {
	// Trace puts a request into a span. It answers the context that the request's handler gets, and
	// what is to be called with the status of the answer; nil: nothing.
	Trace(r *http.Request, route string) (ctx context.Context, end func(status int))
	// Expect is told of each route once, before the first request.
	Expect(route, method string)
	// Answered is told how a request ended, traced or not.
	Answered(route, method string, status int, took time.Duration)
}

// routeUnknown is the label of all paths without a route, so that strangers cannot create metrics.
const routeUnknown = "unknown"

// watchedRoute is what a request is counted under.
func watchedRoute(c *gin.Context) string {
	route := c.FullPath()
	switch {
	case route == "":
		return routeUnknown
	case c.Request.URL.RawQuery != "" && route == "/v1/jobs/:id" && c.Query("wait") != "":
		return "/v1/jobs/:id?wait" // it takes as long as the job does
	}
	return route
}

// quiet names the routes that machines ask all the time: a trace of each would bury the others.
func quiet(route string) bool {
	return route == "/healthz" || route == "/readyz" || route == "/metrics" || route == routeUnknown
}

// metricsHandler serves the process's metrics. They hold no user, no id and no address, so that
// they are open.
type metricsHandler struct{ scrape http.Handler }

func newMetricsHandler(deps Deps) *metricsHandler {
	h := &metricsHandler{scrape: deps.Scrape}
	if h.scrape == nil {
		h.scrape = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		})
	}
	return h
}

func (h *metricsHandler) routes() []route {
	return []route{
		{
			Method:    "GET",
			Path:      "/metrics",
			Public:    true,
			Unbounded: true,
			Raw:       func(c *gin.Context) { h.scrape.ServeHTTP(c.Writer, c.Request) },
		},
	}
}
