package obs

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill/waybill/internal/loop"
)

// How often the exporter of a source renews its lease, others ask for it, and for how long it
// holds. When the exporter dies, another takes over after leaseTTL + followEvery and the time of
// one reading: 12 s and a little.
const (
	renewEvery  = 5 * time.Second
	followEvery = 2 * time.Second
	leaseTTL    = 10 * time.Second
	askTimeout  = 3 * time.Second
	readTimeout = time.Minute
	// restFactor bounds what reading costs its source: after a reading that took a second, nothing
	// is read for twenty.
	restFactor = 20
	maxRest    = 5 * time.Minute
)

// Source is a place whose figures are those of the whole deployment, not of a process. Who may
// export them is decided in the place itself: where it cannot be asked, there is nothing to export.
type Source struct {
	Name    string // "ledger", "redis"
	Lease   func(ctx context.Context, ttl time.Duration) (held bool, err error)
	Release func(ctx context.Context) error
	Read    func(ctx context.Context) ([]prometheus.Metric, error)
}

// Exporter exports a source's figures while it holds the lease, and nothing while another process
// does. A scrape gets what was read last, without waiting.
type Exporter struct {
	src Source
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	figures []prometheus.Metric
	until   time.Time // end of the lease, counted from before it was asked for
	next    time.Time // no reading before
	reading bool
	broken  bool

	readers  sync.WaitGroup
	up       prometheus.Gauge
	failures prometheus.Counter
	seconds  prometheus.Gauge
}

// NewExporter registers the figures of a source and what is to be known of their reading. Run must
// run for anything to be read.
func NewExporter(r prometheus.Registerer, src Source, log *slog.Logger) *Exporter {
	label := prometheus.Labels{"source": src.Name}
	e := &Exporter{src: src, log: log, now: time.Now,
		up: prometheus.NewGauge(prometheus.GaugeOpts{Name: "waybill_source_up", ConstLabels: label,
			Help: "1 if this process reaches the ledger or Redis, asked every few seconds."}),
		failures: prometheus.NewCounter(
			prometheus.CounterOpts{Name: "waybill_figures_failures_total", ConstLabels: label,
				Help: "Readings of the deployment's figures that failed."},
		),
		seconds: prometheus.NewGauge(prometheus.GaugeOpts{Name: "waybill_figures_read_seconds", ConstLabels: label,
			Help: "How long the last reading of the deployment's figures took."}),
	}
	r.MustRegister(e, e.up, e.failures, e.seconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "waybill_figures_exporter", ConstLabels: label,
			Help: "1 in the one process that exports the deployment's figures."},
			func() float64 { return indicator(e.current() != nil) }))
	return e
}

// Describe says nothing: which figures there are depends on the queues.
func (e *Exporter) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (e *Exporter) Collect(out chan<- prometheus.Metric) {
	for _, m := range e.current() {
		out <- m
	}
}

// current is what may be exported: figures that were read, under a lease that holds.
func (e *Exporter) current() []prometheus.Metric {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.now().Before(e.until) {
		return nil
	}
	return e.figures
}

// Run asks for the lease and reads, until ctx ends; then it lets another process export.
func (e *Exporter) Run(ctx context.Context) error {
	for pause := time.Duration(0); loop.Sleep(ctx, pause); {
		pause = e.pass(ctx) - rand.N(followEvery/5) // jitter: processes that started together don't ask together
	}
	e.readers.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	if err := e.stepDown(last); err != nil {
		e.log.DebugContext(ctx, "the lease on the figures will run out by itself", "source", e.src.Name, "err", err)
	}
	return nil
}

func (e *Exporter) stepDown(ctx context.Context) error {
	e.mu.Lock()
	held := e.now().Before(e.until)
	e.figures, e.until = nil, time.Time{}
	e.mu.Unlock()
	if !held {
		return nil
	}
	return e.src.Release(ctx)
}

// pass asks for the lease and, with it, begins a reading where one is due. It answers when to ask
// again.
func (e *Exporter) pass(ctx context.Context) time.Duration {
	asked := e.now()
	short, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	held, err := e.src.Lease(short, leaseTTL)
	if ctx.Err() != nil {
		return 0
	}
	e.up.Set(indicator(err == nil))
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err != nil: // what was read may be shown until the lease runs out
		return followEvery
	case !held:
		e.figures, e.until = nil, time.Time{}
		return followEvery
	}
	if !asked.Before(e.until) { // won, not renewed: what is left from an earlier turn is old
		e.figures, e.next = nil, time.Time{}
	}
	e.until = asked.Add(leaseTTL)
	if !e.reading && !e.now().Before(e.next) {
		e.reading = true
		e.readers.Go(func() { e.read(ctx) })
	}
	return renewEvery
}

// read reads beside the renewals, so that a slow source does not cost the lease. Figures that could
// not be read are not shown: no figure is better than an old one that looks new.
func (e *Exporter) read(ctx context.Context) {
	began := e.now()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	figures, err := e.guarded(ctx)
	took := e.now().Sub(began)
	e.seconds.Set(took.Seconds())
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reading, e.figures, e.next = false, figures, e.now().Add(min(restFactor*took, maxRest))
	if err != nil {
		e.failures.Inc()
	}
	if broken := err != nil; broken != e.broken && ctx.Err() == nil {
		e.broken = broken
		e.log.WarnContext(
			ctx,
			"reading the deployment's figures changed",
			"source",
			e.src.Name,
			"works",
			!broken,
			"err",
			err,
		)
	}
}

var errPanicked = errors.New("reading the figures panicked")

func (e *Exporter) guarded(ctx context.Context) (figures []prometheus.Metric, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.ErrorContext(ctx, "reading the deployment's figures panicked", "source", e.src.Name, "panic", p)
			figures, err = nil, errPanicked
		}
	}()
	return e.src.Read(ctx)
}

func indicator(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
