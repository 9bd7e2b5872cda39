// Package worker is the pool: it takes a task from asynq, claims its job in the ledger, runs it and
// settles it. asynq decides where and when a job runs; the ledger decides whether it runs, and
// records its outcome.
//
// It is a part of Waybill, not a library: its Go API changes without notice. Programs are built with
// packages tasks, server and client.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/clock"
	"github.com/waybill/waybill/internal/job"
)

// ledger is what the pool needs of the store. Claim and Settle are group-committed behind it.
type ledger interface {
	// Claim asks for the right to run a job. job.CodeUnavailable: ask again.
	Claim(ctx context.Context, r job.ClaimRequest) (job.Claim, error)
	// Settle writes an attempt's outcome down. Sending the same settlement again is harmless.
	Settle(ctx context.Context, s *job.Settlement) (job.Settled, error)
	Heartbeat(ctx context.Context, b job.Heartbeat) (job.HeartbeatReply, error)
	RemoveWorker(ctx context.Context, worker job.ID) error
	ReportProgress(ctx context.Context, reports []job.ProgressReport) error
}

// dispatcher sends a job that was handed back on its way again. It does not wait for Redis.
type dispatcher interface{ Send(messages ...job.Message) }

// deploymentMark tells whether the Redis that tasks are taken from is this deployment's. A task of
// another deployment must not be dropped because this ledger does not know its job.
type deploymentMark interface {
	// Err answers what the last Check found, without asking Redis.
	Err() error
	Check(ctx context.Context) error
}

// Handler runs one attempt of a job and answers its result.
type Handler func(ctx context.Context, j *job.Job) (json.RawMessage, error)

// Observer is told what happens, for the metrics.
type Observer interface {
	Claimed(j *job.Job)
	Settled(j *job.Job, outcome string, run time.Duration)
	Refused(j *job.Job)
	Abandoned(j *job.Job)
	// Unknown is told of a task whose type this worker does not know.
	Unknown(queue string)
	// GaveBack is told of a task that was given back to its queue since the ledger did not answer.
	GaveBack(queue string)
}

// Config of a Pool.
type Config struct {
	ID            job.ID         // of this process's heartbeat row
	Queues        map[string]int // weights
	Concurrency   int            // handlers at once
	Grace         time.Duration  // for handlers to finish once the pool stops; what does not is handed back
	CancelGrace   time.Duration  // for a handler to return once its context ended, before it is abandoned
	WakeUpChannel string
	// CancelChannel carries hints that a cancel was asked for; they speed up the heartbeat.
	CancelChannel string
}

// Deps are what a Pool works with; all are needed but Knows, Mark, Clock and Observer.
type Deps struct {
	Ledger     ledger
	Dispatcher dispatcher
	Handler    Handler
	Knows      func(taskType string) bool // whether Handler can run jobs of a type; nil: all
	Mark       deploymentMark             // nil: not asked
	Redis      redis.UniversalClient      // for subscriptions, and for scripts that do much in one step
	Pipelined  redis.UniversalClient      // the same, for what asynq does one by one
	Clock      asynqredis.Clock           // the ledger's time; nil: the process's own
	Log        *slog.Logger
	Observer   Observer
}

// Pool runs jobs until it is stopped.
type Pool struct {
	cfg          Config
	deps         Deps
	log          *slog.Logger
	notifier     *asynqredis.QueueNotifier
	dequeuer     *asynqredis.BatchingServerClient
	times        *asynqredis.Client
	server       *asynq.Server
	running      *runningAttempts
	progress     *progressReports
	heartbeatNow chan struct{}
	// base is the parent of every handler's context: it outlives Run's, and ends when the drain is
	// over.
	base         context.Context
	endBase      context.CancelFunc
	stopping     atomic.Bool
	late         atomic.Int64
	outage       outage
	unknownTypes *unknownTypes
	attemptLog   *attemptLog
	lostAttempts map[job.AttemptKey]int // heartbeats in a row that named an attempt which is not here
}

