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
	// claimTimeout is how long an answer to a claim is awaited: a connection that is half open
	// never brings one.
	claimTimeout = 5 * time.Second
)

var (
	errOutage          = errors.New("the ledger does not answer")
	errOtherDeployment = errors.New("redis is not this deployment's")
)

// process is asynq's handler: it answers only after the ledger has written the outcome down.
func (p *Pool) process(ctx context.Context, task *asynq.Task) error {
	defer p.dequeuer.Done()
	name, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	id, delivery, err := job.ParseTaskID(name)
	if err != nil { // another program's task in this queue: it stays visible in asynq's archive
		return fmt.Errorf("not a job of Waybill: %w: %w", err, asynq.SkipRetry)
	}
	if !p.deps.Knows(task.Type()) { // not claimed: no attempt begins here
		p.unknownTypes.add(task.Type(), queue)
		p.deps.Observer.Unknown(queue)
		return requeueAfter(unknownTypeDelay, "this worker does not know the task type")
	}
	done := p.running.claim(id)
	claim, err := p.claim(ctx, job.ClaimRequest{JobID: id, Delivery: delivery, WorkerID: p.cfg.ID})
	if err != nil {
		done()
		return p.unclaimed(ctx, queue, name, err)
	}
	switch claim.Decision {
	case job.Run:
		return p.run(claim.Job, done)
	case job.Postpone:
		done()
		return requeueAfter(claim.Wait, "not yet")
	default:
		done()
		return p.drop(ctx, queue, name)
	}
}

// claim asks until the ledger answers, or the pool sees that it does not. A refusal that may be of
// this very job is answered at once: it is no outage, and the task comes again.
func (p *Pool) claim(ctx context.Context, r job.ClaimRequest) (job.Claim, error) {
	for pause := claimPause; ; pause = min(2*pause, claimPauseMax) {
		began := time.Now()
		c, err := p.claimOnce(ctx, r)
		if err == nil {
			if p.outage.claimed() {
				p.log.Info("the ledger answers claims again, tasks are taken")
			}
			return c, nil
		}
		if ctx.Err() != nil || !errors.Is(err, job.ErrUnavailable) || job.FaultOf(err) != job.FaultNone {
			return c, err
		}
		if p.outage.claimFailed(began) {
			p.outageBegins()
		}
		if p.stopping.Load() {
			return c, errOutage
		}
		select {
		case <-time.After(pause):
		case <-p.outage.begins():
			return job.Claim{}, errOutage
		case <-ctx.Done(): // asynq lost its lease on the task
			return job.Claim{}, ctx.Err()
		case <-p.base.Done():
			return job.Claim{}, errOutage
		}
	}
}

// claimOnce asks once. Where no answer comes in time, the ledger may have given the job to this
// process all the same: then its heartbeat names an attempt that is not here, and it is handed
// back.
func (p *Pool) claimOnce(ctx context.Context, r job.ClaimRequest) (job.Claim, error) {
	short, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	c, err := p.deps.Ledger.Claim(short, r)
	if err != nil && errors.Is(short.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		err = job.Unavailable("the ledger did not answer in time", err)
	}
	return c, err
}

func (p *Pool) outageBegins() {
	p.log.Error("the ledger does not answer, no tasks are taken and those not begun are given back")
}

// unclaimed gives a task back to its queue, where another worker takes it at once.
func (p *Pool) unclaimed(ctx context.Context, queue, task string, err error) error {
	if !errors.Is(err, errOutage) && !errors.Is(err, errOtherDeployment) {
		p.log.WarnContext(ctx, "claim failed, the task comes again", "task_id", task, "err", err)
		return requeueAfter(time.Second, "the ledger did not answer")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if back := p.dequeuer.Requeue(ctx, queue, task); back != nil {
		p.log.DebugContext(ctx, "a task could not be given back", "task_id", task, "err", back)
		return requeueAfter(time.Second, err.Error())
	}
	p.deps.Observer.GaveBack(queue)
	_ = p.deps.Redis.Publish(ctx, p.cfg.WakeUpChannel, queue).Err() // a lost message costs other workers a poll
	return nil
}

// drop forgets a task whose job the ledger does not know, or has finished, or has given another
// delivery; unless Redis came to be another deployment's: then it is theirs.
func (p *Pool) drop(ctx context.Context, queue, task string) error {
	if p.deps.Mark == nil || p.deps.Mark.Check(ctx) == nil || p.deps.Mark.Err() == nil {
		return nil
	}
	return p.unclaimed(ctx, queue, task, errOtherDeployment)
}
