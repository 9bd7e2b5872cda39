package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// fakeWatch notes what it is told as "GET /v1/jobs 200".
type fakeWatch struct {
	mu     sync.Mutex
	seen   []string
	traced map[string]bool
}

type watchKey struct{}

func (w *fakeWatch) Begin(r *http.Request, route string, traced bool) (context.Context, func(status int)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.traced == nil {
		w.traced = map[string]bool{}
	}
	w.traced[route] = traced
	return context.WithValue(r.Context(), watchKey{}, route), func(status int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, r.Method+" "+route+" "+strconv.Itoa(status))
	}
}

// watchedAPI is an API with a watcher.
func watchedAPI(t *testing.T) (*API, *fakeWatch, *apiTest) {
	t.Helper()
	h, w := newAPITest(t), &fakeWatch{}
	deps := h.deps()
	deps.Watch = w
	a, err := New(h.cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	return a, w, h
}

func TestRequestsAreWatchedByTheirRouteNeverByTheirPath(t *testing.T) {
	t.Parallel()
	a, w, _ := watchedAPI(t)
	for _, target := range []string{"/v1/jobs/018f0000-0000-7000-8000-000000000000", "/v1/jobs/x?wait=1s", "/v1/jobs/x?wait=&a=1", "/nobody@example.com",
		"/v1/jobs?state=a&state=b", "/healthz", "/metrics"} {
		a.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", target, nil))
	}
	a.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("DELETE", "/v1/jobs", nil))
	want := []string{"GET /v1/jobs/:id 401", "GET /v1/jobs/:id?wait 401", "GET /v1/jobs/:id 401", "GET unknown 404", "GET /v1/jobs 401", "GET /healthz 200",
		"GET /metrics 200", "DELETE unknown 405"}
	if !slices.Equal(w.seen, want) {
		t.Errorf("seen %q\nwant %q", w.seen, want)
	}
	for route, traced := range map[string]bool{"/v1/jobs": true, "/v1/jobs/:id?wait": true, "unknown": false, "/healthz": false, "/metrics": false} {
		if w.traced[route] != traced {
			t.Errorf("%s: traced %v, want %v", route, w.traced[route], traced)
		}
	}
}

func TestAHandlerRunsInTheContextOfItsSpanAndAPanicIsSeen(t *testing.T) {
	t.Parallel()
	h, w := newAPITest(t), &fakeWatch{}
	var in any
	deps := h.deps()
	deps.Watch = w
	deps.Ready = []Check{{Name: "x", Ready: func(ctx context.Context) error { in = ctx.Value(watchKey{}); return nil }}}
	deps.Scrape = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") })
	a, err := New(h.cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/readyz", "/metrics"} {
		a.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	if in != "/readyz" {
		t.Errorf("the handler's context is of %v", in)
	}
	if want := []string{"GET /readyz 200", "GET /metrics 500"}; !slices.Equal(w.seen, want) {
		t.Errorf("seen %q, want %q", w.seen, want)
	}
}

func TestMetricsAreServedToAnybody(t *testing.T) {
	t.Parallel()
	newAPITest(t).call("GET", "/metrics", "", "").want(200)
}
