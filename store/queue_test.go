package store

import (
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

func queues(t *testing.T, s *Store) map[string]job.Queue {
	t.Helper()
	list, err := s.Queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]job.Queue{}
	for _, q := range list {
		byName[q.Name] = q
	}
	return byName
}

func TestAPauseKeepsItsFirstReasonUntilItEnds(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		must(t, s.Pause(t.Context(), "low", "ann@example.com", "mail is down"))
		must(t, s.Pause(t.Context(), "low", "bob@example.com", "another reason"))
		q := queues(t, s)["low"]
		if q.PausedBy != "ann@example.com" || q.Reason != "mail is down" ||
			time.Since(q.PausedAt).Abs() > time.Minute ||
			!q.ResumedAt.IsZero() {
			t.Errorf("%+v", q)
		}
		must(t, s.Resume(t.Context(), "low"))
		after := queues(t, s)["low"]
		if !after.PausedAt.IsZero() || after.PausedBy != "" || after.Reason != "" ||
			after.ResumedAt.Before(q.PausedAt) {
			t.Errorf("%+v", after)
		}
		must(t, s.Pause(t.Context(), "low", "bob@example.com", "once more"))
		if again := queues(t, s)["low"]; again.PausedBy != "bob@example.com" || again.ResumedAt != after.ResumedAt {
			t.Errorf("%+v", again)
		}
	})
}

func TestAResumeIsWrittenDownForAQueueThatTheLedgerDidNotKnow(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		must(t, s.Resume(t.Context(), "low"))
		q, ok := queues(t, s)["low"]
		if !ok || !q.PausedAt.IsZero() || time.Since(q.ResumedAt).Abs() > time.Minute {
			t.Errorf("%+v", q)
		}
	})
}

func TestArchivedJobsAreCountedByQueue(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		low := func(sub *job.Submission) { sub.Queue = "low" }
		jobs := create(t, s, submission(), submission(), submission(low), submission(low))
		for _, j := range jobs[:3] {
			_, err := s.Archive(t.Context(), j.ID, "by hand")
			must(t, err)
		}
		got, err := s.ArchivedCounts(t.Context())
		must(t, err)
		if len(got) != 2 || got["default"] != 2 || got["low"] != 1 {
			t.Errorf("%v", got)
		}
	})
}
