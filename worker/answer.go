package worker

import (
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/waybill/waybill/internal/job"
)

// later is an answer to asynq: bring the task again after a while. Only a failure counts in its retries.
type later struct {
	wait   time.Duration
	failed bool
	reason string
}

func (l *later) Error() string { return l.reason }

// putOff brings a task back without a mark against it.
func putOff(wait time.Duration, reason string) error { return &later{wait: wait, reason: reason} }

// answer tells asynq what the ledger wrote down, so that its tabs show the truth.
func answer(s job.Settled, set *job.Settlement) error {
	reason := ""
	if set.Error != nil {
		reason = job.CleanText(set.Error.Message, job.MaxText)
	}
	switch s.State {
	case job.Retry:
		return &later{wait: time.Until(s.RunAt), failed: true, reason: reason}
	case job.Scheduled:
		return putOff(time.Until(s.RunAt), "snoozed")
	case job.Archived:
		return fmt.Errorf("%s: %w", reason, asynq.SkipRetry)
	default: // completed, canceled, or handed back under a new delivery: this task is done with
		return nil
	}
}

// retryDelay is asynq's RetryDelayFunc: the delay that the ledger recorded, up to the next whole second, since asynq cuts times.
// An error that is not ours (a lost lease) comes back soon: the ledger decides at Claim.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	wait := time.Second
	var l *later
	if errors.As(err, &l) {
		wait = max(l.wait, 0)
	}
	at := time.Now().Add(wait)
	if cut := at.Truncate(time.Second); cut.Before(at) {
		at = cut.Add(time.Second)
	}
	return time.Until(at)
}

// isFailure keeps asynq's count of failures the same as the ledger's.
func isFailure(err error) bool {
	var l *later
	return errors.As(err, &l) && l.failed || errors.Is(err, asynq.SkipRetry)
}
