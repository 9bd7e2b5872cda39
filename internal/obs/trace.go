package obs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// TraceConfig says where spans go.
type TraceConfig struct {
	// Endpoint is the OTLP/HTTP collector, to which /v1/traces is added. TracesEndpoint is taken as
	// it stands, and wins. Both empty: no spans.
	Endpoint, TracesEndpoint string
	Headers                  map[string]string // sent to the collector; may hold a secret
	Service, Version         string
}

// NewTracer makes a tracer that sends its spans to a collector, in the background and without ever
// holding up what it measures: what does not fit into its buffer is dropped. Without an endpoint it
// records nothing, but still hands the trace of a caller on. close sends what is left.
//
// The library reads OpenTelemetry's own variables for the rest: OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_…
func NewTracer(
	ctx context.Context,
	cfg TraceConfig,
	log *slog.Logger,
) (t trace.Tracer, close func(context.Context) error, err error) {
	url := cfg.TracesEndpoint
	if url == "" && cfg.Endpoint != "" {
		url = strings.TrimSuffix(cfg.Endpoint, "/") + "/v1/traces"
	}
	if url == "" {
		return noop.NewTracerProvider().Tracer(instrumentation), func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptrace.New(ctx, newOTLPClient(url, cfg.Headers))
	if err != nil {
		return nil, nil, fmt.Errorf("send traces: %w", err)
	}
	who, err := resource.New(
		ctx,
		resource.WithAttributes(
			attribute.String("service.name", cfg.Service),
			attribute.String("service.version", cfg.Version),
		),
		// The last wins: OTEL_SERVICE_NAME.
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithProcessPID(),
		resource.WithFromEnv(),
	)
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, nil, fmt.Errorf("describe this process for traces: %w", err)
	}
	p := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&quietExporter{SpanExporter: exporter, log: log}),
		sdktrace.WithResource(who),
	)
	return p.Tracer(instrumentation, trace.WithInstrumentationVersion(cfg.Version)), p.Shutdown, nil
}

const instrumentation = "github.com/waybill/waybill"

// quietExporter logs when sending spans begins to fail and when it works again. The library would
// write each failure to standard error.
type quietExporter struct {
	sdktrace.SpanExporter
	log    *slog.Logger
	broken atomic.Bool
}

// ExportSpans implements sdktrace.SpanExporter. Spans that cannot be sent are dropped.
func (e *quietExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if broken := err != nil; e.broken.Swap(broken) != broken {
		e.log.WarnContext(ctx, "sending traces changed", "works", !broken, "err", err)
	}
	return nil
}

const traceparent = "traceparent"

// Traceparent is the W3C trace context of the span that ctx is in; empty: it is in none.
func Traceparent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() { // as without tracing
		return ""
	}
	m := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, m)
	return m[traceparent]
}

// WithTraceparent puts ctx into the span that a W3C trace context names. One that cannot be read
// leaves ctx as it is.
func WithTraceparent(ctx context.Context, text string) context.Context {
	if text == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparent: text})
}
