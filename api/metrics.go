package api

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"
)

// watcher is told of every request, for metrics and traces. Nil: nobody watches.
type watcher interface {
	// Begin answers the context that the request's handler gets, and what is to be called with the status of the answer. The route is a
	// pattern of the table, never a path. traced asks for a span.
	Begin(r *http.Request, route string, traced bool) (ctx context.Context, finish func(status int))
}

// routeUnknown is the one label of all paths that nobody serves, so that strangers cannot make metrics.
const routeUnknown = "unknown"

// watch comes first, so that what the others refuse is seen too.
func (a *API) watch(c *gin.Context) {
	if a.deps.Watch == nil {
		return
	}
	route := c.FullPath()
	switch {
	case route == "":
		route = routeUnknown
	case route == "/v1/jobs/:id" && c.Request.URL.RawQuery != "" && c.Query("wait") != "":
		route += "?wait" // it takes as long as the job does
	}
	ctx, finish := a.deps.Watch.Begin(c.Request, route, !quiet(route))
	defer func() { finish(c.Writer.Status()) }() // also where the connection is cut by a panic
	c.Request = c.Request.WithContext(ctx)
	c.Next()
}

// quiet names the routes that machines ask all the time: a trace of each would bury the others.
func quiet(route string) bool {
	return route == "/healthz" || route == "/readyz" || route == "/metrics" || route == routeUnknown
}

// metricsHandler serves the process's metrics. They name no user, no id and no address, so that anybody may read them.
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
	return []route{{Method: "GET", Path: "/metrics", Public: true, Unbounded: true, Raw: func(c *gin.Context) { h.scrape.ServeHTTP(c.Writer, c.Request) }}}
}
