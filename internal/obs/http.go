package obs

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// HTTP watches requests: their number, their duration, and a span for each.
type HTTP struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	tracer   trace.Tracer
}

// NewHTTP registers the metrics of requests.
func NewHTTP(r prometheus.Registerer, t trace.Tracer) *HTTP {
	h := &HTTP{
		tracer: t,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waybill_http_requests_total", Help: "Requests answered, by the pattern of their path."},
			[]string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "waybill_http_request_seconds",
			Help:    "How long requests took. Requests that wait for a job to finish have a route of their own.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}, []string{"route"}),
	}
	r.MustRegister(h.requests, h.seconds)
	return h
}

// Begin is told that a request begins. Its route is a pattern, never a path: it becomes a label. The context, in the request's span where traced
// is set, is for its handler; finish is to be called with the status of the answer.
func (h *HTTP) Begin(r *http.Request, route string, traced bool) (ctx context.Context, finish func(status int)) {
	began, method := time.Now(), knownMethod(r.Method)
	ctx, end := r.Context(), func(int) {}
	if traced {
		ctx, end = h.span(r, method, route)
	}
	return ctx, func(status int) {
		end(status)
		h.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
		h.seconds.WithLabelValues(route).Observe(time.Since(began).Seconds())
	}
}

func (h *HTTP) span(r *http.Request, method, route string) (context.Context, func(status int)) {
	ctx := WithTraceparent(r.Context(), r.Header.Get(traceparent))
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
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}
