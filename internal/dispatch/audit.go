package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/job"
)

// Ledger is what the audit compares Redis with.
type Ledger interface {
	// Deliveries reads open jobs of a queue in the order in which their deliveries were decided.
	Deliveries(ctx context.Context, queue string, after job.Position, before time.Time, limit int) ([]job.Delivery, error)
	// DueDeliveries is Deliveries for the jobs that wait and should have run before that time.
	DueDeliveries(ctx context.Context, queue string, after job.Position, before time.Time, limit int) ([]job.Delivery, error)
	// SettledBefore is a time before which every dispatch_at is visible to everybody.
	SettledBefore(ctx context.Context) (time.Time, error)
	Now(ctx context.Context) (time.Time, error)
	// Standing reads where these jobs stand; those that are unknown or finished are left out.
	Standing(ctx context.Context, ids []job.ID) ([]job.Delivery, error)
	Parcels(ctx context.Context, ids []job.ID) ([]job.Parcel, error)
	// Redeliver decides a new delivery for jobs that still wait under the given one.
	Redeliver(ctx context.Context, stuck []job.Delivery) ([]job.Parcel, error)
	Orphans(ctx context.Context, judge job.ID) ([]*job.Job, error)
	Archive(ctx context.Context, id job.ID, reason string) (*job.Job, error)
	Queues(ctx context.Context) ([]job.Queue, error)
	Pause(ctx context.Context, queue, by, reason string) error
}

// AuditConfig says what is audited.
type AuditConfig struct {
	Queues []string
	Judge  job.ID        // the heartbeat row of this process: who is not heard himself calls nobody dead
	Every  time.Duration // between passes; default 1 s
	Grace  time.Duration // how long the fast path is left alone with a delivery; default 2 s
	// Overdue is how old a delivery is before its task's place in Redis is compared; default 10 s.
	Overdue time.Duration
}

// Reasons for which the audit sends a job again.
const (
	ReasonLost     = "lost"     // Redis does not know the task
	ReasonOrphaned = "orphaned" // its worker died
	ReasonStuck    = "stuck"    // Redis knows the task, but nobody will ever run it
)

// Kinds of divergence between ledger and Redis.
const (
	KindMissing = "missing" // an open job without a task
	KindStuck   = "stuck"   // a waiting job whose task can no longer come to run
	KindFlipped = "flipped" // done in Redis behind the ledger's back: archived there
	KindGarbage = "garbage" // a task without an open job, in no list
	KindKey     = "key"     // a key of Redis that has another type than asynq or Waybill gives it: nothing in it can be read
)

// Stats counts what audits found, since the process began.
type Stats struct {
	Resent    map[string]int64 // by reason
	Divergent map[string]int64 // by kind, at the last look of this process at the queues whose turn it has
	Adopted   int64            // deeds done in Redis that the ledger took over
	Passes    int64
	Since     time.Duration // the last pass that found everything it needed to ask, or else since the audit was made
	Lag       time.Duration
}

// Audit finds what the fast path missed and what Redis lost. Any number of processes may run one.
type Audit struct {
	cfg     AuditConfig
	ledger  Ledger
	d       *Dispatcher
	redis   redis.UniversalClient
	log     *slog.Logger
	scanned scanCursors       // where the search for tasks without a job goes on
	sweeps  map[string]*sweep // how far the comparison of each queue's jobs with their tasks has come

	resent    map[string]*atomic.Int64
	divergent map[string]map[string]*shown // by queue and kind; keys of no queue are under the empty name
	adopted   atomic.Int64
	passes    atomic.Int64
	last      atomic.Int64
	lag       atomic.Int64
}

// NewAudit makes an audit that sends through d.
func NewAudit(cfg AuditConfig, l Ledger, d *Dispatcher) (*Audit, error) {
	if l == nil || d == nil || len(cfg.Queues) == 0 {
		return nil, errors.New("audit: a ledger, a dispatcher and queues are needed")
	}
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 2 * time.Second
	}
	if cfg.Overdue <= 0 {
		cfg.Overdue = 10 * time.Second
	}
	divergent, sweeps := map[string]map[string]*shown{"": newShown()}, map[string]*sweep{}
	for _, queue := range cfg.Queues {
		divergent[queue], sweeps[queue] = newShown(), &sweep{}
	}
	return &Audit{cfg: cfg, ledger: l, d: d, redis: d.redis, log: d.log, sweeps: sweeps, scanned: scanCursors{next: map[string]uint64{}},
		resent: counters(ReasonLost, ReasonOrphaned, ReasonStuck), divergent: divergent}, nil
}

