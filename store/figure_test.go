package store

import (
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

func TestOpenJobsAreCountedByQueueAndState(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		low := func(sub *job.Submission) { sub.Queue = "low" }
		create(
			t,
			s,
			submission(),
			submission(),
			submission(low),
			submission(low, func(sub *job.Submission) { sub.RunAt = time.Now().Add(time.Hour) }),
		)
		worker := job.NewID()
		finished := mustClaim(t, s, create(t, s, submission(low))[0], worker)
		settle(t, s, settlement(finished, worker, job.Completed))
		mustClaim(t, s, create(t, s, submission(func(sub *job.Submission) { sub.Queue = "busy" }))[0], worker)
		if _, err := s.db.NewUpdate().Table("open_jobs").Set("state = 'held'").Where("id = ?",
			create(t, s, submission())[0].ID).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}

		counts, err := s.OpenCounts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]map[job.State]int{}
		for _, f := range counts {
			got[f.Queue] = f.Open
			if waits := f.Queue != "busy"; (f.OldestDue > 0) != waits || f.OldestDue > time.Minute || f.Cut {
				t.Errorf("%s: oldest due %v, cut %v", f.Queue, f.OldestDue, f.Cut)
			}
		}
		want := map[string]map[job.State]int{
			"default": {
				job.Pending: 2,
				job.Held:    1,
			}, "low": {job.Pending: 1, job.Scheduled: 1}, "busy": {job.Active: 1},
		}
		for queue, states := range want {
			for _, state := range job.OpenStates {
				if got[queue][state] != states[state] {
					t.Errorf("%s: %d %s, want %d", queue, got[queue][state], state, states[state])
				}
			}
		}
		if len(got) != len(want) {
			t.Errorf("got %v, want three queues", got)
		}
	})
}

func TestAJobThatIsNotDueDoesNotWait(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		create(t, s, submission(func(sub *job.Submission) { sub.RunAt = time.Now().Add(time.Hour) }))
		counts, err := s.OpenCounts(t.Context())
		if err != nil || len(counts) != 1 || counts[0].OldestDue != 0 {
			t.Errorf("got %+v, %v, want one queue in which nothing waits", counts, err)
		}
	})
}

func TestAnEmptyLedgerHasNoCounts(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		if counts, err := s.OpenCounts(t.Context()); err != nil || len(counts) != 0 {
			t.Errorf("got %+v, %v", counts, err)
		}
	})
}
