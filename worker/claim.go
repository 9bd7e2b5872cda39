package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/waybill/waybill/internal/job"
)

const (
	claimPause    = 200 * time.Millisecond // before asking an unreachable ledger again
	claimPauseMax = 3 * time.Second
)

// process is asynq's handler: it answers only after the ledger has written the outcome down.
func (p *Pool) process(ctx context.Context, _ *asynq.Task) error {
	defer p.belt.done()
	name, _ := asynq.GetTaskID(ctx)
	id, delivery, err := job.ParseTaskID(name)
	if err != nil { // somebody else's task in our queue: it stays visible in asynq's archive
		return fmt.Errorf("not a job of Waybill: %w: %w", err, asynq.SkipRetry)
	}
	done := p.running.claim(id)
	claim, err := p.claim(ctx, job.ClaimRequest{JobID: id, Delivery: delivery, WorkerID: p.cfg.ID})
	if err != nil {
		done()
		p.log.WarnContext(ctx, "claim failed, the task comes again", "job_id", id, "err", err)
		return putOff(time.Second, "the ledger did not answer")
	}
	switch claim.Verdict {
	case job.Run:
		return p.run(claim.Job, done)
	case job.PutOff:
		done()
		return putOff(claim.Wait, "not yet")
	default:
		done()
		return nil
	}
}

// claim asks until the ledger answers. Meanwhile the task keeps its slot, so that an outage of the ledger stops the pool from taking more
// instead of turning every task over. A refusal that may be of this very job gives the slot free: the task comes again.
func (p *Pool) claim(ctx context.Context, r job.ClaimRequest) (job.Claim, error) {
	for pause := claimPause; ; pause = min(2*pause, claimPauseMax) {
		c, err := p.deps.Ledger.Claim(ctx, r)
		if err == nil || p.stopping.Load() || !errors.Is(err, job.ErrUnavailable) || job.FaultOf(err) != job.FaultNone {
			return c, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done(): // asynq lost its lease on the task
			return job.Claim{}, ctx.Err()
		case <-p.base.Done():
			return job.Claim{}, err
		}
	}
}
