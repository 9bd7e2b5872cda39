package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/waybill/waybill/internal/dispatch"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/worker"
)

func (a *App) addWorker(o Options) error {
	fast, err := dispatch.Pipelined(a.redis)
	if err != nil {
		return err
	}
	id := job.NewID()
	a.audit, err = dispatch.NewAudit(dispatch.AuditConfig{Queues: a.cfg.Queues.Names(), Judge: id}, watched{a.ledger, a.watch}, a.carrier)
	if err != nil {
		return err
	}
	pool, err := worker.New(worker.Config{
		ID: id, Queues: a.cfg.Queues.Weights(), Concurrency: a.cfg.Concurrency,
		Grace: a.cfg.ShutdownGrace, CancelGrace: a.cfg.CancelGrace,
		BellChannel: dispatch.BellChannel, CancelChannel: dispatch.CancelChannel,
	}, worker.Deps{Ledger: a.ledger, Carrier: a.carrier, Handler: a.watch.handler(runTask(a.tasks)), Redis: a.redis, Pipelined: fast, Clock: a.store.Clock(),
		Log: a.log, Observer: a.watch.jobs})
	if err != nil {
		return err
	}
	a.addWorkerMetrics(pool.Slots())
	a.add("purge", a.ledger.purgeLoop(a.cfg.Retention, a.log))
	if o.API == nil { // one process has one port to be watched at
		if err := a.addWorkerHTTP(); err != nil {
			return err
		}
	}
	a.add("audit", a.audit.Run)
	a.addScheduler()
	a.add("worker", pool.Run)
	return nil
}

// addWorkerHTTP serves what watches a worker.
func (a *App) addWorkerHTTP() error {
	l, err := listen(a.cfg.MetricsAddr, "WAYBILL_METRICS_ADDR")
	if err != nil {
		return err
	}
	a.closers = append(a.closers, func() error { return ignoreClosed(l.Close()) })
	server := &http.Server{Handler: a.watchMux(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	a.add("metrics", serve(server, l, time.Second))
	return nil
}

// runTask looks the handler up. A type that this worker does not know is another deployment's: it is given up with that reason,
// since the API that took it checks types too.
func runTask(c *tasks.Catalogue) worker.Handler {
	return func(ctx context.Context, j *job.Job) (json.RawMessage, error) {
		t, ok := c.Lookup(j.Type)
		if !ok {
			return nil, tasks.Permanent(fmt.Errorf("this worker does not know the task type %q", j.Type))
		}
		return t.Run(ctx, j)
	}
}
