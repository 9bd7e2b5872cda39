package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

const (
	settlePause    = 100 * time.Millisecond
	settlePauseMax = 2 * time.Second
	// settlePatience is how long a stopping pool tries to write outcomes down before it leaves them to the audit.
	settlePatience = 5 * time.Second
)

// settle writes the outcome down, sends a job that was handed back on its way, and answers asynq accordingly.
func (p *Pool) settle(j *job.Job, e ended, took time.Duration) error {
	set := decide(j, e, time.Now())
	set.JobID, set.Attempt, set.Delivery, set.WorkerID = j.ID, j.Attempt, j.Delivery, p.cfg.ID
	done, err := p.record(set)
	if err != nil {
		p.log.Error("outcome could not be written down, the job will run again", "job_id", j.ID, "attempt", j.Attempt, "err", err)
		return putOff(time.Second, "the outcome was not written down")
	}
	if !done.Accepted {
		p.late.Add(1)
		p.deps.Observer.Refused(j)
		p.log.Warn("late outcome refused, somebody newer owns the job", "job_id", j.ID, "attempt", j.Attempt, "state", done.State)
		return nil
	}
	p.deps.Observer.Settled(j, string(done.State), took)
	p.journal.settled(j, done, set, took)
	if done.State == job.Pending {
		parcel := j.Parcel()
		parcel.Delivery, parcel.State = done.Delivery, job.Pending
		p.deps.Carrier.Send(parcel)
	}
	return answer(done, set)
}

// record asks until the ledger answers: the job has run, and its outcome is held here. Whatever the ledger refuses for its content is
// settled as archived instead, so that no job runs for ever because its outcome cannot be written.
func (p *Pool) record(set *job.Settlement) (job.Settled, error) {
	for pause := settlePause; ; pause = min(2*pause, settlePauseMax) {
		done, err := p.deps.Ledger.Settle(context.WithoutCancel(p.base), set)
		switch {
		case err == nil:
			return done, nil
		case !errors.Is(err, job.ErrUnavailable):
			p.log.Error("ledger refuses an outcome", "job_id", set.JobID, "err", err)
			*set = job.Settlement{JobID: set.JobID, Attempt: set.Attempt, Delivery: set.Delivery, WorkerID: set.WorkerID, State: job.Archived,
				Error: &job.AttemptError{Message: "its outcome could not be written down"}}
			return p.deps.Ledger.Settle(context.WithoutCancel(p.base), set)
		}
		select {
		case <-time.After(pause):
		case <-p.base.Done():
			return job.Settled{}, err
		}
	}
}

// decide turns what a handler did into an outcome.
func decide(j *job.Job, e ended, now time.Time) *job.Settlement {
	if e.err == nil { // done is done, whatever was asked for meanwhile
		return &job.Settlement{State: job.Completed, Result: e.result}
	}
	if wait, ok := tasks.SnoozeFor(e.err); ok && e.cause == nil {
		return &job.Settlement{State: job.Scheduled, RunAt: now.Add(wait)}
	}
	switch {
	case errors.Is(e.cause, errCanceled):
		return &job.Settlement{State: job.Canceled, Error: &job.AttemptError{Message: "canceled while it ran"}}
	case errors.Is(e.cause, errDeadline):
		return gaveUp("its deadline passed", e)
	case tasks.IsPermanent(e.err):
		return gaveUp(e.err.Error(), e)
	case errors.Is(e.cause, errStopping), errors.Is(e.cause, errLost):
		return &job.Settlement{State: job.Pending} // handed back, not failed
	}
	return failed(j, e, now)
}

func failed(j *job.Job, e ended, now time.Time) *job.Settlement {
	message := e.err.Error()
	if errors.Is(e.cause, errTimeout) {
		message = fmt.Sprintf("timed out after %s", j.Timeout)
		if e.abandoned {
			message += "; its handler ignores that and was left to itself"
		}
	}
	failures := j.Failures + 1
	if failures > j.MaxRetries {
		return gaveUp(message, e)
	}
	delay, ok := tasks.RetryDelay(e.err)
	if !ok {
		delay = j.Backoff.Delay(failures)
	}
	runAt := now.Add(delay)
	if !j.Deadline.IsZero() && !runAt.Before(j.Deadline) {
		return gaveUp(message+"; the next attempt would come after its deadline", e)
	}
	return &job.Settlement{State: job.Retry, RunAt: runAt, Failed: true, Error: &job.AttemptError{Message: message, Retryable: true, Stack: e.stack}}
}

func gaveUp(message string, e ended) *job.Settlement {
	return &job.Settlement{State: job.Archived, Failed: true, Error: &job.AttemptError{Message: message, Stack: e.stack}}
}
