package app

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
	"github.com/waybill/waybill/worker"
)

// telemetry is how a process is watched: its metrics and its traces.
type telemetry struct {
	registry *prometheus.Registry
	jobs     *obs.Jobs
	http     *obs.HTTP
	spans    obs.Spans
	batches  func(op string) func(n int)
}

// addTelemetry comes before everything that is watched, and is put away after it, so that the last
// spans are sent.
func (a *App) addTelemetry(ctx context.Context, o Options) error {
	tracer, stop, err := obs.NewTracer(
		ctx,
		obs.TraceConfig{Endpoint: string(a.cfg.OTLPEndpoint), TracesEndpoint: string(a.cfg.OTLPTracesEndpoint),
			Headers: a.cfg.OTLPHeaders.Reveal(), Service: serviceName(o), Version: Version()},
		a.log,
	)
	if err != nil {
		return err
	}
	a.closers = append(a.closers, func() error {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := stop(last); err != nil { // a lost span is not an error
			a.log.WarnContext(last, "the last traces were not sent", "err", err)
		}
		return nil
	})
	r := obs.NewRegistry(Version())
	a.telemetry = &telemetry{
		registry: r,
		jobs:     obs.NewJobs(r, a.cfg.Queues.Names()),
		http:     obs.NewHTTP(r, tracer),
		spans:    obs.Spans{Tracer: tracer},
		batches:  obs.Batches(r),
	}
	return nil
}

// expect makes the counters of all that can happen in this process start at zero.
func (w *telemetry) expect(c *catalogue.Catalogue, queues []string, runsJobs bool) {
	own := map[string]string{}
	for _, t := range c.Types() {
		own[t.Name] = t.Defaults.Queue
	}
	w.jobs.Expect(obs.Kinds(own, queues), runsJobs)
}

// serviceName is what traces call this process.
func serviceName(o Options) string {
	switch {
	case o.API != nil && o.Worker:
		return "waybill"
	case o.API != nil:
		return "waybill-api"
	default:
		return "waybill-worker"
	}
}

var errPanicked = errors.New("the handler panicked")

// handler counts the handlers that run and puts each into a span; what the handler sends on carries
// that span.
func (w *telemetry) handler(next worker.Handler) worker.Handler {
	return func(ctx context.Context, j *job.Job) (result json.RawMessage, err error) {
		defer w.jobs.Running(j)()
		ctx, end := w.spans.Run(ctx, j)
		err = errPanicked // unless the handler returns
		defer func() { end(err) }()
		own := *j
		own.Traceparent = obs.Traceparent(ctx)
		result, err = next(ctx, &own)
		return result, err
	}
}
