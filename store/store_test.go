package store

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// forEachEngine runs a test on PostgreSQL and on SQLite, each with a migrated database of its own.
func forEachEngine(t *testing.T, f func(t *testing.T, s *Store)) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		f(t, newStore(t, testenv.Postgres(t)))
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		f(t, newStore(t, "sqlite:"+filepath.Join(t.TempDir(), "waybill.db")))
	})
}

func newStore(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// submission is a valid one; change what the test is about.
func submission(change ...func(*job.Submission)) job.Submission {
	s := job.Submission{
		ID:      job.NewID(),
		OwnerID: job.NewID(),
		Type:    "debug.echo",
		Queue:   "default",
		Payload: json.RawMessage(`{"a": 1.10}`),
		Policy: job.Policy{
			MaxRetries: 3,
			Timeout:    30 * time.Second,
			Backoff:    job.Backoff{Kind: job.Exponential, Base: time.Second, Max: time.Minute},
		},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func create(t *testing.T, s *Store, subs ...job.Submission) []*job.Job {
	t.Helper()
	made, errs, err := s.Create(t.Context(), subs)
	if err != nil {
		t.Fatal(err)
	}
	jobs := make([]*job.Job, len(made))
	for i, m := range made {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		jobs[i] = m.Job
	}
	return jobs
}

func claim(t *testing.T, s *Store, j *job.Job, worker job.ID) job.Claim {
	t.Helper()
	claims, err := s.Claim(t.Context(), []job.ClaimRequest{{JobID: j.ID, Delivery: j.Delivery, WorkerID: worker}})
	if err != nil {
		t.Fatal(err)
	}
	return claims[0]
}

// mustClaim claims a job that may run and answers it as the worker gets it.
func mustClaim(t *testing.T, s *Store, j *job.Job, worker job.ID) *job.Job {
	t.Helper()
	c := claim(t, s, j, worker)
	if c.Decision != job.Run {
		t.Fatalf("claim of %s answered %v, want Run", j.ID, c.Decision)
	}
	return c.Job
}

// settlement of an attempt that worker claimed.
func settlement(j *job.Job, worker job.ID, state job.State) job.Settlement {
	return job.Settlement{JobID: j.ID, Attempt: j.Attempt, Delivery: j.Delivery, WorkerID: worker, State: state}
}

func settle(t *testing.T, s *Store, set job.Settlement) job.Settled {
	t.Helper()
	out, err := s.Settle(t.Context(), []*job.Settlement{&set})
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func read(t *testing.T, s *Store, id job.ID) *job.Job {
	t.Helper()
	j, err := s.Job(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
