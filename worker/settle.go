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
	// settleTimeout is how long a stopping pool tries to write outcomes down before it leaves them
	// to the reconciler.
	settleTimeout = 5 * time.Second
	// An outcome's content is blamed only after the ledger refused it alone this many times, over
	// this long.
	maxRefusals   = 5
	refusalWindow = 20 * time.Second
)

// settle writes the outcome down, sends a job that was handed back on its way, and answers asynq
// accordingly.
func (p *Pool) settle(j *job.Job, e handlerResult, took time.Duration) error {
	set := decide(j, e, p.deps.Clock.Now())
	set.JobID, set.Attempt, set.Delivery, set.WorkerID = j.ID, j.Attempt, j.Delivery, p.cfg.ID
	done, err := p.record(set)
	if err != nil {
		p.log.Error(
			"outcome could not be written down, the job will run again",
			"job_id",
			j.ID,
			"attempt",
			j.Attempt,
			"err",
			err,
		)
		return requeueAfter(time.Second, "the outcome was not written down")
	}
	if !done.Accepted {
		p.late.Add(1)
		p.deps.Observer.Refused(j)
		p.log.Warn(
			"late outcome refused, another attempt owns the job",
			"job_id",
			j.ID,
			"attempt",
			j.Attempt,
			"state",
			done.State,
		)
		return nil
	}
	p.deps.Observer.Settled(j, string(done.State), took)
	p.attemptLog.settled(j, done, set, took)
	if done.State == job.Pending {
		message := j.Message()
		message.Delivery, message.State = done.Delivery, job.Pending
		p.deps.Dispatcher.Send(message)
	}
	return asynqResult(done, set)
}

// record asks until the ledger answers: the job has run, and its outcome is held here. An error of
// the ledger, whatever it is, says nothing of the job, and never changes what the handler said.
// Where the ledger has refused the content of the outcome for long enough to prove it, the outcome
// is written without that content.
func (p *Pool) record(set *job.Settlement) (job.Settled, error) {
	var proof refusal
	told := false
	for pause := settlePause; ; pause = min(2*pause, settlePauseMax) {
		done, err := p.deps.Ledger.Settle(context.WithoutCancel(p.base), set)
		if err == nil {
			return done, nil
		}
		if !told && job.FaultOf(err) != job.FaultNone {
			told = true
			p.log.Warn(
				"the ledger refuses an outcome, it is held and tried again",
				"job_id",
				set.JobID,
				"attempt",
				set.Attempt,
				"state",
				set.State,
				"err",
				err,
			)
		}
		if proof.add(err, time.Now()) && (set.Result != nil || set.Error != nil) {
			p.log.Error(
				"the ledger refuses what an outcome says, it is written without that",
				"job_id",
				set.JobID,
				"attempt",
				set.Attempt,
				"state",
				set.State,
				"err",
				err,
			)
			set = withoutContent(set)
			continue
		}
		select {
		case <-time.After(pause):
		case <-p.base.Done():
			return job.Settled{}, err
		}
	}
}

// refusal counts how often the ledger refused the content of one outcome, which it was asked to
// write alone.
type refusal struct {
	first time.Time
	times int
	done  bool
}

// add reports whether err is the one that proves it. It does so once.
func (r *refusal) add(err error, now time.Time) (proven bool) {
	if job.FaultOf(err) != job.FaultContent || r.done {
		return false
	}
	if r.times++; r.times == 1 {
		r.first = now
	}
	r.done = r.times >= maxRefusals && now.Sub(r.first) >= refusalWindow
	return r.done
}

// withoutContent is an outcome that says the same of the job, without its result and with no words
// from outside.
func withoutContent(set *job.Settlement) *job.Settlement {
	bare := *set
	if set.Error != nil {
		bare.Error = &job.AttemptError{Message: "the ledger refused to keep its error", Retryable: set.Error.Retryable}
	}
	if set.Result != nil {
		bare.Result, bare.Error = nil, &job.AttemptError{Message: "the ledger refused to keep its result"}
	}
	return &bare
}

// decide turns what a handler did into an outcome; now is the ledger's time.
func decide(j *job.Job, e handlerResult, now time.Time) *job.Settlement {
	if e.err == nil { // done is done, whatever was asked for meanwhile
		return &job.Settlement{State: job.Completed, Result: e.result}
	}
	if wait, ok := tasks.SnoozeFor(e.err); ok && e.cause == nil {
		return &job.Settlement{State: job.Scheduled, Wait: wait}
	}
	switch {
	case errors.Is(e.cause, errCanceled):
		return &job.Settlement{State: job.Canceled, Error: &job.AttemptError{Message: "canceled while it ran"}}
	case errors.Is(e.cause, errDeadline):
		return gaveUp("its deadline passed", e)
	case tasks.IsPermanent(e.err):
		return gaveUp(e.err.Error(), e)
	case errors.Is(e.cause, errStopping), errors.Is(e.cause, errLost):
		if least, ok := tasks.RetryDelay(e.err); ok { // handed back too, but to run no sooner than it may
			return &job.Settlement{State: job.Scheduled, Wait: job.Spread(least)}
		}
		return &job.Settlement{State: job.Pending} // handed back, not failed
	}
	return failed(j, e, now)
}

func failed(j *job.Job, e handlerResult, now time.Time) *job.Settlement {
	message := e.err.Error()
	if errors.Is(e.cause, errTimeout) {
		message = fmt.Sprintf("timed out after %s", j.Timeout)
		if e.abandoned {
			message += "; its handler ignores that and was left to itself"
		}
		if _, ok := tasks.RetryDelay(e.err); ok { // the handler knows what its end means for the next attempt
			message += ": " + e.err.Error()
		}
	}
	failures := j.Failures + 1
	if failures > j.MaxRetries {
		return gaveUp(message, e)
	}
	delay := j.Backoff.Delay(failures)
	if least, ok := tasks.RetryDelay(e.err); ok {
		delay = max(delay, job.Spread(least))
	}
	if !j.Deadline.IsZero() && !now.Add(delay).Before(j.Deadline) {
		return gaveUp(message+"; the next attempt would come after its deadline", e)
	}
	return &job.Settlement{
		State:  job.Retry,
		Wait:   delay,
		Failed: true,
		Error:  &job.AttemptError{Message: message, Retryable: true, Stack: e.stack},
	}
}

func gaveUp(message string, e handlerResult) *job.Settlement {
	return &job.Settlement{
		State:  job.Archived,
		Failed: true,
		Error:  &job.AttemptError{Message: message, Stack: e.stack},
	}
}
