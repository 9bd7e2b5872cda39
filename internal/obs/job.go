package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill/waybill/internal/job"
)

// Jobs counts what becomes of jobs in this process. It implements worker.Observer and
// store.Observer. Types and queues are those of the deployment, never a stranger's words.
type Jobs struct {
	created, reopened, settled, refused, abandoned *prometheus.CounterVec
	unknown, gaveBack                              *prometheus.CounterVec
	wait, run                                      *prometheus.HistogramVec
	active                                         *prometheus.GaugeVec
}

// NewJobs registers the metrics of jobs. The queues are shown from the start, idle ones too.
func NewJobs(r prometheus.Registerer, queues []string) *Jobs {
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	j := &Jobs{
		created: count(
			"waybill_jobs_created_total",
			"Jobs written down; repetitions of a known Idempotency-Key are none.",
			"type",
			"queue",
		),
		reopened: count("waybill_jobs_reopened_total", "Finished jobs that were run again.", "type", "queue"),
		settled: count(
			"waybill_jobs_settled_total",
			"Attempts that ended, by outcome: completed, archived, canceled, retry, snoozed, handed_back. Jobs that "+
				"were finished while they waited count too.",
			"type",
			"queue",
			"outcome",
		),
		refused: count(
			"waybill_settlements_refused_total",
			"Outcomes that came late: another attempt owned the job.",
			"type",
		),
		abandoned: count(
			"waybill_handlers_abandoned_total",
			"Handlers that ignored the end of their context and were left to themselves.",
			"type",
		),
		unknown: count(
			"waybill_tasks_unknown_type_total",
			"Tasks whose type this worker does not know, and that it put off for a worker that does; each counts "+
				"every time it is met.",
			"queue",
		),
		gaveBack: count(
			"waybill_tasks_given_back_total",
			"Tasks that this worker took and gave back, since the ledger did not answer its claims.",
			"queue",
		),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "waybill_job_wait_seconds",
			Help: "From the time a job was due until a worker had it. Jobs that were interrupted are left out: their " +
				"wait began twice.",
			Buckets: []float64{
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
				300,
				900,
				3600,
			}}, []string{"queue"}),
		run: prometheus.NewHistogramVec(
			prometheus.HistogramOpts{
				Name: "waybill_job_run_seconds",
				Help: "How long a handler ran, whatever came of it.",
				Buckets: []float64{
					.001,
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
					300,
					900,
					3600,
				},
			},
			[]string{"type"},
		),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "waybill_jobs_active",
			Help: "Handlers that run in this process, abandoned ones included."}, []string{"queue"}),
	}
	r.MustRegister(
		j.created,
		j.reopened,
		j.settled,
		j.refused,
		j.abandoned,
		j.unknown,
		j.gaveBack,
		j.wait,
		j.run,
		j.active,
	)
	for _, q := range queues {
		j.active.WithLabelValues(q)
		j.unknown.WithLabelValues(q)
		j.gaveBack.WithLabelValues(q)
	}
	return j
}

// Created implements store.Observer.
func (m *Jobs) Created(taskType, queue string, n int) {
	m.created.WithLabelValues(taskType, queue).Add(float64(n))
}

// Reopened implements store.Observer.
func (m *Jobs) Reopened(taskType, queue string) { m.reopened.WithLabelValues(taskType, queue).Inc() }

// Finished implements store.Observer: a job was canceled or archived while it waited, or taken from
// a lost worker for good.
func (m *Jobs) Finished(taskType, queue string, state job.State) {
	m.settled.WithLabelValues(taskType, queue, string(state)).Inc()
}

// Expect makes the counters of what can happen to jobs of these types start at zero: a counter that
// begins with its first event hides that event from every rate. A process that runs no jobs
// finishes them only by hand.
func (m *Jobs) Expect(kinds []Kind, runsJobs bool) {
	outcomes := []string{string(job.Archived), string(job.Canceled)}
	if runsJobs {
		outcomes = append(outcomes, string(job.Completed), string(job.Retry), snoozed, handedBack)
	}
	for _, k := range kinds {
		m.created.WithLabelValues(k.Type, k.Queue)
		m.reopened.WithLabelValues(k.Type, k.Queue)
		for _, o := range outcomes {
			m.settled.WithLabelValues(k.Type, k.Queue, o)
		}
		if runsJobs {
			m.refused.WithLabelValues(k.Type)
			m.abandoned.WithLabelValues(k.Type)
		}
	}
}

// Kind is what jobs are counted by.
type Kind struct{ Type, Queue string }

// maxKinds bounds the series that exist before anything has happened: eight for each kind.
const maxKinds = 500

// Kinds pairs each task type with every queue, or with its own queue alone where the pairs would be
// more than maxKinds. queueOf is the queue of each type's jobs where they name none.
func Kinds(queueOf map[string]string, queues []string) (kinds []Kind) {
	for taskType, own := range queueOf {
		if len(queueOf)*len(queues) > maxKinds {
			kinds = append(kinds, Kind{taskType, own})
			continue
		}
		for _, q := range queues {
			kinds = append(kinds, Kind{taskType, q})
		}
	}
	return kinds
}

// Running notes that a handler runs until the returned function is called.
func (m *Jobs) Running(j *job.Job) (done func()) {
	g := m.active.WithLabelValues(j.Queue)
	g.Inc()
	return g.Dec
}

// Claimed implements worker.Observer.
func (m *Jobs) Claimed(j *job.Job) {
	if j.Interruptions == 0 {
		m.wait.WithLabelValues(j.Queue).Observe(max(0, j.StartedAt.Sub(j.RunAt).Seconds()))
	}
}

// Settled implements worker.Observer. An attempt that was never begun has no run time.
func (m *Jobs) Settled(j *job.Job, outcome string, run time.Duration) {
	m.count(j, outcome)
	if run > 0 {
		m.run.WithLabelValues(j.Type).Observe(run.Seconds())
	}
}

// Refused implements worker.Observer.
func (m *Jobs) Refused(j *job.Job) { m.refused.WithLabelValues(j.Type).Inc() }

// Abandoned implements worker.Observer.
func (m *Jobs) Abandoned(j *job.Job) { m.abandoned.WithLabelValues(j.Type).Inc() }

// Unknown implements worker.Observer.
func (m *Jobs) Unknown(queue string) { m.unknown.WithLabelValues(queue).Inc() }

// GaveBack implements worker.Observer.
func (m *Jobs) GaveBack(queue string) { m.gaveBack.WithLabelValues(queue).Inc() }

// What became of attempts whose job goes on without a failure.
const (
	snoozed    = "snoozed"
	handedBack = "handed_back"
)

// count speaks of attempts where the state that follows would mislead.
func (m *Jobs) count(j *job.Job, outcome string) {
	switch job.State(outcome) {
	case job.Scheduled:
		outcome = snoozed
	case job.Pending:
		outcome = handedBack
	}
	m.settled.WithLabelValues(j.Type, j.Queue, outcome).Inc()
}

// Batches registers waybill_batch_size and answers, for an operation, what is to be called with the
// size of each of its batches.
func Batches(r prometheus.Registerer) func(op string) func(n int) {
	sizes := prometheus.NewHistogramVec(
		prometheus.HistogramOpts{
			Name:    "waybill_batch_size",
			Help:    "Jobs that were written to the ledger in one commit.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500},
		},
		[]string{"op"},
	)
	r.MustRegister(sizes)
	return func(op string) func(n int) {
		h := sizes.WithLabelValues(op)
		return func(n int) { h.Observe(float64(n)) }
	}
}
