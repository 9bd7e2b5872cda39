package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
)

// fakeWatch notes what it is told as "GET /v1/jobs 200".
type fakeWatch struct {
	mu     sync.Mutex
	seen   []string
	traced []string // routes, and the statuses that ended their spans
	took   []time.Duration
}

type watchKey struct{}

func (w *fakeWatch) Trace(r *http.Request, route string) (context.Context, func(status int)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.traced = append(w.traced, route)
	return context.WithValue(r.Context(), watchKey{}, route), func(status int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.traced = append(w.traced, strconv.Itoa(status))
	}
}

func (w *fakeWatch) Expect(string, string) {}

func (w *fakeWatch) Answered(route, method string, status int, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, method+" "+route+" "+strconv.Itoa(status))
	w.took = append(w.took, took)
}

// watchedAPI is an API with a metricsObserver.
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
	for _, target := range []string{"/v1/jobs/018f0000-0000-7000-8000-000000000000", "/v1/jobs/x?wait=1s",
		"/v1/jobs/x?wait=&a=1", "/nobody@example.com",
		"/v1/jobs?state=a&state=b", "/healthz", "/metrics"} {
		a.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", target, nil))
	}
	a.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("DELETE", "/v1/jobs", nil))
	want := []string{
		"GET /v1/jobs/:id 401",
		"GET /v1/jobs/:id?wait 401",
		"GET /v1/jobs/:id 401",
		"GET unknown 404",
		"GET /v1/jobs 401",
		"GET /healthz 200",
		"GET /metrics 200",
		"DELETE unknown 405",
	}
	if !slices.Equal(w.seen, want) {
		t.Errorf("seen %q\nwant %q", w.seen, want)
	}
	// Not what machines ask all the time.
	traced := []string{"/v1/jobs/:id", "401", "/v1/jobs/:id?wait", "401", "/v1/jobs/:id", "401", "/v1/jobs", "401"}
	if !slices.Equal(w.traced, traced) {
		t.Errorf("traced %q\nwant %q", w.traced, traced)
	}
}

func TestAHandlerRunsInTheContextOfItsSpanAndAPanicIsSeen(t *testing.T) {
	t.Parallel()
	a, w, h := watchedAPI(t)
	h.api = a
	var in any
	h.route(route{Method: "GET", Path: "/inside", Public: true, Handler: func(c *gin.Context) (any, error) {
		in = c.Request.Context().Value(watchKey{})
		h.clock.add(time.Second)
		return nil, nil
	}})
	h.route(
		route{Method: "GET", Path: "/boom", Public: true, Handler: func(*gin.Context) (any, error) { panic("boom") }},
	)
	h.route(
		route{
			Method:  "GET",
			Path:    "/cut",
			Public:  true,
			Handler: func(*gin.Context) (any, error) { panic(http.ErrAbortHandler) },
		},
	)
	for _, path := range []string{"/inside", "/boom", "/cut"} {
		func() {
			defer func() { _ = recover() }()
			a.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
		}()
	}
	if in != "/inside" {
		t.Errorf("the handler's context is of %v", in)
	}
	if want := []string{"GET /inside 204", "GET /boom 500", "GET /cut 200"}; !slices.Equal(w.seen, want) {
		t.Errorf("seen %q, want %q", w.seen, want)
	}
	if want := []string{"/inside", "204", "/boom", "500", "/cut", "200"}; !slices.Equal(w.traced, want) {
		t.Errorf("traced %q, want %q", w.traced, want)
	}
	if w.took[0] != time.Second {
		t.Errorf("it took %v", w.took[0])
	}
}

func TestMetricsAreServedToAnybody(t *testing.T) {
	t.Parallel()
	newAPITest(t).call("GET", "/metrics", "", "").want(200)
}
