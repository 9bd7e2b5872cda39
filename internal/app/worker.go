package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/peer"
	"github.com/waybill/waybill/internal/reconcile"
	"github.com/waybill/waybill/internal/redisx"
	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/worker"
)

func (a *App) addWorker(o Options) error {
	if err := a.checkPrivileges(o); err != nil {
		return err
	}
	fast, err := redisx.Pipelined(a.redis)
	if err != nil {
		return err
	}
	id := job.NewID()
	a.reconciler, err = reconcile.New(reconcile.Config{
		Queues:   a.cfg.Queues.Names(),
		WorkerID: id,
		Mark:     a.mark,
		Clock:    a.store.Clock(),
	}, a.ledger, a.dispatcher, a.redis, a.log)
	if err != nil {
		return err
	}
	pool, err := worker.New(worker.Config{
		ID: id, Queues: a.cfg.Queues.Weights(), Concurrency: a.cfg.Concurrency,
		Grace: a.cfg.ShutdownGrace, CancelGrace: a.cfg.CancelGrace,
		WakeUpChannel: asynqredis.WakeUpChannel, CancelChannel: asynqredis.CancelChannel,
	}, worker.Deps{Ledger: a.ledger, Dispatcher: a.dispatcher, Handler: a.telemetry.handler(runTask(a.tasks)),
		Knows: knows(a.tasks), Mark: a.mark,
		Redis: a.redis, Pipelined: fast, Clock: a.store.Clock(), Log: a.log, Observer: a.telemetry.jobs})
	if err != nil {
		return err
	}
	a.pool = pool
	a.addWorkerMetrics(pool.Slots())
	a.add("purge", a.ledger.purgeLoop(a.cfg.Retention, a.log))
	if o.API == nil { // one process has one port to be watched at
		if err := a.addWorkerHTTP(); err != nil {
			return err
		}
	}
	a.add("reconciler", a.reconciler.Run)
	a.addScheduler()
	a.services = append(a.services, service{name: "worker", run: pool.Run, busy: pool.Active})
	return nil
}

// checkPrivileges refuses a worker that cannot run programs as it is told to, and warns of more
// rights than a worker needs.
func (a *App) checkPrivileges(o Options) error {
	command := taskConfig(a.cfg).Command
	if err := command.CheckWorker(); err != nil {
		return fmt.Errorf("WAYBILL_COMMAND_USER: %w", err)
	}
	if command.Privileged() {
		a.log.Warn("command.run runs programs as root: WAYBILL_COMMAND_USER names another user")
	}
	if o.API == nil && len(a.cfg.JWTKeys) > 0 {
		a.log.Warn("WAYBILL_JWT_KEYS is set for a worker, which needs none: take it out of its environment")
	}
	return nil
}

// addWorkerHTTP serves what watches a worker.
func (a *App) addWorkerHTTP() error {
	l, err := listen(a.cfg.MetricsAddr, "WAYBILL_METRICS_ADDR")
	if err != nil {
		return err
	}
	a.closers = append(a.closers, func() error { return ignoreClosed(l.Close()) })
	a.watched = l
	server := &http.Server{
		Handler:           http.MaxBytesHandler(a.watchMux(), 1<<10), // nothing there takes a body
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute, // longer than the time between two scrapes
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	a.add("metrics", serve(server, l, peer.Limits{Conns: 64, Unfinished: 32, Total: 256}, 2*silentGrace))
	return nil
}

// knows tells which types this worker runs.
func knows(c *catalogue.Catalogue) func(taskType string) bool {
	return func(taskType string) bool {
		t, ok := c.Lookup(taskType)
		return ok && t.Runs()
	}
}

// unknownTypeWait is how long a job waits for another worker whose type is not the one that its
// task in Redis names.
const unknownTypeWait = 10 * time.Second

// runTask looks the handler up. The pool claims no job of a type that this worker does not know; a
// job whose task in Redis was changed waits for a worker that does.
func runTask(c *catalogue.Catalogue) worker.Handler {
	return func(ctx context.Context, j *job.Job) (json.RawMessage, error) {
		t, ok := c.Lookup(j.Type)
		if !ok {
			return nil, tasks.Snooze(unknownTypeWait)
		}
		return t.Run(ctx, j)
	}
}
