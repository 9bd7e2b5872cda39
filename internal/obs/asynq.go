package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// AsynqQueue is what Redis holds of a queue.
type AsynqQueue struct {
	Queue             string
	Tasks             map[string]int64 // by asynq's states
	Size              int64
	Processed, Failed int64 // since Redis was empty
	Paused            bool
	Latency           time.Duration
	Bytes             int64 // an estimate; negative: not known
}

// RedisFigures is what Redis says of the whole deployment at one moment.
type RedisFigures struct {
	Queues      []AsynqQueue
	Used, Limit int64 // bytes, of the server that is nearest to its limit; Limit 0: none
}

// Metrics bear the names of asynq's own exporter, which asynqmon's pages and many dashboards query.
func (f RedisFigures) Metrics() []prometheus.Metric {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	size := desc("asynq_queue_size", "Tasks in a queue.", "queue")
	tasks := desc("asynq_tasks_enqueued_total", "Tasks in a queue by state.", "queue", "state")
	latency := desc(
		"asynq_queue_latency_seconds",
		"For how long the oldest pending task has been in its queue.",
		"queue",
	)
	paused := desc("asynq_queue_paused_total", "1 if the queue is paused in Redis.", "queue")
	processed := desc("asynq_tasks_processed_total", "Tasks that asynq processed, failed ones included.", "queue")
	failed := desc("asynq_tasks_failed_total", "Tasks that failed.", "queue")
	bytes := desc(
		"asynq_queue_memory_usage_approx_bytes",
		"What a queue takes in Redis, estimated from samples.",
		"queue",
	)
	out := []prometheus.Metric{
		gauge(
			desc(
				"waybill_redis_memory_used_bytes",
				"What Redis uses; in a cluster, the server that is nearest to its limit.",
			),
			float64(f.Used),
		),
		gauge(
			desc("waybill_redis_memory_limit_bytes", "What Redis may use (maxmemory); 0: without limit."),
			float64(f.Limit),
		),
	}
	for _, q := range f.Queues {
		out = append(
			out,
			gauge(size, float64(q.Size), q.Queue),
			gauge(latency, q.Latency.Seconds(), q.Queue),
			gauge(paused, indicator(q.Paused), q.Queue),
			counter(processed, float64(q.Processed), q.Queue),
			counter(failed, float64(q.Failed), q.Queue),
		)
		for state, n := range q.Tasks {
			out = append(out, gauge(tasks, float64(n), q.Queue, state))
		}
		if q.Bytes >= 0 {
			out = append(out, gauge(bytes, float64(q.Bytes), q.Queue))
		}
	}
	return out
}