// New makes a Pool; Run starts it.
func New(cfg Config, deps Deps) (*Pool, error) {
	if deps.Ledger == nil || deps.Dispatcher == nil || deps.Handler == nil || deps.Pipelined == nil ||
		deps.Redis == nil ||
		deps.Log == nil {
		return nil, errors.New("worker: a dependency is missing")
	}
	if cfg.ID.IsZero() || len(cfg.Queues) == 0 || cfg.Concurrency < 1 {
		return nil, errors.New("worker: an id, queues and a concurrency of at least 1 are needed")
	}
	if deps.Observer == nil {
		deps.Observer = noObserver{}
	}
	if deps.Knows == nil {
		deps.Knows = func(string) bool { return true }
	}
	if deps.Clock == nil {
		deps.Clock = clock.New()
	}
	p := &Pool{
		cfg:          cfg,
		deps:         deps,
		log:          deps.Log,
		notifier:     asynqredis.NewQueueNotifier(),
		running:      newRunningAttempts(),
		heartbeatNow: make(chan struct{}, 1),
		lostAttempts: map[job.AttemptKey]int{},
	}
	p.base, p.endBase = context.WithCancel(context.Background())
	p.progress = newProgressReports(deps.Ledger, deps.Log)
	p.unknownTypes, p.attemptLog = newUnknownTypes(deps.Log), newAttemptLog(deps.Log)
	p.dequeuer = asynqredis.NewBatchingServerClient(deps.Pipelined, asynqredis.ServerClientConfig{
		Scripts:    deps.Redis,
		Notifier:   p.notifier,
		Queues:     len(cfg.Queues),
		Slots:      cfg.Concurrency,
		MayDequeue: p.mayDequeue,
		Yields:     p.unknownTypes.metRecently,
	})
	p.times = asynqredis.WithClock(p.dequeuer, deps.Clock)
	p.server = asynq.NewServerFromRedisClient(p.times, asynq.Config{
		Concurrency: cfg.Concurrency, Queues: cfg.Queues, RetryDelayFunc: retryDelay, IsFailure: isFailure,
		TaskCheckInterval: time.Microsecond, DelayedTaskCheckInterval: asynqredis.ForwardInterval,
		// the notifier keeps Redis from being asked as often
		ShutdownTimeout: time.Second, // the pool has waited before
		Logger:          asynqLog{p.log}, LogLevel: asynq.WarnLevel,
	})
	return p, nil
}

// Run works until ctx ends, then drains: no new tasks, the grace period for what runs, the rest
// handed back. It returns when everything is settled or given up.
func (p *Pool) Run(ctx context.Context) error {
	life, die := context.WithCancel(context.WithoutCancel(ctx))
	defer die()
	// No claim before the heartbeat row is there: its jobs would look orphaned.
	if err := p.firstHeartbeat(ctx); err != nil {
		return err
	}
	var loops sync.WaitGroup
	loops.Go(func() { p.heartbeatLoop(life) })
	loops.Go(func() { p.listen(life) })
	loops.Go(func() { p.progress.run(life) })
	if err := p.server.Start(p.recordRetryTimes(p.process)); err != nil {
		die()
		loops.Wait()
		return fmt.Errorf("start the asynq server: %w", err)
	}
	p.log.InfoContext(ctx, "worker started", "worker_id", p.cfg.ID, "slots", p.cfg.Concurrency)
	<-ctx.Done()
	p.drain(life)
	die()
	loops.Wait()
	p.removeWorker(ctx)
	return nil
}

// drain stops taking tasks, gives back what was taken and not begun, waits, ends what is left, and
// lets asynq go.
func (p *Pool) drain(ctx context.Context) {
	p.stopping.Store(true)
	p.beatSoon()
	p.notifier.Close()
	p.server.Stop()
	p.requeueAll(ctx)
	grace, cancel := context.WithTimeout(ctx, p.cfg.Grace)
	defer cancel()
	if !p.running.wait(grace) {
		p.log.InfoContext(ctx, "handing back what did not finish", "jobs", p.running.count())
		p.running.endAll(errStopping)
		last, cancel := context.WithTimeout(ctx, p.cfg.CancelGrace+settleTimeout)
		defer cancel()
		p.running.wait(last)
	}
	p.endBase()
	p.server.Shutdown()
}

func (p *Pool) requeueAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := p.dequeuer.RequeueAll(ctx); err != nil {
		p.log.WarnContext(ctx, "tasks stay active until the reconciler finds them", "err", err)
	}
}

func (p *Pool) removeWorker(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := p.deps.Ledger.RemoveWorker(ctx, p.cfg.ID); err != nil {
		p.log.WarnContext(ctx, "heartbeat row stays and will go stale", "err", err)
	}
}

// mayDequeue is how many tasks may be dequeued at once.
func (p *Pool) mayDequeue() int {
	if p.deps.Mark != nil && p.deps.Mark.Err() != nil {
		return 0
	}
	return p.outage.mayDequeue()
}

// Ready answers why the pool takes no tasks; nil: it does.
func (p *Pool) Ready(context.Context) error {
	if p.outage.isOut() {
		return errOutage
	}
	return nil
}

// Active is how many handlers run.
func (p *Pool) Active() int { return p.running.count() }

// Slots is how many could.
func (p *Pool) Slots() int { return p.cfg.Concurrency }

// Late is how many settlements the ledger refused because another attempt owned the job.
func (p *Pool) Late() int64 { return p.late.Load() }

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

type noObserver struct{}

func (noObserver) Claimed(*job.Job)                        {}
func (noObserver) Settled(*job.Job, string, time.Duration) {}
func (noObserver) Refused(*job.Job)                        {}
func (noObserver) Abandoned(*job.Job)                      {}
func (noObserver) Unknown(string)                          {}
func (noObserver) GaveBack(string)                         {}
