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
	heartbeatInterval = time.Second
	heartbeatTimeout  = 3 * time.Second
	// lostHeartbeats is how many heartbeats in a row must name an attempt that is not here, before
	// it is handed back: the answer to its claim was lost on the way.
	lostHeartbeats = 3
)

// firstHeartbeat waits for the ledger: a worker that it does not know must not claim.
func (p *Pool) firstHeartbeat(ctx context.Context) error {
	for {
		began := time.Now()
		_, err := p.heartbeat(ctx)
		p.outage.heartbeat(began, err == nil)
		if err == nil {
			return nil
		}
		p.log.WarnContext(ctx, "no heartbeat yet", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(heartbeatInterval):
		}
	}
}

func (p *Pool) heartbeat(ctx context.Context) (job.HeartbeatReply, error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	return p.deps.Ledger.Heartbeat(
		ctx,
		job.Heartbeat{
			WorkerID: p.cfg.ID,
			Host:     hostname(),
			PID:      os.Getpid(),
			Queues:   slices.Sorted(maps.Keys(p.cfg.Queues)),
			Slots:    p.cfg.Concurrency,
			Stopping: p.stopping.Load(),
		},
	)
}

// heartbeatLoop beats every second, and at once when hastened. An outage is logged when it begins
// and when it ends.
func (p *Pool) heartbeatLoop(ctx context.Context) {
	tick := time.NewTicker(heartbeatInterval)
	defer tick.Stop()
	silent := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.heartbeatNow:
		}
		held := p.running.held()
		// To its end, which is near: one that is broken off may still reach the ledger after Leave,
		// and the worker would look lost.
		began := time.Now()
		orders, err := p.heartbeat(context.WithoutCancel(ctx))
		if ctx.Err() != nil {
			return
		}
		if p.outage.heartbeat(began, err == nil) {
			p.outageBegins()
		}
		if failing := err != nil; failing != silent {
			silent = failing
			p.log.WarnContext(ctx, "heartbeat changed", "reaches_ledger", !silent, "err", err)
		}
		if err == nil {
			p.applyReply(held, orders)
		}
	}
}

// beatSoon lets the next heartbeat come at once.
func (p *Pool) beatSoon() {
	select {
	case p.heartbeatNow <- struct{}{}:
	default:
	}
}

// applyReply compares what ran before the heartbeat with what the ledger says. Cancels end
// handlers; what the ledger gave to others is ended too; what it believes to be here and is not is
// handed back.
func (p *Pool) applyReply(held map[job.AttemptKey]bool, orders job.HeartbeatReply) {
	lost := map[job.AttemptKey]int{}
	for _, lease := range orders.Held {
		switch {
		case !p.running.knows(lease.AttemptKey):
			lost[lease.AttemptKey] = p.lostAttempts[lease.AttemptKey] + 1
		case lease.CancelRequested:
			p.running.end(lease.AttemptKey, errCanceled)
		}
		delete(held, lease.AttemptKey)
	}
	for a := range held {
		p.running.end(a, errLost) // harmless where it was just settled
	}
	for a, beats := range lost {
		if beats >= lostHeartbeats {
			p.releaseClaim(a)
			delete(lost, a)
		}
	}
	p.lostAttempts = lost
}

// releaseClaim gives a job back whose claim holds in the ledger, but whose answer never came. The
// reconciler sends it: dispatch_at is new.
func (p *Pool) releaseClaim(a job.AttemptKey) {
	done, err := p.deps.Ledger.Settle(
		context.WithoutCancel(p.base),
		&job.Settlement{JobID: a.JobID, Attempt: a.Attempt, WorkerID: p.cfg.ID, State: job.Pending},
	)
	p.log.Warn(
		"handed back a job whose claim was lost on the way",
		"job_id",
		a.JobID,
		"attempt",
		a.Attempt,
		"accepted",
		done.Accepted,
		"err",
		err,
	)
}
