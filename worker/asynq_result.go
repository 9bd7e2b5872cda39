package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/waybill/waybill/internal/job"
)

// retryIn is an answer to asynq: bring the task again after a while. Only a failure counts in its
// retries.
type retryIn struct {
	wait   time.Duration
	at     time.Time // when, by the ledger's clock; zero: wait says it
	failed bool
	reason string
}

func (l *retryIn) Error() string { return l.reason }

// requeueAfter brings a task back without a mark against it.
func requeueAfter(wait time.Duration, reason string) error {
	return &retryIn{wait: wait, reason: reason}
}

// asynqResult tells asynq what the ledger wrote down, so that its tabs show the truth.
func asynqResult(s job.Settled, set *job.Settlement) error {
	reason := ""
	if set.Error != nil {
		reason = job.CleanText(set.Error.Message, job.MaxText)
	}
	switch s.State {
	case job.Retry:
		return &retryIn{at: s.RunAt, failed: true, reason: reason}
	case job.Scheduled:
		return &retryIn{at: s.RunAt, reason: "snoozed"}
	case job.Archived:
		return fmt.Errorf("%s: %w", reason, asynq.SkipRetry)
	default: // completed, canceled, or handed back under a new delivery: this task is done with
		return nil
	}
}

// recordRetryTimes notes when a task that is put off is due by the ledger's clock, in place of what
// asynq makes of retryDelay.
func (p *Pool) recordRetryTimes(process asynq.HandlerFunc) asynq.HandlerFunc {
	return func(ctx context.Context, t *asynq.Task) error {
		err := process(ctx, t)
		var l *retryIn
		if !errors.As(err, &l) {
			return err
		}
		at := l.at
		if at.IsZero() {
			at = p.deps.Clock.Now().Add(l.wait)
		}
		if id, ok := asynq.GetTaskID(ctx); ok {
			p.times.RetryAt(id, at)
		}
		return err
	}
}

// retryDelay is asynq's RetryDelayFunc. recordRetryTimes says when a task is due that the pool
// postpones. Another error (a lost lease) comes back soon: the ledger decides at Claim.
func retryDelay(int, error, *asynq.Task) time.Duration { return time.Second }

// isFailure keeps asynq's count of failures the same as the ledger's.
func isFailure(err error) bool {
	var l *retryIn
	return errors.As(err, &l) && l.failed || errors.Is(err, asynq.SkipRetry)
}
