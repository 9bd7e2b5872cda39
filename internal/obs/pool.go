package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Pool is how busy a pool of connections is.
type Pool struct {
	Max, InUse, Idle int
	Waits            int64         // waits for a connection
	Waited           time.Duration // in all
	Timeouts         int64         // waits that ended without one
}

// Pools registers the metrics of a pool under a prefix such as "waybill_database_pool".
func Pools(r prometheus.Registerer, prefix, of string, stats func() Pool) {
	r.MustRegister(&poolCollector{
		stats: stats,
		max: prometheus.NewDesc(
			prefix+"_max_connections",
			"Connections to "+of+" that there may be.",
			nil,
			nil,
		),
		connections: prometheus.NewDesc(
			prefix+"_connections",
			"Connections to "+of+" by state: in_use or idle.",
			[]string{"state"},
			nil,
		),
		waits: prometheus.NewDesc(
			prefix+"_waits_total",
			"Waits for a connection to "+of+".",
			nil,
			nil,
		),
		waited: prometheus.NewDesc(
			prefix+"_wait_seconds_total",
			"Time spent waiting for a connection to "+of+".",
			nil,
			nil,
		),
		timeouts: prometheus.NewDesc(
			prefix+"_timeouts_total",
			"Waits for a connection to "+of+" that were given up.",
			nil,
			nil,
		),
	})
}

type poolCollector struct {
	stats                                     func() Pool
	max, connections, waits, waited, timeouts *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.max, c.connections, c.waits, c.waited, c.timeouts} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	out <- gauge(c.max, float64(s.Max))
	out <- gauge(c.connections, float64(s.InUse), "in_use")
	out <- gauge(c.connections, float64(s.Idle), "idle")
	out <- counter(c.waits, float64(s.Waits))
	out <- counter(c.waited, s.Waited.Seconds())
	out <- counter(c.timeouts, float64(s.Timeouts))
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}
