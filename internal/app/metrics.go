package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
	"github.com/waybill/waybill/internal/redisx"
)

// The lease on exporting the deployment's figures. The ledger and Redis each keep one: the figures
// of either are exported while it answers, whatever happens to the other.
const (
	leaseName  = "figures"
	redisLease = "waybill:lease:" + leaseName
)

// addMetrics registers what this process knows by itself, and joins those who take turns at
// exporting the figures of the whole deployment.
func (a *App) addMetrics() {
	r := a.telemetry.registry
	obs.Pools(r, "waybill_database_pool", "the database", a.databasePool)
	obs.Pools(r, "waybill_redis_pool", "Redis", a.redisPool)
	a.addDispatchMetrics(r)
	me := job.NewID()
	a.add("ledger figures", obs.NewExporter(r, obs.Source{
		Name: "ledger",
		Lease: func(ctx context.Context, ttl time.Duration) (bool, error) {
			return a.store.Lease(ctx, leaseName, me, ttl)
		},
		Release: func(ctx context.Context) error { return a.store.Release(ctx, leaseName, me) },
		Read:    a.ledgerFigures,
	}, a.log).Run)
	a.add("redis figures", obs.NewExporter(r, obs.Source{
		Name: "redis",
		Lease: func(ctx context.Context, ttl time.Duration) (bool, error) {
			return redisx.Lease(ctx, a.redis, redisLease, me.String(), ttl)
		},
		Release: func(ctx context.Context) error { return redisx.Release(ctx, a.redis, redisLease, me.String()) },
		Read:    (&redisStats{app: a, stats: asynqredis.NewStats(a.redis, a.store.Clock())}).read,
	}, a.log).Run)
}

func (a *App) databasePool() obs.Pool {
	s := a.store.PoolStats()
	return obs.Pool{Max: s.Max, InUse: s.InUse, Idle: s.Idle, Waits: s.Waits, Waited: s.Waited}
}

func (a *App) redisPool() obs.Pool {
	s, p := a.redis.PoolStats(), obs.Pool{}
	p.InUse, p.Idle = int(s.TotalConns-min(s.IdleConns, s.TotalConns)), int(s.IdleConns)
	p.Waits, p.Waited, p.Timeouts = int64(s.WaitCount), time.Duration(s.WaitDurationNs), int64(s.Timeouts)
	switch c := a.redis.(type) {
	case *redis.Client:
		p.Max = c.Options().PoolSize
	case *redis.ClusterClient:
		p.Max = c.Options().PoolSize // for each server
	}
	return p
}

func (a *App) addDispatchMetrics(r prometheus.Registerer) {
	lag := new(obs.Lag)
	a.add("dispatch lag", lag.Run(func() (joined, left int64) {
		// Read first: what leaves meanwhile makes the lag longer, never negative.
		left = a.dispatcher.Sent() + a.dispatcher.Missed()
		return left + int64(a.dispatcher.Waiting()), left
	}))
	obs.Gauge(
		r,
		"waybill_dispatch_lag_seconds",
		"For how long the oldest recorded job of this process has waited to be sent to Redis.",
		func() float64 { return lag.Behind(time.Now()).Seconds() },
	)
	obs.Gauge(
		r,
		"waybill_dispatch_waiting_jobs",
		"Recorded jobs of this process that wait to be sent to Redis.",
		func() float64 { return float64(a.dispatcher.Waiting()) },
	)
	obs.Gauge(
		r,
		"waybill_dispatch_stopped",
		"1 while sending has stopped because Redis nears its memory limit.",
		func() float64 {
			if a.dispatcher.Full() {
				return 1
			}
			return 0
		},
	)
	obs.Count(
		r,
		"waybill_dispatch_sent_total",
		"Deliveries that Redis took, those it knew included.",
		a.dispatcher.Sent,
	)
	obs.Count(
		r,
		"waybill_dispatch_missed_total",
		"Deliveries that the fast path left to the reconciler.",
		a.dispatcher.Missed,
	)
}

// addWorkerMetrics registers what only a worker knows.
func (a *App) addWorkerMetrics(slots int) {
	obs.Gauge(
		a.telemetry.registry,
		"waybill_worker_slots",
		"Jobs that this process can run at once.",
		func() float64 { return float64(slots) },
	)
	obs.ReconcilerMetrics(a.telemetry.registry, func() obs.Reconciler {
		s := a.reconciler.Stats()
		return obs.Reconciler{
			Resent:    s.Resent,
			Divergent: s.Divergent,
			Adopted:   s.Adopted,
			Passes:    s.Passes,
			Since:     s.Since,
			Horizon:   s.Lag,
		}
	})
}

// ledgerFigures reads what PostgreSQL knows of the whole deployment.
func (a *App) ledgerFigures(ctx context.Context) (_ []prometheus.Metric, err error) {
	f := obs.LedgerFigures{Queues: a.cfg.Queues.Names()}
	if f.Open, err = a.store.OpenCounts(ctx); err != nil {
		return nil, err
	}
	if f.Workers, err = a.store.Workers(ctx); err != nil {
		return nil, err
	}
	if f.Paused, err = a.store.Queues(ctx); err != nil {
		return nil, err
	}
	if f.Now, err = a.store.Now(ctx); err != nil { // last, so that no heartbeat lies ahead of it
		return nil, err
	}
	next, _, now, err := a.store.ScheduleAgenda(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.store.TakeCommandCounts(ctx, a.telemetry.jobs); err != nil {
		return nil, err
	}
	return append(f.Metrics(), obs.ScheduleLag(next, now)), nil
}

// memoryInterval is how often the memory of each queue is estimated, which costs Redis more than
// counting.
const memoryInterval = time.Minute

// redisStats reads what Redis knows of the whole deployment.
type redisStats struct {
	app     *App
	stats   *asynqredis.Stats
	bytes   map[string]int64 // of each queue; nil: not known
	weighed time.Time
}

func (f *redisStats) read(ctx context.Context) ([]prometheus.Metric, error) {
	queues, err := f.stats.Queues(ctx, f.app.cfg.Queues.Names())
	if err != nil {
		return nil, err
	}
	out := obs.RedisFigures{}
	memory, err := redisx.Memory(ctx, f.app.redis)
	if err != nil {
		return nil, err
	}
	out.Used, out.Limit = memory.Used, memory.Limit
	if time.Since(f.weighed) >= memoryInterval {
		f.weighed = time.Now()
		if f.bytes, err = f.stats.QueueMemory(ctx, queues); err != nil { // the other figures stand without it
			f.bytes = nil
			f.app.log.DebugContext(ctx, "the queues' memory could not be estimated", "err", err)
		}
	}
	for _, q := range queues {
		out.Queues = append(out.Queues, f.queue(q))
	}
	return out.Metrics(), nil
}

func (f *redisStats) queue(q asynqredis.QueueStats) obs.AsynqQueue {
	bytes, known := f.bytes[q.Queue]
	if !known {
		bytes = -1
	}
	return obs.AsynqQueue{
		Queue:     q.Queue,
		Size:      q.Size(),
		Processed: q.Processed,
		Failed:    q.Failed,
		Paused:    q.Paused,
		Latency:   q.Latency,
		Bytes:     bytes,
		Tasks: map[string]int64{
			"pending":   q.Pending,
			"active":    q.Active,
			"scheduled": q.Scheduled,
			"retry":     q.Retry,
			"archived":  q.Archived,
			"completed": q.Completed,
		},
	}
}
