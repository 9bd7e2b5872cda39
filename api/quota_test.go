package api

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

func withQuota(rate float64, open int) func(*apiTest) {
	return func(h *apiTest) { h.cfg.Quota = QuotaConfig{RatePerSecond: rate, Burst: job.MaxBatch, MaxOpen: open} }
}

func TestWhoSubmitsTooFastIsToldWhenToComeBack(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, withQuota(1000, 0))
	h.call("POST", "/v1/jobs/batch", alice, batchOf(9_999)).want(202)
	last := h.call("POST", "/v1/jobs", alice, echo).want(202)
	if got := last.header.Get("RateLimit"); !strings.HasPrefix(got, `"submissions";r=0;t=10, `) {
		t.Errorf("RateLimit: %s", got)
	}
	if got := last.header.Get("RateLimit-Policy"); got != `"submissions";q=10000;w=10, "open-jobs";q=2000000` {
		t.Errorf("RateLimit-Policy: %s", got)
	}
	h.call("POST", "/v1/jobs", alice, echo).want(429)
	// Before it is read, a batch counts as one job.
	if a := h.call("POST", "/v1/jobs/batch", alice, batchOf(5000)).want(429); a.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %s", a.header.Get("Retry-After"))
	}
	h.call("POST", "/v1/jobs", bob, echo).want(202)
	h.clock.add(5 * time.Second)
	h.call("POST", "/v1/jobs/batch", alice, batchOf(5000)).want(202)
	if h.ledger.len() != 15_001 {
		t.Errorf("%d jobs are stored", h.ledger.len())
	}
}

func TestOpenJobsAreCountedNearTheLimitOnly(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, withQuota(1e6, 10))
	for range 6 {
		h.submit(alice, echo)
	}
	if h.ledger.counts != 0 {
		t.Errorf("counted %d times below half of the limit", h.ledger.counts)
	}
	for range 4 {
		h.submit(alice, echo)
	}
	a := h.call("POST", "/v1/jobs", alice, echo).want(429)
	if !strings.HasSuffix(a.header.Get("RateLimit"), `"open-jobs";r=0`) || h.ledger.counts != 1 {
		t.Errorf("RateLimit %s, counted %d times", a.header.Get("RateLimit"), h.ledger.counts)
	}
	for id := range h.ledger.jobs {
		h.ledger.set(id, func(j *job.Job) { j.State = job.Completed })
	}
	h.call("POST", "/v1/jobs", alice, echo).want(429) // not counted again yet
	h.clock.add(recountEvery)
	h.call("POST", "/v1/jobs", alice, echo).want(202)
}

func TestACountThatFailsIsNoExcuse(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, withQuota(1e6, 4))
	for range 3 {
		h.submit(alice, echo)
	}
	h.ledger.err = job.Unavailable("the ledger does not answer", errors.New("down"))
	h.call("POST", "/v1/jobs", alice, echo).want(503)
}

func TestAReplayDoesNotUseUpOpenJobs(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, withQuota(1e6, 2))
	for range 5 {
		h.submit(alice, echo, "Idempotency-Key", "k")
	}
}

func TestUsageIsRememberedForBoundedlyManyUsers(t *testing.T) {
	t.Parallel()
	now := time.Now()
	q := newQuota(QuotaConfig{RatePerSecond: 1, Burst: 1, MaxOpen: 1}, newFakeLedger(), func() time.Time { return now })
	for range 3 * maxUsage {
		q.usage(job.NewID(), now)
		if len(q.users) > maxUsage {
			t.Fatal(fmt.Sprint(len(q.users), " users are remembered"))
		}
	}
}
