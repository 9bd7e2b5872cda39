package store

import (
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// stepBack makes the rows look as if the database's clock had stepped back: what they show of now
// lies ahead.
func stepBack(t *testing.T, s *Store, by time.Duration, table string, columns ...string) {
	t.Helper()
	now, err := s.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	q := s.db.NewUpdate().Table(table).Where("true")
	for _, c := range columns {
		q = q.Set("? = ?", bun.Ident(c), now.Add(by))
	}
	if _, err := q.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func beat(t *testing.T, s *Store, worker job.ID) {
	t.Helper()
	if _, err := s.Heartbeat(t.Context(), job.Heartbeat{WorkerID: worker}); err != nil {
		t.Fatal(err)
	}
}

func TestAPendingJobRunsThoughTheLedgersClockSteppedBack(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		pending := create(t, s, submission())[0]
		ahead := create(t, s, submission(func(s *job.Submission) { s.Delay = time.Hour }))[0]
		stepBack(t, s, 10*time.Minute, "open_jobs", "run_at", "dispatch_at")
		if c := claim(t, s, pending, job.NewID()); c.Decision != job.Run {
			t.Errorf("the pending job answers %v, to be asked again after %v", c.Decision, c.Wait)
		}
		if c := claim(t, s, ahead, job.NewID()); c.Decision != job.Postpone || c.Wait < 9*time.Minute {
			t.Errorf("the scheduled job answers %v, to be asked again after %v", c.Decision, c.Wait)
		}
	})
}

func TestADelayCountsFromTheMomentTheJobIsWrittenDown(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		at := time.Now().UTC().Add(2 * time.Hour).Truncate(time.Microsecond)
		for _, keyed := range []bool{false, true} {
			change := func(i int, d time.Duration, runAt time.Time) job.Submission {
				return submission(func(sub *job.Submission) {
					sub.Delay, sub.RunAt = d, runAt
					if keyed {
						sub.IdempotencyKey, sub.Fingerprint = string(rune('a'+i)), []byte("print")
					}
				})
			}
			jobs := create(t, s, change(0, 0, time.Time{}), change(1, 90*time.Second, time.Time{}), change(2, 0, at))
			for i, want := range []struct {
				state job.State
				runAt time.Time
			}{{job.Pending, jobs[0].CreatedAt}, {job.Scheduled, jobs[1].CreatedAt.Add(90 * time.Second)},
				{job.Scheduled, at}} {
				for _, j := range []*job.Job{jobs[i], read(t, s, jobs[i].ID)} {
					if j.State != want.state || !j.RunAt.Equal(want.runAt) {
						t.Errorf(
							"keyed %v, job %d: %s at %s, want %s at %s",
							keyed,
							i,
							j.State,
							j.RunAt,
							want.state,
							want.runAt,
						)
					}
				}
			}
		}
	})
}

func TestARetryWaitsFromTheMomentItIsWrittenDown(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		for _, state := range []job.State{job.Retry, job.Scheduled, job.Pending} {
			w := job.NewID()
			j := mustClaim(t, s, create(t, s, submission())[0], w)
			set := settlement(j, w, state)
			set.Wait, set.Failed = 10*time.Minute, state == job.Retry
			before, err := s.Now(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := settle(t, s, set)
			after, err := s.Now(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if state == job.Pending { // handed back: it may run as before
				before, after, set.Wait = j.RunAt, j.RunAt, 0
			}
			if got.RunAt.Before(before.Add(set.Wait)) || got.RunAt.After(after.Add(set.Wait)) {
				t.Errorf("%s: it runs at %s, want %v after %s", state, got.RunAt, set.Wait, before)
			}
		}
	})
}

func TestAWorkerThatDiedBeforeTheLedgersClockSteppedBackIsDead(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		dead, alive, judge := job.NewID(), job.NewID(), job.NewID()
		for _, w := range []job.ID{dead, alive, judge} {
			beat(t, s, w)
		}
		lost, kept := mustClaim(
			t,
			s,
			create(t, s, submission())[0],
			dead,
		), mustClaim(
			t,
			s,
			create(t, s, submission())[0],
			alive,
		)
		stepBack(t, s, 10*time.Minute, "workers", "beat_at", "beating_since")
		orphans := func(when string, want int) {
			t.Helper()
			if back, err := s.RescueLost(t.Context(), judge); err != nil || len(back) != want ||
				want == 1 && back[0].ID != lost.ID {
				t.Errorf("%s: %d jobs were taken back, want %d; %v", when, len(back), want, err)
			}
		}
		orphans("right after the step", 0)
		beat(t, s, judge)
		beat(t, s, alive)
		orphans("after the judge's first beat", 0)
		since := time.Now().UTC().Add(-StaleAfter - time.Second)
		if _, err := s.db.NewUpdate().Table("workers").Set("beating_since = ?", since).
			Where("beating_since < ?", time.Now().UTC().Add(time.Minute)).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		orphans("once the judge was heard for long enough", 1)
		if j := read(t, s, kept.ID); j.State != job.Active {
			t.Errorf("the job of the worker that lives is %s", j.State)
		}
	})
}

func TestALeaseThatEndsLaterThanAnyCouldHasRunOut(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		gone, next := job.NewID(), job.NewID()
		if !lease(t, s, gone, 15*time.Second) || lease(t, s, next, 15*time.Second) {
			t.Fatal("the lease is not the first one's")
		}
		stepBack(t, s, 10*time.Minute, "leases", "until")
		if !lease(t, s, next, 15*time.Second) {
			t.Error("a lease of before the step is still held")
		}
	})
}

func TestTheStoreMeasuresItsDatabasesClock(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		if s.Clock().Known() {
			t.Error("the offset is known before anything was asked")
		}
		beat(t, s, job.NewID())
		if off := s.Clock().Offset(); !s.Clock().Known() || off.Abs() > s.Clock().Error()+10*time.Millisecond {
			t.Errorf(
				"after a heartbeat the offset is %v, with an error of %v, of a database on this machine",
				off,
				s.Clock().Error(),
			)
		}
	})
}
