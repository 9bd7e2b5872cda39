package obs

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/waybill/waybill/internal/job"
)

// Spans makes the spans of a job's way. All of them are in the trace of the request that submitted
// it.
type Spans struct{ Tracer trace.Tracer }

// off says that spans go nowhere. What came as a trace is handed on all the same.
func (s Spans) off() bool {
	_, off := s.Tracer.(noop.Tracer)
	return off
}

// Ledger is the span of a write to the ledger, for n jobs; end is to be called with how it ended.
func (s Spans) Ledger(ctx context.Context, doing string, n int) (context.Context, func(error)) {
	if s.off() {
		return ctx, endNothing
	}
	ctx, span := s.Tracer.Start(ctx, "ledger "+doing, trace.WithAttributes(attribute.Int("waybill.jobs", n)))
	return ctx, ending(span)
}

// Run is the span of an attempt, with one for the wait before it. A job that came without a trace
// gets one of its own.
func (s Spans) Run(ctx context.Context, j *job.Job) (context.Context, func(error)) {
	ctx = WithTraceparent(ctx, j.Traceparent)
	if s.off() {
		return ctx, endNothing
	}
	about := trace.WithAttributes(
		attribute.String("waybill.job.id", j.ID.String()),
		attribute.String("waybill.job.type", j.Type),
		attribute.Int("waybill.job.attempt", j.Attempt),
		attribute.String("messaging.system", "asynq"),
		attribute.String(
			"messaging.destination.name",
			j.Queue,
		),
		attribute.String("messaging.message.id", job.TaskID(j.ID, j.Delivery)),
	)
	if trace.SpanContextFromContext(ctx).IsValid() && j.StartedAt.After(j.RunAt) {
		_, wait := s.Tracer.Start(ctx, "wait in "+j.Queue, trace.WithTimestamp(j.RunAt), about)
		wait.End(trace.WithTimestamp(j.StartedAt))
	}
	ctx, span := s.Tracer.Start(ctx, "run "+j.Type, trace.WithSpanKind(trace.SpanKindConsumer), about)
	return ctx, ending(span)
}

func endNothing(error) {}

// ending ends a span. Texts of errors stay out of traces: they are in the ledger, for those who may
// read them.
func ending(span trace.Span) func(error) {
	return func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}
