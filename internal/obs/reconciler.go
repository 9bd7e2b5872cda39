package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reconciler is what a process's reconciler has found.
type Reconciler struct {
	Resent    map[string]int64 // by reason, since the process began
	Divergent map[string]int64 // by kind, at its last look
	Adopted   int64
	Passes    int64
	Since     time.Duration // the last pass that found everything it needed to ask, or else since the process began
	Horizon   time.Duration
}

// ReconcilerMetrics registers the metrics of this process's reconciler.
func ReconcilerMetrics(r prometheus.Registerer, stats func() Reconciler) {
	r.MustRegister(&reconcilerCollector{
		stats: stats,
		resent: prometheus.NewDesc(
			"waybill_reconciler_resent_total",
			"Jobs that the reconciler sent to Redis again, by reason: lost, orphaned, stuck.",
			[]string{"reason"},
			nil,
		),
		divergent: prometheus.NewDesc(
			"waybill_divergent_jobs",
			"Jobs whose ledger and Redis disagreed lately, as this process saw it, and keys of a wrong type. Aggregate "+
				"with max by (kind).",
			[]string{"kind"},
			nil,
		),
		adopted: prometheus.NewDesc(
			"waybill_reconciler_adopted_total",
			"Actions done in Redis behind the ledger's back that the reconciler wrote down.",
			nil,
			nil,
		),
		passes: prometheus.NewDesc("waybill_reconciler_passes_total", "Passes begun.", nil, nil),
		last: prometheus.NewDesc(
			"waybill_reconciler_last_pass_age_seconds",
			"For how long no pass of this process has got all the answers it needed.",
			nil,
			nil,
		),
		horizon: prometheus.NewDesc(
			"waybill_reconciler_horizon_seconds",
			"How young a delivery may be to be left to the fast path; grows with the longest open transaction.",
			nil,
			nil,
		),
	})
}

type reconcilerCollector struct {
	stats                                             func() Reconciler
	resent, divergent, adopted, passes, last, horizon *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *reconcilerCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.resent, c.divergent, c.adopted, c.passes, c.last, c.horizon} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *reconcilerCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	for reason, n := range s.Resent {
		out <- counter(c.resent, float64(n), reason)
	}
	for kind, n := range s.Divergent {
		out <- gauge(c.divergent, float64(n), kind)
	}
	out <- gauge(c.last, s.Since.Seconds())
	out <- counter(c.adopted, float64(s.Adopted))
	out <- counter(c.passes, float64(s.Passes))
	out <- gauge(c.horizon, s.Horizon.Seconds())
}
