package obs

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// HTTP watches requests: their number, their duration, and a span for each.
type HTTP struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	tracer   trace.Tracer
	off      bool // spans go nowhere

	mu    sync.RWMutex
	known map[answerKind]answers // what the vectors answered: to ask them takes longer than to count
}

// answerKind is what the metrics tell answers apart by. There are no more than routes, methods and
// statuses make.
type answerKind struct {
	route, method string
	status        int
}

type answers struct {
	count   prometheus.Counter
	seconds prometheus.Observer
}

// NewHTTP registers the metrics of requests.
func NewHTTP(r prometheus.Registerer, t trace.Tracer) *HTTP {
	_, off := t.(noop.Tracer)
	h := &HTTP{
		tracer: t, off: off, known: map[answerKind]answers{},
		requests: prometheus.NewCounterVec(
			prometheus.CounterOpts{
				Name: "waybill_http_requests_total",
				Help: "Requests answered, by the pattern of their path.",
			},
			[]string{"route", "method", "status"},
		),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "waybill_http_request_seconds",
			Help: "How long requests took. Requests that wait for a job to finish have a route of their own.",
			Buckets: []float64{
				.001,
				.0025,
				.005,
				.01,
				.025,
				.05,
				.1,
				.25,
				.5,
				1,
				2.5,
				5,
				10,
				30,
				60,
			}}, []string{"route"}),
	}
	r.MustRegister(h.requests, h.seconds)
	return h
}

// Answered counts an answer. Its route is a pattern, never a path: it becomes a label.
func (h *HTTP) Answered(route, method string, status int, took time.Duration) {
	a := h.answers(answerKind{route, knownMethod(method), status})
	a.count.Inc()
	a.seconds.Observe(took.Seconds())
}

// Expect makes the counters of failed answers of a route start at zero: one that begins with its
// first failure hides it from every rate.
func (h *HTTP) Expect(route, method string) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable} {
		h.requests.WithLabelValues(route, knownMethod(method), strconv.Itoa(status))
	}
}

func (h *HTTP) answers(k answerKind) answers {
	h.mu.RLock()
	a, ok := h.known[k]
	h.mu.RUnlock()
	if ok {
		return a
	}
	a = answers{
		h.requests.WithLabelValues(k.route, k.method, strconv.Itoa(k.status)),
		h.seconds.WithLabelValues(k.route),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known[k] = a
	return a
}

// Trace puts a request into a span. It answers the context for the request's handler, and what is
// to be called with the status of the answer; nil: nothing. Where spans go nowhere, the caller's
// trace is handed on all the same.
func (h *HTTP) Trace(r *http.Request, route string) (context.Context, func(status int)) {
	ctx := r.Context()
	if parent := r.Header["Traceparent"]; len(parent) > 0 {
		ctx = WithTraceparent(ctx, parent[0])
	}
	if h.off {
		return ctx, nil
	}
	method := knownMethod(r.Method)
	ctx, span := h.tracer.Start(ctx, method+" "+route, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route)))
	return ctx, func(status int) {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// knownMethod keeps strangers' words out of the labels.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet,
		http.MethodHead,
		http.MethodPost,
		http.MethodPut,
		http.MethodPatch,
		http.MethodDelete,
		http.MethodOptions:
		return m
	}
	return "other"
}
