package worker

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/waybill/waybill/internal/job"
)

const (
	beatEvery   = time.Second
	beatTimeout = 3 * time.Second
	// lostBeats is how many heartbeats in a row must name an attempt that is not here, before it is handed back: the answer to its
	// claim was lost on the way.
	lostBeats = 3
)

// firstBeat waits for the ledger: a worker that it does not know must not claim.
func (p *Pool) firstBeat(ctx context.Context) error {
	for {
		began := time.Now()
		_, err := p.beat(ctx)
		p.outage.beat(began, err == nil)
		if err == nil {
			return nil
		}
		p.log.WarnContext(ctx, "no heartbeat yet", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(beatEvery):
		}
	}
}

func (p *Pool) beat(ctx context.Context) (job.Orders, error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	return p.deps.Ledger.Beat(ctx, job.Beat{WorkerID: p.cfg.ID, Host: hostname(), PID: os.Getpid(), Queues: slices.Sorted(maps.Keys(p.cfg.Queues)),
		Slots: p.cfg.Concurrency, Stopping: p.stopping.Load()})
}

// beatLoop beats every second, and at once when hastened. An outage is logged when it begins and when it ends.
func (p *Pool) beatLoop(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	silent := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.beatNow:
		}
		held := p.running.held()
		// To its end, which is near: one that is broken off may still reach the ledger after Leave, and the worker would look lost.
		began := time.Now()
		orders, err := p.beat(context.WithoutCancel(ctx))
		if ctx.Err() != nil {
			return
		}
		if p.outage.beat(began, err == nil) {
			p.outageBegins()
		}
		if failing := err != nil; failing != silent {
			silent = failing
			p.log.WarnContext(ctx, "heartbeat changed", "reaches_ledger", !silent, "err", err)
		}
		if err == nil {
			p.obey(held, orders)
		}
	}
}

// hasten lets the next heartbeat come at once.
func (p *Pool) hasten() {
	select {
	case p.beatNow <- struct{}{}:
	default:
	}
}

// obey compares what ran before the heartbeat with what the ledger says. Cancels end handlers; what the ledger gave to others is ended too;
// what it believes to be here and is not is handed back.
func (p *Pool) obey(held map[job.Running]bool, orders job.Orders) {
	lost := map[job.Running]int{}
	for _, lease := range orders.Mine {
		switch {
		case !p.running.knows(lease.Running):
			lost[lease.Running] = p.lost[lease.Running] + 1
		case lease.CancelRequested:
			p.running.end(lease.Running, errCanceled)
		}
		delete(held, lease.Running)
	}
	for a := range held {
		p.running.end(a, errLost) // harmless where it was just settled
	}
	for a, beats := range lost {
		if beats >= lostBeats {
			p.handBack(a)
			delete(lost, a)
		}
	}
	p.lost = lost
}

// handBack gives a job back whose claim holds in the ledger, but whose answer never came. The audit sends it: dispatch_at is new.
func (p *Pool) handBack(a job.Running) {
	done, err := p.deps.Ledger.Settle(context.WithoutCancel(p.base), &job.Settlement{JobID: a.JobID, Attempt: a.Attempt, WorkerID: p.cfg.ID, State: job.Pending})
	p.log.Warn("handed back a job whose claim was lost on the way", "job_id", a.JobID, "attempt", a.Attempt, "accepted", done.Accepted, "err", err)
}
