package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill/waybill/internal/job"
)

// Schedules counts what schedules do in this process. It is what schedule.Observer asks for.
type Schedules struct {
	ticks *prometheus.CounterVec
}

// NewSchedules registers the metrics of schedules. Their jobs are counted with all others, by the
// store's Observer.
func NewSchedules(r prometheus.Registerer) *Schedules {
	s := &Schedules{ticks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waybill_schedule_ticks_total",
		Help: "Planned times of schedules that were decided, by what became of them. One that waited for earlier " +
			"jobs counts twice."}, []string{"outcome"})}
	r.MustRegister(s.ticks)
	for _, o := range job.Outcomes {
		s.ticks.WithLabelValues(string(o))
	}
	return s
}

// Decided implements schedule.Observer.
func (s *Schedules) Decided(d *job.Decided) {
	for _, t := range d.Ticks {
		s.ticks.WithLabelValues(string(t.Outcome)).Inc()
	}
}

// ScheduleLag says for how long the oldest planned time, next, has not been decided. It comes from
// the ledger, so that it tells of schedulers that are dead, too.
func ScheduleLag(next, now time.Time) prometheus.Metric {
	lag := 0.0
	if !next.IsZero() {
		lag = max(0, now.Sub(next).Seconds())
	}
	return gauge(
		prometheus.NewDesc(
			"waybill_schedule_lag_seconds",
			"For how long the oldest planned time of any schedule has waited to be decided.",
			nil,
			nil,
		),
		lag,
	)
}
