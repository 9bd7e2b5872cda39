package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill/waybill/internal/job"
)

// LedgerFigures is what the ledger knows of the whole deployment at one moment.
type LedgerFigures struct {
	Now     time.Time // the database's clock
	Queues  []string  // shown even where they are empty
	Open    []job.QueueCounts
	Workers []job.Worker
	Paused  []job.Queue
}

const (
	staleAfter  = 10 * time.Second // a worker that was not heard for so long is taken for dead
	forgetAfter = 10 * time.Minute // and after that no more spoken of
)

// Metrics are the figures as Prometheus gets them, each once for the deployment.
func (f LedgerFigures) Metrics() []prometheus.Metric {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	open := desc(
		"waybill_jobs_open",
		"Jobs in the ledger that owe an outcome. Aggregate with max by (queue, state).",
		"queue",
		"state",
	)
	oldest := desc(
		"waybill_oldest_pending_seconds",
		"For how long the job that waits longest could have run already.",
		"queue",
	)
	workers := desc(
		"waybill_queue_workers",
		"Worker processes that take jobs from the queue, by their heartbeats.",
		"queue",
	)
	slots := desc(
		"waybill_queue_slots",
		"Jobs that these workers can run at once; they share their slots among their queues.",
		"queue",
	)
	paused := desc("waybill_queue_paused", "1 while the queue is paused.", "queue")
	atLeast := desc(
		"waybill_jobs_open_capped",
		"1 if the queue has more jobs than were counted: waybill_jobs_open says at least.",
		"queue",
	)
	heard := desc(
		"waybill_workers",
		"Worker processes by their heartbeats: live, stopping, or silent (lost within the last 10 minutes).",
		"state",
	)
	queues, processes := f.byQueue()
	var out []prometheus.Metric
	for name, q := range queues {
		for _, s := range job.OpenStates {
			out = append(out, gauge(open, float64(q.open[s]), name, string(s)))
		}
		out = append(
			out,
			gauge(oldest, q.oldest.Seconds(), name),
			gauge(workers, q.workers, name),
			gauge(slots, q.slots, name),
			gauge(paused, indicator(q.paused), name),
			gauge(atLeast, indicator(q.cut), name),
		)
	}
	for state, n := range processes {
		out = append(out, gauge(heard, n, state))
	}
	return out
}

type queueState struct {
	open           map[job.State]int
	oldest         time.Duration
	workers, slots float64
	paused, cut    bool
}

// byQueue knows every queue that is configured, has jobs or has a worker: a queue with jobs and
// without a worker is the one to alert on.
func (f LedgerFigures) byQueue() (queues map[string]*queueState, processes map[string]float64) {
	queues = map[string]*queueState{}
	at := func(name string) *queueState {
		if queues[name] == nil {
			queues[name] = &queueState{}
		}
		return queues[name]
	}
	for _, name := range f.Queues {
		at(name)
	}
	for _, o := range f.Open {
		at(o.Queue).open, at(o.Queue).oldest, at(o.Queue).cut = o.Open, o.OldestDue, o.Cut
	}
	for _, p := range f.Paused {
		if !p.PausedAt.IsZero() {
			at(p.Name).paused = true
		}
	}
	processes = map[string]float64{"live": 0, "stopping": 0, "silent": 0}
	for _, w := range f.Workers {
		state := f.stateOf(w)
		if processes[state]++; state != "live" {
			continue
		}
		for _, name := range w.Queues {
			at(name).workers++
			at(name).slots += float64(w.Slots)
		}
	}
	delete(processes, "forgotten")
	return queues, processes
}

func (f LedgerFigures) stateOf(w job.Worker) string {
	switch silence := f.Now.Sub(w.BeatAt).Abs(); { // it lies ahead where the ledger's clock stepped back since
	case silence > forgetAfter:
		return "forgotten"
	case silence > staleAfter:
		return "silent"
	case w.Stopping:
		return "stopping"
	default:
		return "live"
	}
}
