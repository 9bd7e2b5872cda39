// Package reconcile compares the ledger with Redis and repairs Redis: jobs whose task is missing or
// stuck are sent again, jobs of dead workers are taken back, and what operators did in Redis is
// recorded in the ledger. Any number of processes may run a Reconciler.
package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/clock"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/loop"
	"github.com/waybill/waybill/internal/redisx"
)

// Ledger is what Redis is compared with.
type Ledger interface {
	// OpenDeliveries reads open jobs of a queue in the order in which their deliveries were
	// decided.
	OpenDeliveries(
		ctx context.Context,
		queue string,
		after job.Position,
		before time.Time,
		limit int,
	) ([]job.OpenDelivery, error)
	// DueDeliveries is OpenDeliveries for the jobs that wait and should have run before that time.
	DueDeliveries(
		ctx context.Context,
		queue string,
		after job.Position,
		before time.Time,
		limit int,
	) ([]job.OpenDelivery, error)
	// SettledBefore is a time before which every dispatch_at is visible to all transactions.
	SettledBefore(ctx context.Context) (time.Time, error)
	Now(ctx context.Context) (time.Time, error)
	// DeliveriesOf reads where these jobs stand; those that are unknown or finished are left out.
	DeliveriesOf(ctx context.Context, ids []job.ID) ([]job.OpenDelivery, error)
	Messages(ctx context.Context, ids []job.ID) ([]job.Message, error)
	// Redeliver decides a new delivery for jobs that still wait under the given one.
	Redeliver(ctx context.Context, stuck []job.OpenDelivery) ([]job.Message, error)
	RescueLost(ctx context.Context, judge job.ID) ([]*job.Job, error)
	Archive(ctx context.Context, id job.ID, reason string) (*job.Job, error)
	Queues(ctx context.Context) ([]job.Queue, error)
	Pause(ctx context.Context, queue, by, reason string) error
}

// Config of a Reconciler.
type Config struct {
	Queues   []string
	WorkerID job.ID        // a process whose own heartbeat row is stale must not declare others dead
	Every    time.Duration // between passes; default 1 s
	Grace    time.Duration // how old a delivery is before it is looked up in Redis; default 2 s
	// Overdue is how old a delivery is before its task's state in Redis is compared; default 10 s.
	Overdue time.Duration
	Mark    *redisx.DeploymentMark // nil: Redis is not checked to be this deployment's
	Clock   asynqredis.Clock       // the ledger's time; nil: the process's own
}

// Dispatcher sends jobs to Redis.
type Dispatcher interface {
	// Send sends soon, without waiting for Redis.
	Send(messages ...job.Message)
	// SendNow sends one and waits for Redis. A delivery that Redis knows is no error.
	SendNow(ctx context.Context, m job.Message) error
	// Full reports that Redis nears its memory limit, and sending has stopped.
	Full() bool
}

// Reasons for which the reconciler sends a job again.
const (
	ReasonLost     = "lost"     // Redis does not know the task
	ReasonOrphaned = "orphaned" // its worker died
	ReasonStuck    = "stuck"    // Redis knows the task, but it can no longer come to run
)

// Kinds of divergence between ledger and Redis.
const (
	KindMissing         = "missing"  // an open job without a task
	KindStuck           = "stuck"    // a waiting job whose task can no longer come to run
	KindArchivedInRedis = "archived" // done in Redis behind the ledger's back: archived there
	KindGarbage         = "garbage"  // a task without an open job, in no list
	// A key of Redis that has another type than asynq or Waybill gives it: nothing in it can be
	// read.
	KindKey = "key"
)

// Stats counts what reconcilers found, since the process began.
type Stats struct {
	Resent    map[string]int64 // by reason
	Divergent map[string]int64 // by kind, at the last look of this process at the queues whose turn it has
	Adopted   int64            // actions done in Redis that the ledger took over
	Passes    int64
	// The last pass that found everything it needed to ask, or else since the reconciler was made.
	Since time.Duration
	Lag   time.Duration
}

// Reconciler compares the ledger with Redis.
type Reconciler struct {
	cfg        Config
	ledger     Ledger
	dispatcher Dispatcher
	redis      redis.UniversalClient
	log        *slog.Logger
	began      time.Time
	scanned    scanCursors          // where the search for tasks without a job goes on
	sweeps     map[string]*progress // how far the comparison of each queue's jobs with their tasks has come

	resent    map[string]*atomic.Int64
	divergent map[string]map[string]*divergence // by queue and kind; keys of no queue are under the empty name
	adopted   atomic.Int64
	passes    atomic.Int64
	last      atomic.Int64 // when a pass last succeeded: nanoseconds since began
	lag       atomic.Int64
}

