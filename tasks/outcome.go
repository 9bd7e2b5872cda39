package tasks

import (
	"errors"
	"time"
)

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

type snoozeError struct{ d time.Duration }

func (e *snoozeError) Error() string { return "snoozed for " + e.d.String() }

type retryAfterError struct {
	err error
	d   time.Duration
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

// Permanent says that err will not go away: the job is archived at once, whatever retries it has
// left. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// Snooze says "not now": the job runs again after d, and uses up no retry. A negative d is 0.
func Snooze(d time.Duration) error { return &snoozeError{max(d, 0)} }

// RetryAfter is a failure that knows when to try again: not before d has passed. The job's backoff
// holds as well, so that the later of the two counts, and up to a fifth of d is added, so that jobs
// which failed together do not come back together. A negative d is 0. nil stays nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err, max(d, 0)}
}

// IsPermanent reports whether Permanent is anywhere in err's chain. It outweighs RetryAfter.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

// SnoozeFor is the duration of the Snooze in err's chain, if there is one.
func SnoozeFor(err error) (time.Duration, bool) {
	var s *snoozeError
	if !errors.As(err, &s) {
		return 0, false
	}
	return s.d, true
}

// RetryDelay is the duration of the RetryAfter in err's chain, if there is one.
func RetryDelay(err error) (time.Duration, bool) {
	var r *retryAfterError
	if !errors.As(err, &r) {
		return 0, false
	}
	return r.d, true
}