func counters(names ...string) map[string]*atomic.Int64 {
	m := map[string]*atomic.Int64{}
	for _, n := range names {
		m[n] = new(atomic.Int64)
	}
	return m
}

// Run audits until ctx ends. What fails is logged when it begins to fail and when it works again.
func (a *Audit) Run(ctx context.Context) error {
	failing := false
	for wait(ctx, a.cfg.Every*9/10+rand.N(a.cfg.Every/5)) {
		err := a.Pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if (err != nil) != failing {
			failing = err != nil
			a.log.WarnContext(ctx, "audit changed", "works", !failing, "err", err)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Pass is one audit of everything. Orphans need no Redis, so they come first; each queue is audited even if another failed.
func (a *Audit) Pass(ctx context.Context) error {
	a.passes.Add(1)
	errs := []error{a.orphans(ctx)}
	if err := a.reach(ctx); err != nil { // nothing can be compared, and nothing is wrong with the ledger
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, a.checkSharedKeys(ctx), a.restore(ctx))
	for _, queue := range a.cfg.Queues {
		errs = append(errs, a.queue(ctx, queue))
	}
	err := errors.Join(errs...)
	if err == nil {
		a.last.Store(int64(time.Since(a.d.began)))
	}
	return err
}

// reach asks Redis for a sign of life, and whose it is.
func (a *Audit) reach(ctx context.Context) error {
	if a.d.cfg.Mark != nil {
		return a.d.cfg.Mark.Check(ctx)
	}
	return a.redis.Ping(ctx).Err()
}

func (a *Audit) queue(ctx context.Context, queue string) error {
	mine, err := a.turn(ctx, queue)
	if err != nil || !mine {
		for _, n := range a.divergent[queue] { // whoever has the turn knows; what was seen here is old
			n.clear()
		}
		return err
	}
	if queue == a.cfg.Queues[0] { // its turn stands for the scan of all keys
		err = a.leftovers(ctx)
	}
	// Keys come first: a key of a wrong type would stop all that follows.
	return errors.Join(err, a.checkKeys(ctx, queue), a.sent(ctx, queue), a.rejoin(ctx, queue), a.unheld(ctx, queue), a.overdue(ctx, queue))
}

// turn lets one audit at a time look at a queue: for thrift only, since two at once would do the same thing twice, harmlessly.
func (a *Audit) turn(ctx context.Context, queue string) (bool, error) {
	n, err := lease.Run(ctx, a.redis, []string{turnKey(queue)}, a.cfg.Judge.String(), (3 * a.cfg.Every).Milliseconds()).Int()
	if err != nil {
		return false, fmt.Errorf("take turns with other audits: %w", err)
	}
	return n == 1, nil
}

func turnKey(queue string) string { return "waybill:{" + queue + "}:audit" }

// orphans sends on what dead workers held.
func (a *Audit) orphans(ctx context.Context) error {
	for {
		jobs, err := a.ledger.Orphans(ctx, a.cfg.Judge)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			level := slog.LevelWarn
			if j.State == job.Archived { // quarantined
				level = slog.LevelError
			}
			a.log.Log(ctx, level, "worker lost, its job was taken back", "job_id", j.ID, "type", j.Type, "attempt", j.Attempt, "state", j.State)
			if !j.State.Finished() {
				a.resent[ReasonOrphaned].Add(1)
				a.d.Send(j.Parcel())
			}
		}
		if len(jobs) == 0 {
			return nil
		}
	}
}

// Stats answers the counts; it asks nobody.
func (a *Audit) Stats() Stats {
	s := Stats{Resent: map[string]int64{}, Divergent: map[string]int64{}, Adopted: a.adopted.Load(), Passes: a.passes.Load(), Lag: time.Duration(a.lag.Load())}
	for k, v := range a.resent {
		s.Resent[k] = v.Load()
	}
	for _, kinds := range a.divergent {
		for k, v := range kinds {
			s.Divergent[k] += v.load()
		}
	}
	s.Since = time.Since(a.d.began) - time.Duration(a.last.Load())
	return s
}