// New makes a Reconciler of what is in Redis.
func New(cfg Config, l Ledger, d Dispatcher, c redis.UniversalClient, log *slog.Logger) (*Reconciler, error) {
	if l == nil || d == nil || c == nil || log == nil || len(cfg.Queues) == 0 {
		return nil, errors.New("reconcile: a ledger, a dispatcher, a Redis client, a logger and queues are needed")
	}
	cfg.setDefaults()
	r := &Reconciler{
		cfg:        cfg,
		ledger:     l,
		dispatcher: d,
		redis:      c,
		log:        log,
		began:      time.Now(),
		scanned:    scanCursors{next: map[string]uint64{}},
		sweeps:     map[string]*progress{},
		resent:     counters(ReasonLost, ReasonOrphaned, ReasonStuck),
		divergent:  map[string]map[string]*divergence{"": newDivergences()},
	}
	for _, queue := range cfg.Queues {
		r.divergent[queue], r.sweeps[queue] = newDivergences(), &progress{}
	}
	return r, nil
}

func (c *Config) setDefaults() {
	if c.Every <= 0 {
		c.Every = time.Second
	}
	if c.Grace <= 0 {
		c.Grace = 2 * time.Second
	}
	if c.Overdue <= 0 {
		c.Overdue = 10 * time.Second
	}
	if c.Clock == nil {
		c.Clock = clock.New()
	}
}

func counters(names ...string) map[string]*atomic.Int64 {
	m := map[string]*atomic.Int64{}
	for _, n := range names {
		m[n] = new(atomic.Int64)
	}
	return m
}

// Run reconciles until ctx ends. What fails is logged when it begins to fail and when it works
// again.
func (r *Reconciler) Run(ctx context.Context) error {
	failing := false
	for loop.Sleep(ctx, loop.Jitter(r.cfg.Every)) {
		err := r.Pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if (err != nil) != failing {
			failing = err != nil
			r.log.WarnContext(ctx, "reconciler changed", "works", !failing, "err", err)
		}
	}
	return nil
}

// Pass reconciles everything once. Lost jobs need no Redis, so they come first; each queue is
// compared even if another failed.
func (r *Reconciler) Pass(ctx context.Context) error {
	r.passes.Add(1)
	errs := []error{r.rescueLost(ctx)}
	if err := r.checkRedis(ctx); err != nil { // nothing can be compared, and nothing is wrong with the ledger
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, r.checkSharedKeys(ctx), r.restore(ctx))
	for _, queue := range r.cfg.Queues {
		errs = append(errs, r.reconcileQueue(ctx, queue))
	}
	err := errors.Join(errs...)
	if err == nil {
		r.last.Store(int64(time.Since(r.began)))
	}
	return err
}

// checkRedis asks Redis for a sign of life, and whose it is.
func (r *Reconciler) checkRedis(ctx context.Context) error {
	if r.cfg.Mark != nil {
		return r.cfg.Mark.Check(ctx)
	}
	return r.redis.Ping(ctx).Err()
}

func (r *Reconciler) reconcileQueue(ctx context.Context, queue string) error {
	mine, err := r.turn(ctx, queue)
	if err != nil || !mine {
		for _, n := range r.divergent[queue] { // the process that has the turn knows; what was seen here is old
			n.clear()
		}
		return err
	}
	if queue == r.cfg.Queues[0] { // its turn stands for the scan of all keys
		err = r.leftovers(ctx)
	}
	// Keys come first: a key of a wrong type would stop all that follows.
	return errors.Join(
		err,
		r.checkKeys(ctx, queue),
		r.reconcileSent(ctx, queue),
		r.matchLeases(ctx, queue),
		r.expiredLeases(ctx, queue),
		r.compareTasks(ctx, queue),
	)
}

// turn lets one reconciler at a time look at a queue. Two at once would do the same work twice,
// which is harmless.
func (r *Reconciler) turn(ctx context.Context, queue string) (bool, error) {
	return redisx.Lease(ctx, r.redis, turnKey(queue), r.cfg.WorkerID.String(), 3*r.cfg.Every)
}

func turnKey(queue string) string { return "waybill:{" + queue + "}:reconciler" }

// rescueLost sends on what dead workers held.
func (r *Reconciler) rescueLost(ctx context.Context) error {
	for {
		jobs, err := r.ledger.RescueLost(ctx, r.cfg.WorkerID)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			level := slog.LevelWarn
			if j.State == job.Archived { // quarantined
				level = slog.LevelError
			}
			r.log.Log(
				ctx,
				level,
				"worker lost, its job was taken back",
				"job_id",
				j.ID,
				"type",
				j.Type,
				"attempt",
				j.Attempt,
				"state",
				j.State,
			)
			if !j.State.Finished() {
				r.resent[ReasonOrphaned].Add(1)
				r.dispatcher.Send(j.Message())
			}
		}
		if len(jobs) == 0 {
			return nil
		}
	}
}

// Stats reads local counters; no I/O.
func (r *Reconciler) Stats() Stats {
	s := Stats{
		Resent:    map[string]int64{},
		Divergent: map[string]int64{},
		Adopted:   r.adopted.Load(),
		Passes:    r.passes.Load(),
		Lag:       time.Duration(r.lag.Load()),
	}
	for k, v := range r.resent {
		s.Resent[k] = v.Load()
	}
	for _, kinds := range r.divergent {
		for k, v := range kinds {
			s.Divergent[k] += v.load()
		}
	}
	s.Since = time.Since(r.began) - time.Duration(r.last.Load())
	return s
}
