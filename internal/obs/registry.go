package obs

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry makes a registry for one process, with the collectors of the Go runtime and of the
// process, and what was built. It shares nothing with other registries of the same process.
func NewRegistry(version string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGaugeVec(
		prometheus.GaugeOpts{Name: "waybill_build_info", Help: "Always 1; its labels say what runs."},
		[]string{"version", "go_version"},
	)
	build.WithLabelValues(version, runtime.Version()).Set(1)
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build,
	)
	return r
}

// Handler answers scrapes from memory. Concurrent scrapes are bounded, since the endpoint is open.
func Handler(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(
		r,
		promhttp.HandlerOpts{MaxRequestsInFlight: 8, Timeout: 10 * time.Second, EnableOpenMetrics: true, Registry: r},
	)
}

// Gauge, Count and their like register a metric whose value is asked for at each scrape: value must
// answer at once.
func Gauge(r prometheus.Registerer, name, help string, value func() float64) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// Count is Gauge for what only rises.
func Count(r prometheus.Registerer, name, help string, value func() int64) {
	r.MustRegister(
		prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(value()) },
		),
	)
}
