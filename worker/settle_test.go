package worker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

func retried(backoff job.Backoff, failures int) *job.Job {
	return &job.Job{Failures: failures, Policy: job.Policy{MaxRetries: 25, Timeout: time.Minute, Backoff: backoff}}
}

func TestARetryWaitsForTheLaterOfBackoffAndRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Now()
	exponential := job.Backoff{Kind: job.Exponential, Base: 10 * time.Second, Max: time.Hour}
	for _, c := range []struct {
		after       time.Duration
		failures    int
		least, most time.Duration
	}{
		{time.Second, 0, 8 * time.Second, 12 * time.Second},
		// the endpoint says 1 s each time: the backoff grows all the same
		{time.Second, 5, 256 * time.Second, 384 * time.Second},
		{time.Minute, 0, time.Minute, 72 * time.Second},
		{2 * time.Hour, 20, 2 * time.Hour, 144 * time.Minute}, // also beyond the backoff's longest
	} {
		e := handlerResult{err: tasks.RetryAfter(errors.New("busy"), c.after)}
		set := decide(retried(exponential, c.failures), e, now)
		if wait := set.Wait; set.State != job.Retry || wait < c.least || wait > c.most {
			t.Errorf(
				"Retry-After %v after %d failures: %s in %v, want %v to %v",
				c.after,
				c.failures+1,
				set.State,
				wait,
				c.least,
				c.most,
			)
		}
	}
}

func TestJobsThatAreToldTheSameRetryAfterAreSpread(t *testing.T) {
	t.Parallel()
	now := time.Now()
	seconds := map[time.Duration]int{}
	for range 600 {
		set := decide(
			retried(job.Backoff{Kind: job.Fixed}, 0),
			handlerResult{err: tasks.RetryAfter(errors.New("busy"), time.Minute)},
			now,
		)
		seconds[set.Wait.Truncate(time.Second)]++
	}
	for second, jobs := range seconds {
		if jobs > 150 {
			t.Errorf("%d of 600 jobs come back in second %v", jobs, second)
		}
	}
}

func TestAHandlerThatTimesOutMaySayWhenAndWhyToTryAgain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	unknown := tasks.RetryAfter(errors.New("the server has the message"), time.Hour)
	set := decide(retried(job.Backoff{Kind: job.Fixed}, 0), handlerResult{err: unknown, cause: errTimeout}, now)
	if set.State != job.Retry || set.Wait < time.Hour ||
		set.Error.Message != "timed out after 1m0s: the server has the message" {
		t.Errorf("%s in %v: %q", set.State, set.Wait, set.Error.Message)
	}
	set = decide(retried(job.Backoff{Kind: job.Fixed}, 0), handlerResult{err: unknown, cause: errStopping}, now)
	if set.State != job.Scheduled || set.Failed || set.Wait < time.Hour {
		t.Errorf("handed back by a worker that stops: %s in %v, failed %v", set.State, set.Wait, set.Failed)
	}
	set = decide(retried(job.Backoff{}, 0), handlerResult{err: errors.New("ended: timed out"), cause: errTimeout}, now)
	if strings.Contains(set.Error.Message, "ended") {
		t.Errorf("an error without a time of its own: %q", set.Error.Message)
	}
}
