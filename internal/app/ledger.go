package app

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/batch"
	"github.com/waybill/waybill/internal/cache"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
	"github.com/waybill/waybill/store"
)

// instrumentedLedger is the store as every part of a process sees it: the hot writes of concurrent
// callers are committed together, reads of finished jobs go past a cache, and waiting for a job
// costs no query of its own. What it does to jobs is counted by the store's Observer and by the
// worker's, and traced here, so that there is no way around the metrics.
type instrumentedLedger struct {
	*store.Store
	creates *batch.Batcher[job.Submission, job.Created]
	claims  *batch.Batcher[job.ClaimRequest, job.Claim]
	settles *batch.Batcher[*job.Settlement, job.Settled]
	waiters *jobWaiters
	spans   obs.Spans
	cache   *cache.Jobs
}

func newInstrumentedLedger(s *store.Store, c *cache.Jobs, w *telemetry) *instrumentedLedger {
	l := &instrumentedLedger{Store: s, cache: c, waiters: newJobWaiters(s.FinishedAmong), spans: w.spans}
	observe := w.batches
	l.creates = batch.New(batch.Config{Observe: observe("create")}, l.create)
	l.claims = batch.New(batch.Config{Observe: observe("claim")}, l.claim)
	l.settles = batch.New(batch.Config{Observe: observe("settle")}, l.settle)
	return l
}

// Create writes one job down together with those of other callers. The job is in the trace of its
// request.
func (l *instrumentedLedger) Create(ctx context.Context, s job.Submission) (job.Created, error) {
	s.Traceparent = obs.Traceparent(ctx)
	ctx, end := l.spans.Ledger(ctx, "create", 1)
	made, err := l.creates.Do(ctx, s)
	end(err)
	return made, err
}

// CreateAll writes all jobs down or none. They share the trace of their request.
func (l *instrumentedLedger) CreateAll(ctx context.Context, subs []job.Submission) ([]job.Created, error) {
	trace := obs.Traceparent(ctx)
	for i := range subs {
		subs[i].Traceparent = trace
	}
	ctx, end := l.spans.Ledger(ctx, "create", len(subs))
	made, err := l.Store.CreateAll(ctx, subs)
	end(err)
	return made, err
}

func (l *instrumentedLedger) create(ctx context.Context, subs []job.Submission) ([]batch.Result[job.Created], error) {
	made, errs, err := l.Store.Create(ctx, subs)
	if err != nil {
		return nil, err
	}
	out := make([]batch.Result[job.Created], len(subs))
	for i := range out {
		out[i] = batch.Result[job.Created]{Value: made[i], Err: errs[i]}
	}
	return out, nil
}

// Claim asks for one job together with other callers.
func (l *instrumentedLedger) Claim(ctx context.Context, r job.ClaimRequest) (job.Claim, error) {
	return l.claims.Do(ctx, r)
}

func (l *instrumentedLedger) claim(ctx context.Context, reqs []job.ClaimRequest) ([]batch.Result[job.Claim], error) {
	claims, err := l.Store.Claim(ctx, reqs)
	if claims == nil {
		return nil, err
	}
	out := make([]batch.Result[job.Claim], len(claims))
	for i, c := range claims {
		if out[i].Value = c; c.Decision == 0 {
			out[i].Err = err
		}
	}
	return out, nil
}

// Settle writes one outcome down together with others.
func (l *instrumentedLedger) Settle(ctx context.Context, s *job.Settlement) (job.Settled, error) {
	return l.settles.Do(ctx, s)
}

func (l *instrumentedLedger) settle(ctx context.Context, sets []*job.Settlement) ([]batch.Result[job.Settled], error) {
	return results(l.Store.Settle(ctx, sets))
}

func results[T any](values []T, err error) ([]batch.Result[T], error) {
	if err != nil {
		return nil, err
	}
	out := make([]batch.Result[T], len(values))
	for i := range values {
		out[i].Value = values[i]
	}
	return out, nil
}

// Job reads a job, from the cache where it is completed.
func (l *instrumentedLedger) Job(ctx context.Context, id job.ID) (*job.Job, error) {
	if j := l.cache.Job(ctx, id); j != nil {
		return j, nil
	}
	j, err := l.Store.Job(ctx, id)
	if err == nil {
		l.cache.Keep(j)
	}
	return j, err
}

// AwaitFinished returns when the job is finished or ctx ends.
func (l *instrumentedLedger) AwaitFinished(ctx context.Context, id job.ID) error {
	return l.waiters.wait(ctx, id)
}

// drain waits until everything that was handed over is committed.
func (l *instrumentedLedger) drain() {
	l.creates.Wait()
	l.claims.Wait()
	l.settles.Wait()
}

// purgeLoop deletes what is older than the retention: finished jobs, and heartbeat rows of the
// dead.
func (l *instrumentedLedger) purgeLoop(keep time.Duration, log logger) func(context.Context) error {
	return every(purgeEvery, func(ctx context.Context) error {
		now, err := l.Now(ctx)
		if err != nil {
			return err
		}
		if err := l.PurgeWorkers(ctx, now.Add(-deadWorkers)); err != nil || keep <= 0 {
			return err
		}
		for next := (job.ID{}); ; {
			n := 0
			if n, next, err = l.PurgeFinished(ctx, now.Add(-keep), next); err != nil {
				return err
			}
			if n > 0 {
				log.InfoContext(ctx, "finished jobs purged", "count", n)
			}
			if next.IsZero() {
				return nil
			}
		}
	}, log)
}

const (
	purgeEvery  = 10 * time.Minute
	deadWorkers = 24 * time.Hour
)
